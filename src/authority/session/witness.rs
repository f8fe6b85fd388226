//! What the records of sessions say. No address, no password, no credential: a person is their id, a session is its id.

use std::sync::Arc;

use crate::audit::{Actor, Details, EventType, Mandate, Outcome, Record, Source, Subject, Text};
use crate::delegation::{PersonId, Session};
use crate::identity::Peer;

use super::super::attempt::asking;
use super::LoginFailure;

pub(super) fn login(peer: &Peer, session: &Session) -> Record {
    let methods = session.authentication.methods.iter();
    let methods: Vec<_> = methods.map(|it| Text::from(it.as_str())).collect();
    let details = Details::default()
        .with("issuer", Text::from(Arc::clone(&session.person.issuer)))
        .with("amr", methods)
        .with("expires", session.expires.to_string());
    of_session(EventType::HumanLogin, Some(peer), session, details)
}

pub(super) fn logout(peer: &Peer, session: &Session) -> Record {
    let details = Details::default();
    of_session(EventType::HumanLogout, Some(peer), session, details)
}

pub(super) fn expired(session: &Session) -> Record {
    let details = Details::default().with("expires", session.expires.to_string());
    let record = of_session(EventType::SessionExpired, None, session, details);
    Record {
        actor: Actor::System,
        ..record
    }
}

/// `meant` is the person whose address was given, where there is one.
pub(super) fn failed(peer: &Peer, meant: Option<&PersonId>, failure: LoginFailure) -> Record {
    let (cause, words) = match failure {
        LoginFailure::NotHere => ("untrusted_peer", "people are not heard from there"),
        LoginFailure::Wrong => ("wrong", "address or password is wrong"),
        LoginFailure::TooOften => ("too_often", "too many tries"),
        LoginFailure::NotKept => ("not_kept", "the session could not be kept; it never was"),
    };
    // Whoever tried has not shown to be that person.
    let details = Details::default().with("cause", cause);
    let details = match meant {
        Some(person) => details.with("meant", person.as_str()),
        None => details,
    };
    Record {
        message: Some(Text::fixed(words)),
        details,
        ..whence(
            Some(peer),
            Record::new(
                EventType::HumanLoginFailed,
                Outcome::Failure,
                Actor::Unknown,
            ),
        )
    }
}

fn of_session(
    event: EventType,
    peer: Option<&Peer>,
    session: &Session,
    details: Details,
) -> Record {
    let person = Text::from(session.person.id.as_str());
    let mandate = Mandate {
        session_id: Some(Text::from(session.id.as_str())),
        ..Mandate::default()
    };
    Record {
        subject: Some(Subject {
            id: person.clone(),
            role: Some(Text::from(session.role.as_str())),
        }),
        mandate: Some(Box::new(mandate)),
        details,
        ..whence(
            peer,
            Record::new(event, Outcome::Success, Actor::Person(person)),
        )
    }
}

/// The record, with where it came from.
pub(in super::super) fn whence(peer: Option<&Peer>, record: Record) -> Record {
    let ip = match peer {
        Some(Peer::Anonymous(address) | Peer::Tcp(address)) => Some(address.ip()),
        Some(Peer::Unix { .. } | Peer::Mesh(_)) | None => None,
    };
    Record {
        pep: match peer {
            // Who came over TCP is no proxy that asks for decisions.
            Some(Peer::Tcp(_) | Peer::Anonymous(_)) | None => None,
            Some(peer) => asking(peer),
        },
        source: ip.map(|ip| Source {
            ip: Some(ip),
            spiffe_id: None,
        }),
        ..record
    }
}
