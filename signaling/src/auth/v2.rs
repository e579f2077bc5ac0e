//! Version 2 tickets: HMAC-SHA256. The lines are named and ordered otherwise than in version 1, and numbers are numbers.

use super::{
    envelope::{Envelope, base64},
    key::Keys,
    v1::{Claims, Unverified, sha256},
};
use crate::name::is_user_id;

/// The value of `TLS.ver` by which a version 2 ticket is known.
pub const VERSION: &str = "2.0";

/// Verifies a version 2 ticket and reads it.
pub fn verify(envelope: &Envelope, keys: &Keys) -> Result<Claims, Unverified> {
    let (claims, signed) = read(envelope).ok_or(Unverified::Malformed)?;
    let mac = envelope.text("TLS.sig").and_then(base64).ok_or(Unverified::Malformed)?;
    match keys.verify_v2(signed.as_bytes(), &mac) {
        true => Ok(claims),
        false => Err(Unverified::Signature),
    }
}

/// The text that is signed.
///
/// `userbuf` is standard base64, present in a privateMapKey only.
pub fn signed_text(identifier: &str, sdk_app_id: u32, time_s: u64, expire_s: u64, userbuf: Option<&str>) -> String {
    let mut text =
        format!("TLS.identifier:{identifier}\nTLS.sdkappid:{sdk_app_id}\nTLS.time:{time_s}\nTLS.expire:{expire_s}\n");
    if let Some(userbuf) = userbuf {
        text.extend(["TLS.userbuf:", userbuf, "\n"]);
    }
    text
}

fn read(envelope: &Envelope) -> Option<(Claims, String)> {
    let identifier = envelope.text("TLS.identifier").filter(|id| is_user_id(id))?;
    let sdk_app_id = u32::try_from(envelope.number("TLS.sdkappid")?).ok()?;
    let issued_at_s = envelope.number("TLS.time")?;
    let life_s = envelope.number("TLS.expire")?;
    // A userbuf that is there but is not text must not pass for absent.
    let userbuf = match envelope.has("TLS.userbuf") {
        true => Some(envelope.text("TLS.userbuf")?),
        false => None,
    };
    let signed = signed_text(identifier, sdk_app_id, issued_at_s, life_s, userbuf);
    let userbuf = match userbuf {
        Some(text) => Some(base64(text)?),
        None => None,
    };
    let digest = sha256(&signed);
    Some((
        Claims { identifier: identifier.to_owned(), sdk_app_id, issued_at_s, life_s, userbuf, signed: digest },
        signed,
    ))
}
