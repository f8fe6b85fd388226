//! Decides what one entry of `routes` in the configuration means, or says everything that is wrong with it.

mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(super) use rules::{HostRule, MethodRule, STANDARD_METHODS};

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess};

use super::Mode;
use super::body::BodyRule;
use super::template::{PathTemplate, ResourceTemplate};
use crate::identity::SpiffeId;
use crate::permission::{Action, Resource};

/// One entry of `routes`: which requests, and which operation they are.
///
/// Exactly one of `path` and `grpc` is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Methods, exact and case-sensitive; `*` by default.
    #[serde(default)]
    pub method: Option<Methods>,
    /// Path template, such as `/documents/{id}`: literal segments, `{name}` and `*` for one segment, `**` at the end for
    /// the rest. A slash at the end counts, except after `**`.
    #[serde(default)]
    pub path: Option<String>,
    /// gRPC method, as `documents.v1.Documents/Update`; `*` in place of the method stands for all of the service.
    #[serde(default)]
    pub grpc: Option<String>,
    /// Host without port: `api.example.org`, or `*.example.org` for every name below. Any host by default.
    #[serde(default)]
    pub host: Option<String>,
    /// What is accessed: segments such as `documents/{id}`, captures taken from `path`; or a SPIFFE ID.
    pub resource: String,
    /// What is done to it, such as `read`.
    pub action: String,
    /// SPIFFE ID of the workload that serves the request, where the proxy does not name it.
    #[serde(default)]
    pub target: Option<String>,
    /// Facts about this route, handed to policy as they are.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Whether policy reads the body: `none` (default) or `json`.
    #[serde(default)]
    pub body: BodyRule,
    /// How long policy's verdicts on requests of this route may be used again, at most 1h; `0s` for never. Without it,
    /// `policy.cache.ttl`.
    #[serde(default, deserialize_with = "cache_ttl")]
    pub cache_ttl: Option<Duration>,
    /// `enforce` (default), or `shadow`: decide and record, but let pass.
    #[serde(default)]
    pub mode: Mode,
}

/// The methods of a route as written: one, or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods(pub Vec<String>);

/// A route that has been checked.
#[derive(Debug)]
pub(super) struct Route {
    /// As shown in audit: `GET /documents/{id}`, `* api.example.org/**`, `grpc documents.v1.Documents/Update`.
    pub(super) name: Arc<str>,
    pub(super) methods: MethodRule,
    pub(super) host: HostRule,
    pub(super) path: PathTemplate,
    pub(super) resource: ResourceTemplate,
    pub(super) action: Action,
    pub(super) target: Option<SpiffeId>,
    pub(super) attributes: Arc<BTreeMap<String, String>>,
    pub(super) body: BodyRule,
    pub(super) cache_ttl: Option<Duration>,
    pub(super) mode: Mode,
}

impl RouteConfig {
    /// Checks the route. Each problem is the key it concerns (empty for the route as a whole) and a message.
    pub(super) fn compile(&self) -> Result<Route, Vec<(&'static str, String)>> {
        let mut problems = Problems(Vec::new());
        let request = match (&self.path, &self.grpc) {
            (Some(path), None) => self.http(path, &mut problems),
            (None, Some(grpc)) => self.grpc(grpc, &mut problems),
            (None, None) => problems.note("", "names no requests; write `path` or `grpc`".into()),
            (Some(_), Some(_)) => problems.note("", "has both `path` and `grpc`; write one".into()),
        };
        let host = match &self.host {
            Some(host) => problems.keep("host", HostRule::parse(host)),
            None => Some(HostRule::Any),
        };
        let resource = problems.keep("resource", self.resource(request.as_ref()));
        let action = problems.keep(
            "action",
            self.action
                .parse::<Action>()
                .map_err(|error| format!("action: {error}; write one word such as `read`")),
        );
        let target = problems.keep("target", self.target());
        match (request, host, resource, action, target) {
            (
                Some((methods, path)),
                Some(host),
                Some(Some(resource)),
                Some(action),
                Some(target),
            ) if problems.0.is_empty() => Ok(Route {
                name: self.name(&methods).into(),
                methods,
                host,
                path,
                resource,
                action,
                target,
                attributes: Arc::new(self.attributes.clone()),
                body: self.body,
                cache_ttl: self.cache_ttl,
                mode: self.mode,
            }),
            _ => Err(problems.0),
        }
    }

