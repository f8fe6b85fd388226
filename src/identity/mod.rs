//! Who asks: SPIFFE IDs, X509-SVID leaf rules, and which hop is trusted to say who the caller is.

mod spiffe_id;

#[cfg(test)]
mod tests;

pub use spiffe_id::{SpiffeId, SpiffeIdError, SpiffePattern, TrustDomain};
