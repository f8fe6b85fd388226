//! The key that signs checkpoints: Ed25519 (RFC 8032), in a file of its own as PKCS #8 in PEM.
//!
//! - The file is made at the first start, readable by its owner alone. One that others may read is refused, as is anything
//!   that is no such key: a key that is not secret signs nothing.
//! - It never leaves this module; [`SigningKey`] shows its public half only.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::{Rng, RngExt as _};

use super::super::chain::{Digest, hex};

/// A private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// A public key, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// Why a key can't sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or made.
    #[error("read or make the file")]
    File(#[source] io::Error),
    /// Others than the owner may read or write it.
    #[error("its mode is `{0:o}`: others may read it; run chmod 600")]
    Open(u32),
    /// It holds something else.
    #[error("it is no Ed25519 key in PKCS #8 and PEM")]
    NotAKey,
}

/// Not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no public key: give the 64 digits of `checkpoint_key`, as `audit.started` has them"
)]
pub struct PublicKeyError(String);

// === impl SigningKey ===

impl SigningKey {
    /// A key of this run alone.
    pub fn generate(rng: &mut impl Rng) -> Result<Self, KeyError> {
        Self::from_seed(rng.random())
    }

    /// The key in the file at `path`, made with `rng` if there is none.
    pub fn open(path: &Path, rng: &mut impl Rng) -> Result<Self, KeyError> {
        match read(path) {
            Err(KeyError::File(error)) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let seed = rng.random();
        let key = Self::from_seed(seed)?;
        if make(path, &seed).map_err(KeyError::File)? {
            return Ok(key);
        }
        // Somebody else has made it meanwhile.
        read(path)
    }

    /// The half that everybody may know.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `text`: 128 hexadecimal digits.
    pub(super) fn sign(&self, text: &[u8]) -> String {
        hex(self.pair.sign(text).as_ref())
    }

    fn from_seed(seed: [u8; 32]) -> Result<Self, KeyError> {
        Self::of(Ed25519KeyPair::from_seed_unchecked(&seed).ok())
    }

    fn of(pair: Option<Ed25519KeyPair>) -> Result<Self, KeyError> {
        let pair = pair.ok_or(KeyError::NotAKey)?;
        let public = pair.public_key().as_ref().try_into();
        let public = PublicKey(public.map_err(|_length| KeyError::NotAKey)?);
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

// === impl PublicKey ===

impl PublicKey {
    /// A short name: the first 16 digits of the key's SHA-256.
    pub fn id(&self) -> String {
        let digest = Digest::of([self.0.as_slice()]);
        digest.as_str().chars().take(ID_DIGITS).collect()
    }

    /// Whether `signature`, in hexadecimal digits, is this key's for `text`.
    pub(in super::super) fn has_signed(&self, text: &[u8], signature: &str) -> bool {
        unhex(signature).is_some_and(|signature| {
            let key = UnparsedPublicKey::new(&ED25519, self.0);
            key.verify(text, &signature).is_ok()
        })
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| PublicKeyError(text.to_owned()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read(path: &Path) -> Result<SigningKey, KeyError> {
    // Opening a FIFO would block.
    if !fs::metadata(path).map_err(KeyError::File)?.is_file() {
        return Err(KeyError::NotAKey);
    }
    let file = File::open(path).map_err(KeyError::File)?;
    let mode = file.metadata().map_err(KeyError::File)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open(mode));
    }
    let mut pem = String::new();
    match file.take(LONGEST).read_to_string(&mut pem) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(KeyError::NotAKey),
        read => read.map_err(KeyError::File)?,
    };
    let body = pem.trim().strip_prefix(BEGIN);
    let body = body.and_then(|it| it.strip_suffix(END));
    let body: String = body.unwrap_or_default().split_whitespace().collect();
    let der = STANDARD.decode(body).unwrap_or_default();
    SigningKey::of(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok())
}

/// Puts the key of `seed` at `path`, whole and durable; `false` if something stands there already.
fn make(path: &Path, seed: &[u8; 32]) -> io::Result<bool> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let body = STANDARD.encode([PKCS8.as_slice(), seed].concat());
    file.write_all(format!("{BEGIN}\n{body}\n{END}\n").as_bytes())?;
    file.sync_all()?;
    // Unlike a rename, this never replaces a key.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    let parent = path.parent().filter(|it| *it != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(true)
}

/// The bytes of lower-case hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// What stands before the seed in PKCS #8 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const ID_DIGITS: usize = 16;
/// Far more than a key takes.
const LONGEST: u64 = 4096;
