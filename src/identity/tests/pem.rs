//! Which texts carry exactly one certificate.

use proptest::prelude::*;

use crate::identity::pem::{PemError, decode};

use super::{encoded, params, pem_text, url_encoded};

const BYTES: &[u8] = b"not a certificate, but \xff\xfe\xfd long enough for more than one line of base64 in the block";

#[test]
fn one_url_encoded_block_is_decoded_once() {
    let text = url_encoded(&pem_text(BYTES));
    assert_eq!(decode(&text).unwrap(), BYTES);
    // The same block unescaped, and with the line ends of another system.
    assert_eq!(decode(&pem_text(BYTES)).unwrap(), BYTES);
    assert_eq!(
        decode(&pem_text(BYTES).replace('\n', "\r\n")).unwrap(),
        BYTES
    );
    assert_eq!(decode(&format!("%20%0A{text}%0A%09%0D%0A")).unwrap(), BYTES);
}

#[test]
fn a_text_encoded_twice_is_refused() {
    let twice = url_encoded(&pem_text(BYTES)).replace('%', "%25");
    assert!(decode(&twice).is_err());
    let inside = url_encoded(&pem_text(BYTES)).replacen("%0A", "%250A", 2);
    assert!(decode(&inside).is_err());
}

#[test]
fn a_plus_sign_is_never_a_space() {
    let form_encoded = url_encoded(&pem_text(BYTES)).replace("%20", "+");
    assert_eq!(decode(&form_encoded), Err(PemError::NotOneBlock));
}

#[test]
fn anything_but_one_certificate_block_is_refused() {
    let block = pem_text(BYTES);
    let key = block.replace("CERTIFICATE", "PRIVATE KEY");
    let mismatched = block.replace("END CERTIFICATE", "END PRIVATE KEY");
    for text in [
        String::new(),
        "x".to_owned(),
        format!("{block}{block}"),
        format!("{block}{key}"),
        format!("{key}{block}"),
        format!("subject=CN\n{block}"),
        format!("{block}x"),
        format!("{block}\0"),
        format!("\u{a0}{block}"),
        block.replace("-----END", ""),
        "-----BEGIN CERTIFICATE-----END CERTIFICATE-----".to_owned(),
        key,
        mismatched,
        block.replace("CERTIFICATE", "certificate"),
        block.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
    ] {
        assert!(
            matches!(decode(&url_encoded(&text)), Err(PemError::NotOneBlock)),
            "{text}"
        );
    }
    assert_eq!(decode("%ff%fe"), Err(PemError::NotOneBlock));
}

#[test]
fn header_lines_and_strange_characters_in_the_block_are_refused() {
    let block = pem_text(BYTES);
    let first = "-----BEGIN CERTIFICATE-----\n";
    for inserted in [
        "Proc-Type: 4,ENCRYPTED\n\n",
        "a:b\n\n",
        "%41",
        "\u{a0}",
        "_",
        "\0",
    ] {
        let text = block.replace(first, &format!("{first}{inserted}"));
        assert!(decode(&url_encoded(&text)).is_err(), "{inserted:?}");
    }
}

#[test]
fn broken_base64_is_refused() {
    for body in [
        "",
        "A",
        "AAA",
        "AAAAA",
        "AA=A",
        "=AAA",
        "AAB=",
        "AAAA\n\nAAAA",
    ] {
        let text = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        match decode(&text) {
            Ok(bytes) => assert!(bytes.is_empty() && body.is_empty(), "{body:?}"),
            Err(error) => assert!(matches!(error, PemError::Base64(_)), "{body:?} {error}"),
        }
    }
}

#[test]
fn at_most_16_kib_are_read() {
    let text = encoded(&params("spiffe://td/p"));
    let padded = format!("{text}{}", " ".repeat(16 * 1024 - text.len()));
    assert!(decode(&padded).is_ok());
    assert_eq!(
        decode(&format!("{padded} ")),
        Err(PemError::TooLong(16 * 1024 + 1))
    );
}

proptest! {
    #[test]
    fn any_bytes_survive_the_way_envoy_sends_them(bytes in proptest::collection::vec(any::<u8>(), 1..2000)) {
        prop_assert_eq!(decode(&url_encoded(&pem_text(&bytes))).unwrap(), bytes);
    }

    #[test]
    fn any_text_is_decoded_or_refused(text in "(-----BEGIN CERTIFICATE-----)?[-A-Za-z0-9+/=%\n ]{0,80}(-----END CERTIFICATE-----)?|.*") {
        // Must not panic.
        let _read = decode(&text);
    }
}
