//! The keys of an app, read once at start and whenever they are replaced.

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use k256::ecdsa::signature::{Signer, Verifier};
use p256::{elliptic_curve::sec1::ToSec1Point, pkcs8::DecodePublicKey};

use crate::config::{AppConfig, ConfigError};

/// Version 1 keys of one app, and version 2 secrets: enough to replace one while the old one is still in the field. What a
/// refused ticket costs grows with them.
pub const KEYS_PER_APP_MAX: usize = 4;

/// What verifies, and where it may, signs the tickets of one app.
///
/// The curve belongs to the key and not to the ticket: a ticket cannot choose how it is verified.
pub struct Keys {
    v1_public: Vec<PublicKey>,
    /// Signs version 1.
    v1_private: Option<PrivateKey>,
    /// The secret that signs version 2, and those before it that still verify.
    v2: Vec<hmac::Key>,
}

/// A version 1 key that verifies.
enum PublicKey {
    /// aws-lc verifies, in a quarter of the time that p256 needs.
    P256(UnparsedPublicKey<Vec<u8>>),
    /// The vendor's older apps. The `k256` crate is the faster one here: aws-lc has no code of its own for this curve.
    Secp256k1(k256::ecdsa::VerifyingKey),
}

/// A version 1 key that signs. Both crates sign deterministically (RFC 6979).
enum PrivateKey {
    P256(p256::ecdsa::SigningKey),
    Secp256k1(k256::ecdsa::SigningKey),
}

impl Keys {
    pub fn read(app: &AppConfig) -> Result<Keys, ConfigError> {
        let mut keys = Keys { v1_public: Vec::new(), v1_private: None, v2: Vec::new() };
        for (i, pem) in app.v1_keys_pem.iter().enumerate() {
            let read = read_pem(pem).ok_or(ConfigError::BadKey { app: app.sdk_app_id, index: i + 1 })?;
            keys.v1_public.push(read.0);
            keys.v1_private = keys.v1_private.or(read.1);
        }
        // The vendor's secret is 64 hex digits, used as 64 characters and not as 32 bytes.
        let secrets = app.v2_secret.iter().chain(&app.v2_secrets_before);
        keys.v2 = secrets.filter(|secret| !secret.is_empty()).map(|secret| v2_key(secret)).collect();
        if keys.v1_public.is_empty() && keys.v2.is_empty() {
            return Err(ConfigError::NoKey(app.sdk_app_id));
        }
        if keys.v1_public.len() > KEYS_PER_APP_MAX || keys.v2.len() > KEYS_PER_APP_MAX {
            return Err(ConfigError::TooManyKeys(app.sdk_app_id));
        }
        Ok(keys)
    }

    /// Whether `signature` (DER) of `signed` was made with one of the version 1 keys. High values of s are as good as low
    /// ones: OpenSSL makes them, and a ticket's signature is never used as an identifier.
    pub fn verify_v1(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.v1_public.iter().any(|key| match key {
            PublicKey::P256(key) => key.verify(signed, signature).is_ok(),
            PublicKey::Secp256k1(key) => k256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(signed, &signature.normalize_s()).is_ok()),
        })
    }

    /// Signs a version 1 text with the first private key; `None` if the app has none. DER.
    pub fn sign_v1(&self, text: &[u8]) -> Option<Vec<u8>> {
        Some(match self.v1_private.as_ref()? {
            PrivateKey::P256(key) => Signer::<p256::ecdsa::DerSignature>::sign(key, text).as_bytes().to_vec(),
            PrivateKey::Secp256k1(key) => Signer::<k256::ecdsa::DerSignature>::sign(key, text).as_bytes().to_vec(),
        })
    }

    /// Whether there is a key that signs version 1.
    pub fn signs_v1(&self) -> bool {
        self.v1_private.is_some()
    }

    /// Whether `mac` is that of `signed`. Takes the same time wherever they differ.
    pub fn verify_v2(&self, signed: &[u8], mac: &[u8]) -> bool {
        self.v2.iter().any(|key| hmac::verify(key, signed, mac).is_ok())
    }
}

/// The key of version 2 tickets from its text.
pub fn v2_key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// Reads one key of either curve: PKCS#8 or SEC 1 (private), SPKI (public). The curve is what the PEM says, and
/// P-256 where a SEC 1 key says none.
fn read_pem(text: &str) -> Option<(PublicKey, Option<PrivateKey>)> {
    let pem = key_block(text);
    if let Ok(key) = p256::SecretKey::from_pem(pem) {
        return Some((p256_public(&key.public_key()), Some(PrivateKey::P256(key.into()))));
    }
    if let Ok(key) = k256::SecretKey::from_pem(pem) {
        let key = k256::ecdsa::SigningKey::from(key);
        return Some((PublicKey::Secp256k1(*key.verifying_key()), Some(PrivateKey::Secp256k1(key))));
    }
    if let Ok(key) = p256::PublicKey::from_public_key_pem(pem) {
        return Some((p256_public(&key), None));
    }
    let key = k256::PublicKey::from_public_key_pem(pem).ok()?;
    Some((PublicKey::Secp256k1(key.into()), None))
}

fn p256_public(key: &p256::PublicKey) -> PublicKey {
    PublicKey::P256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.to_sec1_point(false).as_bytes().to_vec()))
}

/// The block of the PEM text that holds the key: `openssl ecparam -genkey`, by which the vendor's documents make keys,
/// writes one with the curve's parameters before it.
fn key_block(text: &str) -> &str {
    const PARAMETERS_END: &str = "-----END EC PARAMETERS-----";
    text.split_once(PARAMETERS_END).map_or(text, |(_, key)| key).trim()
}
