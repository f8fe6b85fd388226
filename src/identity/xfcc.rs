//! Envoy's `x-forwarded-client-cert` (XFCC): what the last proxy that added to the header says of its client.
//!
//! The grammar is that of Envoy's HTTP header documentation, read strictly: elements separated by `,`, each made of
//! `;`-separated `Key=value` pairs, a value in double quotes where it holds a separator. Elements before the last one
//! were written by others; they must parse, because a loose quote in one of them would move the border to the next, but
//! nothing they say counts. Whatever can be read in two ways is refused: a key twice (Envoy writes one `URI` for each
//! URI name of the certificate), a key in another case, a key Envoy does not write, an empty element, a character
//! outside.
//!
//! Envoy does not escape the values of `By`, `URI` and `DNS`. A certificate authority that lets clients choose names
//! with commas in them lets them write elements of their own; nothing in the header would show it.
//!
//! Whether the header is to be believed at all is decided in `caller.rs`.

use super::spiffe_id::{SpiffeId, SpiffeIdError};

/// The last element of the header. Values are as written, without their quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XfccElement<'a> {
    /// `URI`: the one URI name of the client's certificate.
    pub uri: SpiffeId,
    /// `By`: the URI name of the certificate of the proxy that wrote the element.
    pub by: Option<&'a str>,
    /// `Hash`: the SHA-256 of the client's certificate in hex.
    pub hash: Option<&'a str>,
    /// `Cert`: the client's certificate in URL-encoded PEM.
    pub cert: Option<&'a str>,
    /// `Chain`: the client's certificate and those it was sent with, in URL-encoded PEM.
    pub chain: Option<&'a str>,
    /// `Subject`: the subject of the client's certificate, escapes left in place.
    pub subject: Option<&'a str>,
    /// `DNS`: the DNS names of the client's certificate, the one key that may repeat.
    pub dns: Vec<&'a str>,
}

/// Why a header can't be read in exactly one way. Positions are bytes from the start of the header.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum XfccError {
    /// Longer than 16 KiB.
    #[error("the header has {0} bytes, more than 16 KiB")]
    TooLong(usize),
    /// An element without anything in it, or an empty header.
    #[error("empty element at byte {0}")]
    EmptyElement(usize),
    /// Neither `By`, `Hash`, `Cert`, `Chain`, `Subject`, `URI` nor `DNS`, in this spelling.
    #[error("unknown key at byte {0}")]
    UnknownKey(usize),
    /// A key other than `DNS` twice in one element.
    #[error("`{0}` occurs twice in one element")]
    DuplicateKey(&'static str),
    /// A character that can't stand where it stands.
    #[error("unexpected character at byte {0}")]
    Character(usize),
    /// A value that begins with a quote and never ends.
    #[error("unterminated quote at byte {0}")]
    Unterminated(usize),
    /// The last element does not name its client.
    #[error("the last element has no `URI`")]
    NoUri,
    /// The last element's client is no workload.
    #[error("`URI` is not a caller's SPIFFE ID")]
    Uri(#[source] SpiffeIdError),
}

impl<'a> XfccElement<'a> {
    /// Reads the whole header and returns its last element.
    pub fn last_of(header: &'a str) -> Result<Self, XfccError> {
        if header.len() > MAX_LENGTH {
            return Err(XfccError::TooLong(header.len()));
        }
        let mut rest = Rest {
            text: header,
            length: header.len(),
        };
        loop {
            let (element, more) = Element::read(&mut rest)?;
            if !more {
                return element.into_last();
            }
        }
    }
}

// === Reading ===

/// One element while it is read.
#[derive(Default)]
struct Element<'a> {
    by: Option<&'a str>,
    hash: Option<&'a str>,
    cert: Option<&'a str>,
    chain: Option<&'a str>,
    subject: Option<&'a str>,
    uri: Option<&'a str>,
    dns: Vec<&'a str>,
}

/// The part of the header that has not been read yet.
struct Rest<'a> {
    text: &'a str,
    /// Of the whole header.
    length: usize,
}

#[derive(Clone, Copy)]
enum Key {
    By,
    Hash,
    Cert,
    Chain,
    Subject,
    Uri,
    Dns,
}

impl<'a> Element<'a> {
    /// Reads to the end of the element; `true` where a comma promises another.
    fn read(rest: &mut Rest<'a>) -> Result<(Self, bool), XfccError> {
        if rest.text.is_empty() || rest.text.starts_with(',') {
            return Err(XfccError::EmptyElement(rest.position()));
        }
        let mut element = Self::default();
        loop {
            let key = rest.key()?;
            let value = rest.value(key)?;
            element.set(key, value)?;
            match rest.skip() {
                None => return Ok((element, false)),
                Some(',') => return Ok((element, true)),
                // `value` stops at separators and at the end only.
                Some(_semicolon) => {}
            }
        }
    }

