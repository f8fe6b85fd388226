//! Decides which path a request is about: one canonical spelling, or a refusal where a service could read another path.
//!
//! Never guesses: nothing is merged, resolved or decoded that a service behind us might leave as it is. A refused path
//! is a refused request.
//!
//! | in the path | becomes |
//! |---|---|
//! | escape of an unreserved character (RFC 3986 2.3: letters, digits, `-` `.` `_` `~`) | the character |
//! | any other escape of a visible ASCII character or a space, `%25` and `%3B` included | stays, hexadecimal digits in upper case |
//! | escapes that together are valid UTF-8, other than control characters | stay, digits in upper case |
//! | `%2F`, `%5C` | refused: an encoded separator |
//! | `%00`–`%1F`, `%7F`, `%C2%80`–`%C2%9F` | refused: an encoded control character |
//! | escapes that are not UTF-8, overlong forms included | refused |
//! | `%` without two hexadecimal digits | refused |
//! | raw control, space, DEL, non-ASCII, `\`, `#` | refused |
//! | empty segment (`//`), also one that has parameters only (`/;x/`) | refused |
//! | `.` or `..`, also with parameters (`..;x`, `..%3Bx`) | refused |
//! | one slash at the end | stays: `/a/` and `/a` are two paths |
//!
//! Decoding happens once. Read by a service that decodes once, merges slashes, resolves dots, takes `\` for `/` and cuts
//! parameters at `;`, an accepted path has exactly the segments of its canonical form, each decoded and cut; the same
//! holds for a service that decodes until nothing changes, as long as the path has no `%25`. So two spellings that such
//! services take for one resource have one canonical form, unless the forms differ visibly: in the slash at the end, in
//! parameters, or in an escape (`%2C` and `,`).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

/// What a request line asks for: a canonical path and the query as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path, in its one spelling.
    pub path: NormalPath<'a>,
    /// What follows the first `?`, untouched and unchecked but for `#`; `None` where there is no `?`.
    pub query: Option<&'a str>,
}

/// A path in its one canonical spelling, at most 8 KiB and 64 segments. Borrowed where the request spelled it so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NormalPath<'a>(Cow<'a, str>);

/// Why a request target has no canonical path. Every one is a refusal of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Empty, `*`, absolute form (`http://…`), or anything else that does not begin with a slash.
    #[error("the request target does not begin with `/`")]
    NotOriginForm,
    /// More than 8192 bytes or more than 64 segments.
    #[error("the path has more than 8192 bytes or 64 segments")]
    TooLarge,
    /// A raw control character, space, DEL, non-ASCII character, `\` or `#`.
    #[error("character {0:?} is not allowed in a path")]
    Character(char),
    /// `%` without two hexadecimal digits.
    #[error("`%` without two hexadecimal digits")]
    MalformedEscape,
    /// An encoded separator or control character.
    #[error("an escape stands for {0:?}, which is not allowed in a path")]
    EscapedCharacter(char),
    /// Escapes that together are not valid UTF-8.
    #[error("escapes do not form valid UTF-8")]
    NotUtf8,
    /// Two slashes in a row, or a segment of parameters only.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, plain or with parameters.
    #[error("the path has a dot segment")]
    DotSegment,
}

/// Splits a request target (`:path`) once, at the first `?`, and puts the path into canonical form.
pub fn split(raw: &str) -> Result<Target<'_>, PathProblem> {
    // A fragment never belongs to a request; services disagree on where it would begin.
    if raw.contains('#') {
        return Err(PathProblem::Character('#'));
    }
    let (path, query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (raw, None),
    };
    Ok(Target {
        path: NormalPath::try_from(path)?,
        query,
    })
}

// === impl NormalPath ===

impl NormalPath<'_> {
    /// The whole path, with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pieces between slashes after the first, each decoded once: one empty piece for `/`, and one more for a slash at
    /// the end.
    pub fn decoded(&self) -> impl Iterator<Item = String> {
        let pieces = self.0.split('/').skip(1);
        // Nothing is lost: escapes that are not UTF-8 were refused.
        pieces.map(|piece| percent_decode_str(piece).decode_utf8_lossy().into_owned())
    }

    /// The segments, none of them empty. A slash at the end makes no segment; `/` has none at all.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        // Only the first and the last piece can be empty.
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

