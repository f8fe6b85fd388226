//! Inputs of any kind, for property tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value as Json;

use super::{Context, EnvoyInput, Input, Protocol, RequestInput};
use crate::clock::Timestamp;
use crate::delegation::Mandate;
use crate::delegation::token::tests::claims;
use crate::permission::Tier;

pub(super) fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

fn any_texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(".{0,4}", ".{0,4}", 0..3)
}

prop_compose! {
    fn any_envoy()(
        attributes in prop::collection::btree_map(".{0,4}", any_json(), 0..4),
        parsed_path in prop::collection::vec(".{0,4}", 0..3),
        parsed_query in
            prop::collection::btree_map(".{0,4}", prop::collection::vec(".{0,4}", 0..3), 0..3),
        parsed_body in any_json(),
        (truncated_body, lasting) in (any::<bool>(), any::<bool>()),
    ) -> EnvoyInput {
        EnvoyInput {
            attributes: attributes.into_iter().collect(),
            parsed_path,
            parsed_query,
            parsed_body,
            truncated_body,
            lasting,
        }
    }
}

/// A mandate of the person and the agents that tests of tokens know.
pub(super) fn mandate(depth: usize, permissions: &[&str], role: &str) -> Mandate {
    Mandate {
        claims: Arc::new(claims(depth, permissions)),
        role: role.parse().unwrap(),
    }
}

prop_compose! {
    fn any_mandate()(
        depth in 0..3_usize,
        permissions in select(vec![vec!["a:read"], vec!["a:read@supervised"], vec!["a:read", "b/**:*"]]),
        role in select(vec!["admin", "viewer"]),
        name in select(vec!["analysis-agent-002", "another"]),
        task in select(vec!["task-abc", "task-xyz"]),
        seconds in select(vec![1_789_999_000, 1_789_999_001]),
        class in proptest::option::of(Just("silver")),
    ) -> Mandate {
        let mut mandate = mandate(depth, &permissions, role);
        let claims = Arc::make_mut(&mut mandate.claims);
        if let Some(last) = claims.chain.agents.last_mut() {
            last.agent_id = name.parse().unwrap();
        }
        if let Some(lease) = &mut claims.lease {
            lease.tasks = vec![task.parse().unwrap()];
        }
        claims.authentication.time = Timestamp::from_unix_seconds(seconds);
        claims.authentication.class = class.map(str::to_owned);
        mandate
    }
}

prop_compose! {
    pub(super) fn any_input()(
        path in "/[a-z0-9]{1,8}",
        target in proptest::option::of("/[a-z0-9]{1,8}"),
        (action, resource) in ("[ab]", "[ab](/[ab])?"),
        tier in prop_oneof![Just(Tier::Free), Just(Tier::Supervised), Just(Tier::Forbidden)],
        seconds in 0_u64..4_000_000_000,
        (headers, extensions, attributes, params) in
            (any_texts(), any_texts(), any_texts(), any_texts()),
        protocol in prop_oneof![Just(Protocol::Http), Just(Protocol::Grpc)],
        (method, host, query_path) in (".{0,6}", ".{0,6}", ".{0,6}"),
        body in proptest::option::of(any_json()),
        given in proptest::option::of(prop::collection::btree_map(".{0,4}", any_json(), 0..4)),
        envoy in proptest::option::of(any_envoy()),
        mandate in proptest::option::of(any_mandate()),
    ) -> Input {
        let http = given.is_none();
        let texts = |texts| if http { texts } else { BTreeMap::new() };
        Input {
            caller: format!("spiffe://example.org{path}").parse().unwrap(),
            target: target.map(|path| format!("spiffe://other.example{path}").parse().unwrap()),
            action: action.parse().unwrap(),
            resource: resource.parse().unwrap(),
            mandate,
            tier,
            timestamp: Timestamp::from_unix_seconds(seconds),
            context: Context {
                headers: texts(headers),
                extensions: texts(extensions),
                attributes: Arc::new(texts(attributes)),
                given: given.into_iter().flatten().collect(),
            },
            request: http.then_some(RequestInput { protocol, method, host, path: query_path, params, body }),
            envoy: envoy.map(Box::new),
        }
    }
}
