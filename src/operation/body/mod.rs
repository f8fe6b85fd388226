//! Decides whether policy may read a body: whole, declared as JSON, and readable in one way only.
//!
//! Never repairs, decompresses or converts. Where anything is in doubt there is no body, and the request is refused.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Error as _, MapAccess, SeqAccess};
use serde_json::{Map, Number, Value};

use super::parameters::{ParameterProblem, parameters};

/// Whether policy reads the body of a route's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyRule {
    /// It does not.
    #[default]
    None,
    /// It does; what is not JSON is refused.
    Json,
}

/// A body as the proxy hands it on.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The `content-type` header.
    pub content_type: Option<&'a str>,
    /// The `content-length` header; absent on chunked and many HTTP/2 requests.
    pub content_length: Option<&'a str>,
    /// What the proxy says the body's size in bytes is; negative where it does not know.
    pub size: i64,
    /// Whether the proxy says that the body is cut off (`x-envoy-auth-partial-body: true`).
    pub partial: bool,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Why a body can't be used. Every one is a refusal of the request.
#[derive(Debug, thiserror::Error)]
pub enum BodyProblem {
    /// No bytes: the proxy sends none, or the request has none.
    #[error("this route needs a body and there is none")]
    Missing,
    /// The proxy has cut it off, or a length says that there is more (E36, E37).
    #[error("the body is cut off")]
    Truncated,
    /// `content-length` is not a number, or less than there is.
    #[error("`content-length` contradicts the body")]
    ContentLength,
    /// More than 1 MiB.
    #[error("the body has more than 1 MiB")]
    TooLarge,
    /// Missing, or neither `application/json` nor `application/…+json`, or in another charset than UTF-8.
    #[error("the content type is not JSON in UTF-8")]
    ContentType,
    /// A number that not everybody reads alike: rounded as a double, or vanishing in it.
    #[error("the body has a number of too many digits")]
    InexactNumber,
    /// A form that services read in different ways.
    #[error("the body is not a well-formed form")]
    Form(#[source] ParameterProblem),
    /// Not JSON (RFC 8259), nested 128 levels or deeper, or with two members of one name in any case.
    #[error("the body is not well-formed JSON")]
    Json(#[source] serde_json::Error),
}

/// A body by its content type.
#[derive(Debug, Clone, PartialEq)]
pub enum ParsedBody {
    /// There is none, or it is of a type that is not read.
    Unread,
    /// The proxy sent less of it than there is.
    Truncated,
    /// JSON as it stands; a form as an object of lists of texts.
    Value(Value),
}

impl BodyRule {
    /// What policy sees of `body`; `None` where it reads none.
    pub fn read(self, body: &Body<'_>) -> Result<Option<Value>, BodyProblem> {
        match self {
            Self::None => Ok(None),
            Self::Json => body.json().map(Some),
        }
    }
}

impl Body<'_> {
    /// Reads what there is, where its content type says how: JSON and `application/x-www-form-urlencoded`.
    ///
    /// As opa-envoy-plugin reads bodies, but for what is refused: JSON that can be read in more than one way, and a length
    /// that contradicts the body.
    pub fn parsed(&self) -> Result<ParsedBody, BodyProblem> {
        let kind = self.content_type.unwrap_or_default().to_ascii_lowercase();
        let is_form = kind.contains("application/x-www-form-urlencoded");
        if !is_form && !kind.contains("application/json") && !is_json(&kind) {
            return Ok(ParsedBody::Unread);
        }
        if self.partial {
            return Ok(ParsedBody::Truncated);
        }
        match self.check_length() {
            // A proxy that sends no bodies is no reason to refuse what has one.
            Err(_) if self.bytes.is_empty() => return Ok(ParsedBody::Unread),
            Err(BodyProblem::Truncated) => return Ok(ParsedBody::Truncated),
            Err(problem) => return Err(problem),
            Ok(()) => {}
        }
        if !is_form {
            return self.json().map(ParsedBody::Value);
        }
        let form = parameters(self.bytes).map_err(BodyProblem::Form)?;
        Ok(ParsedBody::Value(form.into_iter().collect()))
    }

    fn json(&self) -> Result<Value, BodyProblem> {
        // First, so that a proxy that keeps bodies back is seen as such.
        if self.partial {
            return Err(BodyProblem::Truncated);
        }
        self.check_length()?;
        if !self.content_type.is_some_and(is_json) {
            return Err(BodyProblem::ContentType);
        }
        let mut deserializer = serde_json::Deserializer::from_slice(self.bytes);
        let Unambiguous(value) =
            Unambiguous::deserialize(&mut deserializer).map_err(BodyProblem::Json)?;
        deserializer.end().map_err(BodyProblem::Json)?;
        if !has_exact_numbers(self.bytes) {
            return Err(BodyProblem::InexactNumber);
        }
        Ok(value)
    }

    fn check_length(&self) -> Result<(), BodyProblem> {
        let received = self.bytes.len();
        if let Some(declared) = self.content_length {
            // `parse` alone would take a sign.
            let digits = declared.bytes().all(|byte| byte.is_ascii_digit());
            match declared.parse::<usize>() {
                Ok(declared) if digits && declared > received => {
                    return Err(BodyProblem::Truncated);
                }
                Ok(declared) if digits && declared == received => {}
                _ => return Err(BodyProblem::ContentLength),
            }
        }
        // Not every proxy fills it in, so zero says nothing.
        if usize::try_from(self.size).is_ok_and(|size| size > received) {
            return Err(BodyProblem::Truncated);
        }
        match received {
            0 => Err(BodyProblem::Missing),
            1..=MAX_BYTES => Ok(()),
            _ => Err(BodyProblem::TooLarge),
        }
    }
}

/// `application/json` or `application/<anything>+json`, with no parameter but `charset=utf-8` (RFC 9110 8.3.1).
fn is_json(content_type: &str) -> bool {
    let (media_type, parameter) = match content_type.split_once(';') {
        Some((media_type, parameter)) => (media_type, Some(parameter)),
        None => (content_type, None),
    };
    let media_type = media_type.trim_matches([' ', '\t']).to_ascii_lowercase();
    let is_listed = media_type
        .strip_prefix("application/")
        .is_some_and(|subtype| {
            let name = subtype.strip_suffix("+json");
            subtype == "json"
                || name.is_some_and(|name| !name.is_empty() && name.bytes().all(is_subtype))
        });
    is_listed && parameter.is_none_or(is_utf8)
}

/// RFC 6838 4.2.
fn is_subtype(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte)
}

