//! How `x-forwarded-client-cert` is read.

use proptest::prelude::*;

use crate::identity::{XfccElement, XfccError};

const HASH: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";

fn last(header: &str) -> Result<XfccElement<'_>, XfccError> {
    XfccElement::last_of(header)
}

#[test]
fn one_element_as_envoy_writes_it_is_read() {
    let header = format!(
        "By=spiffe://td/envoy;Hash={HASH};Cert=\"-----BEGIN%20CERTIFICATE-----%0A\";Chain=\"x\";\
         Subject=\"CN=Test Client,O=Acme\\, Inc.\";URI=spiffe://td/p;DNS=a.example.org;DNS=b.example.org"
    );
    let element = last(&header).unwrap();
    assert_eq!(element.uri.as_str(), "spiffe://td/p");
    assert_eq!(element.by, Some("spiffe://td/envoy"));
    assert_eq!(element.hash, Some(HASH));
    assert_eq!(element.cert, Some("-----BEGIN%20CERTIFICATE-----%0A"));
    assert_eq!(element.chain, Some("x"));
    assert_eq!(element.subject, Some(r"CN=Test Client,O=Acme\, Inc."));
    assert_eq!(element.dns, ["a.example.org", "b.example.org"]);
}

#[test]
fn the_last_element_counts() {
    // E10
    let header = "URI=spiffe://td/first;Hash=1,By=spiffe://td/edge;URI=spiffe://td/second";
    let element = last(header).unwrap();
    assert_eq!(element.uri.as_str(), "spiffe://td/second");
    assert_eq!(element.hash, None);
    // Earlier elements need not name a workload.
    assert!(last("URI=https://a.example.org/x,URI=spiffe://td/p").is_ok());
    assert!(last("Hash=1,URI=spiffe://td/p").is_ok());
}

#[test]
fn separators_and_quotes_inside_a_quoted_subject_belong_to_it() {
    // E11
    for subject in [
        "",
        "CN=a;URI=spiffe://td/admin",
        "CN=a,URI=spiffe://td/admin",
        "a=b;c=d,e=f",
        r#"CN=\"quoted\""#,
        r#"CN=\",URI=spiffe://td/admin"#,
        r"CN=a\\",
        r"O=Acme\, Inc.,CN=\C3\A9",
        "CN=é",
    ] {
        let header = format!("Subject=\"{subject}\";URI=spiffe://td/p");
        let element = last(&header).unwrap();
        assert_eq!(element.uri.as_str(), "spiffe://td/p", "{subject}");
        assert_eq!(element.subject, Some(subject));
        let header = format!("URI=spiffe://td/p;Subject=\"{subject}\"");
        assert_eq!(last(&header).unwrap().subject, Some(subject));
    }
}

#[test]
fn a_backslash_before_the_closing_quote_is_read_as_rfc_2253_writes_it() {
    // E11: a subject that ends in a backslash does not swallow what follows, one that ends in a quote does not stop
    // early.
    let header = r#"Subject="CN=a\\";URI=spiffe://td/p"#;
    assert_eq!(last(header).unwrap().subject, Some(r"CN=a\\"));
    let header = r#"Subject="CN=a\";URI=spiffe://td/admin";URI=spiffe://td/p"#;
    assert_eq!(last(header).unwrap().uri.as_str(), "spiffe://td/p");
    let header = r#"Subject="CN=a\\\";URI=spiffe://td/p"#;
    assert_eq!(last(header), Err(XfccError::Unterminated(8)));
}

#[test]
fn a_key_twice_is_refused() {
    // E11: Envoy writes one URI for every URI name of a certificate.
    for (header, key) in [
        ("URI=spiffe://td/p;URI=spiffe://td/q", "URI"),
        ("URI=spiffe://td/p;URI=spiffe://td/p", "URI"),
        ("By=a;By=b;URI=spiffe://td/p", "By"),
        ("Hash=a;Hash=a;URI=spiffe://td/p", "Hash"),
        ("Cert=a;URI=spiffe://td/p;Cert=b", "Cert"),
        ("Chain=a;Chain=a;URI=spiffe://td/p", "Chain"),
        ("Subject=\"\";Subject=\"\";URI=spiffe://td/p", "Subject"),
        // In an element that does not count, too.
        ("URI=a;URI=b,URI=spiffe://td/p", "URI"),
    ] {
        assert_eq!(last(header), Err(XfccError::DuplicateKey(key)), "{header}");
    }
}

