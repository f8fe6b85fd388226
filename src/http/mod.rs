//! HTTP, in two doors: the plaintext health listener for probes and scrapers, and the TLS listener that is open to people.
//!
//! Bounds what a client may send and how long it may take; decides nothing. What is served behind the TLS listener comes
//! from elsewhere as routes, and is told who is at the other end. A client that breaks a bound loses its connection.

mod connection;
mod health;
mod open;

pub use health::{Health, serve_health};
pub use open::OpenServer;
