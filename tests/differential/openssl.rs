//! `openssl verify` as a judge. It needs OpenSSL 3 on the path: `make test-e2e` insists, `cargo test` goes without.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::process::Command;

use crate::Verdict;
use crate::made::{NOW, Set};

/// Its verdict on everything in the set, in that order, or nothing where it is not to be asked.
pub(crate) fn verdicts(set: &Set) -> Option<Vec<Verdict>> {
    // What else is on the machine must not decide whether `cargo test` passes.
    if env::var_os("REQUIRE_E2E").is_none_or(|it| it != "1") {
        eprintln!("skipped: set REQUIRE_E2E=1 (make test-e2e does)");
        return None;
    }
    let version = Command::new("openssl").arg("version").output();
    let found = version.is_ok_and(|it| it.stdout.starts_with(b"OpenSSL 3."));
    assert!(found, "REQUIRE_E2E=1, and there is no OpenSSL 3");
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, set.authority.pem()).unwrap();
    let file = |at: usize| folder.path().join(format!("{at}.pem"));
    for (at, made) in set.made.iter().enumerate() {
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", made.der.clone()));
        fs::write(file(at), pem).unwrap();
    }
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient"])
        .args(["-attime", &NOW.to_string(), "-no-CApath", "-no-CAstore"])
        .arg("-CAfile")
        .arg(&authority)
        .args((0..set.made.len()).map(file))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let accepted: HashSet<&str> = text
        .lines()
        .filter_map(|it| it.strip_suffix(": OK"))
        .collect();
    let verdict = |at: usize| {
        if accepted.contains(&*file(at).to_string_lossy()) {
            Verdict::Accepted
        } else {
            Verdict::Refused
        }
    };
    Some((0..set.made.len()).map(verdict).collect())
}
