//! The `listen` section: which sockets serve what, and which combinations are refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::identity::{self, TrustLocal};
use crate::socket::Address;
use crate::tls;

use super::Problem;

/// The sockets of the process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Where proxies ask; at least one.
    pub ext_authz: Vec<ExtAuthzListener>,
    /// Where workloads reach the gRPC services; clients need a certificate.
    pub mesh: Option<TlsListener>,
    /// Where people and workloads reach services over HTTP; a certificate is looked at where the client has one.
    pub http: Option<TlsListener>,
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

/// A socket that serves nobody without TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawTlsListener")]
pub struct TlsListener {
    /// Where it listens.
    pub tcp: SocketAddr,
    /// The entry of `tls` that it shows.
    pub tls: String,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTlsListener {
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
            mesh: None,
            http: None,
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

impl TryFrom<RawTlsListener> for TlsListener {
    type Error = &'static str;

    fn try_from(raw: RawTlsListener) -> Result<Self, Self::Error> {
        match (raw.tcp, raw.tls) {
            (Some(tcp), Some(tls)) => Ok(Self { tcp, tls }),
            (Some(_), None) => Err(
                "`tls` is missing: this listener is never in plaintext; name \
                                    an entry of tls",
            ),
            (None, _) => Err("`tcp` is missing; write tcp: ADDRESS:PORT"),
        }
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
        problems.extend(self.strangers(tls));
        problems.extend(self.collisions());
        for (index, listener) in self.ext_authz.iter().enumerate() {
            let refused = match (&listener.address, identity.trust_local) {
                _ if listener.tls.is_some() => continue,
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
    /// `elsewhere` is the entry of `tls` that is in use as a client.
    pub(super) fn warnings(
        &self,
        identity: &identity::Config,
        tls: &tls::Config,
        elsewhere: Option<&str>,
    ) -> Vec<Problem> {
        let mut warnings = Vec::new();
        for name in tls.sources.keys() {
            let in_use = self.shown().any(|(_, shown)| shown == name);
            if !in_use && elsewhere != Some(name.as_str()) {
                warnings.push(Problem::new(format!("tls.{name}"), "used by no listener"));
            }
        }
        if self.ext_authz.iter().any(|it| it.tls.is_some()) && identity.peps.is_empty() {
            let advice = "empty: no client of the TLS listeners may ask anything";
            warnings.push(Problem::new("identity.peps", advice));
        }
        warnings
    }

    /// Listeners that name an entry of `tls` which is not there.
    fn strangers(&self, tls: &tls::Config) -> Vec<Problem> {
        self.shown()
            .filter(|(_, name)| !tls.sources.contains_key(*name))
            .map(|(path, name)| {
                let advice = format!("there is no `{name}` in tls; add tls.{name}");
                Problem::new(format!("{path}.tls"), advice)
            })
            .collect()
    }

    /// Listeners whose address an earlier one has. Port 0 is another port for each.
    fn collisions(&self) -> Vec<Problem> {
        let mut taken: Vec<(String, Address)> = Vec::new();
        let mut problems = Vec::new();
        for (path, address) in self.addresses() {
            match taken.iter().find(|(_, it)| collide(it, &address)) {
                Some((earlier, _)) => {
                    let advice = format!("{earlier} listens there already; choose another address");
                    problems.push(Problem::new(path, advice));
                }
                None => taken.push((path, address)),
            }
        }
        problems
    }

    /// Every listener that names an entry of `tls`, by its path.
    fn shown(&self) -> impl Iterator<Item = (String, &str)> {
        let proxies = self.ext_authz.iter().enumerate();
        let proxies = proxies.filter_map(|(index, listener)| {
            let name = listener.tls.as_deref()?;
            Some((format!("listen.ext_authz[{index}]"), name))
        });
        let services = self.services();
        proxies.chain(services.map(|(path, it)| (path, &*it.tls)))
    }

    /// Every listener, by its path.
    fn addresses(&self) -> impl Iterator<Item = (String, Address)> {
        let proxies = self.ext_authz.iter().enumerate();
        let proxies =
            proxies.map(|(index, it)| (format!("listen.ext_authz[{index}]"), it.address.clone()));
        let services = self.services();
        let services = services.map(|(path, it)| (path, Address::Tcp(it.tcp)));
        let health = ("listen.health".to_owned(), Address::Tcp(self.health.tcp));
        proxies.chain(services).chain(std::iter::once(health))
    }

    fn services(&self) -> impl Iterator<Item = (String, &TlsListener)> {
        [("listen.mesh", &self.mesh), ("listen.http", &self.http)]
            .into_iter()
            .filter_map(|(path, it)| Some((path.to_owned(), it.as_ref()?)))
    }
}

/// Whether two listeners can't both be there: the same file, or the same port on the same address or on all of a kind.
fn collide(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix { path: one, .. }, Address::Unix { path: other, .. }) => one == other,
        (Address::Tcp(one), Address::Tcp(other)) => {
            let same_kind = one.is_ipv4() == other.is_ipv4();
            let all = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() != 0
                && one.port() == other.port()
                && (one.ip() == other.ip() || (all && same_kind))
        }
        (Address::Unix { .. }, Address::Tcp(_)) | (Address::Tcp(_), Address::Unix { .. }) => false,
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
            words(it.listen.warnings(&it.identity, &it.tls, None)),
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
    fn mesh_and_http_are_absent_unless_written_and_never_plaintext() {
        assert_eq!(
            (Listen::default().mesh, Listen::default().http),
            (None, None)
        );
        for kind in ["mesh", "http"] {
            for (written, said) in [
                (
                    "tcp: '127.0.0.1:1'",
                    "`tls` is missing: this listener is never in plaintext",
                ),
                ("tls: mesh", "`tcp` is missing"),
                ("unix: /a, tls: mesh", "unknown field `unix`"),
            ] {
                let read = serde_saphyr::from_str::<Listen>(&format!("{kind}: {{{written}}}"));
                let error = read.unwrap_err().to_string();
                assert!(error.contains(said), "{error}");
            }
            let text = format!("listen: {{{kind}: {{tcp: '0.0.0.0:8443', tls: mesh}}}}");
            let (problems, _) = complaints(&text);
            assert_eq!(
                problems,
                [format!(
                    "listen.{kind}.tls: there is no `mesh` in tls; add tls.mesh"
                )]
            );
            let entry = "tls: {mesh: {workload_api: 'unix:///api.sock'}}";
            assert_eq!(
                complaints(&format!("{text}\n{entry}")),
                (Vec::new(), Vec::new())
            );
        }
    }

    #[test]
    fn two_listeners_at_one_address_are_refused() {
        let problems = |listen: &str| {
            let tls = "tls: {mesh: {workload_api: 'unix:///api.sock'}}";
            complaints(&format!("{tls}\nlisten: {{{listen}}}")).0
        };
        for (listen, refused) in [
            (
                "mesh: {tcp: '127.0.0.1:1', tls: mesh}, http: {tcp: '127.0.0.1:1', tls: mesh}",
                "listen.http: listen.mesh listens there already; choose another address",
            ),
            (
                "http: {tcp: '127.0.0.1:8082', tls: mesh}",
                "listen.health: listen.http listens there already; choose another address",
            ),
            (
                "ext_authz: [{unix: /a}, {unix: /a, mode: '0600'}]",
                "listen.ext_authz[1]: listen.ext_authz[0] listens there already; choose another address",
            ),
        ] {
            assert_eq!(problems(listen), [refused]);
        }
        for listen in [
            "mesh: {tcp: '127.0.0.1:0', tls: mesh}, http: {tcp: '127.0.0.1:0', tls: mesh}",
            "mesh: {tcp: '127.0.0.1:1', tls: mesh}, http: {tcp: '127.0.0.2:1', tls: mesh}",
            "mesh: {tcp: '127.0.0.1:1', tls: mesh}, http: {tcp: '[::]:1', tls: mesh}",
        ] {
            assert_eq!(problems(listen), Vec::<String>::new(), "{listen}");
        }
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
