//! The `listen` section: which sockets serve what, and which combinations are refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::grpc::Address;
use crate::identity::{self, TrustLocal};
use crate::tls;

use super::Problem;

/// The sockets of the process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Where proxies ask; at least one.
    pub ext_authz: Vec<ExtAuthzListener>,
    /// Where probes and scrapers ask, in plaintext.
    pub health: HealthListener,
}

/// One socket for proxies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawListener")]
pub struct ExtAuthzListener {
    /// Where it listens.
    pub address: Address,
    /// The entry of `tls` that it shows; clients need a certificate too. Without one it is plaintext.
    pub tls: Option<String>,
}

/// The socket for probes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthListener {
    /// Where it listens.
    pub tcp: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListener {
    unix: Option<PathBuf>,
    mode: Option<String>,
    tcp: Option<SocketAddr>,
    tls: Option<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            ext_authz: vec![ExtAuthzListener {
                address: Address::Unix {
                    path: PathBuf::from("/run/attache/ext_authz.sock"),
                    mode: DEFAULT_MODE,
                },
                tls: None,
            }],
            health: HealthListener {
                tcp: SocketAddr::from(([0, 0, 0, 0], 8082)),
            },
        }
    }
}

impl TryFrom<RawListener> for ExtAuthzListener {
    type Error = String;

    fn try_from(raw: RawListener) -> Result<Self, String> {
        let address = match (raw.unix, raw.tcp) {
            (Some(_), None) if raw.tls.is_some() => {
                return Err("`tls` belongs to a TCP address; remove it".to_owned());
            }
            (Some(path), None) => Address::Unix {
                mode: raw.mode.as_deref().map_or(Ok(DEFAULT_MODE), file_mode)?,
                path,
            },
            (None, Some(_)) if raw.mode.is_some() => {
                return Err("`mode` belongs to a Unix socket; remove it".to_owned());
            }
            (None, Some(address)) => Address::Tcp(address),
            _ => return Err("write either `unix: PATH` or `tcp: ADDRESS:PORT`".to_owned()),
        };
        Ok(Self {
            address,
            tls: raw.tls,
        })
    }
}

fn file_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!(
            "`{text}` is not a file mode; write it as text, as mode: \"0660\""
        )),
    }
}

impl Listen {
    /// Combinations that would let strangers speak for callers.
    pub(super) fn problems(&self, identity: &identity::Config, tls: &tls::Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.ext_authz.is_empty() {
            let advice = "no listener: nothing could be asked; list a Unix socket";
            problems.push(Problem::new("listen.ext_authz", advice));
        }
        for (index, listener) in self.ext_authz.iter().enumerate() {
            if let Some(name) = &listener.tls {
                if !tls.sources.contains_key(name) {
                    let path = format!("listen.ext_authz[{index}].tls");
                    let advice = format!("there is no `{name}` in tls; add tls.{name}");
                    problems.push(Problem::new(path, advice));
                }
                continue;
            }
            let refused = match (&listener.address, identity.trust_local) {
                (Address::Tcp(tcp), _) if !tcp.ip().is_loopback() => {
                    "a plaintext listener must be on a loopback address: peers elsewhere can't be \
                     told apart; name an entry of tls, or listen on 127.0.0.1"
                }
                (Address::Tcp(_), TrustLocal::None | TrustLocal::Unix) => {
                    "a loopback listener is trusted only with identity.trust_local: loopback, which \
                     lets any process of the host speak for callers; a Unix socket is safer"
                }
                (Address::Unix { .. }, TrustLocal::None) => {
                    "with identity.trust_local: none nothing on this socket is trusted; write \
                     trust_local: unix"
                }
                _ => continue,
            };
            problems.push(Problem::new(format!("listen.ext_authz[{index}]"), refused));
        }
        problems
    }

    /// What is allowed here but can't be meant.
    pub(super) fn warnings(&self, identity: &identity::Config, tls: &tls::Config) -> Vec<Problem> {
        let mut warnings = Vec::new();
        let named = |name| move |listener: &ExtAuthzListener| listener.tls.as_deref() == Some(name);
        for name in tls.sources.keys() {
            if !self.ext_authz.iter().any(named(name)) {
                warnings.push(Problem::new(format!("tls.{name}"), "used by no listener"));
            }
        }
        if self.ext_authz.iter().any(|it| it.tls.is_some()) && identity.peps.is_empty() {
            let advice = "empty: no client of the TLS listeners may ask anything";
            warnings.push(Problem::new("identity.peps", advice));
        }
        warnings
    }
}

const DEFAULT_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems and the warnings of a document with these sections.
    fn complaints(text: &str) -> (Vec<String>, Vec<String>) {
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Sections {
            listen: Listen,
            identity: identity::Config,
            tls: tls::Config,
        }
        let it: Sections = serde_saphyr::from_str(text).unwrap();
        let words = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        (
            words(it.listen.problems(&it.identity, &it.tls)),
            words(it.listen.warnings(&it.identity, &it.tls)),
        )
    }

    #[test]
    fn a_tls_listener_may_be_anywhere_if_its_certificate_is_named() {
        let mesh = "tls: {mesh: {workload_api: 'unix:///api.sock'}}";
        let listener = "listen: {ext_authz: [{tcp: '0.0.0.0:9443', tls: mesh}]}";
        let peps = "identity: {trust_local: none, peps: ['spiffe://example.org/envoy']}";
        assert_eq!(
            complaints(&format!("{mesh}\n{listener}\n{peps}")),
            (Vec::new(), Vec::new())
        );
        let (problems, _) = complaints(&format!("{listener}\n{peps}"));
        assert_eq!(
            problems,
            ["listen.ext_authz[0].tls: there is no `mesh` in tls; add tls.mesh"]
        );
        let (problems, warnings) = complaints(&format!("{mesh}\n{listener}"));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            warnings,
            ["identity.peps: empty: no client of the TLS listeners may ask anything"]
        );
        let (_, warnings) = complaints(mesh);
        assert_eq!(warnings, ["tls.mesh: used by no listener"]);
    }

    #[test]
    fn tls_belongs_to_tcp() {
        let read = serde_saphyr::from_str::<ExtAuthzListener>("{unix: /a, tls: mesh}");
        let error = read.unwrap_err().to_string();
        assert!(error.contains("`tls` belongs to a TCP address"), "{error}");
    }

    #[test]
    fn plaintext_elsewhere_is_refused() {
        let (problems, _) = complaints("listen: {ext_authz: [{tcp: '0.0.0.0:9191'}]}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
