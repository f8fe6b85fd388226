//! The `identity` section of the configuration.

use serde::Deserialize;

use super::caller::{Forwarding, Identifier};
use super::pep::{Pep, PepRules, TrustLocal};
use super::spiffe_id::{SpiffePattern, TrustDomain};

/// Who may say who the caller is, and which callers are accepted.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How far peers without a certificate are trusted: `none`, `unix` (default) or `loopback`. With `loopback`,
    /// anything in the pod may assert any caller.
    pub trust_local: TrustLocal,
    /// User ids that may ask over the Unix socket. Empty: the socket's file mode decides.
    pub trust_uids: Vec<u32>,
    /// Proxies that may ask over mutual TLS, such as `spiffe://example.org/envoy/*`. Empty (default): none.
    pub peps: Vec<SpiffePattern>,
    /// PEPs whose route extensions may name resource and action where no route matches: `unix`, `loopback`, `mesh`.
    pub context_extensions: Vec<Pep>,
    /// Whether `x-forwarded-client-cert` names the caller: `none` (default) or `last_hop`.
    pub xfcc: Xfcc,
    /// With `xfcc: last_hop`, the proxies in front of Envoy whose last element is believed, such as
    /// `spiffe://example.org/edge/*`. Empty: nobody's; the header may then only repeat what Envoy itself saw.
    pub xfcc_hops: Vec<SpiffePattern>,
    /// Other trust domains whose callers are accepted.
    pub federated: Vec<TrustDomain>,
}

/// Whether the caller may be named by `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Xfcc {
    /// The header is never read.
    #[default]
    None,
    /// The last element names the caller.
    LastHop,
}

impl Config {
    /// The parts of the room: the rules for peers, and the reader of callers in `trust_domain`.
    pub fn build(self, trust_domain: TrustDomain) -> (PepRules, Identifier) {
        let Self {
            trust_local,
            trust_uids,
            peps,
            context_extensions,
            xfcc,
            xfcc_hops,
            federated,
        } = self;
        let trust_domains = std::iter::once(&trust_domain).chain(&federated);
        let rules = PepRules {
            trust_local,
            trust_uids,
            peps,
            trust_domains: trust_domains.cloned().collect(),
            context_extensions,
        };
        let forwarding = match xfcc {
            Xfcc::None => Forwarding::Ignored,
            Xfcc::LastHop => Forwarding::LastHop { hops: xfcc_hops },
        };
        let identifier = Identifier::new(
            trust_domain,
            federated,
            forwarding,
            Identifier::CACHED_CERTIFICATES,
        );
        (rules, identifier)
    }
}
