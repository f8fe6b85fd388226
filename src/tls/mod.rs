//! Our own certificate: where it comes from, when it may be used, and whose certificates are accepted in return, by those
//! who connect to us and by those we connect to.
//!
//! **Decides** whether material may be used ([`Credential::offer`], the one gate: it is swapped whole or not at all), and
//! whether the other end of a connection holds an X509-SVID that an authority of its own trust domain stands behind
//! (the handshake, and again for every request: [`Session::peer`]).
//!
//! **Never** decides whether such a peer may ask anything; that is `identity`'s, by the lists of the configuration. Never
//! believes a host name: a server we ask is known by its SPIFFE ID ([`Credential::connector`]).
//!
//! **When it fails** nobody connects, in neither direction. An outage of the source keeps the last material until it expires; a source that
//! says we have no identity any more takes it away at once. Without material, handshakes are refused and readiness is
//! withheld.

mod bundle;
mod config;
mod connector;
mod credential;
mod files;
mod handshake;
mod material;
mod metrics;
mod signature;
mod workload;

#[cfg(test)]
mod tests;

pub use bundle::{BundleError, ChainError};
pub use config::{Config, Credentials, Files, Renewal, Source, SourceError};
pub use connector::{ClientStream, connect};
pub use credential::{Credential, State};
pub use handshake::{Acceptor, Clients, HandshakeError, Protocols, Session, Stream, speaks_http2};
pub use material::{MaterialError, Offer, PeerError};
pub use rustls::ClientConfig;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Makes aws-lc-rs the provider of the whole process. The first thing that `main` does.
pub fn install_provider() {
    // Somebody else's installation would be the same one: there is no other provider in the binary.
    let _already = aws_lc_rs::default_provider().install_default();
}

/// The provider itself, for configurations of our own.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
