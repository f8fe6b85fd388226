//! Who asks: SPIFFE IDs, X509-SVID leaf rules, and which hop is trusted to say who the caller is.
//!
//! **Decides** three things, each a function of its arguments: whether a text or a certificate names a workload
//! ([`SpiffeId`], [`Svid`]); whether the peer of a connection may speak for callers at all ([`PepRules`]); and which
//! one caller a request has, given what that peer claims ([`Identifier`]).
//!
//! **Never** verifies a signature, a chain or the possession of a key: the TLS handshake that the proxy, or we, took part
//! in did. Never decides what a caller may do, never does I/O, never reads a clock: the time is an argument.
//!
//! **When it fails** there is no caller. Every doubt is an error, every error a denial: an unreadable certificate, two
//! identities where one is expected, a header that can be read in two ways. Nobody is anonymous.

mod caller;
mod config;
mod der;
mod issuer;
mod leaf;
mod pem;
mod pep;
mod spiffe_id;
mod xfcc;

#[cfg(test)]
mod tests;

pub use caller::{Caller, CallerError, ClaimError, Claims, Forwarding, Identifier};
pub use config::{Config, Xfcc};
pub use issuer::{Validity, check_intermediate, check_root};
pub use leaf::{LeafError, Svid};
pub use pem::PemError;
pub use pep::{Asker, MeshPeer, Peer, Pep, PepRules, TrustLocal, UntrustedPeer};
pub use spiffe_id::{SpiffeId, SpiffeIdError, SpiffePattern, TrustDomain};
pub use xfcc::{XfccElement, XfccError};
