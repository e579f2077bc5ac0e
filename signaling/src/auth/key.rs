//! The keys of an app, read once at start.

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use p256::{PublicKey, SecretKey, ecdsa::SigningKey, elliptic_curve::sec1::ToSec1Point, pkcs8::DecodePublicKey};

use crate::config::{AppConfig, ConfigError};

/// What verifies, and where it may, signs the tickets of one app.
///
/// The curve belongs to the key and not to the ticket: a ticket cannot choose how it is verified.
pub struct Keys {
    /// Uncompressed points of the version 1 keys. aws-lc verifies, in a quarter of the time that p256 needs.
    v1_public: Vec<UnparsedPublicKey<Vec<u8>>>,
    /// Signs version 1. p256 and not aws-lc, because its signatures are deterministic (RFC 6979).
    pub v1_private: Option<SigningKey>,
    pub v2: Option<hmac::Key>,
}

impl Keys {
    pub fn read(app: &AppConfig) -> Result<Keys, ConfigError> {
        let mut keys = Keys { v1_public: Vec::new(), v1_private: None, v2: None };
        for (i, pem) in app.v1_keys_pem.iter().enumerate() {
            let bad = ConfigError::BadKey { app: app.sdk_app_id, index: i + 1 };
            let public = match (SecretKey::from_pem(pem.trim()), PublicKey::from_public_key_pem(pem.trim())) {
                (Ok(private), _) => {
                    let public = private.public_key();
                    keys.v1_private.get_or_insert_with(|| private.into());
                    public
                }
                (Err(_), Ok(public)) => public,
                (Err(_), Err(_)) => return Err(bad),
            };
            let point = public.to_sec1_point(false).as_bytes().to_vec();
            keys.v1_public.push(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point));
        }
        // The vendor's secret is 64 hex digits, used as 64 characters and not as 32 bytes.
        keys.v2 = app.v2_secret.as_deref().filter(|s| !s.is_empty()).map(v2_key);
        if keys.v1_public.is_empty() && keys.v2.is_none() {
            return Err(ConfigError::NoKey(app.sdk_app_id));
        }
        Ok(keys)
    }

    /// Whether `signature` (DER) of `signed` was made with one of the version 1 keys. High values of s are as good as low
    /// ones: OpenSSL makes them, and a ticket's signature is never used as an identifier.
    pub fn verify_v1(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.v1_public.iter().any(|key| key.verify(signed, signature).is_ok())
    }

    /// Whether `mac` is that of `signed`. Takes the same time wherever they differ.
    pub fn verify_v2(&self, signed: &[u8], mac: &[u8]) -> bool {
        self.v2.as_ref().is_some_and(|key| hmac::verify(key, signed, mac).is_ok())
    }
}

/// The key of version 2 tickets from its text.
pub fn v2_key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}
