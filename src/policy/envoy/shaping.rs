//! What an answer asks for beyond yes and no, read member by member.
//!
//! It can add to what attache says and never stand in for it: names beginning with `x-attache-`, pseudo-headers, `host`,
//! the headers that carry a caller's token, and those by which HTTP and gRPC frame messages are refused. So is everything
//! of another type, every character that can't stand where it would, and more of anything than [`Draft`] allows.

use serde_json::{Map, Value as Json};

use super::super::PolicyError;
use super::super::output::{clip, mistyped, shape};

/// What a policy asks of the answer. Names are in lower case; values are printable ASCII.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaping {
    /// Headers for the service of an allowed request, in place of the client's; or for the client of a denied one. A
    /// name with several values stands several times in a row.
    pub headers: Vec<(String, String)>,
    /// Headers for the client of an allowed request, beside the service's.
    pub response_headers: Vec<(String, String)>,
    /// Headers that the service of an allowed request does not get.
    pub removed_headers: Vec<String>,
    /// Query parameters that the service of an allowed request gets, in place of the client's of that name: letters,
    /// digits and `*-._`, which nobody reads as anything else.
    pub query: Vec<(String, String)>,
    /// What the client of a denied request is shown.
    pub body: Option<String>,
    /// The HTTP status of a denied request, 300 or above.
    pub status: Option<u16>,
    /// What access logs and later filters can read, at most [`Shaping::METADATA_LEVELS`] deep.
    pub metadata: Option<Map<String, Json>>,
}

impl Shaping {
    /// Most levels of objects and lists in `metadata`, the first being its own.
    ///
    /// Each takes up to three messages within each other, and a proxy reads 100 at most: what it can't read is no denial.
    pub const METADATA_LEVELS: usize = 16;

    /// Bytes of memory, about.
    pub(in crate::policy) fn size(&self) -> usize {
        let pairs = [&self.headers, &self.response_headers, &self.query];
        let pairs = pairs.into_iter().flatten();
        let pairs: usize = pairs.map(|(name, value)| text(name) + text(value)).sum();
        let removed: usize = self.removed_headers.iter().map(|name| text(name)).sum();
        let body = self.body.as_ref().map_or(0, String::len);
        let metadata = self.metadata.as_ref().map_or(0, members);
        size_of::<Self>() + pairs + removed + body + metadata
    }
}

fn text(text: &str) -> usize {
    size_of::<String>() + text.len()
}

/// Not deeper than [`Shaping::METADATA_LEVELS`].
fn members(object: &Map<String, Json>) -> usize {
    let members = object.iter();
    members.map(|(name, value)| text(name) + json(value)).sum()
}

fn json(value: &Json) -> usize {
    let content = match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(json).sum(),
        Json::Object(object) => members(object),
    };
    size_of::<Json>() + content
}

/// A [`Shaping`] that is being read.
#[derive(Debug, Default)]
pub(in crate::policy) struct Draft {
    shaping: Shaping,
    status: Option<u64>,
}

