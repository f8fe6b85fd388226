//! The certificate as Envoy passes it on: one PEM block, percent-encoded once.
//!
//! Decodes exactly that and refuses everything else, so that no second certificate, header line or leftover of another
//! encoding can hide in it. It never looks into the certificate.

use percent_encoding::percent_decode_str;

/// Why a text is not one certificate in URL-encoded PEM.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PemError {
    /// Longer than 16 KiB before decoding.
    #[error("the encoded certificate has {0} bytes, more than 16 KiB")]
    TooLong(usize),
    /// Not exactly one CERTIFICATE block, or something besides white space around it.
    #[error("not exactly one PEM block of type CERTIFICATE")]
    NotOneBlock,
    /// Between BEGIN and END stands something that is not base64: header lines, or a text encoded twice.
    #[error("the PEM block holds something that is not base64")]
    NotBase64,
    /// The base64 is not whole.
    #[error("the base64 of the PEM block can't be decoded")]
    Base64(#[source] ::pem::PemError),
}

/// The DER bytes of the certificate in `encoded`.
pub(super) fn decode(encoded: &str) -> Result<Vec<u8>, PemError> {
    if encoded.len() > MAX_LENGTH {
        return Err(PemError::TooLong(encoded.len()));
    }
    let text = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_not_utf8| PemError::NotOneBlock)?;
    let block = text.trim_ascii();
    let body = block
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END))
        .ok_or(PemError::NotOneBlock)?;
    // A second block would bring dashes.
    if body.contains('-') {
        return Err(PemError::NotOneBlock);
    }
    if !body.bytes().all(is_base64_or_space) {
        return Err(PemError::NotBase64);
    }
    ::pem::parse(block)
        .map(::pem::Pem::into_contents)
        .map_err(PemError::Base64)
}

const fn is_base64_or_space(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'+' | b'/' | b'=' | b'\n' | b'\r' | b' ' | b'\t')
}

const MAX_LENGTH: usize = 16 * 1024;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