impl<'a> TryFrom<&'a str> for NormalPath<'a> {
    type Error = PathProblem;

    /// Reads a path without query.
    fn try_from(raw: &'a str) -> Result<Self, PathProblem> {
        if !raw.starts_with('/') {
            return Err(PathProblem::NotOriginForm);
        }
        if raw.len() > MAX_BYTES {
            return Err(PathProblem::TooLarge);
        }
        if let Some(character) = raw.chars().find(|character| !is_raw(*character)) {
            return Err(PathProblem::Character(character));
        }
        let path = rewrite_escapes(raw)?;
        check_segments(&path)?;
        Ok(Self(path))
    }
}

impl fmt::Display for NormalPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character may stand in a path as it is.
fn is_raw(character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, '\\' | '#' | '?')
}

/// RFC 3986 2.3: an escape of one of these means the same as the character, everywhere.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Puts every escape into its one spelling, refusing those that hide a separator, a control character or broken UTF-8.
fn rewrite_escapes(path: &str) -> Result<Cow<'_, str>, PathProblem> {
    let mut normal = String::new();
    let mut copied = 0;
    let mut ascii = true;
    for (at, _) in path.match_indices('%') {
        let end = at + "%XX".len();
        let digits = path.get(at + 1..end).ok_or(PathProblem::MalformedEscape)?;
        // `from_str_radix` alone would take a sign for a digit.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PathProblem::MalformedEscape);
        }
        let byte = u8::from_str_radix(digits, 16).or(Err(PathProblem::MalformedEscape))?;
        if byte.is_ascii_control() || matches!(byte, b'/' | b'\\') {
            return Err(PathProblem::EscapedCharacter(char::from(byte)));
        }
        ascii &= byte.is_ascii();
        let unreserved = is_unreserved(byte);
        if !unreserved && !digits.bytes().any(|digit| digit.is_ascii_lowercase()) {
            continue;
        }
        normal.push_str(path.get(copied..at).unwrap_or_default());
        if unreserved {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
        }
        copied = end;
    }
    if !ascii {
        check_text(path)?;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(path));
    }
    normal.push_str(path.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(normal))
}

/// Refuses escapes that are not UTF-8 (RFC 3629, so no overlong forms) and those of the control characters beyond ASCII.
fn check_text(path: &str) -> Result<(), PathProblem> {
    let decoded = percent_decode_str(path)
        .decode_utf8()
        .or(Err(PathProblem::NotUtf8))?;
    match decoded.chars().find(|character| character.is_control()) {
        Some(control) => Err(PathProblem::EscapedCharacter(control)),
        None => Ok(()),
    }
}

/// Refuses empty segments other than after the last slash, and dot segments. `path` has canonical escapes.
fn check_segments(path: &str) -> Result<(), PathProblem> {
    let mut pieces = path.split('/').skip(1).peekable();
    let mut count = 0;
    while let Some(piece) = pieces.next() {
        let rest = piece.trim_start_matches('.');
        // Some services cut parameters before they resolve dots, some after decoding them.
        let bare = rest.is_empty() || rest.starts_with(';') || rest.starts_with("%3B");
        match piece.len() - rest.len() {
            0 if piece.is_empty() && pieces.peek().is_none() => break,
            0 if bare => return Err(PathProblem::EmptySegment),
            1 | 2 if bare => return Err(PathProblem::DotSegment),
            _ => count += 1,
        }
    }
    if count > MAX_SEGMENTS {
        return Err(PathProblem::TooLarge);
    }
    Ok(())
}

/// The longest path.
const MAX_BYTES: usize = 8 * 1024;
/// The most segments of a path.
pub(super) const MAX_SEGMENTS: usize = 64;

#[cfg(test)]
mod tests;
