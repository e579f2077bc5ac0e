//! The certificate that we show in DTLS, and the fingerprints that bind a peer's certificate to its SDP (RFC 8122).

use std::{fmt, str::FromStr, sync::Arc};

use aws_lc_rs::digest;
use rtc_dtls::{
    crypto::Certificate,
    crypto_provider::{RTCCryptoProvider, default_provider},
};

/// A self-made ECDSA P-256 certificate with its private key. One per process, shared by every transport.
pub struct DtlsIdentity {
    certificate: Certificate,
    fingerprint: Fingerprint,
    provider: Arc<dyn RTCCryptoProvider>,
}

/// A certificate could not be made: the cryptographic library refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a DTLS certificate: {0}")]
pub struct IdentityError(String);

impl DtlsIdentity {
    /// Makes a new key and certificate.
    pub fn generate() -> Result<Self, IdentityError> {
        let provider = default_provider().map_err(|e| IdentityError(e.to_string()))?;
        // The name is never checked: peers know us by the fingerprint.
        let certificate = Certificate::generate_self_signed(vec!["roomcast".to_owned()], provider.crypto())
            .map_err(|e| IdentityError(e.to_string()))?;
        let der = certificate.certificate.first().ok_or_else(|| IdentityError("no certificate was made".into()))?;
        let fingerprint = Fingerprint::of(FingerprintAlgorithm::Sha256, der.as_ref());
        Ok(DtlsIdentity { certificate, fingerprint, provider })
    }

    /// The SHA-256 fingerprint, to be put into SDP as `a=fingerprint:{}`.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(super) fn provider(&self) -> &Arc<dyn RTCCryptoProvider> {
        &self.provider
    }
}

impl fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsIdentity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// The hash functions that SDP fingerprints use (RFC 8122 §5). MD2 and MD5 are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FingerprintAlgorithm {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl FingerprintAlgorithm {
    const ALL: [FingerprintAlgorithm; 5] = [
        FingerprintAlgorithm::Sha1,
        FingerprintAlgorithm::Sha224,
        FingerprintAlgorithm::Sha256,
        FingerprintAlgorithm::Sha384,
        FingerprintAlgorithm::Sha512,
    ];

    /// The token in SDP.
    pub fn as_str(self) -> &'static str {
        match self {
            FingerprintAlgorithm::Sha1 => "sha-1",
            FingerprintAlgorithm::Sha224 => "sha-224",
            FingerprintAlgorithm::Sha256 => "sha-256",
            FingerprintAlgorithm::Sha384 => "sha-384",
            FingerprintAlgorithm::Sha512 => "sha-512",
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            FingerprintAlgorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            FingerprintAlgorithm::Sha224 => &digest::SHA224,
            FingerprintAlgorithm::Sha256 => &digest::SHA256,
            FingerprintAlgorithm::Sha384 => &digest::SHA384,
            FingerprintAlgorithm::Sha512 => &digest::SHA512,
        }
    }
}

/// The hash of a certificate, as SDP carries it. Reads and shows itself as `sha-256 AA:BB:…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    pub algorithm: FingerprintAlgorithm,
    /// As many bytes as the algorithm gives.
    pub bytes: Vec<u8>,
}

impl Fingerprint {
    /// The fingerprint of a DER-encoded certificate.
    pub fn of(algorithm: FingerprintAlgorithm, der: &[u8]) -> Self {
        Fingerprint { algorithm, bytes: digest::digest(algorithm.digest(), der).as_ref().to_vec() }
    }

    /// Whether this is the fingerprint of the DER-encoded certificate `der`.
    pub fn matches(&self, der: &[u8]) -> bool {
        digest::digest(self.algorithm.digest(), der).as_ref() == self.bytes
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.as_str())?;
        for (i, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of an `a=fingerprint` line cannot be used: an unknown hash function, or not as many bytes as it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate fingerprint that can be checked")]
pub struct BadFingerprint;

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    /// Reads the value of `a=fingerprint` (RFC 8122 §5); letters may be of either case.
    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let (name, hex) = text.trim().split_once(' ').ok_or(BadFingerprint)?;
        let algorithm = FingerprintAlgorithm::ALL
            .into_iter()
            .find(|a| a.as_str().eq_ignore_ascii_case(name))
            .ok_or(BadFingerprint)?;
        let bytes = hex.trim().split(':').map(hex_byte).collect::<Option<Vec<u8>>>().ok_or(BadFingerprint)?;
        if bytes.len() != algorithm.digest().output_len() {
            return Err(BadFingerprint);
        }
        Ok(Fingerprint { algorithm, bytes })
    }
}

fn hex_byte(pair: &str) -> Option<u8> {
    // `from_str_radix` alone would take "+A" for a byte.
    (pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u8::from_str_radix(pair, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_reads_back_what_it_shows() {
        for algorithm in FingerprintAlgorithm::ALL {
            let fingerprint = Fingerprint::of(algorithm, b"certificate");
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            assert_eq!(fingerprint.to_string().to_ascii_lowercase().parse(), Ok(fingerprint.clone()));
            assert!(fingerprint.matches(b"certificate") && !fingerprint.matches(b"certificatf"));
        }
    }

    #[test]
    fn unusable_fingerprints_are_refused() {
        let short = "sha-256 AA:BB";
        let odd = "sha-1 A:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA";
        let sign = "sha-1 +A:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA";
        for text in ["", "sha-256", short, odd, sign, "md5 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF", "x Ü"] {
            assert_eq!(text.parse::<Fingerprint>(), Err(BadFingerprint), "{text}");
        }
    }

    #[test]
    fn an_identity_is_new_each_time_and_hides_its_key() {
        let (a, b) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert!(a.fingerprint().to_string().starts_with("sha-256 "));
        assert!(format!("{a:?}").len() < 160);
    }
}
