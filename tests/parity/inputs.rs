//! Inputs from one seed: whatever a request may bring that survives attache's own checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use attache::clock::Timestamp;
use attache::delegation::token::{Claims, Confirmation, Lease};
use attache::delegation::{Agent, Authentication, Chain, Mandate, SessionId, TokenId};
use attache::permission::{Permission, Tier};
use attache::policy::{Context, Input, Protocol, RequestInput};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value as Json;

/// What every failure names, so that it can be had again.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var_os("PARITY_SEED");
    seed.map_or(SEED, |text| text.to_str().unwrap().parse().unwrap())
}

/// Draws values of strategies, the same ones for the same seed and label.
#[derive(Debug)]
pub(crate) struct Source(TestRunner);

impl Source {
    pub(crate) fn new(label: &str) -> Self {
        let mut bytes = [0; 32];
        let words = seed().to_be_bytes().into_iter().chain(label.bytes());
        for (at, byte) in words.enumerate() {
            bytes[at % 32] ^= byte;
        }
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self(TestRunner::new_with_rng(Config::default(), rng))
    }

    pub(crate) fn draw<T: std::fmt::Debug>(&mut self, strategy: &impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.0).unwrap().current()
    }
}

/// A body as a client may send it, odd on purpose.
pub(crate) fn any_json() -> impl Strategy<Value = Json> + Clone {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any_number(),
        any_text().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(any_text(), inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

pub(crate) fn any_number() -> impl Strategy<Value = Json> + Clone {
    // As text, since that is how numbers come.
    let odd = prop::sample::select(vec![
        "0",
        "-0",
        "-0.0",
        "1",
        "1.0",
        "1e0",
        "10e-1",
        "0.1",
        "0.5",
        "2.5",
        "-2.5",
        "1e2",
        "100",
        "9007199254740991",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e19",
        "1e21",
        "123456789012345678901234567890",
        "1e300",
        "5e-324",
        "1e-7",
        "0.30000000000000004",
        "1.7976931348623157e308",
    ]);
    prop_oneof![
        odd.prop_map(|text| serde_json::from_str(text).unwrap()),
        (-3_i64..12).prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        (-2000_i32..2000).prop_map(|it| Json::from(f64::from(it) / 8.0)),
    ]
}

pub(crate) fn any_text() -> impl Strategy<Value = String> + Clone {
    let odd = prop::sample::select(vec![
        "",
        " ",
        "a",
        "A",
        "allow",
        "__proto__",
        "$serde_json::private::Number",
        "\u{0}",
        "\u{7f}",
        "\u{2028}",
        "\u{e9}",
        "e\u{301}",
        "\u{1f600}",
        "ı",
        "ß",
        "İ",
        "ǅ",
        "Σας",
        "</script>",
        "\"\\/",
        "a.b",
        "a/b",
        "%2f",
        "*",
        "\r\n\t",
        "read",
        "delete",
        "1",
        "true",
        "null",
        "spiffe://example.org/admin/root",
        "/admin/",
        "\u{10ffff}",
        "a\u{feff}b",
    ]);
    prop_oneof![
        3 => odd.prop_map(str::to_owned),
        1 => "[a-z]{0,6}",
        1 => ".{0,6}",
    ]
}

fn any_texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(any_text(), any_text(), 0..3)
}

fn any_id() -> impl Strategy<Value = String> {
    let domain = prop::sample::select(vec!["example.org", "partner.example", "example.com"]);
    let segment = prop::sample::select(vec![
        "admin",
        "reader",
        "prod",
        "dev",
        "svc",
        "agent",
        "Admin",
        "production",
        "a",
        "x-1",
        "prod.dev",
        "_",
    ]);
    let path = prop::collection::vec(segment, 1..4);
    (domain, path).prop_map(|(domain, path)| format!("spiffe://{domain}/{}", path.join("/")))
}

prop_compose! {
    /// On whose behalf: a person directly, or through one agent or two.
    fn any_mandate()(
        names in prop::collection::vec("[a-z]{1,8}-agent-[0-9]{1,3}", 0..3),
        workloads in prop::collection::vec(any_id(), 3),
        permissions in prop::collection::vec(
            prop::sample::select(vec!["documents/**:read", "**:*@supervised", "users/7:delete@forbidden"]), 1..4),
        (person, role, task) in ("usr-[a-z]{1,8}", "[a-z]{1,8}", "task-[a-z0-9.]{1,8}"),
        methods in prop::collection::vec("[a-z]{1,5}", 0..3),
        class in proptest::option::of("[a-z:]{1,9}"),
        seconds in 0_u64..4_000_000_000,
    ) -> Mandate {
        let agents: Vec<_> = names
            .iter()
            .zip(&workloads)
            .map(|(name, workload)| Agent {
                spiffe_id: workload.parse().unwrap(),
                agent_id: name.parse().unwrap(),
                agent_type: "analysis".parse().unwrap(),
            })
            .collect();
        let lease = (!agents.is_empty()).then(|| Lease {
            tasks: vec!["task-abc".parse().unwrap(), task.parse().unwrap()],
            grants: Vec::new(),
            parent: None,
            root: None,
        });
        let permissions = permissions.iter().map(|it| it.parse::<Permission>().unwrap());
        let claims = Claims {
            issuer: "https://attache.example.org".parse().unwrap(),
            chain: Chain { person: person.parse().unwrap(), agents },
            client: workloads[0].parse().unwrap(),
            audience: "urn:example:documents".parse().unwrap(),
            redelegable: false,
            permissions: permissions.collect(),
            lease,
            session: SessionId::from_random(1),
            id: TokenId::from_random(2),
            issued: Timestamp::from_unix_seconds(seconds),
            expires: Timestamp::from_unix_seconds(seconds),
            authentication: Authentication { time: Timestamp::from_unix_seconds(seconds), methods, class },
            confirmation: Confirmation::default(),
        };
        Mandate { claims: Arc::new(claims), role: role.parse().unwrap() }
    }
}

prop_compose! {
    pub(crate) fn any_input()(
        caller in any_id(),
        target in proptest::option::of(any_id()),
        action in prop::sample::select(vec!["read", "update", "delete", "create", "purge", "reads"]),
        resource in prop_oneof![
            Just("documents/sealed".to_owned()),
            "[a-z]{1,8}(/[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,5}){0,3}",
        ],
        tier in prop::sample::select(vec![Tier::Free, Tier::Supervised]),
        seconds in 0_u64..4_000_000_000,
        texts in (any_texts(), any_texts(), any_texts(), any_texts()),
        protocol in prop::sample::select(vec![Protocol::Http, Protocol::Grpc]),
        (method, host, path) in ("[A-Z]{1,6}", "[a-z]{1,8}\\.example", "(/[a-z0-9._~-]{0,5}){1,3}"),
        body in proptest::option::of(any_json()),
        mandate in proptest::option::of(any_mandate()),
    ) -> Input {
        let (headers, extensions, attributes, params) = texts;
        Input {
            caller: caller.parse().unwrap(),
            target: target.map(|id| id.parse().unwrap()),
            mandate,
            action: action.parse().unwrap(),
            resource: resource.parse().unwrap(),
            tier,
            timestamp: Timestamp::from_unix_seconds(seconds),
            context: Context { headers, extensions, attributes: Arc::new(attributes), given: serde_json::Map::new() },
            request: Some(RequestInput { protocol, method, host, path, params, body }),
            envoy: None,
        }
    }
}

/// What programs ask about, with a context of their own and no request.
pub(crate) fn any_input_of_a_program() -> impl Strategy<Value = Input> {
    let given = prop::collection::btree_map(any_text(), any_json(), 0..4);
    (any_input(), given).prop_map(|(input, given)| Input {
        context: Context {
            given: given.into_iter().collect(),
            ..Context::default()
        },
        request: None,
        ..input
    })
}

/// The same with this body.
pub(crate) fn with_body(input: Input, body: Json) -> Input {
    let request = input.request.map(|request| RequestInput {
        body: Some(body),
        ..request
    });
    Input { request, ..input }
}

pub(crate) const SEED: u64 = 20_260_101;
