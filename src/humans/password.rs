//! Passwords and their hashes: argon2id (RFC 9106) in PHC strings, within bounds on what one look may cost.
//!
//! A hash that costs too little would fall to guessing, one that costs too much would let anybody who may try a password
//! fill memory and time: both are refused when the configuration is read.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::{CryptoRng, RngExt as _};
use serde::{Deserialize, Deserializer};

use crate::text;

/// A password as somebody typed it. Nothing shows it; its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Password(Vec<u8>);

/// The argon2id hash of a password. Shown by its cost only.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    phc: Arc<phc::PasswordHash>,
    cost: Cost,
}

/// What one look at a password costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// KiB.
    memory: u32,
    /// Passes over the memory.
    passes: u32,
    lanes: u32,
}

/// Why a text is no usable hash, or a password no usable password. Neither is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Not a PHC string of argon2id, version 19, with salt and hash.
    #[error(
        "not a hash of argon2id as `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`; make one with `attache hash-password`"
    )]
    Form,
    /// Guessing would be too cheap.
    #[error(
        "the hash costs too little: write at least 7168 KiB (m) and 35840 KiB times passes (m × t), a salt of 16 bytes and \
         a hash of 32; `attache hash-password` does"
    )]
    Cheap,
    /// One look would be too expensive.
    #[error("the hash costs too much: write at most m=131072, t=10 and p=4")]
    Dear,
    /// Too short or too long.
    #[error("a password has {LEAST} to {MOST} bytes")]
    Password,
    /// There is not enough memory for it at the moment.
    #[error("the password could not be looked at")]
    Failed,
}

const LEAST: usize = 8;
const MOST: usize = 1024;

// === impl Password ===

impl Password {
    /// A password of 8 to 1024 bytes: shorter ones are guessed, longer ones are no passwords.
    pub fn new(bytes: Vec<u8>) -> Result<Self, HashError> {
        let password = Self(bytes);
        if (LEAST..=MOST).contains(&password.0.len()) {
            Ok(password)
        } else {
            Err(HashError::Password)
        }
    }

    /// Whether both are the same; for whoever types one twice.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// The text to send to whoever looks at it; `None` where it is no UTF-8. The only way out.
    pub fn reveal(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        // As well as can be done without `unsafe`: the compiler is told that somebody looks.
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a password)")
    }
}

// === impl PasswordHash ===

impl PasswordHash {
    /// The hash of `password` with a new salt, at the cost that OWASP asks for: 19 MiB, two passes, one lane.
    pub fn make(password: &Password, rng: &mut impl CryptoRng) -> Result<Self, HashError> {
        let salt: [u8; 16] = rng.random();
        let phc = Argon2::default()
            .hash_password_with_salt(&password.0, &salt)
            .map_err(|_memory| HashError::Failed)?;
        Self::within_bounds(phc)
    }

    /// A hash that costs as much as this one and that no password has: what an unknown user is looked up by.
    pub(super) fn nobodys(&self) -> Self {
        let mut phc = (*self.phc).clone();
        // The password would have to hash to zeros alone; and whoever finds one is still nobody.
        phc.hash = phc::Output::new(&[0; 32]).ok();
        Self {
            phc: Arc::new(phc),
            cost: self.cost,
        }
    }

    /// Whether it is the hash of `password`. Takes tens of milliseconds and megabytes; compared in constant time.
    pub fn is_of(&self, password: &Password) -> bool {
        context(self.cost).is_some_and(|argon2| {
            let verified = argon2.verify_password(&password.0, &*self.phc);
            verified.is_ok()
        })
    }

    pub(super) const fn cost(&self) -> Cost {
        self.cost
    }

    fn within_bounds(phc: phc::PasswordHash) -> Result<Self, HashError> {
        let params = Params::try_from(&phc).map_err(|_other| HashError::Form)?;
        let sound = phc.algorithm == argon2::ARGON2ID_IDENT
            && phc.version == Some(Version::V0x13.into())
            && params.keyid().is_empty()
            && params.data().is_empty();
        let (Some(salt), Some(hash)) = (&phc.salt, &phc.hash) else {
            return Err(HashError::Form);
        };
        if !sound {
            return Err(HashError::Form);
        }
        let cost = Cost {
            memory: params.m_cost(),
            passes: params.t_cost(),
            lanes: params.p_cost(),
        };
        if cost.memory > 131_072 || cost.passes > 10 || cost.lanes > 4 {
            return Err(HashError::Dear);
        }
        let work = cost.memory.saturating_mul(cost.passes);
        if cost.memory < 7_168 || work < 35_840 || salt.len() < 16 || hash.len() < 32 {
            return Err(HashError::Cheap);
        }
        Ok(Self {
            phc: Arc::new(phc),
            cost,
        })
    }

