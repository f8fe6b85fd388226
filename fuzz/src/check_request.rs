//! A CheckRequest: bytes from a proxy, decided by the built-in development configuration, deploy/dev.yaml.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use attache::app::rehearsal_authority;
use attache::authority::{Authority, Decision, Outcome};
use attache::clock::{MockClock, Timestamp};
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::{Peer, Svid};
use attache::operation::Mode;
use attache::permission::Tier;
use prost::Message as _;
use tokio::runtime::Runtime;

/// Whatever the bytes are, they are decided, and a permit is for the one caller that holds any, for reading documents or
/// updating one, at tier free.
pub fn check_request(bytes: &[u8]) -> bool {
    let Ok(rehearsal) = Rehearsal::from_wire(bytes) else {
        return false;
    };
    let decision = HOUSE.with_borrow_mut(|house| house.decide(&rehearsal));
    assert_eq!(decision.mode, Mode::Enforce, "no route is in shadow mode");
    let Outcome::Allow(permit) = decision.outcome else {
        return false;
    };
    assert_eq!(permit.caller.as_str(), REPORTING);
    assert!(decision.mandate.is_none(), "nobody has a token");
    assert_eq!((permit.tier, decision.tier), (Tier::Free, Some(Tier::Free)));
    let asked = Asked::decode(bytes).expect("what was decided can be read");
    assert!(asked.is_permitted(), "permitted: {asked:?}");
    true
}

/// The caller's only name in deploy/dev.yaml.
const REPORTING: &str = "spiffe://example.org/svc/reporting";
/// Within the validity of the certificates among the seeds.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_289_000);

// === What decides ===

thread_local! {
    static HOUSE: RefCell<House> = RefCell::new(House::build());
}

struct House {
    runtime: Runtime,
    authority: Authority,
    decided: u32,
}

impl House {
    fn build() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        Self {
            runtime,
            authority: authority(),
            decided: 0,
        }
    }

    fn decide(&mut self, rehearsal: &Rehearsal) -> Decision {
        self.decided += 1;
        // Its records stay in memory for as long as it lives.
        if self.decided.is_multiple_of(10_000) {
            self.authority = authority();
        }
        let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
        let decide = rehearsal.decide(&self.authority, peer, Duration::from_secs(10));
        self.runtime.block_on(decide).0
    }
}

fn authority() -> Authority {
    let text = include_str!("../../deploy/dev.yaml");
    let config = Config::parse(text, "dev.yaml".as_ref()).expect("deploy/dev.yaml is sound");
    rehearsal_authority(config, Arc::new(MockClock::new(NOW))).expect("an authority")
}

// === What may be permitted ===

/// The fields of a CheckRequest that a permit depends on, numbered as in `proto/envoy/service/auth/v3`. The maps beside
/// them are not looked at; they are declared because prost reads a map where it would refuse to skip one.
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Party>,
    #[prost(message, optional, tag = "4")]
    request: Option<Request>,
    #[prost(map = "string, string", tag = "10")]
    context_extensions: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Party {
    #[prost(map = "string, string", tag = "3")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "4")]
    principal: String,
    #[prost(string, tag = "5")]
    certificate: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, optional, tag = "2")]
    http: Option<Http>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Http {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
}

impl Asked {
    fn is_permitted(&self) -> bool {
        let Some(Attributes {
            source: Some(caller),
            request: Some(Request { http: Some(http) }),
            ..
        }) = &self.attributes
        else {
            return false;
        };
        caller.is_reporting() && http.is_free()
    }
}

impl Party {
    /// Principal and certificate, at least one of them, both the same.
    fn is_reporting(&self) -> bool {
        let by_principal = self.principal == REPORTING;
        if self.certificate.is_empty() {
            return by_principal;
        }
        // What a certificate says is the law of the target `leaf`.
        let svid = Svid::from_encoded_pem(&self.certificate);
        let by_certificate = svid.is_ok_and(|svid| {
            svid.id.as_str() == REPORTING && svid.not_before <= NOW && NOW < svid.not_after
        });
        by_certificate && (by_principal || self.principal.is_empty())
    }
}

impl Http {
    /// `GET /documents`, `GET /documents/{id}` or `PUT /documents/{id}`, letters of the path escaped or not.
    fn is_free(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        let path = unescaped(path);
        match (&*self.method, path.strip_prefix("/documents")) {
            ("GET", Some("")) => true,
            ("GET" | "PUT", Some(rest)) => rest.strip_prefix('/').is_some_and(is_one_segment),
            _ => false,
        }
    }
}

fn is_one_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/\\%;?#".contains(&byte))
}

/// `text` with the escapes of letters, digits, `-`, `.`, `_` and `~` undone (RFC 3986, section 6.2.2.2).
fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for byte in 0x21..0x7f {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || "-._~".contains(character) {
            text = text
                .replace(&format!("%{byte:02x}"), &character.to_string())
                .replace(&format!("%{byte:02X}"), &character.to_string());
        }
    }
    text
}