fn is_utf8(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let name = name.trim_matches([' ', '\t']);
    let value = value.trim_matches([' ', '\t']);
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    name.eq_ignore_ascii_case("charset") && unquoted.eq_ignore_ascii_case("utf-8")
}

/// Whether every number in `text`, which is JSON, is read alike by everybody: as a 64-bit integer or with at most 15
/// significant digits (RFC 8259 section 6). A longer one would be rounded here and perhaps not where it is spent.
fn has_exact_numbers(text: &[u8]) -> bool {
    let mut rest = text;
    let mut in_string = false;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, in_string) {
            (b'"', _) => in_string = !in_string,
            (b'\\', true) => rest = after.get(1..).unwrap_or_default(),
            (b'-' | b'0'..=b'9', false) => {
                let length = after.iter().take_while(|byte| is_number(**byte)).count();
                let (number, next) = after.split_at(length);
                if !is_exact(*byte, number) {
                    return false;
                }
                rest = next;
            }
            _ => {}
        }
    }
    true
}

fn is_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')
}

fn is_exact(first: u8, rest: &[u8]) -> bool {
    let number = [&[first], rest].concat();
    let Ok(text) = std::str::from_utf8(&number) else {
        return false;
    };
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return true;
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    let significant = digits.skip_while(|digit| *digit == b'0').count();
    // An exponent can still make nothing of it.
    let vanishes = significant > 0 && text.parse::<f64>().is_ok_and(|value| value == 0.0);
    significant <= 15 && !vanishes
}

/// A JSON value in which no object has two members of one name: of those, services take the first, the last or both.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor).map(Self)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unambiguous(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let mut seen = HashSet::new();
        while let Some((name, Unambiguous(value))) = members.next_entry::<String, _>()? {
            // Some services match names in any case. The name is left out of the message: it is as long as the client
            // likes.
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err(A::Error::custom("an object has two members of one name"));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// The largest body that is read.
const MAX_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
