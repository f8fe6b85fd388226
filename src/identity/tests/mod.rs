//! What the room promises, by file. Here: certificates made to order.

mod caller;
mod config;
mod leaf;
mod pem;
mod pep;
mod spiffe_id;
mod xfcc;

use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};

use crate::clock::Timestamp;

/// The validity of [`params`]: one hour in 2026.
const NOT_BEFORE: Timestamp = Timestamp::from_unix_seconds(1_795_287_600);
const NOT_AFTER: Timestamp = Timestamp::from_unix_seconds(1_795_291_200);
/// A moment in between.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_289_000);

/// A leaf SVID as SPIRE issues it, to be spoiled by the test.
fn params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = moment(NOT_BEFORE);
    params.not_after = moment(NOT_AFTER);
    params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xbc, 0x01]));
    params.subject_alt_names = vec![uri(id)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

/// Nobody here looks at signatures, so the leaf signs itself.
fn der(params: &CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

/// The certificate as Envoy's `source.certificate` carries it.
fn encoded(params: &CertificateParams) -> String {
    url_encoded(&pem_text(&der(params)))
}

fn pem_text(der: &[u8]) -> String {
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    ::pem::encode_config(&::pem::Pem::new("CERTIFICATE", der), config)
}

/// Envoy escapes exactly these characters.
fn url_encoded(pem: &str) -> String {
    pem.replace('\n', "%0A")
        .replace(' ', "%20")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

/// One DER element of less than 64 KiB.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let mut element = vec![tag];
    match length {
        0..=127 => element.push(length.to_be_bytes()[1]),
        128..=255 => element.extend([0x81, length.to_be_bytes()[1]]),
        256.. => {
            element.push(0x82);
            element.extend(length.to_be_bytes());
        }
    }
    element.extend(content);
    element
}

fn moment(timestamp: Timestamp) -> time::OffsetDateTime {
    let seconds = i64::try_from(timestamp.unix_seconds()).unwrap();
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}
