//! What refuses, and how the refusals are told apart. A10.

use serde_json::json;

use super::{House, PAUL, ask, both, recipe};

#[tokio::test]
async fn nobody_of_the_trust_domain_is_refused_before_policy_is_asked() {
    // The recipe itself: no agents, everything held, nothing above free.
    let house = House::open(&recipe("roles.rego", &[], ""));
    for caller in [
        "spiffe://example.org/agent/planner",
        "spiffe://example.org/ns/default/sa/api",
        "spiffe://example.org/x",
    ] {
        for path in ["/documents/1", "/billing/2/lines/3", "/payments"] {
            let told = house.told(ask(caller, "DELETE", path)).await;
            assert_eq!(told.word, "policy_denied");
            assert_eq!(told.record["tier"], "free");
        }
    }
    // About others policy is not asked.
    let told = house.told(ask(PAUL, "GET", "/documents/1")).await;
    let story = (told.word.as_str(), told.policy.as_str());
    assert_eq!(story, ("foreign_trust_domain", ""));
}

#[tokio::test]
async fn an_unknown_action_is_denied_and_recorded() {
    // A10
    const READER: &str = "spiffe://example.org/reader/a";
    let routes = r#"routes: [{method: POST, path: "/documents/{id}/purge", resource: "documents/{id}", action: purge}]"#;
    let narrow = ("[\"**:*\"]", "[\"documents/**:read\"]");
    let purge = ask(READER, "POST", "/documents/1/purge");
    for sample in both("roles") {
        // A free word: policy knows no rule for it.
        let house = House::open(&recipe(&sample, &[], routes));
        let told = house.told(purge).await;
        assert_eq!(told.word, "policy_denied", "{sample}");
        assert_eq!(told.record["action"], "purge");
        assert_eq!(told.record["resource"], "documents/1");
        let revision = told.record["policy"]["revision"].as_str().unwrap();
        let digest = revision.strip_prefix("opa:").unwrap_or(revision);
        assert_eq!(digest.len(), 16, "{revision}");
        // A method that names no action at all.
        let told = house.told(ask(READER, "PURGE", "/documents/1")).await;
        assert_eq!(
            (told.word.as_str(), told.policy.as_str()),
            ("route_unmatched", "")
        );
        assert_eq!(told.record["http"]["method"], "PURGE");
        assert!(told.record.get("action").is_none(), "{}", told.record);
        // Where permissions are written out, it ends before policy.
        let house = House::open(&recipe(&sample, &[narrow], routes));
        let told = house.told(purge).await;
        assert_eq!(
            (told.word.as_str(), told.policy.as_str()),
            ("out_of_scope", "")
        );
        assert_eq!(told.record["action"], "purge");
    }
}

#[tokio::test]
async fn forbidden_unpermitted_and_denied_by_policy_are_three_codes() {
    // A10: for somebody whom policy would let do everything, too.
    const ADMIN: &str = "spiffe://example.org/admin/root";
    const READER: &str = "spiffe://example.org/reader/a";
    let changes = [
        (
            "rules: []",
            "rules: [{resource: billing, action: update, tier: forbidden}]",
        ),
        ("[\"**:*\"]", "[\"documents/**:*\", \"billing:*\"]"),
    ];
    for sample in both("roles") {
        let house = House::open(&recipe(&sample, &changes, ""));
        for (asked, word, tier) in [
            (
                ask(ADMIN, "PUT", "/billing"),
                "tier_forbidden",
                json!("forbidden"),
            ),
            (ask(ADMIN, "PUT", "/users"), "out_of_scope", json!("absent")),
            (
                ask(READER, "PUT", "/documents"),
                "policy_denied",
                json!("free"),
            ),
            (ask(ADMIN, "GET", "/billing"), "allow", json!("free")),
        ] {
            let told = house.told(asked).await;
            assert_eq!(told.word, word, "{sample}: {asked:?}");
            assert_eq!(told.record["tier"], tier, "{}", told.record);
            let asked_policy = matches!(word, "policy_denied" | "allow");
            assert_eq!(told.record.get("policy").is_some(), asked_policy);
        }
    }
}
