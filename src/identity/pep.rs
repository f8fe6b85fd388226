//! Which connections may say who the caller is.
//!
//! A policy enforcement point (PEP) is the proxy that asks, seen as the peer of its connection. What it says of callers
//! is believed only if it comes over a transport that the configuration trusts; every other peer is refused before its
//! question is read. This file decides that from the peer alone and knows nothing of callers.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Timestamp;

use super::leaf::Svid;
use super::spiffe_id::{SpiffeId, SpiffePattern, TrustDomain};

/// The other end of a connection on which decisions are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process on a Unix socket.
    Unix {
        /// Its user id, where the operating system tells.
        uid: Option<u32>,
    },
    /// An unauthenticated TCP connection.
    Tcp(SocketAddr),
    /// A TLS connection whose client showed no certificate. It is nobody, wherever it comes from.
    Anonymous(SocketAddr),
    /// A mutual TLS connection.
    Mesh(MeshPeer),
}

/// A peer that has proven to hold the key of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshPeer {
    /// The certificate, as it was when the connection was made.
    pub svid: Arc<Svid>,
    /// Whether the authorities in force at this moment still stand behind it.
    pub vouched: bool,
}

/// A peer that may say who the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pep {
    /// A process that can open the Unix socket.
    Unix,
    /// Anything that can connect from this network namespace.
    Loopback,
    /// A proxy with a certificate that `peps` names.
    Mesh,
}

/// A peer that may ask for decisions in words of its own, and about whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// About any caller.
    Pep(Pep),
    /// About itself only: a workload that `peps` does not name.
    Itself(SpiffeId),
}

/// How far peers without a certificate are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustLocal {
    /// Not at all.
    None,
    /// On a Unix socket.
    #[default]
    Unix,
    /// On a Unix socket, and over TCP from a loopback address: anything in the pod may then assert any caller.
    Loopback,
}

/// The rules that a [`Peer`] is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PepRules {
    /// How far peers without a certificate are trusted.
    pub trust_local: TrustLocal,
    /// The user ids that may ask; empty where the socket's file mode decides. Over TCP a user id is never known, so
    /// ids listed here refuse loopback peers.
    pub trust_uids: Vec<u32>,
    /// The proxies that may ask over mutual TLS.
    pub peps: Vec<SpiffePattern>,
    /// The trust domains that such proxies may be of: ours and the federated ones.
    pub trust_domains: Vec<TrustDomain>,
    /// Whose `context_extensions` may name resource and action.
    pub context_extensions: Vec<Pep>,
}

/// Why a peer may not say who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UntrustedPeer {
    /// `trust_local` is `none`.
    #[error("peers on Unix sockets are not trusted")]
    Unix,
    /// Not one of `trust_uids`.
    #[error("user id {0} is not one of trust_uids")]
    Uid(u32),
    /// `trust_uids` is set and the user id is not known.
    #[error("trust_uids is set and the peer's user id is not known")]
    UnknownUid,
    /// A TCP peer from somewhere else, or `trust_local` is not `loopback`.
    #[error("TCP peer `{0}` is not trusted")]
    Tcp(SocketAddr),
    /// A TLS peer that showed no certificate.
    #[error("TLS peer `{0}` showed no certificate")]
    Anonymous(SocketAddr),
    /// The certificate was valid when the connection was made and is no longer.
    #[error("the certificate of proxy `{0}` is not valid now")]
    Expired(SpiffeId),
    /// The authority behind the certificate was withdrawn, or no authority is known at all.
    #[error("no authority in force vouches for the certificate of proxy `{0}`")]
    NotVouched(SpiffeId),
    /// Of a trust domain that is not accepted, or not one of `peps`.
    #[error("proxy `{0}` is not one of identity.peps")]
    NotAPep(SpiffeId),
}

// === impl Pep ===

impl Pep {
    /// The word for audit records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Loopback => "loopback",
            Self::Mesh => "mesh",
        }
    }
}

// === impl PepRules ===

impl PepRules {
    /// As what `peer` may ask at `now`; an error where it may not.
    pub fn judge(&self, peer: &Peer, now: Timestamp) -> Result<Pep, UntrustedPeer> {
        match (peer, self.trust_local) {
            (Peer::Mesh(peer), _) => self.judge_mesh(peer, now),
            (Peer::Anonymous(address), _) => Err(UntrustedPeer::Anonymous(*address)),
            (Peer::Unix { .. }, TrustLocal::None) => Err(UntrustedPeer::Unix),
            (Peer::Unix { uid }, TrustLocal::Unix | TrustLocal::Loopback) => {
                self.check_uid(*uid)?;
                Ok(Pep::Unix)
            }
            (Peer::Tcp(address), TrustLocal::Loopback) if is_loopback(address) => {
                self.check_uid(None)?;
                Ok(Pep::Loopback)
            }
            (Peer::Tcp(address), TrustLocal::None | TrustLocal::Unix | TrustLocal::Loopback) => {
                Err(UntrustedPeer::Tcp(*address))
            }
        }
    }

    /// About whom `peer` may ask at `now` without a request in hand; an error where it may not ask at all.
    pub fn judge_asker(&self, peer: &Peer, now: Timestamp) -> Result<Asker, UntrustedPeer> {
        match (self.judge(peer, now), peer) {
            (Ok(pep), _) => Ok(Asker::Pep(pep)),
            // Its certificate is good, else it would be another error.
            (Err(UntrustedPeer::NotAPep(id)), Peer::Mesh(_)) if self.accepts(&id) => {
                Ok(Asker::Itself(id))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Whether `context_extensions` from this PEP may name resource and action.
    pub fn may_name_operations(&self, pep: Pep) -> bool {
        self.context_extensions.contains(&pep)
    }

    /// A connection outlives what was true when it was made: everything is asked again.
    fn judge_mesh(&self, peer: &MeshPeer, now: Timestamp) -> Result<Pep, UntrustedPeer> {
        let id = &peer.svid.id;
        if peer.svid.check_validity(now).is_err() {
            return Err(UntrustedPeer::Expired(id.clone()));
        }
        if !peer.vouched {
            return Err(UntrustedPeer::NotVouched(id.clone()));
        }
        if self.accepts(id) && self.peps.iter().any(|pattern| pattern.matches(id)) {
            Ok(Pep::Mesh)
        } else {
            Err(UntrustedPeer::NotAPep(id.clone()))
        }
    }

    fn accepts(&self, id: &SpiffeId) -> bool {
        self.trust_domains.iter().any(|domain| domain.contains(id))
    }

    fn check_uid(&self, uid: Option<u32>) -> Result<(), UntrustedPeer> {
        if self.trust_uids.is_empty() {
            return Ok(());
        }
        match uid {
            Some(uid) if self.trust_uids.contains(&uid) => Ok(()),
            Some(uid) => Err(UntrustedPeer::Uid(uid)),
            None => Err(UntrustedPeer::UnknownUid),
        }
    }
}

/// 127.0.0.0/8 and `::1`, and the former as a dual-stack socket shows it.
const fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
