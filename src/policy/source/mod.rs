//! The files of a policy: modules (`.rego`) and data documents (`.json`, `.yaml`, `.yml`), read but not yet understood.
//!
//! Directories are read one level deep, in the order of names, through symbolic links, as a mounted ConfigMap needs.
//! Names beginning with `.` are left out (`..data` of such a mount, editors' leftovers), and so are `_test.rego` files and
//! other kinds of file. A directory inside one is an error: a rule that refuses must not stay unread unnoticed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::LoadError;

/// Policy files by name, with their content. Empty at first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    files: BTreeMap<String, String>,
}

/// What an entry of the configuration may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A module, or a directory of modules and data.
    Modules,
    /// A data document, or a directory of which only the data is read.
    Data,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Module,
    Data,
    Other,
}

impl Sources {
    /// Adds a file; its name tells what it is. A second file of a name replaces the first.
    pub fn insert(&mut self, name: impl Into<String>, content: impl Into<String>) {
        self.files.insert(name.into(), content.into());
    }

    /// The content as a short digest: 16 hexadecimal digits.
    pub(super) fn revision(&self) -> Arc<str> {
        let digest = self.digest();
        let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .take(REVISION_DIGITS)
            .collect::<String>()
            .into()
    }

    /// SHA-256 over names and contents, each with its length before it.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for text in self
            .files
            .iter()
            .flat_map(|(name, content)| [name, content])
        {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }

    /// Name and text of each module.
    pub(super) fn modules(&self) -> impl Iterator<Item = (&str, &str)> {
        self.of_kind(FileKind::Module)
    }

    /// Name and content of each data document; the content is an object.
    pub(super) fn documents(&self) -> impl Iterator<Item = (&str, Result<Json, LoadError>)> {
        self.of_kind(FileKind::Data)
            .map(|(name, text)| (name, document(name, text)))
    }

    /// Reads the file or directory `entry`, which is relative to `base`, and adds what it holds.
    pub(super) fn read(&mut self, base: &Path, entry: &Path, wanted: Wanted) -> Vec<LoadError> {
        let result = match fs::metadata(base.join(entry)) {
            Ok(found) if found.is_dir() => return self.read_directory(base, entry, wanted),
            Ok(_) => match (wanted, kind(entry)) {
                (Wanted::Modules, FileKind::Module) | (Wanted::Data, FileKind::Data) => {
                    self.read_file(base, entry)
                }
                (Wanted::Modules, _) => Err(fault(entry, "is not a .rego file")),
                (Wanted::Data, _) => Err(fault(entry, "is neither a .json nor a .yaml file")),
            },
            Err(error) => Err(unreadable(entry, error)),
        };
        result.err().into_iter().collect()
    }

    fn read_directory(&mut self, base: &Path, entry: &Path, wanted: Wanted) -> Vec<LoadError> {
        let mut names = match list(&base.join(entry)) {
            Ok(names) => names,
            Err(error) => return vec![unreadable(entry, error)],
        };
        names.sort();
        let mut faults = Vec::new();
        let mut modules = 0;
        for name in names {
            let file = entry.join(&name);
            let result = match fs::metadata(base.join(&file)) {
                Ok(found) if found.is_dir() => Err(fault(
                    &file,
                    "is a directory inside a policy directory, and is not read: name it as well, or move it away",
                )),
                Ok(_) => match (wanted, kind(&file)) {
                    (Wanted::Modules, FileKind::Module) if is_test(&name) => Ok(()),
                    (Wanted::Modules, FileKind::Module) => {
                        modules += 1;
                        self.read_file(base, &file)
                    }
                    (_, FileKind::Data) => self.read_file(base, &file),
                    (Wanted::Data, FileKind::Module) | (_, FileKind::Other) => Ok(()),
                },
                Err(error) => Err(unreadable(&file, error)),
            };
            faults.extend(result.err());
        }
        if wanted == Wanted::Modules && modules == 0 && faults.is_empty() {
            faults.push(fault(entry, "holds no .rego file"));
        }
        faults
    }

    fn read_file(&mut self, base: &Path, file: &Path) -> Result<(), LoadError> {
        let path = base.join(file);
        let content = read_text(&path).map_err(|error| unreadable(file, error))?;
        self.insert(name(file), content);
        Ok(())
    }

    fn of_kind(&self, wanted: FileKind) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(move |(name, _)| kind(Path::new(name)) == wanted)
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

fn document(name: &str, text: &str) -> Result<Json, LoadError> {
    let parsed = if Path::new(name).extension() == Some(OsStr::new("json")) {
        serde_json::from_str(text).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    };
    let fault = match parsed {
        Ok(document @ Json::Object(_)) => return Ok(document),
        Ok(_) => "not an object".to_owned(),
        Err(error) => error.lines().next().unwrap_or_default().to_owned(),
    };
    Err(LoadError::Data {
        name: name.to_owned(),
        fault,
    })
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(name.into());
        }
    }
    Ok(names)
}

fn read_text(path: &Path) -> io::Result<String> {
    // A named pipe would keep the reader waiting for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut text = String::new();
    let read = File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        let message = format!("larger than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

fn kind(file: &Path) -> FileKind {
    match file.extension().and_then(OsStr::to_str) {
        Some("rego") => FileKind::Module,
        Some("json" | "yaml" | "yml") => FileKind::Data,
        _ => FileKind::Other,
    }
}

fn is_test(name: &Path) -> bool {
    name.as_os_str().as_encoded_bytes().ends_with(b"_test.rego")
}

fn unreadable(file: &Path, source: io::Error) -> LoadError {
    LoadError::Read {
        name: name(file),
        source,
    }
}

fn fault(file: &Path, fault: &'static str) -> LoadError {
    LoadError::Listing {
        name: name(file),
        fault,
    }
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

const REVISION_DIGITS: usize = 16;
/// Data documents may be large; modules are limited to 1 MiB by the engine.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

#[cfg(test)]
mod tests;
