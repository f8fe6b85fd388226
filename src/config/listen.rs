//! The `listen` section: which sockets serve what, and which combinations are refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::grpc::Address;
use crate::identity::{self, TrustLocal};

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
        if raw.tls.is_some() {
            return Err(
                "this version serves no TLS listener: use a Unix socket beside the \
                        proxy, or a loopback address with identity.trust_local: loopback"
                    .to_owned(),
            );
        }
        let address = match (raw.unix, raw.tcp) {
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
        Ok(Self { address })
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
    pub(super) fn problems(&self, identity: &identity::Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.ext_authz.is_empty() {
            let advice = "no listener: nothing could be asked; list a Unix socket";
            problems.push(Problem::new("listen.ext_authz", advice));
        }
        for (index, listener) in self.ext_authz.iter().enumerate() {
            let refused = match (&listener.address, identity.trust_local) {
                (Address::Tcp(tcp), _) if !tcp.ip().is_loopback() => {
                    "a plaintext listener must be on a loopback address: peers elsewhere can't be \
                     told apart"
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
}

const DEFAULT_MODE: u32 = 0o660;
