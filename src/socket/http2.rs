//! What one HTTP/2 connection may cost, on every listener, whichever library serves it. docs/abuse.md shows each at work.

use std::time::Duration;

/// Between two pings of a connection on which nothing comes.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes of one request's header list; a CheckRequest carries the client's headers in its message, not here.
pub(crate) const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Streams that the client made us reset, before it is sent away.
pub(crate) const MAX_LOCAL_RESETS: usize = 128;
/// Streams that the client reset before anybody looked at them, before it is sent away.
pub(crate) const MAX_PENDING_RESETS: usize = 20;
/// Bytes that may be under way to us on one stream.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes that may be under way to us on all streams together.
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