    fn http(&self, path: &str, problems: &mut Problems) -> Option<(MethodRule, PathTemplate)> {
        let methods = match &self.method {
            Some(methods) => problems.keep("method", MethodRule::read(methods)),
            None => Some(MethodRule::Standard),
        };
        let path = problems.keep("path", PathTemplate::parse(path));
        methods.zip(path)
    }

    /// gRPC over HTTP/2: `POST /service/method`.
    fn grpc(&self, grpc: &str, problems: &mut Problems) -> Option<(MethodRule, PathTemplate)> {
        if self.method.is_some() {
            problems.note::<()>("method", "gRPC is always POST; remove `method`".into());
        }
        if self.body != BodyRule::None {
            problems.note::<()>("body", "a gRPC message is not JSON; remove `body`".into());
        }
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match grpc.split_once('/') {
            Some((service, method))
                if service.split('.').all(is_name) && (method == "*" || is_name(method)) =>
            {
                Some((
                    MethodRule::Listed(vec!["POST".into()]),
                    PathTemplate::grpc(service, method),
                ))
            }
            _ => problems.note(
                "grpc",
                format!(
                    "`{grpc}` is not a gRPC method; write `package.Service/Method` or `package.Service/*`"
                ),
            ),
        }
    }

    /// `None` where the request is unknown, so that a capture can't be looked up.
    fn resource(
        &self,
        request: Option<&(MethodRule, PathTemplate)>,
    ) -> Result<Option<ResourceTemplate>, String> {
        if self.resource.starts_with("spiffe://") {
            let id = spiffe_id("resource", &self.resource)?;
            return Ok(Some(ResourceTemplate::Fixed(Resource::from(&id))));
        }
        request
            .map(|(_, path)| ResourceTemplate::parse(&self.resource, path))
            .transpose()
    }

    fn target(&self) -> Result<Option<SpiffeId>, String> {
        self.target
            .as_deref()
            .map(|target| spiffe_id("target", target))
            .transpose()
    }

    fn name(&self, methods: &MethodRule) -> String {
        let host = self.host.as_deref().unwrap_or_default();
        match (&self.grpc, &self.path) {
            (Some(grpc), _) if host.is_empty() => format!("grpc {grpc}"),
            (Some(grpc), _) => format!("grpc {host}/{grpc}"),
            (None, path) => format!("{methods} {host}{}", path.as_deref().unwrap_or_default()),
        }
    }
}

impl Route {
    /// Whether every request that `other` matches is matched by `self` too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.methods.covers(&other.methods)
            && self.host.covers(&other.host)
            && self.path.covers(&other.path)
    }
}

// === impl Methods ===

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Methods;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a method such as GET, a list of methods, or \"*\"")
            }

            fn visit_str<E: de::Error>(self, method: &str) -> Result<Methods, E> {
                Ok(Methods(vec![method.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Methods, A::Error> {
                let mut methods = Vec::new();
                while let Some(method) = seq.next_element()? {
                    methods.push(method);
                }
                Ok(Methods(methods))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

fn cache_ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let ttl = humantime_serde::deserialize::<Duration, D>(deserializer)?;
    if ttl > MAX_CACHE_TTL {
        let shown = humantime::format_duration(ttl);
        let fault = format!("{shown} is out of range: write 0s to 1h");
        return Err(de::Error::custom(fault));
    }
    Ok(Some(ttl))
}

/// Collects what is wrong while the rest is still read.
struct Problems(Vec<(&'static str, String)>);

impl Problems {
    fn keep<T>(&mut self, key: &'static str, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(message) => self.note(key, message),
        }
    }

    fn note<T>(&mut self, key: &'static str, message: String) -> Option<T> {
        self.0.push((key, message));
        None
    }
}

/// The error's own words come from the SPIFFE ID room.
fn spiffe_id(key: &str, text: &str) -> Result<SpiffeId, String> {
    text.parse().map_err(|error| {
        format!("{key}: {error}; write a SPIFFE ID such as `spiffe://example.org/svc/documents`")
    })
}

const MAX_CACHE_TTL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
