//! The file that keeps a session: its credential, and where it is good. Mode 0600, replaced whole, refused where others
//! may read it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::state::Handle;

use super::super::private_file;

/// Where the session is kept.
#[derive(Debug, Args)]
pub(in crate::cli) struct SessionFile {
    /// File that keeps the session [default: attache/session below `$XDG_STATE_HOME` or ~/.local/state]
    #[arg(long, value_name = "FILE", env = "ATTACHE_SESSION_FILE")]
    session_file: Option<PathBuf>,
}

/// What it keeps.
#[derive(Debug)]
pub(in crate::cli) struct Kept {
    pub(in crate::cli) address: String,
    pub(in crate::cli) handle: Handle,
}

/// Why it can't be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum FileError {
    /// There is none.
    #[error("not logged in; run `attache login EMAIL` first (no session in {})", .0.display())]
    NotLoggedIn(PathBuf),
    /// Neither directory is known.
    #[error("where to keep the session is not known; name a file with --session-file")]
    NoPlace,
    /// Somebody else may read it.
    #[error("others may read {}; remove it and log in again", .0.display())]
    Open(PathBuf),
    /// It is no session.
    #[error("{} is no session; remove it and log in again", .0.display())]
    Unreadable(PathBuf),
    /// The operating system refuses.
    #[error("cannot use {}; name another file with --session-file", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    address: String,
    session_token: String,
}

impl SessionFile {
    fn path(&self) -> Result<PathBuf, FileError> {
        if let Some(path) = &self.session_file {
            return Ok(path.clone());
        }
        // XDG Base Directory Specification: a relative path is to be ignored.
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|it| it.is_absolute())
        };
        let state =
            absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        let state = state.ok_or(FileError::NoPlace)?;
        Ok(state.join("attache/session"))
    }

    /// Keeps a session in place of the one before.
    pub(in crate::cli) fn write(
        &self,
        address: &str,
        handle: &Handle,
    ) -> Result<PathBuf, FileError> {
        let path = self.path()?;
        let written = Written {
            address: address.to_owned(),
            session_token: handle.reveal(),
        };
        let text = serde_json::to_string(&written).map_err(io::Error::from);
        let replaced = text.and_then(|text| private_file::replace(&path, text.as_bytes()));
        match replaced {
            Ok(()) => Ok(path),
            Err(source) => Err(FileError::Io { path, source }),
        }
    }

    /// The session that is kept.
    pub(in crate::cli) fn read(&self) -> Result<Kept, FileError> {
        let path = self.path()?;
        let read = fs::metadata(&path)
            .and_then(|it| Ok((it.permissions().mode(), fs::read_to_string(&path)?)));
        let (mode, text) = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FileError::NotLoggedIn(path));
            }
            Err(source) => return Err(FileError::Io { path, source }),
        };
        if mode & 0o077 != 0 {
            return Err(FileError::Open(path));
        }
        let written: Option<Written> = serde_json::from_str(&text).ok();
        let kept = written.and_then(|it| {
            Some(Kept {
                handle: it.session_token.parse().ok()?,
                address: it.address,
            })
        });
        kept.ok_or(FileError::Unreadable(path))
    }

    /// Forgets the session.
    pub(in crate::cli) fn remove(&self) -> Result<(), FileError> {
        let path = self.path()?;
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(FileError::Io { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: PathBuf) -> SessionFile {
        SessionFile {
            session_file: Some(path),
        }
    }

    #[test]
    fn a_session_is_kept_for_its_owner_alone_and_forgotten_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path().join("deep/er/session"));
        assert!(matches!(file.read(), Err(FileError::NotLoggedIn(_))));
        for bits in [1, 2] {
            let handle = Handle::from_random([bits; 32]);
            let path = file.write("unix:/a.sock", &handle).unwrap();
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            let kept = file.read().unwrap();
            assert_eq!(kept.handle.digest(), handle.digest());
            assert_eq!(kept.address, "unix:/a.sock");
        }
        let folder = dir.path().join("deep/er");
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(matches!(file.read(), Err(FileError::NotLoggedIn(_))));
    }

    #[test]
    fn a_session_that_others_may_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path().join("session"));
        let path = file
            .write("unix:/a.sock", &Handle::from_random([1; 32]))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(file.read(), Err(FileError::Open(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{\"address\": \"unix:/a.sock\"}").unwrap();
        let error = file.read().unwrap_err();
        assert!(matches!(error, FileError::Unreadable(_)), "{error}");
    }
}