    /// The PHC string, for a configuration file.
    pub fn to_phc(&self) -> String {
        self.phc.to_string()
    }
}

fn context(cost: Cost) -> Option<Argon2<'static>> {
    let params = Params::new(cost.memory, cost.passes, cost.lanes, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl FromStr for PasswordHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let phc = phc::PasswordHash::new(text).map_err(|_malformed| HashError::Form)?;
        Self::within_bounds(phc)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cost.fmt(f)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes().to_vec()).unwrap()
    }

    fn hash(text: &str) -> PasswordHash {
        let mut rng = StdRng::seed_from_u64(1);
        PasswordHash::make(&password(text), &mut rng).unwrap()
    }

    #[test]
    fn a_hash_is_of_its_password_alone_also_after_it_was_written_down() {
        let hash = hash("correct horse");
        let read: PasswordHash = hash.to_phc().parse().unwrap();
        assert_eq!(read, hash);
        assert!(read.is_of(&password("correct horse")));
        assert!(!read.is_of(&password("correct horsf")));
        assert!(!read.is_of(&password("correct horse ")));
        assert!(!read.nobodys().is_of(&password("correct horse")));
        assert_eq!(read.nobodys().cost(), read.cost());
    }

    #[test]
    fn the_same_password_has_another_hash_each_time() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut make = || PasswordHash::make(&password("correct horse"), &mut rng).unwrap();
        assert_ne!(make().to_phc(), make().to_phc());
    }

    #[test]
    fn neither_a_password_nor_its_hash_is_shown() {
        // T23
        assert_eq!(format!("{:?}", password("correct horse")), "(a password)");
        let hash = hash("correct horse");
        let (_, secret) = hash
            .to_phc()
            .rsplit_once('$')
            .map(|(a, b)| (a.len(), b.to_owned()))
            .unwrap();
        assert!(!format!("{hash:?}").contains(&secret), "{hash:?}");
    }

    #[test]
    fn a_hash_outside_the_bounds_is_refused() {
        let salt = "c29tZXNhbHRzb21lc2FsdA";
        let output = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let phc = |parameters: &str| format!("$argon2id$v=19${parameters}${salt}${output}");
        let read = |text: &str| text.parse::<PasswordHash>().map(|_| ());
        assert_eq!(read(&phc("m=19456,t=2,p=1")), Ok(()));
        assert_eq!(read(&phc("m=7168,t=5,p=1")), Ok(()));
        assert_eq!(read(&phc("m=47104,t=1,p=1")), Ok(()));
        for cheap in ["m=7168,t=4,p=1", "m=4096,t=10,p=1", "m=19456,t=1,p=1"] {
            assert_eq!(read(&phc(cheap)), Err(HashError::Cheap), "{cheap}");
        }
        for dear in [
            "m=131073,t=2,p=1",
            "m=19456,t=11,p=1",
            "m=19456,t=2,p=5",
            "m=4294967295,t=4294967295,p=1",
        ] {
            assert_eq!(read(&phc(dear)), Err(HashError::Dear), "{dear}");
        }
        let short = format!("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ${output}");
        assert_eq!(read(&short), Err(HashError::Cheap));
        for odd in [
            "demo-password".to_owned(),
            String::new(),
            phc("m=19456,t=2,p=1").replace("argon2id", "argon2i"),
            phc("m=19456,t=2,p=1").replace("v=19", "v=16"),
            phc("m=19456,t=2,p=1").replace("$v=19", ""),
            phc("m=19456,t=2,p=1,data=AAAA"),
            format!("$argon2id$v=19$m=19456,t=2,p=1${salt}"),
            "$2b$12$WApznUPhDubN0oeveSXHp.Rk1rMpZ3mVlXkQ3dB8K5cO9wT7GZ0Zy".to_owned(),
        ] {
            assert_eq!(read(&odd), Err(HashError::Form), "{odd}");
        }
    }

    #[test]
    fn a_password_of_an_odd_length_is_refused() {
        let new = |length: usize| Password::new(vec![b'x'; length]).map(|_| ());
        assert_eq!((new(7), new(8)), (Err(HashError::Password), Ok(())));
        assert_eq!((new(1024), new(1025)), (Ok(()), Err(HashError::Password)));
    }
}
