//! Certificates: where our gate and the other judges part.

use crate::judges::{self, rule_of};
use crate::made::{Made, SET};
use crate::{Case, Row, Verdict, assert_empty, assert_nothing_is_accepted_alone, faults, openssl};
use Verdict::{Accepted, Refused};

pub(crate) const JUDGES: &str =
    "| certificate | attache | `spiffe` 0.19 | rustls-webpki | OpenSSL 3 | what decides |";

/// Where our gate and the other judges part, in the order of [`JUDGES`].
pub(crate) const TABLE: &[Row<4>] = &[
    Row {
        title: "no URI name",
        rules: &["SubjectAltName", "one URI name"],
        departures: &["no URI name"],
        verdicts: [Refused, Refused, Accepted, Accepted],
        decides: "X509-SVID 2: without a SPIFFE ID there is no caller",
    },
    Row {
        title: "two URI names",
        rules: &["one URI name"],
        departures: &["two IDs", "an ID and an https name"],
        verdicts: [Refused, Refused, Accepted, Accepted],
        decides: "X509-SVID 2, 5.2: exactly one, or readers pick different ones",
    },
    Row {
        title: "a URI name that is not the ID of a workload",
        rules: &["SPIFFE ID"],
        departures: &["only an https name", "no path", "over-long ID"],
        verdicts: [Refused, Refused, Accepted, Accepted],
        decides: "X509-SVID 2, 5.2; ID 2.3",
    },
    Row {
        title: "a URI name that is not UTF-8",
        rules: &["readable extensions"],
        departures: &["name that is not UTF-8"],
        verdicts: [Refused, Refused, Accepted, Accepted],
        decides: "RFC 5280 4.2.1.6: ASCII; unreadable is not absent",
    },
    Row {
        title: "upper case in scheme or trust domain of the ID",
        rules: &["SPIFFE ID"],
        departures: &["upper-case scheme", "upper-case trust domain"],
        verdicts: [Refused, Accepted, Accepted, Accepted],
        decides: "ID 2.1, 2.4: one identity has one spelling",
    },
    Row {
        title: "no `BasicConstraints`",
        rules: &["BasicConstraints"],
        departures: &["no BasicConstraints"],
        verdicts: [Refused, Refused, Accepted, Accepted],
        decides: "X509-SVID 4.1: a leaf MUST set `cA` to false",
    },
    Row {
        title: "`cA` is true",
        rules: &["cA"],
        departures: &["cA"],
        verdicts: [Refused, Refused, Refused, Accepted],
        decides: "X509-SVID 4.1, 5.2: who signs is no caller",
    },
    Row {
        title: "no `KeyUsage`",
        rules: &["KeyUsage"],
        departures: &["no KeyUsage"],
        verdicts: [Refused, Refused, Accepted, Accepted],
        decides: "X509-SVID 4.3: it MUST be set",
    },
    Row {
        title: "`KeyUsage` without `digitalSignature`, or with `keyCertSign`",
        rules: &["digitalSignature", "keyCertSign"],
        departures: &["no digitalSignature", "keyCertSign"],
        verdicts: [Refused, Refused, Accepted, Refused],
        decides: "X509-SVID 4.3, 5.2",
    },
    Row {
        title: "`KeyUsage` with `cRLSign`",
        rules: &["cRLSign"],
        departures: &["cRLSign"],
        verdicts: [Refused, Refused, Accepted, Accepted],
        decides: "X509-SVID 4.3, 5.2",
    },
    Row {
        title: "`ExtendedKeyUsage` without `clientAuth`",
        rules: &["clientAuth"],
        departures: &["only serverAuth", "only anyExtendedKeyUsage"],
        verdicts: [Refused, Accepted, Refused, Refused],
        decides: "X509-SVID 4.4: a caller is a client, by name",
    },
    Row {
        title: "expired or not yet valid",
        rules: &["validity"],
        departures: &["expired", "not yet valid"],
        verdicts: [Refused, Accepted, Refused, Refused],
        decides: "RFC 5280 4.1.2.5; `spiffe` has no clock here",
    },
    Row {
        title: "in the very second of `notAfter`",
        rules: &["validity"],
        departures: &["expires this second"],
        verdicts: [Refused, Accepted, Accepted, Refused],
        decides: "RFC 5280 4.1.2.5 includes it; we would rather end early",
    },
    Row {
        title: "a byte after it",
        rules: &["nothing after it"],
        departures: &["a byte after it"],
        verdicts: [Refused, Refused, Refused, Accepted],
        decides: "RFC 5280 4.1: not part of what was signed",
    },
    Row {
        title: "another certificate after it",
        rules: &["nothing after it"],
        departures: &["its authority after it"],
        verdicts: [Refused, Accepted, Refused, Accepted],
        decides: "X509-SVID 5.2: one leaf is judged; `spiffe` reads a chain",
    },
    Row {
        title: "an unknown critical extension",
        rules: &["no unknown critical extension"],
        departures: &["unknown critical extension"],
        verdicts: [Refused, Accepted, Refused, Refused],
        decides: "RFC 5280 4.2: MUST be refused",
    },
    Row {
        title: "`NameConstraints`, critical",
        rules: &["no unknown critical extension"],
        departures: &["critical NameConstraints"],
        verdicts: [Refused, Accepted, Accepted, Accepted],
        decides: "RFC 5280 4.2.1.10: only for authorities, and no rule here heeds it",
    },
    Row {
        title: "an unknown extension twice",
        rules: &["no extension twice"],
        departures: &["unknown extension twice"],
        verdicts: [Refused, Accepted, Accepted, Accepted],
        decides: "RFC 5280 4.2: at most once",
    },
];

fn cases(openssl: Option<&[Verdict]>) -> Vec<Case<4>> {
    let webpki = judges::webpki(SET.authority.der());
    let case = |(at, made): (usize, &Made)| {
        let ours = judges::attache(&made.der);
        Case {
            input: format!("a leaf with {:?}", made.departures),
            departures: made.departures.clone(),
            rule: ours.as_ref().map_or_else(rule_of, |()| "keeps every rule"),
            verdicts: [
                Some(Verdict::of(&ours)),
                Some(judges::spiffe(&made.der, &SET.key)),
                Some(webpki(&made.der)),
                openssl.map(|verdicts| verdicts[at]),
            ],
        }
    };
    SET.made.iter().enumerate().map(case).collect()
}

#[test]
fn every_disagreement_about_a_certificate_is_a_row_of_the_table() {
    let cases = cases(None);
    assert_eq!(cases[0].verdicts[..3], [Some(Accepted); 3], "a good leaf");
    assert!(cases.len() > 300, "{} certificates", cases.len());
    assert_empty(&faults(TABLE, &cases));
    assert_nothing_is_accepted_alone(&cases);
}

#[test]
fn every_disagreement_with_openssl_is_a_row_of_the_table() {
    let Some(verdicts) = openssl::verdicts(&SET) else {
        return;
    };
    let cases = cases(Some(&verdicts));
    assert_eq!(cases[0].verdicts, [Some(Accepted); 4], "a good leaf");
    assert_empty(&faults(TABLE, &cases));
    assert_nothing_is_accepted_alone(&cases);
}
