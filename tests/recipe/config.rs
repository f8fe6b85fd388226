//! The shipped example, with what a test needs beside it.

use std::path::Path;

/// The samples of one name: in Rego v1, and in the syntax before it.
pub(crate) fn both(name: &str) -> [String; 2] {
    [format!("{name}.rego"), format!("v0/{name}.rego")]
}

/// The shipped example with another of the samples, or a module given by its whole path, and with `changes` of passages that it has.
pub(crate) fn recipe(sample: &str, changes: &[(&str, &str)], more: &str) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut text = std::fs::read_to_string(deploy.join("examples/policy-decides.yaml")).unwrap();
    let policy = deploy.join("policy/samples").join(sample);
    // The limits are long because a busy machine is not what is tested.
    let policy = format!("[{}], time_limit: 5s", policy.display());
    let all = [("[../policy/samples/roles.rego]", policy.as_str())];
    for (old, new) in all.iter().chain(changes) {
        assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
        text = text.replace(old, new);
    }
    format!("{text}\nlimits: {{request_timeout: 5s}}\n{more}\n")
}

/// Callers of a second trust domain are known, and hold as much as those of the first.
pub(crate) const PARTNER: [(&str, &str); 2] = [
    (
        "agents: []",
        "identity: {federated: [partner.example]}\nagents: []",
    ),
    (
        "\n  - {match:",
        r#"
  - {match: "spiffe://partner.example/**", permissions: ["**:*"]}
  - {match:"#,
    ),
];
