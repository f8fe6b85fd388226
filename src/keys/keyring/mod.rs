//! The keys in force: read from their folder, given their roles by the clock, swapped whole.
//!
//! Decides nothing by itself: `schedule` does, from the names of the files and the time it is told. Whoever owns a keyring
//! calls [`Keyring::refresh`] once a second, off the path of requests, since it reads files; nothing that a token says makes
//! it look earlier (T21). Signing and verifying take whatever is in force, without a lock.
//!
//! Where the folder can't be read, the keys that were in force keep their schedule, and the trouble is told. Where a file
//! is gone, so is its key, at once: that is how a stolen key is taken out of use.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;

use super::algorithm::Algorithm;
use super::config::Config;
use super::directory::{Directory, KeysError};
use super::pair::Pair;
use super::public::PublicKey;
use super::schedule::{Plan, Role, plan};
use crate::clock::Timestamp;
use crate::delegation::token::Thumbprint;

#[cfg(test)]
pub(super) mod tests;

/// All keys of this authority.
#[derive(Debug)]
pub struct Keyring {
    directory: Directory,
    algorithm: Algorithm,
    rotate: Option<Duration>,
    current: ArcSwap<Current>,
    /// One refresh at a time.
    refreshing: Mutex<()>,
}

/// What is in force.
#[derive(Debug, Default)]
struct Current {
    /// In the order in which they begin.
    keys: Vec<Key>,
    active: Option<Arc<Pair>>,
    published: BTreeMap<Thumbprint, Arc<PublicKey>>,
    jwks: Arc<str>,
}

#[derive(Debug, Clone)]
struct Key {
    begins: Timestamp,
    pair: Arc<Pair>,
    role: Role,
}

/// Something that happened to a key; for the trail (`key.rotated`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEvent {
    /// What.
    pub change: Change,
    /// To which key.
    pub key: Thumbprint,
    /// What it is made for.
    pub algorithm: Algorithm,
    /// From when on it signs.
    pub begins: Timestamp,
}

/// What can happen to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is there, in this role.
    Is(Role),
    /// It is forgotten: nothing that it signed is accepted any more.
    Gone,
}

/// What a refresh has found.
#[derive(Debug)]
#[must_use]
pub struct Refreshed {
    /// What changed since the last one.
    pub events: Vec<KeyEvent>,
    /// What went wrong; what was in force before goes on by its schedule.
    pub trouble: Option<KeysError>,
}

impl Keyring {
    /// Reads the keys, their folder relative to `base`; makes the first one where there is none.
    ///
    /// The events say what each key is now: that there was a change while nobody ran can be seen from them alone.
    pub fn open(
        config: &Config,
        base: &Path,
        now: Timestamp,
    ) -> Result<(Self, Vec<KeyEvent>), KeysError> {
        let Config {
            algorithm,
            directory,
            rotate,
        } = config;
        let keyring = Self {
            directory: Directory::open(&base.join(directory))?,
            algorithm: *algorithm,
            rotate: *rotate,
            current: ArcSwap::default(),
            refreshing: Mutex::default(),
        };
        match keyring.refresh(now) {
            Refreshed {
                events,
                trouble: None,
            } => Ok((keyring, events)),
            Refreshed {
                trouble: Some(trouble),
                ..
            } => Err(trouble),
        }
    }

    /// Brings keys and roles up to `now`: reads the folder, makes the next key when it is due, and, where keys are rotated
    /// by attache, removes the files of those that are gone. Blocks for files.
    pub fn refresh(&self, now: Timestamp) -> Refreshed {
        let _alone = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        let (keys, trouble) = match self.read(now) {
            Ok(keys) => (keys, None),
            Err(trouble) => {
                let known = before.keys.iter();
                let known = known.map(|key| (key.begins, Arc::clone(&key.pair)));
                (known.collect(), Some(trouble))
            }
        };
        let begins: Vec<_> = keys.iter().map(|(begins, _)| *begins).collect();
        let Plan { roles, create: _ } = plan(&begins, self.rotate, now);
        let mut left = Vec::new();
        let mut removed = Ok(());
        for ((begins, pair), role) in keys.into_iter().zip(roles) {
            match role {
                Some(role) => left.push(Key { begins, pair, role }),
                None if self.rotate.is_some() => {
                    removed = removed.and(self.directory.remove(begins));
                }
                None => {}
            }
        }
        let events = events(&before.keys, &left);
        if !events.is_empty() {
            self.current.store(Arc::new(Current::new(left)));
        }
        Refreshed {
            events,
            trouble: trouble.or(removed.err()),
        }
    }

    /// The keys in the folder, with the one that is due.
    fn read(&self, now: Timestamp) -> Result<Vec<(Timestamp, Arc<Pair>)>, KeysError> {
        let mut keys = self.directory.load()?;
        let begins: Vec<_> = keys.iter().map(|(begins, _)| *begins).collect();
        if let Some(begins) = plan(&begins, self.rotate, now).create {
            let pair = Pair::generate(self.algorithm).map_err(|_failed| KeysError::Made)?;
            self.directory.store(begins, &pair)?;
            // Read again: another replica may have been faster.
            keys = self.directory.load()?;
        }
        let shared = |(begins, pair)| (begins, Arc::new(pair));
        Ok(keys.into_iter().map(shared).collect())
    }

    /// The document of our public keys (RFC 7517 section 5): all that sign, will sign, or signed what may still live.
    pub fn jwks(&self) -> Arc<str> {
        Arc::clone(&self.current.load().jwks)
    }

    /// A key that is published, by its name.
    pub fn public(&self, id: &Thumbprint) -> Option<Arc<PublicKey>> {
        self.current.load().published.get(id).map(Arc::clone)
    }

    /// The key that signs.
    pub(super) fn active(&self) -> Option<Arc<Pair>> {
        self.current.load().active.as_ref().map(Arc::clone)
    }
}

impl Current {
    fn new(keys: Vec<Key>) -> Self {
        let active = keys.iter().find(|key| key.role == Role::Active);
        let published: BTreeMap<_, _> = keys
            .iter()
            .map(|key| (key.pair.public().id(), Arc::clone(key.pair.public())))
            .collect();
        let jwks: Vec<_> = published.values().map(|key| key.jwk()).collect();
        Self {
            active: active.map(|key| Arc::clone(&key.pair)),
            published,
            jwks: json!({ "keys": jwks }).to_string().into(),
            keys,
        }
    }
}

/// What is new in `after`, and what is not there any more.
fn events(before: &[Key], after: &[Key]) -> Vec<KeyEvent> {
    let same = |one: &Key, other: &Key| {
        one.begins == other.begins && one.pair.public().id() == other.pair.public().id()
    };
    let event = |key: &Key, change| KeyEvent {
        change,
        key: key.pair.public().id(),
        algorithm: key.pair.public().algorithm(),
        begins: key.begins,
    };
    let gone = before
        .iter()
        .filter(|old| !after.iter().any(|new| same(old, new)))
        .map(|old| event(old, Change::Gone));
    let changed = after
        .iter()
        .filter(|new| {
            let known = before.iter().find(|old| same(old, new));
            known.is_none_or(|old| old.role != new.role)
        })
        .map(|new| event(new, Change::Is(new.role)));
    gone.chain(changed).collect()
}
