//! What the shipped Envoy files say, word by word; needs no Envoy. That they do what they say is shown by the other tests,
//! and by `make test-spire`.

use crate::harness::repository;

/// With certificates from files, and from a SPIRE agent.
const BOOTSTRAPS: [&str; 2] = ["deploy/envoy/sidecar-uds.yaml", "deploy/spire/envoy.yaml"];

/// A bootstrap without comments and indentation.
fn bootstrap(file: &str) -> String {
    let text = std::fs::read_to_string(repository(file)).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .collect();
    lines.join("\n")
}

/// K13, K14: settings that close a door stay where they are.
#[test]
fn the_bootstraps_keep_every_safety_setting() {
    let settings = [
        "failure_mode_allow: false",
        "status_on_error: {code: ServiceUnavailable}",
        "timeout: 0.25s",
        "transport_api_version: V3",
        "include_peer_certificate: true",
        "include_tls_session: true",
        "encode_raw_headers: true",
        "validate_mutations: true",
        "decoder_header_mutation_rules: {disallow_system: true, disallow_is_error: true}",
        "clear_route_cache: false",
        "default_value: {numerator: 100, denominator: HUNDRED}",
        "runtime_key: attache.deny_when_disabled\ndefault_value: true",
        "require_client_certificate: true",
        "tls_minimum_protocol_version: TLSv1_2",
        "disable_stateless_session_resumption: true",
        "disable_stateful_session_resumption: true",
        "{san_type: URI, matcher: {prefix: \"spiffe://example.org/\"}}",
        "normalize_path: true",
        "merge_slashes: true",
        "path_with_escaped_slashes_action: REJECT_REQUEST",
        "headers_with_underscores_action: REJECT_REQUEST",
        "forward_client_cert_details: SANITIZE_SET",
        "use_remote_address: true",
        "{remove_on_match: {key_matcher: {prefix: x-attache-, ignore_case: true}}}",
        "max_stream_duration: 300s",
        "admin:\naddress: {pipe: {path: /run/attache/envoy-admin.sock, mode: 384}}",
    ];
    for file in BOOTSTRAPS {
        let bootstrap = bootstrap(file);
        for setting in settings {
            assert!(bootstrap.contains(setting), "{file}: missing: `{setting}`");
        }
    }
}

/// Over TLS it matters who answers: a workload that could say yes in attache's place would decide.
#[test]
fn over_tls_only_attache_is_believed() {
    let bootstrap = bootstrap("deploy/spire/envoy.yaml");
    let (_, upstream) = bootstrap.split_once("UpstreamTlsContext").unwrap();
    for setting in [
        "match_typed_subject_alt_names:\n- {san_type: URI, matcher: {exact: \"spiffe://example.org/attache\"}}",
        "tls_minimum_protocol_version: TLSv1_3",
        "validation_context_sds_secret_config: {name: ROOTCA, sds_config: *agent}",
    ] {
        assert!(upstream.contains(setting), "missing: `{setting}`");
    }
}

/// K15: nothing takes a route out of the filter's reach, and nothing stands between it and the router.
#[test]
fn nothing_in_the_bootstraps_leads_past_attache() {
    for file in BOOTSTRAPS {
        let bootstrap = bootstrap(file);
        for way_past in [
            "typed_per_filter_config",
            "disabled:",
            "metadata_context_namespaces",
        ] {
            assert!(!bootstrap.contains(way_past), "{file}: `{way_past}`");
        }
        let filters: Vec<_> = bootstrap
            .lines()
            .filter_map(|line| line.strip_prefix("- name: envoy.filters.http."))
            .collect();
        assert_eq!(filters, ["ext_authz", "router"], "{file}");
    }
}
