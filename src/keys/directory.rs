//! The folder of private keys: one PEM file for each, named by the moment at which the key begins to sign.
//!
//! ```text
//! keys/20260921T140000Z.pem     PKCS#8, mode 0600, owned by the user that attache runs as
//! ```
//!
//! Decides which files are fit to be keys. A file that others may read or write, that belongs to somebody else, or that is
//! reached through a link, is refused, and the whole folder with it: half a folder would be another schedule. Never
//! changes a file, and never overwrites one. Files that don't end in `.pem` are not looked at.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, symlink_metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use pem::{EncodeConfig, LineEnding, Pem};
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::pair::Pair;
use crate::clock::Timestamp;

/// Where key files are.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The user that attache runs as.
    owner: u32,
}

/// Why keys can't be read or kept. Each names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The operating system refuses.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A link, or something else that is no file or folder.
    #[error("{} is not a plain {}: put it there itself, not a link to it", .0.display(), .1)]
    Kind(PathBuf, &'static str),
    /// Others may use it.
    #[error("{} has mode {:03o}, so others may use it: chmod {:03o}", .0.display(), .1, .2)]
    Mode(PathBuf, u32, u32),
    /// It belongs to somebody else.
    #[error("{} belongs to user {}, attache runs as user {}: chown it", .0.display(), .1, .2)]
    Owner(PathBuf, u32, u32),
    /// Its name is no moment.
    #[error("{} is not named by the moment from which the key signs: write 20260921T140000Z.pem", .0.display())]
    Name(PathBuf),
    /// There is no key in it.
    #[error("{} is not one private key in PKCS#8 PEM, of Ed25519 or P-256", .0.display())]
    Content(PathBuf),
    /// The cryptographic library made no key.
    #[error("no key could be made")]
    Made,
}

const NAME: &[FormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z.pem");
/// A PKCS#8 file has some hundred bytes.
const LARGEST: u64 = 16 * 1024;

impl Directory {
    /// The folder at `path`, made if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, KeysError> {
        // Without the slash at the end, which would lead through a link.
        let path: PathBuf = path.components().collect();
        let owner = std::fs::metadata("/proc/self")
            .map_err(|source| failed("read", Path::new("/proc/self"), source))?
            .uid();
        if let Err(error) = symlink_metadata(&path)
            && error.kind() == io::ErrorKind::NotFound
        {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|source| failed("make", &path, source))?;
        }
        let directory = Self { path, owner };
        directory.check()?;
        Ok(directory)
    }

    /// Every key in it with its moment, in ascending order.
    pub(super) fn load(&self) -> Result<Vec<(Timestamp, Pair)>, KeysError> {
        self.check()?;
        let list = |source| failed("list", &self.path, source);
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(list)? {
            let path = entry.map_err(list)?.path();
            if path.extension().is_some_and(|it| it == "pem") {
                keys.push((begins(&path)?, self.read(&path)?));
            }
        }
        keys.sort_by_key(|(begins, _)| *begins);
        Ok(keys)
    }

    /// Keeps a new key, whole or not at all. One that somebody else has kept for the same moment stays.
    pub(super) fn store(&self, begins: Timestamp, pair: &Pair) -> Result<(), KeysError> {
        let path = self.file(begins)?;
        let document = pair.to_pkcs8().map_err(|_failed| KeysError::Made)?;
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let text = pem::encode_config(&Pem::new("PRIVATE KEY", document), config);
        // Beside it first: whoever lists the folder now sees no half of a key.
        let unfinished = self.path.join(format!("{}.new", pair.public().id()));
        let written =
            write(&unfinished, &text).and_then(|()| match std::fs::hard_link(&unfinished, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            });
        // It may not be there; what counts is whether the key is.
        drop(std::fs::remove_file(&unfinished));
        written.map_err(|source| failed("write", &path, source))?;
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.map_err(|source| failed("write", &self.path, source))
    }

    /// Takes the file of a key away for good.
    pub(super) fn remove(&self, begins: Timestamp) -> Result<(), KeysError> {
        let path = self.file(begins)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, begins: Timestamp) -> Result<PathBuf, KeysError> {
        let seconds = i64::try_from(begins.unix_seconds()).unwrap_or(i64::MAX);
        let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
        let name = moment.and_then(|moment| moment.format(NAME).ok());
        let name = name.ok_or_else(|| KeysError::Name(self.path.clone()))?;
        Ok(self.path.join(name))
    }

    /// Nobody else may put keys there.
    fn check(&self) -> Result<(), KeysError> {
        let it = symlink_metadata(&self.path);
        let it = it.map_err(|source| failed("read", &self.path, source))?;
        if !it.is_dir() {
            return Err(KeysError::Kind(self.path.clone(), "folder"));
        }
        // A folder that root prepared is as good as one of our own.
        if it.uid() != self.owner && it.uid() != 0 {
            return Err(KeysError::Owner(self.path.clone(), it.uid(), self.owner));
        }
        if it.mode() & 0o022 != 0 {
            return Err(KeysError::Mode(self.path.clone(), it.mode() & 0o777, 0o700));
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Pair, KeysError> {
        let named = symlink_metadata(path).map_err(|source| failed("read", path, source))?;
        if !named.is_file() {
            return Err(KeysError::Kind(path.to_owned(), "file"));
        }
        let file = File::open(path).map_err(|source| failed("read", path, source))?;
        let opened = file
            .metadata()
            .map_err(|source| failed("read", path, source))?;
        // What was put in its place in between is looked at again in a second.
        if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
            return Err(KeysError::Kind(path.to_owned(), "file"));
        }
        self.judge(path, &opened)?;
        let mut text = String::new();
        let read = file.take(LARGEST).read_to_string(&mut text);
        read.map_err(|source| failed("read", path, source))?;
        let content = || KeysError::Content(path.to_owned());
        let document = pem::parse(&text).map_err(|_bad| content())?;
        if document.tag() != "PRIVATE KEY" {
            return Err(content());
        }
        Pair::from_pkcs8(document.contents()).map_err(|_bad| content())
    }

    fn judge(&self, path: &Path, it: &Metadata) -> Result<(), KeysError> {
        if it.uid() != self.owner {
            return Err(KeysError::Owner(path.to_owned(), it.uid(), self.owner));
        }
        if it.mode() & 0o077 != 0 {
            return Err(KeysError::Mode(path.to_owned(), it.mode() & 0o777, 0o600));
        }
        Ok(())
    }
}