#[test]
fn keys_have_one_spelling() {
    // E11
    for (header, at) in [
        ("uri=spiffe://td/p", 0),
        ("Uri=spiffe://td/p", 0),
        ("URI=spiffe://td/p;uri=spiffe://td/q", 18),
        ("URI=spiffe://td/p;San=x", 18),
        ("URI=spiffe://td/p; Hash=x", 18),
        ("URI =spiffe://td/p", 0),
        (" URI=spiffe://td/p", 0),
        ("x,URI=spiffe://td/p", 0),
        ("URI=spiffe://td/p;", 18),
        ("URI=spiffe://td/p;;Hash=x", 18),
        (";URI=spiffe://td/p", 0),
        ("=x", 0),
        ("Hash", 0),
        ("URI=spiffe://td/p, By=x", 18),
        ("\"URI\"=spiffe://td/p", 0),
    ] {
        assert_eq!(last(header), Err(XfccError::UnknownKey(at)), "{header}");
    }
}

#[test]
fn empty_elements_are_refused() {
    for (header, at) in [
        ("", 0),
        (",", 0),
        (",URI=spiffe://td/p", 0),
        ("URI=spiffe://td/p,", 18),
        ("Hash=a,,URI=spiffe://td/p", 7),
    ] {
        assert_eq!(last(header), Err(XfccError::EmptyElement(at)), "{header}");
    }
}

#[test]
fn characters_out_of_place_are_refused() {
    for (header, at) in [
        ("URI=spiffe://td/p x", 17),
        ("URI=spiffe://td/p=x", 17),
        ("URI=spiffe://td/\"p\"", 16),
        ("URI=\"spiffe://td/p\"x", 19),
        ("URI=\"spiffe://td/p\" ;Hash=x", 19),
        ("URI=\"\"\"spiffe://td/p\"", 6),
        ("URI=spiffe://td/p\\", 17),
        ("URI=\"spiffe://td/\\p\"", 17),
        ("DNS=\"a\\\"b\";URI=spiffe://td/p", 6),
        ("Subject=CN=a;URI=spiffe://td/p", 10),
        ("URI=spiffe://td/é", 16),
        ("URI=spiffe://td/p\t", 17),
        ("URI=spiffe://td/p\n", 17),
        ("Subject=\"a\nb\";URI=spiffe://td/p", 10),
        ("Subject=\"a\0\";URI=spiffe://td/p", 10),
        ("Subject=\"a\\\n\";URI=spiffe://td/p", 11),
    ] {
        assert_eq!(last(header), Err(XfccError::Character(at)), "{header}");
    }
}

#[test]
fn unterminated_quotes_are_refused() {
    for (header, at) in [
        ("URI=\"spiffe://td/p", 4),
        ("Subject=\"", 8),
        ("Subject=\"a\\\"", 8),
        ("Subject=\"a\\", 8),
        ("Subject=\",URI=spiffe://td/p", 8),
    ] {
        assert_eq!(last(header), Err(XfccError::Unterminated(at)), "{header}");
    }
}

#[test]
fn the_last_element_must_name_a_workload() {
    assert_eq!(last("Hash=x"), Err(XfccError::NoUri));
    assert_eq!(last("URI=spiffe://td/p,Hash=x"), Err(XfccError::NoUri));
    for uri in [
        "",
        "\"\"",
        "https://td/p",
        "spiffe://td",
        "spiffe://TD/p",
        "spiffe://td/p/",
        "\"spiffe://td/p,spiffe://td/q\"",
        "\" spiffe://td/p\"",
    ] {
        let header = format!("URI={uri}");
        assert!(matches!(last(&header), Err(XfccError::Uri(_))), "{uri}");
    }
    // Quoted without need is still one way to read it.
    assert!(last("URI=\"spiffe://td/p\"").is_ok());
}

#[test]
fn at_most_16_kib_are_read() {
    let header = |length: usize| {
        let rest = "Subject=\"\";URI=spiffe://td/p";
        format!(
            "Subject=\"{}\";URI=spiffe://td/p",
            "a".repeat(length - rest.len())
        )
    };
    assert!(last(&header(16 * 1024)).is_ok());
    assert_eq!(
        last(&header(16 * 1024 + 1)),
        Err(XfccError::TooLong(16 * 1024 + 1))
    );
}

