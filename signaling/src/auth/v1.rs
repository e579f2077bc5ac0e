//! Version 1 tickets: ECDSA over SHA-256, DER, on the curve of the app's key.
//!
//! The signed text is lines of `name:value`. Generators differ in what they write into `appid_at_3rd`, `account_type` and
//! `version`, and whether they write the last at all; so the text is rebuilt from the values that the JSON carries, and
//! what is not in the JSON has no line.

use aws_lc_rs::digest;

use super::{
    envelope::{Envelope, base64},
    key::Keys,
};
use crate::name::{is_user_id, strict_decimal};

/// What a ticket of either version says, after its signature was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub identifier: String,
    pub sdk_app_id: u32,
    /// Unix seconds.
    pub issued_at_s: u64,
    pub life_s: u64,
    /// Present in a privateMapKey and in nothing else.
    pub userbuf: Option<Vec<u8>>,
    /// SHA-256 of the text that is signed: which ticket this is, whoever's signature it carries.
    pub signed: [u8; 32],
}

impl Claims {
    /// The last second in which the ticket is good, in Unix time.
    pub fn ends_at_s(&self) -> u64 {
        self.issued_at_s.saturating_add(self.life_s)
    }
}

/// Why a ticket has no claims. Told apart for tests only; the caller makes one code of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// Not a ticket of this version.
    Malformed,
    /// The signature is not that of the text under any of the app's keys.
    Signature,
}

/// Verifies a version 1 ticket and reads it.
pub fn verify(envelope: &Envelope, keys: &Keys) -> Result<Claims, Unverified> {
    let signed = SignedText::from_envelope(envelope).ok_or(Unverified::Malformed)?;
    let signature = envelope.text("TLS.sig").and_then(base64).ok_or(Unverified::Malformed)?;
    let claims = signed.claims().ok_or(Unverified::Malformed)?;
    if !keys.verify_v1(signed.text().as_bytes(), &signature) {
        return Err(Unverified::Signature);
    }
    Ok(claims)
}

/// The values that version 1 signs, as the texts that the JSON carries.
#[derive(Clone, Debug)]
pub struct SignedText<'a> {
    pub appid_at_3rd: Option<&'a str>,
    pub account_type: &'a str,
    pub identifier: &'a str,
    pub sdk_appid: &'a str,
    pub time: &'a str,
    pub expire_after: &'a str,
    /// Standard base64.
    pub userbuf: Option<&'a str>,
}

impl<'a> SignedText<'a> {
    fn from_envelope(envelope: &'a Envelope) -> Option<SignedText<'a>> {
        // A field that is there but is not text would be left out of the signed text: it must not pass for absent.
        let optional = |name: &str| match envelope.has(name) {
            true => envelope.text(name).map(Some),
            false => Some(None),
        };
        let appid_at_3rd = optional("TLS.appid_at_3rd")?;
        let userbuf = optional("TLS.userbuf")?;
        if userbuf.is_some() && appid_at_3rd.is_none() {
            return None;
        }
        Some(SignedText {
            appid_at_3rd,
            account_type: envelope.text("TLS.account_type")?,
            identifier: envelope.text("TLS.identifier")?,
            sdk_appid: envelope.text("TLS.sdk_appid")?,
            time: envelope.text("TLS.time")?,
            expire_after: envelope.text("TLS.expire_after")?,
            userbuf,
        })
    }

    /// The text that is signed.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(256);
        let lines = [
            ("appid_at_3rd", self.appid_at_3rd),
            ("account_type", Some(self.account_type)),
            ("identifier", Some(self.identifier)),
            ("sdk_appid", Some(self.sdk_appid)),
            ("time", Some(self.time)),
            ("expire_after", Some(self.expire_after)),
            ("userbuf", self.userbuf),
        ];
        for (name, value) in lines {
            if let Some(value) = value {
                text.extend(["TLS.", name, ":", value, "\n"]);
            }
        }
        text
    }

    /// The claims, if every value is one: no line break hides in any of them.
    fn claims(&self) -> Option<Claims> {
        let free = [self.appid_at_3rd.unwrap_or_default(), self.account_type];
        if !is_user_id(self.identifier) || free.into_iter().any(crate::name::has_control) {
            return None;
        }
        Some(Claims {
            identifier: self.identifier.to_owned(),
            sdk_app_id: u32::try_from(strict_decimal(self.sdk_appid)?).ok()?,
            issued_at_s: strict_decimal(self.time)?,
            life_s: strict_decimal(self.expire_after)?,
            userbuf: self.userbuf.map(base64).map_or(Some(None), |bytes| bytes.map(Some))?,
            signed: sha256(&self.text()),
        })
    }
}

/// The digest that names a ticket.
pub(super) fn sha256(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    out
}