fn begins(path: &Path) -> Result<Timestamp, KeysError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let moment = name.and_then(|name| PrimitiveDateTime::parse(name, NAME).ok());
    let seconds = moment.and_then(|it| u64::try_from(it.assume_utc().unix_timestamp()).ok());
    seconds
        .map(Timestamp::from_unix_seconds)
        .ok_or_else(|| KeysError::Name(path.to_owned()))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> KeysError {
    KeysError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Algorithm;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const BEGINS: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);
    const FILE: &str = "20260921T141320Z.pem";

    fn kept(algorithm: Algorithm) -> (tempfile::TempDir, Directory, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("keys")).unwrap();
        let pair = Pair::generate(algorithm).unwrap();
        directory.store(BEGINS, &pair).unwrap();
        let file = folder.path().join("keys").join(FILE);
        (folder, directory, file)
    }

    fn refusal(directory: &Directory) -> String {
        directory.load().unwrap_err().to_string()
    }

    #[test]
    fn a_kept_key_is_read_again_and_nobody_else_may_read_it() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Es256] {
            let (folder, directory, file) = kept(algorithm);
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
            let folder = folder.path().join("keys");
            assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
            let loaded = directory.load().unwrap();
            let [(begins, pair)] = &loaded[..] else {
                panic!("{loaded:?}");
            };
            assert_eq!(*begins, BEGINS);
            assert_eq!(pair.public().algorithm(), algorithm);
            // Nothing is left beside it.
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
            directory.remove(BEGINS).unwrap();
            directory.remove(BEGINS).unwrap();
            assert!(directory.load().unwrap().is_empty());
        }
    }

    #[test]
    fn a_key_that_is_there_is_not_overwritten() {
        let (_folder, directory, file) = kept(Algorithm::Ed25519);
        let before = fs::read(&file).unwrap();
        let other = Pair::generate(Algorithm::Ed25519).unwrap();
        directory.store(BEGINS, &other).unwrap();
        assert_eq!(fs::read(&file).unwrap(), before);
    }

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        let (_folder, directory, file) = kept(Algorithm::Ed25519);
        for mode in [0o640, 0o604, 0o660, 0o644, 0o610] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let said = refusal(&directory);
            assert!(said.ends_with("so others may use it: chmod 600"), "{said}");
        }
        fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert!(directory.load().is_ok());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let (folder, directory, _file) = kept(Algorithm::Ed25519);
        let path = folder.path().join("keys");
        for mode in [0o770, 0o702] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = refusal(&directory);
            assert!(said.ends_with("so others may use it: chmod 700"), "{said}");
            assert!(Directory::open(&path).is_err());
        }
    }

    #[test]
    fn links_are_refused() {
        let (folder, directory, file) = kept(Algorithm::Ed25519);
        let elsewhere = folder.path().join("elsewhere.pem");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert!(refusal(&directory).contains("is not a plain file"));
        let link = folder.path().join("link");
        symlink(folder.path().join("keys"), &link).unwrap();
        for path in [link.clone(), folder.path().join("link/")] {
            let said = Directory::open(&path).unwrap_err().to_string();
            assert!(said.contains("is not a plain folder"), "{said}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let (_folder, mut directory, file) = kept(Algorithm::Ed25519);
        let us = directory.owner;
        directory.owner = us + 1;
        let metadata = file.metadata().unwrap();
        let error = directory.judge(&file, &metadata).unwrap_err();
        assert!(matches!(error, KeysError::Owner(_, owner, _) if owner == us));
    }

    #[test]
    fn a_file_without_a_key_or_a_moment_is_refused() {
        let (folder, directory, file) = kept(Algorithm::Ed25519);
        let keys = folder.path().join("keys");
        let whole = fs::read_to_string(&file).unwrap();
        // What no tool leaves there is not looked at.
        fs::write(keys.join("README"), "x").unwrap();
        assert!(directory.load().is_ok());
        for odd in [
            "",
            "x",
            whole.split_at(60).0,
            &whole.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            fs::write(&file, odd).unwrap();
            let said = refusal(&directory);
            assert!(said.contains("is not one private key"), "{said}");
            assert!(!said.contains("AAAA"), "{said}");
        }
        fs::write(&file, &whole).unwrap();
        let odd = keys.join("signing.pem");
        fs::rename(&file, &odd).unwrap();
        assert!(refusal(&directory).contains("is not named by the moment"));
    }
}
