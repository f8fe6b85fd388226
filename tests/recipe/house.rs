//! Everything between a message and its audit record, without sockets.

use std::sync::Arc;
use std::time::Duration;

use attache::audit::{Auditor, Memory, WriterHandle};
use attache::authority::{Authority, Metrics, Outcome};
use attache::clock::{Clock, SystemClock};
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use attache::policy::PolicyEngine;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{self, HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prometheus_client::registry::Registry;
use prost::Message as _;
use serde_json::Value;

use crate::opa::{self, Running};

/// One question as Envoy puts it, for a service that may not say who it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) caller: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) destination: Option<&'static str>,
}

pub(crate) const fn ask(caller: &'static str, method: &'static str, path: &'static str) -> Ask {
    Ask {
        caller,
        method,
        path,
        destination: None,
    }
}

impl Ask {
    pub(crate) const fn of(self, destination: &'static str) -> Self {
        Self {
            destination: Some(destination),
            ..self
        }
    }

    /// The message on the wire, written by an encoder that is not ours.
    pub(crate) fn wire(self) -> Vec<u8> {
        let party = |principal: &str| attribute_context::Peer {
            principal: principal.to_owned(),
            ..attribute_context::Peer::default()
        };
        let http = HttpRequest {
            method: self.method.to_owned(),
            host: "api.example.org".to_owned(),
            path: self.path.to_owned(),
            protocol: "HTTP/2".to_owned(),
            size: -1,
            ..HttpRequest::default()
        };
        let request = CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(party(self.caller)),
                destination: Some(party(self.destination.unwrap_or_default())),
                request: Some(Request {
                    http: Some(http),
                    ..Request::default()
                }),
                ..AttributeContext::default()
            }),
        };
        request.encode_to_vec()
    }
}

/// Everything from message to audit record, without sockets.
pub(crate) struct House {
    authority: Authority,
    memory: Memory,
    auditor: Auditor,
    _witness: WriterHandle,
    _opa: Option<Running>,
}

/// What became of one question.
#[derive(Debug)]
pub(crate) struct Told {
    /// `allow`, or the reason code.
    pub(crate) word: String,
    /// The step `policy`, without the revision; empty where policy was not asked.
    pub(crate) policy: String,
    pub(crate) record: Value,
}

impl House {
    pub(crate) fn open(config: &str) -> Self {
        let config =
            Config::parse(config, "recipe.yaml".as_ref()).unwrap_or_else(|error| panic!("{error}"));
        let policy = config.fixed.policy;
        let (engine, opa): (Arc<dyn PolicyEngine>, _) = if let Some(binary) = opa::binary() {
            let [module] = &policy.embedded.modules[..] else {
                panic!("{policy:?}");
            };
            let (engine, opa) = opa::start(&binary, module);
            (Arc::new(engine), Some(opa))
        } else {
            let engine = policy.embedded_engine(config.fixed.base);
            let engine = engine.unwrap_or_else(|errors| panic!("{errors:?}"));
            (Arc::new(engine), None)
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (memory, auditor, witness) = Memory::auditor(Arc::clone(&clock)).unwrap();
        let authority = Authority::new(
            Arc::new(config.rules),
            engine,
            auditor.clone(),
            clock,
            Metrics::new(&mut Registry::default()),
        );
        Self {
            authority,
            memory,
            auditor,
            _witness: witness,
            _opa: opa,
        }
    }

    pub(crate) async fn told(&self, ask: Ask) -> Told {
        let peer = Peer::Unix { uid: None };
        let (decision, findings) = Rehearsal::from_wire(&ask.wire())
            .unwrap()
            .decide(&self.authority, peer, Duration::from_secs(5))
            .await;
        let word = match &decision.outcome {
            Outcome::Allow(_) => "allow".to_owned(),
            Outcome::Deny(denial) => denial.reason.to_string(),
        };
        let steps = findings.steps();
        let policy = steps.iter().find(|it| it.step == "policy");
        let policy = policy.map_or("", |it| it.found.split(" (revision ").next().unwrap());
        self.auditor.flush().await.unwrap();
        let lines = self.memory.lines();
        let records = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut ours: Vec<_> = records
            .filter(|it| it["decision_id"] == decision.id.to_string())
            .collect();
        // B12: every decision leaves one record, which says the same.
        assert_eq!(ours.len(), 1, "{ask:?}: {lines:?}");
        let record = ours.remove(0);
        if word == "allow" {
            assert_eq!(record["event_type"], "permission.check");
            assert_eq!(record["result"], "allowed");
            assert!(record.get("reason_code").is_none(), "{record}");
        } else {
            assert_eq!(record["event_type"], "permission.denied");
            assert_eq!(record["result"], "denied");
            assert_eq!(record["reason_code"], word);
        }
        Told {
            word,
            policy: policy.to_owned(),
            record,
        }
    }

    /// Asks every question and compares code and the policy's words.
    pub(crate) async fn tells(&self, sample: &str, table: &[(Ask, &str, &str)]) {
        for (ask, word, policy) in table {
            let told = self.told(*ask).await;
            assert_eq!(told.record["actor"]["id"], ask.caller);
            let story = (told.word.as_str(), told.policy.as_str());
            assert_eq!(story, (*word, *policy), "{sample}: {ask:?}");
        }
    }
}