impl Draft {
    /// Reads a member of a result; `false` where it is none of these.
    pub(in crate::policy) fn read(
        &mut self,
        name: &str,
        value: &Json,
    ) -> Result<bool, PolicyError> {
        let shaping = &mut self.shaping;
        match name {
            "headers" => shaping.headers = headers(name, value)?,
            "response_headers_to_add" => shaping.response_headers = headers(name, value)?,
            "request_headers_to_remove" => shaping.removed_headers = removed(name, value)?,
            "query_parameters_to_set" => shaping.query = parameters(name, value)?,
            "body" => shaping.body = Some(body(name, value)?),
            "http_status" => {
                let status = value.as_u64();
                self.status = Some(status.ok_or_else(|| mistyped(name, "a status code", value))?);
            }
            "dynamic_metadata" => shaping.metadata = Some(metadata(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What was read, where there is any, for an answer that allows or denies.
    pub(in crate::policy) fn finish(
        mut self,
        allows: bool,
    ) -> Result<Option<Shaping>, PolicyError> {
        // Such policies like to name 200 where they allow; there it has no effect.
        if let Some(status) = self.status.filter(|_| !allows) {
            self.shaping.status = Some(denying(status)?);
        }
        let set = |name: &String| self.shaping.headers.iter().any(|(set, _)| set == name);
        if let Some(name) = self.shaping.removed_headers.iter().find(|name| set(name)) {
            return Err(shape(format!("`{name}` is both set and removed")));
        }
        Ok((self.shaping != Shaping::default()).then_some(self.shaping))
    }
}

/// An object of headers, or a list of them; a value is a text or a list of texts.
fn headers(member: &str, value: &Json) -> Result<Vec<(String, String)>, PolicyError> {
    let mut headers = Vec::new();
    for object in one_or_many(value) {
        let object = object
            .as_object()
            .ok_or_else(|| mistyped(member, "an object of headers", value))?;
        for (name, value) in object {
            let name = settable(name)?;
            for value in one_or_many(value) {
                let value = value
                    .as_str()
                    .ok_or_else(|| mistyped(&name, "a text or a list of texts", value))?;
                if value.len() > MAX_VALUE || !value.bytes().all(|it| matches!(it, b' '..=b'~')) {
                    return Err(shape(format!(
                        "header `{name}` must be at most {MAX_VALUE} printable ASCII characters"
                    )));
                }
                headers.push((name.clone(), value.to_owned()));
            }
        }
    }
    at_most(member, headers)
}

fn removed(member: &str, value: &Json) -> Result<Vec<String>, PolicyError> {
    let names = value
        .as_array()
        .ok_or_else(|| mistyped(member, "a list of header names", value))?;
    let names = names.iter().map(|name| {
        let text = name.as_str();
        removable(text.ok_or_else(|| mistyped(member, "a list of header names", name))?)
    });
    at_most(member, names.collect::<Result<_, _>>()?)
}

/// Envoy puts one value in place of all those of a parameter, so a list can hold one only. It writes them as they are, and
/// an Envoy that validates refuses escapes as well as what would need one.
fn parameters(member: &str, value: &Json) -> Result<Vec<(String, String)>, PolicyError> {
    let object = value
        .as_object()
        .ok_or_else(|| mistyped(member, "an object of parameters", value))?;
    let parameters = object.iter().map(|(name, value)| {
        let text = match value {
            Json::Array(values) => match &**values {
                [only] => only.as_str(),
                _ => None,
            },
            value => value.as_str(),
        };
        let text = text.filter(|text| !name.is_empty() && is_plain(name) && is_plain(text));
        let text = text.ok_or_else(|| {
            let name = clip(name, SHOWN_BYTES);
            shape(format!(
                "query parameter `{name}` must be one text of letters, digits and `*-._` with such a name"
            ))
        })?;
        Ok((name.clone(), text.to_owned()))
    });
    at_most(member, parameters.collect::<Result<_, _>>()?)
}

fn is_plain(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_VALUE && bytes.all(|it| it.is_ascii_alphanumeric() || b"*-._".contains(&it))
}

fn body(member: &str, value: &Json) -> Result<String, PolicyError> {
    let text = value
        .as_str()
        .ok_or_else(|| mistyped(member, "a text", value))?;
    if text.len() > MAX_BODY {
        return Err(shape(format!("`{member}` has more than {MAX_BODY} bytes")));
    }
    Ok(text.to_owned())
}

fn metadata(member: &str, value: &Json) -> Result<Map<String, Json>, PolicyError> {
    let object = value
        .as_object()
        .ok_or_else(|| mistyped(member, "an object", value))?;
    if value.to_string().len() > MAX_METADATA {
        let fault = format!("`{member}` has more than {MAX_METADATA} bytes");
        return Err(shape(fault));
    }
    if !is_within(value, Shaping::METADATA_LEVELS) {
        let levels = Shaping::METADATA_LEVELS;
        let fault = format!("`{member}` is nested deeper than {levels} levels");
        return Err(shape(fault));
    }
    Ok(object.clone())
}

/// Whether objects and lists are at most `levels` deep.
fn is_within(value: &Json, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else {
        return !(value.is_object() || value.is_array());
    };
    match value {
        Json::Array(items) => items.iter().all(|item| is_within(item, inner)),
        Json::Object(members) => members.values().all(|member| is_within(member, inner)),
        _ => true,
    }
}

/// One of the codes that Envoy knows (`envoy.type.v3.StatusCode`) and that no client takes for a success.
fn denying(status: u64) -> Result<u16, PolicyError> {
    let known = matches!(
        status,
        300..=305 | 307..=308 | 400..=417 | 421..=424 | 426 | 428..=429 | 431 | 500..=508 | 510..=511
    );
    let code = u16::try_from(status).ok().filter(|_| known);
    code.ok_or_else(|| {
        let fault = format!("`http_status` of a denial can't be {status}: write 300 or above");
        shape(fault)
    })
}

/// A header that a policy may set, in lower case.
fn settable(name: &str) -> Result<String, PolicyError> {
    let name = removable(name)?;
    if TOKENS.contains(&&*name) {
        return Err(reserved(&name));
    }
    Ok(name)
}

/// A header that a policy may keep from the service, in lower case.
fn removable(name: &str) -> Result<String, PolicyError> {
    // RFC 9110 5.6.2; a pseudo-header begins with a colon and is none.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_token) {
        let name = clip(name, SHOWN_BYTES);
        return Err(shape(format!("`{name}` is not the name of a header")));
    }
    let name = name.to_ascii_lowercase();
    let ours = name.starts_with("x-attache-") || name.starts_with("grpc-");
    if ours || FRAMING.contains(&&*name) {
        return Err(reserved(&name));
    }
    Ok(name)
}

fn reserved(name: &str) -> PolicyError {
    let name = clip(name, SHOWN_BYTES);
    shape(format!("header `{name}` is not for policies to change"))
}

fn one_or_many(value: &Json) -> &[Json] {
    match value {
        Json::Array(values) => values,
        one => std::slice::from_ref(one),
    }
}

fn at_most<T>(member: &str, list: Vec<T>) -> Result<Vec<T>, PolicyError> {
    if list.len() > MAX_ENTRIES {
        let fault = format!("`{member}` has more than {MAX_ENTRIES} entries");
        return Err(shape(fault));
    }
    Ok(list)
}

/// Where the request goes, where one message ends and the next begins, and which protocol is spoken.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// What says on whose behalf a request is made.
const TOKENS: [&str; 2] = ["authorization", "attache-token"];
/// Headers, names or parameters in one list.
const MAX_ENTRIES: usize = 64;
const MAX_NAME: usize = 256;
/// Bytes of a value; longer headers make Envoy answer 500.
const MAX_VALUE: usize = 8 * 1024;
const MAX_BODY: usize = 64 * 1024;
const MAX_METADATA: usize = 16 * 1024;
const SHOWN_BYTES: usize = 64;