/// An element to be written the way Envoy does.
#[derive(Debug, Clone)]
struct Written {
    by: Option<String>,
    hash: Option<String>,
    cert: Option<String>,
    chain: Option<String>,
    subject: Option<String>,
    uri: String,
    dns: Vec<String>,
}

impl Written {
    fn text(&self) -> String {
        let mut pairs = Vec::new();
        pairs.extend(self.by.iter().map(|by| format!("By={by}")));
        pairs.extend(self.hash.iter().map(|hash| format!("Hash={hash}")));
        pairs.extend(self.cert.iter().map(|cert| format!("Cert=\"{cert}\"")));
        pairs.extend(self.chain.iter().map(|chain| format!("Chain=\"{chain}\"")));
        let subject = self.subject.iter();
        pairs.extend(subject.map(|subject| format!("Subject=\"{subject}\"")));
        pairs.push(format!("URI={}", self.uri));
        pairs.extend(self.dns.iter().map(|dns| format!("DNS={dns}")));
        pairs.join(";")
    }

    fn element(&self) -> XfccElement<'_> {
        XfccElement {
            uri: self.uri.parse().unwrap(),
            by: self.by.as_deref(),
            hash: self.hash.as_deref(),
            cert: self.cert.as_deref(),
            chain: self.chain.as_deref(),
            subject: self.subject.as_deref(),
            dns: self.dns.iter().map(String::as_str).collect(),
        }
    }
}

fn written() -> impl Strategy<Value = Written> {
    let id = || "spiffe://td(/[a-zA-Z0-9_-]{1,8}){1,3}";
    let pem = || "-----BEGIN%20CERTIFICATE-----%0A([A-Za-z0-9]|%2B|%2F|%3D|%0A){0,40}";
    // RFC 2253: every separator, quote and backslash of a value is escaped, the signs between the parts are not.
    let subject = r#"((CN|O)=([a-zA-Z0-9 .=]|\\[,;"+<>#\\]|\\[0-9A-F]{2}){0,12}(,|$)){0,3}"#;
    let subject = subject.replace("(,|$)", ",?");
    (
        proptest::option::of(id()),
        proptest::option::of("[0-9a-f]{64}"),
        proptest::option::of(pem()),
        proptest::option::of(pem()),
        proptest::option::of(proptest::string::string_regex(&subject).unwrap()),
        id(),
        proptest::collection::vec("[a-z0-9.-]{1,20}", 0..3),
    )
        .prop_map(|(by, hash, cert, chain, subject, uri, dns)| Written {
            by,
            hash,
            cert,
            chain,
            subject,
            uri,
            dns,
        })
}

/// Headers made of the parts that matter to the grammar.
fn soup() -> impl Strategy<Value = String> {
    const PARTS: [&str; 23] = [
        "By=",
        "Hash=",
        "Cert=",
        "Chain=",
        "Subject=",
        "URI=",
        "DNS=",
        "uri=",
        "spiffe://td/evil",
        "x",
        "=",
        ",",
        ";",
        "\"",
        "\\",
        "\\\"",
        "\\\\",
        " ",
        "é",
        "\n",
        "\0",
        "%22",
        "CN=a",
    ];
    proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..16)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn elements_are_read_as_they_were_written(elements in proptest::collection::vec(written(), 1..4)) {
        let header = elements.iter().map(Written::text).collect::<Vec<_>>().join(",");
        let wanted = elements.last().unwrap().element();
        prop_assert_eq!(last(&header), Ok(wanted));
    }

    #[test]
    fn nothing_a_client_sends_changes_the_element_that_envoy_appends(sent in soup(), own in written()) {
        let header = format!("{sent},{}", own.text());
        if let Ok(element) = last(&header) {
            prop_assert_eq!(element, own.element());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".*", soup in soup()) {
        for header in [text, soup] {
            if let Ok(element) = last(&header) {
                let named = format!("URI={}", element.uri);
                let quoted = format!("URI=\"{}\"", element.uri);
                prop_assert!(header.contains(&named) || header.contains(&quoted));
            }
        }
    }
}
