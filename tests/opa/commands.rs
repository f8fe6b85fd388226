//! The shipped example beside a real OPA, decided by the binary.

use tokio::process::Command;

use crate::harness::Opa;

/// B13, with the recipe for teams that keep every rule in Rego.
#[tokio::test]
async fn the_shipped_example_decides_by_opa() {
    let module = include_str!("../../deploy/policy/samples/roles.rego");
    let Some(opa) = Opa::with_module(module).await else {
        return;
    };
    let example = include_str!("../../deploy/examples/policy-decides-opa.yaml");
    // A busy machine has enough time for a connection.
    let example = example.replace("http://localhost:8181", &opa.endpoint);
    let example = format!("{example}\nlimits: {{request_timeout: 10s}}\n");
    let file = opa.folder.path().join("attache.yaml");
    std::fs::write(&file, example).unwrap();
    for (caller, method, code, said) in [
        (
            "reader",
            "GET",
            0,
            "allows: the caller is a reader [read-access]",
        ),
        ("reader", "DELETE", 3, "deny: policy_denied"),
        (
            "admin",
            "DELETE",
            0,
            "allows: the caller is an administrator",
        ),
        // Two results of one rule.
        ("admin/reader", "GET", 3, "eval_conflict_error"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_attache"))
            .args([
                "eval",
                "--path",
                "/documents/42",
                "--method",
                method,
                "--config",
            ])
            .arg(&file)
            .args(["--caller", &format!("spiffe://example.org/{caller}/a")])
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{caller} {method}: {text}"
        );
        assert!(text.contains(said), "{caller} {method}: {text}");
    }
}
