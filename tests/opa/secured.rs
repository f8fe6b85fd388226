//! OPA behind TLS, letting in only who has the token.

use attache::policy::{Answer, PolicyError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::harness::{Opa, ask, free_port};

const POLICY: &str = "package agentweave.authz\nallow := true";
const AUTHZ: &str =
    "package system.authz\ndefault allow := false\nallow if input.identity == \"the-token\"";

/// A certificate authority, and a certificate of it for `localhost` with its key, in PEM.
fn certificates() -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    (authority, certificate, key.serialize_pem())
}

/// O18.
#[tokio::test]
async fn tls_and_the_token_are_both_needed() {
    let (authority, certificate, key) = certificates();
    let files = [
        ("policy.rego", POLICY),
        ("authz.rego", AUTHZ),
        ("ca.pem", &authority),
        ("certificate.pem", &certificate),
        ("key.pem", &key),
        ("other.pem", &certificates().0),
        ("token", "the-token\n"),
        ("old-token", "an-old-token\n"),
    ];
    let port = free_port();
    let arguments = [
        "--tls-cert-file=certificate.pem",
        "--tls-private-key-file=key.pem",
        "--authentication=token",
        "--authorization=basic",
        "authz.rego",
        "policy.rego",
    ];
    let address = format!("127.0.0.1:{port}");
    let endpoint = format!("https://localhost:{port}");
    let Some(opa) = Opa::start_at(&address, endpoint, &files, &arguments).await else {
        return;
    };
    let engine = opa.engine("ca_file: ca.pem, token_file: token");
    engine.health_check().await.unwrap();
    assert_eq!(ask(&engine, "read").await.unwrap().answer, Answer::Allow);

    for settings in ["ca_file: ca.pem", "ca_file: ca.pem, token_file: old-token"] {
        let error = ask(&opa.engine(settings), "read").await.unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
    }
    let error = ask(&opa.engine("ca_file: other.pem, token_file: token"), "read").await;
    assert!(
        matches!(error, Err(PolicyError::Unavailable(_))),
        "{error:?}"
    );

    // A token that was renewed is used without a restart.
    let stale = opa.engine("ca_file: ca.pem, token_file: old-token");
    ask(&stale, "read").await.unwrap_err();
    std::fs::write(opa.folder.path().join("old-token"), "the-token").unwrap();
    assert!(stale.refresh().unwrap());
    assert_eq!(ask(&stale, "read").await.unwrap().answer, Answer::Allow);
}
