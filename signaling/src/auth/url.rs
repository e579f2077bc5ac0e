//! Signed URLs: `txTime`, the expiry as upper-case hex of Unix seconds, and `txSecret`, the MD5 of key, stream and `txTime`.
//!
//! MD5 because that is what the pushing software of the field computes. Also here: reading a URL's query.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::authorise::UrlSignature;
use crate::code::Code;

/// Pairs that a query may have; more are not read.
const QUERY_PAIRS_MAX: usize = 32;
/// Bytes of a query. Two tickets at their limits fit.
pub const QUERY_BYTES_MAX: usize = 8 << 10;

/// Makes the `txSecret` of `stream` that ends at `expires_at_s` (Unix seconds).
pub fn tx_secret(key: &str, stream: &str, expires_at_s: u64) -> String {
    secret_for(key, stream, &tx_time(expires_at_s))
}

/// The expiry as URLs carry it.
pub fn tx_time(expires_at_s: u64) -> String {
    format!("{expires_at_s:X}")
}

/// Judges a signed URL. The secret is compared first and in constant time, so that only its maker learns of an expiry.
pub fn verify(key: &str, signature: &UrlSignature<'_>, now_s: u64) -> Result<(), Code> {
    let hex = |text: &str| !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex(signature.time) {
        return Err(Code::UrlSignatureInvalid);
    }
    let time = signature.time.to_ascii_uppercase();
    let expected = secret_for(key, signature.stream, &time);
    if !bool::from(expected.as_bytes().ct_eq(signature.secret.to_ascii_lowercase().as_bytes())) {
        return Err(Code::UrlSignatureInvalid);
    }
    match u64::from_str_radix(&time, 16) {
        Ok(expires_at_s) if expires_at_s >= now_s => Ok(()),
        Ok(_) => Err(Code::UrlSignatureExpired),
        Err(_) => Err(Code::UrlSignatureInvalid),
    }
}

fn secret_for(key: &str, stream: &str, time: &str) -> String {
    let digest = Md5::new().chain_update(key).chain_update(stream).chain_update(time).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The query of a URL, decoded. Names are matched without regard to case, because clients write `userSig`, `usersig` and
/// `UserSig`; of equal names the first counts.
#[derive(Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands behind the `?`. Too long a query is an empty one: it then lacks its ticket and is refused for that.
    pub fn parse(query: &str) -> Query {
        if query.len() > QUERY_BYTES_MAX {
            return Query::default();
        }
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(QUERY_PAIRS_MAX);
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (percent_decode(name).to_ascii_lowercase(), percent_decode(value))
                })
                .collect(),
        )
    }

    /// `name` in lower case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Decodes `%XX`. A `+` stays what it is: in a ticket's base64 it can only be a plus sign that somebody did not replace.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        let escaped = match (first, rest) {
            (b'%', [high, low, tail @ ..]) => hex_digit(*high).zip(hex_digit(*low)).map(|(h, l)| (h << 4 | l, tail)),
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((first, rest));
        out.push(byte);
        bytes = tail;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "pushkey";
    const STREAM: &str = "1400000001_10001_alice_main";
    const EXPIRES: u64 = 1_544_000_300;

    fn judge(stream: &str, secret: &str, time: &str, now_s: u64) -> Result<(), Code> {
        verify(KEY, &UrlSignature { stream, secret, time }, now_s)
    }

    #[test]
    fn the_secret_is_the_md5_of_key_stream_and_upper_case_hex_time() {
        assert_eq!(tx_time(EXPIRES), "5C07932C");
        // From `printf %s pushkey1400000001_10001_alice_main5C07932C | md5sum`.
        assert_eq!(tx_secret(KEY, STREAM, EXPIRES), "1f85be5fe2f099b63219a4b58ec01677");
    }

    #[test]
    fn a_signed_url_is_good_until_its_time_for_its_stream_only() {
        let secret = tx_secret(KEY, STREAM, EXPIRES);
        assert_eq!(judge(STREAM, &secret, "5C07932C", EXPIRES), Ok(()));
        assert_eq!(judge(STREAM, &secret, "5c07932c", EXPIRES), Ok(()), "txTime in lower case");
        assert_eq!(judge(STREAM, &secret, "5C07932C", EXPIRES + 1), Err(Code::UrlSignatureExpired));
        assert_eq!(judge(STREAM, &secret, "5C07932D", EXPIRES), Err(Code::UrlSignatureInvalid));
        assert_eq!(judge("1400000001_10002_alice_main", &secret, "5C07932C", 0), Err(Code::UrlSignatureInvalid));
        for (secret, time) in [("", "5C07932C"), (&secret[1..], "5C07932C"), (&secret, ""), (&secret, "+5C07932C")] {
            assert_eq!(judge(STREAM, secret, time, 0), Err(Code::UrlSignatureInvalid), "{secret} {time}");
        }
        let long = "F".repeat(17);
        assert_eq!(judge(STREAM, &tx_secret(KEY, STREAM, 1), &long, 0), Err(Code::UrlSignatureInvalid));
    }

    #[test]
    fn a_query_is_read_once_and_without_regard_to_case() {
        let query = Query::parse("userSig=a%2Ab-_&sdkappid=7&sdkappid=8&empty=&flag&bad=%zz%4");
        assert_eq!(query.value("usersig"), Some("a*b-_"));
        assert_eq!(query.value("sdkappid"), Some("7"));
        assert_eq!(query.value("empty"), None);
        assert_eq!(query.value("flag"), None);
        assert_eq!(query.value("bad"), Some("%zz%4"));
        assert_eq!(Query::parse("a=b+c").value("a"), Some("b+c"));
    }

    #[test]
    fn a_query_has_8_kib_and_32_pairs_at_most() {
        let at = format!("a={}", "x".repeat(QUERY_BYTES_MAX - 2));
        assert!(Query::parse(&at).value("a").is_some());
        assert!(Query::parse(&format!("{at}x")).value("a").is_none());
        let pairs = |n: usize| format!("{}last=1", "a=1&".repeat(n));
        assert!(Query::parse(&pairs(QUERY_PAIRS_MAX - 1)).value("last").is_some());
        assert!(Query::parse(&pairs(QUERY_PAIRS_MAX)).value("last").is_none());
    }
}
