//! Who asks: SPIFFE IDs, X509-SVID leaf rules, and which hop is trusted to say who the caller is.

mod leaf;
mod pem;
mod pep;
mod spiffe_id;
mod xfcc;

#[cfg(test)]
mod tests;

pub use leaf::{LeafError, Svid};
pub use pem::PemError;
pub use pep::{Peer, Pep, PepRules, TrustLocal, UntrustedPeer};
pub use spiffe_id::{SpiffeId, SpiffeIdError, SpiffePattern, TrustDomain};
pub use xfcc::{XfccElement, XfccError};
