//! The document a policy sees as `input`.
//!
//! The first members are the ones that policies written for `agentweave.authz` read; attache adds members and never
//! renames one. What is unknown is left out: a policy never sees an empty string or null in place of a fact.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::{EnvoyInput, InputForm};
use crate::clock::Timestamp;
use crate::delegation::{Authentication, Mandate, TaskId};
use crate::identity::SpiffeId;
use crate::permission::{Action, Resource, Tier};

/// One question to a policy.
#[derive(Debug, Clone)]
pub struct Input {
    /// Who asks.
    pub caller: SpiffeId,
    /// The workload that would serve the request, if known.
    pub target: Option<SpiffeId>,
    /// On whose behalf, where that is not the caller's own account.
    pub mandate: Option<Mandate>,
    /// What would be done.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// The strictest tier that attache's own tables give the operation.
    pub tier: Tier,
    /// When the question was put.
    pub timestamp: Timestamp,
    /// What configuration declares as context, or what the asker gave.
    pub context: Context,
    /// The request itself, where there is one.
    pub request: Option<RequestInput>,
    /// The same request in the words of opa-envoy-plugin, where configuration asks for them.
    pub envoy: Option<Box<EnvoyInput>>,
}

/// The request attributes that configuration lets policy see; or, where there is no request, what the asker gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Context {
    /// Declared request headers that were present, by lower-case name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Declared context extensions that the proxy sent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
    /// The route's own attributes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Arc<BTreeMap<String, String>>,
    /// Members of any name, as an asker without a request gave them; everything above is empty then.
    #[serde(flatten)]
    pub given: serde_json::Map<String, serde_json::Value>,
}

/// The HTTP side of the question, after normalisation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestInput {
    /// `http` or `grpc`.
    pub protocol: Protocol,
    /// As received; methods are case-sensitive.
    pub method: String,
    /// Canonical host without port.
    pub host: String,
    /// Normalised path without query.
    pub path: String,
    /// Values captured by the route's path, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// The decoded JSON body, on routes that declare `body: json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
}

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Plain HTTP of any version.
    Http,
    /// gRPC, told by the content type.
    Grpc,
}

impl Input {
    /// The words it is put in, and may be answered in.
    pub fn form(&self) -> InputForm {
        match self.envoy {
            None => InputForm::Attache,
            Some(_) => InputForm::Envoy,
        }
    }

    /// Whether an answer can serve other requests: nothing in the document but `timestamp` is of this request alone.
    pub fn is_cacheable(&self) -> bool {
        self.envoy.as_ref().is_none_or(|envoy| envoy.lasting)
    }

    /// [`Input::made_up`], in these words.
    pub(super) fn made_up_in(form: InputForm) -> Self {
        let mut input = Self::made_up();
        if form == InputForm::Envoy
            && let Some(RequestInput {
                method, host, path, ..
            }) = &input.request
        {
            input.envoy = Some(Box::new(EnvoyInput::made_up(method, host, path)));
        }
        input
    }

    /// A request that nobody made, of a caller on its own account, with every other fact present, to try a policy on.
    #[expect(
        clippy::expect_used,
        reason = "constants, read by every test that loads a policy"
    )]
    pub(super) fn made_up() -> Self {
        let identity = |id: &str| id.parse::<SpiffeId>().expect("a SPIFFE ID");
        Self {
            caller: identity("spiffe://trial.invalid/caller"),
            target: Some(identity("spiffe://trial.invalid/target")),
            mandate: None,
            action: "read".parse().expect("an action"),
            resource: "trial/1".parse().expect("a resource"),
            tier: Tier::Free,
            timestamp: Timestamp::from_unix_seconds(1_767_225_600),
            context: Context::default(),
            request: Some(RequestInput {
                protocol: Protocol::Http,
                method: "GET".to_owned(),
                host: "trial.invalid".to_owned(),
                path: "/trial/1".to_owned(),
                params: BTreeMap::new(),
                body: None,
            }),
            envoy: None,
        }
    }
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("caller_spiffe_id", &self.caller)?;
        map.serialize_entry("caller_trust_domain", self.caller.trust_domain())?;
        if let Some(target) = &self.target {
            map.serialize_entry("resource_spiffe_id", target)?;
            map.serialize_entry("resource_trust_domain", target.trust_domain())?;
        }
        if let Some(mandate) = &self.mandate {
            serialize_mandate(mandate, &mut map)?;
        }
        map.serialize_entry("action", &self.action)?;
        map.serialize_entry("resource", &self.resource)?;
        map.serialize_entry("tier", &self.tier)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("context", &self.context)?;
        if let Some(request) = &self.request {
            map.serialize_entry("request", request)?;
        }
        if let Some(envoy) = &self.envoy {
            let version: BTreeMap<_, _> = EnvoyInput::VERSION.into();
            map.serialize_entry("attributes", &envoy.attributes)?;
            map.serialize_entry("parsed_path", &envoy.parsed_path)?;
            map.serialize_entry("parsed_query", &envoy.parsed_query)?;
            map.serialize_entry("parsed_body", &envoy.parsed_body)?;
            map.serialize_entry("truncated_body", &envoy.truncated_body)?;
            map.serialize_entry("version", &version)?;
        }
        map.end()
    }
}

/// The members that say on whose behalf. A token's own name and times are not among them: they differ between two tokens of
/// one grant, and a policy has no use for them.
fn serialize_mandate<M: serde::ser::SerializeMap>(
    mandate: &Mandate,
    map: &mut M,
) -> Result<(), M::Error> {
    let Authentication {
        time,
        methods,
        class,
    } = &mandate.claims.authentication;
    let subject = Subject {
        id: mandate.person().as_str(),
        role: mandate.role.as_str(),
    };
    map.serialize_entry("subject", &subject)?;
    map.serialize_entry("chain", &Names(mandate))?;
    if let Some(agent) = mandate.agent() {
        let agent = Agent {
            id: agent.agent_id.as_str(),
            agent_type: agent.agent_type.as_str(),
        };
        map.serialize_entry("agent", &agent)?;
    }
    let path = mandate.tasks();
    if let Some(id) = path.last() {
        map.serialize_entry("task", &Task { id, path })?;
    }
    let session = Session {
        auth_time: *time,
        amr: methods,
        acr: class.as_deref(),
    };
    map.serialize_entry("session", &session)?;
    map.serialize_entry("permissions", &mandate.claims.permissions)
}

#[derive(Serialize)]
struct Subject<'a> {
    id: &'a str,
    role: &'a str,
}

#[derive(Serialize)]
struct Agent<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    agent_type: &'a str,
}

#[derive(Serialize)]
struct Task<'a> {
    id: &'a TaskId,
    path: &'a [TaskId],
}

#[derive(Serialize)]
struct Session<'a> {
    auth_time: Timestamp,
    amr: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
}

/// The chain by its names, the person first.
struct Names<'a>(&'a Mandate);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.claims.chain.names())
    }
}
