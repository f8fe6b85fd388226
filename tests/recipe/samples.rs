//! What each sample allows and denies. B13.

use super::{ALICE, DOCUMENTS, House, PARTNER, PAUL, ask, both, recipe};

#[tokio::test]
async fn callers_of_one_trust_domain_are_allowed_and_others_denied() {
    // B13. The route names the serving workload; what Envoy says of itself counts where none does.
    let routes = r#"routes: [{path: "/archive/**", resource: archive, action: read, target: "spiffe://partner.example/svc/archive"}]"#;
    let table = [
        (
            ask(ALICE, "GET", "/documents/1").of(DOCUMENTS),
            "allow",
            "allows",
        ),
        (
            ask(ALICE, "DELETE", "/documents/1").of(DOCUMENTS),
            "allow",
            "allows",
        ),
        (
            ask(PAUL, "GET", "/documents/1").of(DOCUMENTS),
            "policy_denied",
            "denies",
        ),
        (
            ask(PAUL, "GET", "/archive/1").of(DOCUMENTS),
            "allow",
            "allows",
        ),
        (
            ask(ALICE, "GET", "/archive/1").of(DOCUMENTS),
            "policy_denied",
            "denies",
        ),
    ];
    for sample in both("trust_domain") {
        let house = House::open(&recipe(&sample, &PARTNER, routes));
        house.tells(&sample, &table).await;
    }
}

#[tokio::test]
async fn a_service_that_nobody_names_is_denied_by_what_compares_it() {
    // B5, B13: `resource_spiffe_id` and `resource_trust_domain` are absent, so that no comparison holds.
    let caller = "spiffe://example.org/prod/planner";
    for name in ["trust_domain", "environments"] {
        for sample in both(name) {
            let house = House::open(&recipe(&sample, &[], ""));
            let nobody = ask(caller, "GET", "/documents/1");
            for asked in [nobody, nobody.of("CN=documents"), nobody.of("spiffe://")] {
                let told = house.told(asked).await;
                assert_eq!(told.word, "policy_denied", "{sample}: {asked:?}");
                assert!(told.record.get("target").is_none(), "{}", told.record);
                assert!(told.record.get("destination").is_none(), "{}", told.record);
            }
            let known = nobody.of("spiffe://example.org/prod/documents");
            assert_eq!(house.told(known).await.word, "allow", "{sample}");
        }
    }
}

#[tokio::test]
async fn what_nobody_names_is_absent_from_the_input_and_never_empty() {
    // B5. The policy tells by its reason what it sees of the service.
    let dir = tempfile::tempdir().unwrap();
    let rego = dir.path().join("mirror.rego");
    std::fs::write(&rego, MIRROR).unwrap();
    let routes = r#"routes: [{path: "/archive", resource: archive, action: read, target: "spiffe://partner.example/x"}]"#;
    let house = House::open(&recipe(rego.to_str().unwrap(), &[], routes));
    let named = ask(ALICE, "GET", "/archive");
    let unnamed = ask(ALICE, "GET", "/documents");
    for (asked, seen) in [
        (unnamed, "{}"),
        (unnamed.of("CN=documents"), "{}"),
        (
            unnamed.of(DOCUMENTS),
            r#"{"resource_spiffe_id":"spiffe://example.org/svc/documents","resource_trust_domain":"example.org"}"#,
        ),
        (
            named.of(DOCUMENTS),
            r#"{"resource_spiffe_id":"spiffe://partner.example/x","resource_trust_domain":"partner.example"}"#,
        ),
    ] {
        let told = house.told(asked).await;
        assert_eq!(told.record["message"], seen, "{asked:?}");
    }
}

const MIRROR: &str = r#"
package agentweave.authz

seen := {name: value | some name, value in input; startswith(name, "resource_")}

allow := {"allow": true, "reason": json.marshal(seen)}
"#;