    fn set(&mut self, key: Key, value: &'a str) -> Result<(), XfccError> {
        let slot = match key {
            Key::By => &mut self.by,
            Key::Hash => &mut self.hash,
            Key::Cert => &mut self.cert,
            Key::Chain => &mut self.chain,
            Key::Subject => &mut self.subject,
            Key::Uri => &mut self.uri,
            Key::Dns => {
                self.dns.push(value);
                return Ok(());
            }
        };
        match slot.replace(value) {
            Some(_earlier) => Err(XfccError::DuplicateKey(key.name())),
            None => Ok(()),
        }
    }

    fn into_last(self) -> Result<XfccElement<'a>, XfccError> {
        let uri = self.uri.ok_or(XfccError::NoUri)?;
        Ok(XfccElement {
            uri: uri.parse().map_err(XfccError::Uri)?,
            by: self.by,
            hash: self.hash,
            cert: self.cert,
            chain: self.chain,
            subject: self.subject,
            dns: self.dns,
        })
    }
}

impl<'a> Rest<'a> {
    fn key(&mut self) -> Result<Key, XfccError> {
        let unknown = XfccError::UnknownKey(self.position());
        let (name, after) = self.text.split_once('=').ok_or(unknown.clone())?;
        let key = Key::of(name).ok_or(unknown)?;
        self.text = after;
        Ok(key)
    }

    /// Reads a value and leaves the separator after it, or the end, to be read.
    fn value(&mut self, key: Key) -> Result<&'a str, XfccError> {
        match self.text.strip_prefix('"') {
            Some(quoted) => self.quoted(quoted, key),
            None => self.bare(),
        }
    }

    fn bare(&mut self) -> Result<&'a str, XfccError> {
        let end = self.text.find([',', ';']).unwrap_or(self.text.len());
        let (value, after) = self.text.split_at_checked(end).unwrap_or_default();
        if let Some(at) = value.find(|character| !may_be_bare(character)) {
            return Err(XfccError::Character(self.position() + at));
        }
        self.text = after;
        Ok(value)
    }

    fn quoted(&mut self, inside: &'a str, key: Key) -> Result<&'a str, XfccError> {
        let opening = self.position();
        let mut characters = inside.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    let (value, after) = inside.split_at_checked(at).unwrap_or_default();
                    self.text = after.strip_prefix('"').unwrap_or_default();
                    return self.separated(value);
                }
                // Envoy writes subjects as RFC 2253 has them: a backslash takes the next character literally, be it
                // a quote or another backslash, but no control character. No other value has anything to escape.
                '\\' if matches!(key, Key::Subject) => match characters.next() {
                    Some((at, escaped)) if escaped.is_control() => {
                        return Err(XfccError::Character(opening + 1 + at));
                    }
                    _ => {}
                },
                '\\' => return Err(XfccError::Character(opening + 1 + at)),
                other if other.is_control() => return Err(XfccError::Character(opening + 1 + at)),
                _ => {}
            }
        }
        Err(XfccError::Unterminated(opening))
    }

    /// After a closing quote comes a separator or the end.
    fn separated(&self, value: &'a str) -> Result<&'a str, XfccError> {
        if self.text.is_empty() || self.text.starts_with([',', ';']) {
            Ok(value)
        } else {
            Err(XfccError::Character(self.position()))
        }
    }

    fn skip(&mut self) -> Option<char> {
        let mut characters = self.text.chars();
        let skipped = characters.next();
        self.text = characters.as_str();
        skipped
    }

    const fn position(&self) -> usize {
        self.length.saturating_sub(self.text.len())
    }
}

impl Key {
    fn of(name: &str) -> Option<Self> {
        match name {
            "By" => Some(Self::By),
            "Hash" => Some(Self::Hash),
            "Cert" => Some(Self::Cert),
            "Chain" => Some(Self::Chain),
            "Subject" => Some(Self::Subject),
            "URI" => Some(Self::Uri),
            "DNS" => Some(Self::Dns),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::By => "By",
            Self::Hash => "Hash",
            Self::Cert => "Cert",
            Self::Chain => "Chain",
            Self::Subject => "Subject",
            Self::Uri => "URI",
            Self::Dns => "DNS",
        }
    }
}

/// Visible ASCII that neither separates nor quotes.
const fn may_be_bare(character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, '=' | '"' | '\\')
}

const MAX_LENGTH: usize = 16 * 1024;
