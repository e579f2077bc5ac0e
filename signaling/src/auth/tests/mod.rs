//! Tests of tickets: what they share.
//!
//! The vectors come from keys of our own and were checked against OpenSSL and against tokens of the vendor's generators.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::{
    SecretKey,
    ecdsa::{DerSignature, SigningKey, signature::Signer},
    elliptic_curve::sec1::ToSec1Point,
    pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding},
};
use serde_json::json;

mod accepted;
mod curves;
mod refused;
mod table;
mod wild;

use super::{
    authorise::{Authority, Credential, Presented, Privilege, Purpose},
    envelope::{Envelope, base64},
    issue::{IssueError, TicketVersion, issue_private_map_key, issue_user_sig},
    userbuf::Userbuf,
    v1, v2,
};
use crate::{
    code::Code,
    config::{AppConfig, ConfigError, PrivateMapKeyPolicy, SignalingConfig},
    name::RoomName,
};

/// Version 1 userSig: alice, 1400000001, 1544000000, 300 s.
const V1_USER_SIG: &str = concat!(
    "eNpNjstugzAQRf-F66q1sUlopS7yoA0kqEIlVGRjWeCQaWJwjPsi6r*XECJ1lufMvTMnlKxeb0We1x*V5fZHS-SAMLrpMRSysrAF",
    "aTooDpDLQQitoeDCcmqKf-tNsee96hhh*DJkkPJbg5FcbG1fR-E19SlNA3XVMQcTlzi0jw3Sgjp-RFw29F1PQdnhyF-Pgnge78fL",
    "US4U9RYYtzj09eK4Y*n71Jvep2ST0fguTNxJplZlUAb*22zOWnVsRtnYTpJ2vTmw9CWOjKOedOKRXbg09XNk3K9H9PsHGi1VDA__",
);

/// Version 1 privateMapKey of the same, room 10001, privilege 255. Its s is high.
const V1_PRIVATE_MAP_KEY: &str = concat!(
    "eNpNj11PgzAUhv8L10YosCkmu*i*wtwWxQETb0jXFuxgUNsiEON-tyJLPFfnPO95z8eXEe4OtwjjuqlUqnpOjQfDMm4GzAitFMsY",
    "FRqikmE6CohzRlKkUkeQf-2SFOkgaQZc6y-AKNKOM0FTlKlhnGNdXY2k4tRkmkEI18mx44kdh7hw57quVnHrF32r06UJh5jNRuMn",
    "FZLVlTbaFpgA2xn2jaJil99XwMQdD7neyHKN96tksQmW0YUKr3x8*xBIvuzNPM*ew8AO7pIjklMvw3PA423r7cpFu3mHT1tZmpHM",
    "1bR7rclaEaevm3Nzgqwtosg6l5F93-jYDw*O8f0DNNlpEw__",
);

/// Version 2 userSig of the same.
const V2_USER_SIG: &str = concat!(
    "eNqrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwok5mcmpUInilOzEgoLMFCUrQxMDCDCEyKRWFGQWpSpZGRsYQARKMnOBXENT",
    "E6hCqAGZ6UAjyz20oyojQ8v9TUKDzfN99L3NwopCUnPyo7KizF2dk8sMfcNDAyL98wuCXW2VagFCdzAm",
);

const APP: u32 = 1_400_000_001;
const NOW: u64 = 1_544_000_000;
const LIFE: u64 = 300;
/// The key of the version 2 vectors, used as 64 characters.
const V2_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The private key of the version 1 vectors: SHA-256 of this text, mod n − 1, plus 1. (The hash is below n − 1.)
pub(crate) fn vector_key() -> SecretKey {
    secret_key("tencent-protocols test vector key v1")
}

pub(crate) fn secret_key(text: &str) -> SecretKey {
    let mut scalar = digest(&SHA256, text.as_bytes()).as_ref().to_vec();
    for byte in scalar.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    SecretKey::from_slice(&scalar).unwrap()
}

/// A secp256k1 key, as the vendor's older apps have.
fn k1_key(text: &str) -> k256::SecretKey {
    k256::SecretKey::from_slice(&secret_key(text).to_bytes()).unwrap()
}

fn k1_pem(key: &k256::SecretKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

pub(crate) fn pem(key: &SecretKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

fn app() -> AppConfig {
    AppConfig {
        sdk_app_id: APP,
        v1_keys_pem: vec![pem(&vector_key())],
        v2_secret: Some(V2_SECRET.into()),
        ..AppConfig::default()
    }
}

fn authority(app: AppConfig) -> Authority {
    Authority::new(&SignalingConfig { apps: vec![app], ..SignalingConfig::default() }).unwrap()
}

fn number(n: u32) -> RoomName {
    RoomName::Number(n)
}

/// Judges a userSig alone.
fn judge(ticket: &str, user: &str, now_s: u64) -> Result<Privilege, Code> {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| authority(app()));
    judge_both(&AUTHORITY, ticket, None, user, &number(10001), now_s)
}

fn judge_both(
    authority: &Authority,
    user_sig: &str,
    private_map_key: Option<&str>,
    user: &str,
    room: &RoomName,
    now_s: u64,
) -> Result<Privilege, Code> {
    let shown = Presented {
        sdk_app_id: Some(APP),
        user,
        room,
        credential: Credential::Ticket { user_sig, private_map_key },
        purpose: Purpose::Member,
    };
    authority.authorise(now_s, &shown, Privilege::JOIN).map(|grant| grant.privilege)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256_hex(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

fn v1_text(userbuf: Option<&str>) -> String {
    v1::SignedText {
        appid_at_3rd: Some("0"),
        account_type: "0",
        identifier: "alice",
        sdk_appid: "1400000001",
        time: "1544000000",
        expire_after: "300",
        userbuf,
    }
    .text()
}

fn userbuf(room: RoomName) -> Vec<u8> {
    let expires_at_s = (NOW + LIFE) as u32;
    Userbuf { account: "alice".into(), sdk_app_id: APP, room, expires_at_s, privilege: 255, account_type: 0 }.write()
}

fn sign_v1(text: &str) -> Vec<u8> {
    let signature: DerSignature = SigningKey::from(vector_key()).sign(text.as_bytes());
    signature.as_bytes().to_vec()
}

/// A version 1 ticket as some generator makes it: these JSON values, signed over these lines.
fn generated(values: serde_json::Value, lines: &str) -> String {
    let mut values = values;
    values["TLS.sig"] = STANDARD.encode(sign_v1(lines)).into();
    Envelope::seal(values.to_string().as_bytes())
}

fn inflated(ticket: &str) -> Vec<u8> {
    let text: String = ticket
        .chars()
        .map(|c| match c {
            '*' => '+',
            '-' => '/',
            '_' => '=',
            c => c,
        })
        .collect();
    let mut out = Vec::with_capacity(4096);
    let mut zlib = flate2::Decompress::new(true);
    zlib.decompress_vec(&base64(&text).unwrap(), &mut out, flate2::FlushDecompress::Finish).unwrap();
    out
}

/// Replaces the signature of the version 1 vector.
fn with_signature(der: &[u8]) -> String {
    let mut json: serde_json::Value = serde_json::from_slice(&inflated(V1_USER_SIG)).unwrap();
    json["TLS.sig"] = STANDARD.encode(der).into();
    Envelope::seal(json.to_string().as_bytes())
}