#[tokio::test]
async fn roles_by_path_segment_answer_with_reason_and_policy_id() {
    // B13
    const ADMIN: &str = "spiffe://example.org/admin/root";
    const READER: &str = "spiffe://example.org/reader/a";
    const BOTH: &str = "spiffe://example.org/admin/reader/a";
    let admin = "allows: the caller is an administrator [admin-access]";
    let reader = "allows: the caller is a reader [read-access]";
    let nobody = "denies: no role grants this operation";
    let mut table = Vec::new();
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        table.push((ask(ADMIN, method, "/documents/1"), "allow", admin));
        table.push((ask(ALICE, method, "/documents/1"), "policy_denied", nobody));
        table.push(match method {
            "GET" | "HEAD" => (ask(READER, method, "/documents/1"), "allow", reader),
            _ => (ask(READER, method, "/documents/1"), "policy_denied", nobody),
        });
    }
    for near_miss in [
        "spiffe://example.org/admin",
        "spiffe://example.org/administrators/a",
        "spiffe://example.org/svc/admin",
        "spiffe://example.org/Admin/a",
        "spiffe://example.org/agent/reader",
    ] {
        table.push((
            ask(near_miss, "GET", "/documents/1"),
            "policy_denied",
            nobody,
        ));
    }
    for sample in both("roles") {
        let house = House::open(&recipe(&sample, &[], ""));
        house.tells(&sample, &table).await;

        let allowed = house.told(ask(READER, "GET", "/documents/1")).await.record;
        assert_eq!(allowed["message"], "the caller is a reader");
        assert_eq!(allowed["policy"]["policy_id"], "read-access");
        let denied = house.told(ask(READER, "PUT", "/documents/1")).await.record;
        assert_eq!(denied["message"], "no role grants this operation");
        assert!(denied["policy"].get("policy_id").is_none(), "{denied}");
        assert_eq!(denied["policy"]["revision"], allowed["policy"]["revision"]);

        // Two rules with two results are a fault of the policy and never a choice.
        let torn = house.told(ask(BOTH, "GET", "/documents/1")).await;
        assert_eq!(torn.word, "policy_error", "{sample}");
        assert_eq!(
            house.told(ask(BOTH, "PUT", "/documents/1")).await.word,
            "allow"
        );
    }
}

#[tokio::test]
async fn production_and_development_are_kept_apart() {
    // B13: by caller and the route's `target`, whatever Envoy calls itself.
    const PROD: &str = "spiffe://example.org/prod/planner";
    const DEV: &str = "spiffe://example.org/dev/planner";
    const TEST: &str = "spiffe://example.org/test/planner";
    let routes = r#"
routes:
  - {path: "/prod/**", resource: documents, action: update, target: "spiffe://example.org/prod/documents"}
  - {path: "/dev/**", resource: documents, action: update, target: "spiffe://example.org/dev/documents"}
  - {path: "/test/**", resource: documents, action: update, target: "spiffe://example.org/test/documents"}
"#;
    let no = "policy_denied";
    let table = [
        (ask(PROD, "PUT", "/prod/1"), "allow", "allows"),
        (ask(DEV, "PUT", "/dev/1"), "allow", "allows"),
        (ask(PROD, "PUT", "/dev/1"), no, "denies"),
        (ask(DEV, "PUT", "/prod/1"), no, "denies"),
        (ask(TEST, "PUT", "/prod/1"), no, "denies"),
        (ask(TEST, "PUT", "/dev/1"), no, "denies"),
        (ask(TEST, "PUT", "/test/1"), no, "denies"),
        (
            ask(DEV, "PUT", "/prod/1").of("spiffe://example.org/dev/documents"),
            no,
            "denies",
        ),
        (
            ask(PROD, "PUT", "/prod/1").of("spiffe://example.org/dev/documents"),
            "allow",
            "allows",
        ),
        // No route, so Envoy's word counts.
        (
            ask(DEV, "PUT", "/documents/1").of("spiffe://example.org/dev/documents"),
            "allow",
            "allows",
        ),
        (
            ask(DEV, "PUT", "/documents/1").of("spiffe://example.org/prod/documents"),
            no,
            "denies",
        ),
        // A segment in the middle, not the beginning of one.
        (
            ask("spiffe://example.org/production/a", "PUT", "/prod/1"),
            no,
            "denies",
        ),
    ];
    for sample in both("environments") {
        let house = House::open(&recipe(&sample, &[], routes));
        house.tells(&sample, &table).await;
        let told = house.told(ask(DEV, "PUT", "/prod/1")).await;
        assert_eq!(told.record["target"], "spiffe://example.org/prod/documents");
    }
}
