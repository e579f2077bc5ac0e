//! Vectors of the ticket formats, the habits of the generators in the field, and what must be refused.
//!
//! The vectors come from keys of our own and were checked against OpenSSL and against tokens of the vendor's generators.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::{
    SecretKey,
    ecdsa::{DerSignature, SigningKey, signature::Signer},
    elliptic_curve::sec1::ToSec1Point,
    pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding},
};
use serde_json::json;

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
    judge_both(&authority(app()), ticket, None, user, &number(10001), now_s)
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

#[test]
fn the_vector_key_is_the_one_of_the_vectors() {
    let point = vector_key().public_key().to_sec1_point(false);
    assert_eq!(
        hex(point.as_bytes()),
        "049b8883e4c5bf8d1f9c6296b6bbe883b698804c865a270f604dbc31a304b96864\
         2154e5571e5b57dd530ff91b080a797265f04769fa5fcc8cfeb01bdfe6541cf6"
    );
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

#[test]
fn v1_user_sig_is_the_vector() {
    let text = v1_text(None);
    assert_eq!(sha256_hex(&text), "ebffa63b2ff5522d0c895b88406513032fbc895fd9d7ebbcbbe9615d0f74f665");
    assert_eq!(
        hex(&sign_v1(&text)),
        "3045022100d093b2ba71a9b7f07d34cf4244a47aa1e158c1f01f55d5963743f253e406262e\
         02202045820f8ce6aace98eed013cd4665e1539032bda61694fcd6124aae818caf9c"
    );
    let vector = Envelope::open(V1_USER_SIG).unwrap();
    let ours = issue_user_sig(&app(), TicketVersion::V1, "alice", NOW, LIFE).unwrap();
    assert_eq!(Envelope::open(&ours), Some(vector), "the same JSON, down to the signature");
    assert_eq!(judge(V1_USER_SIG, "alice", NOW), Ok(Privilege::ALL));
}

#[test]
fn v1_private_map_key_is_the_vector_with_its_high_s() {
    let bytes = userbuf(number(10001));
    assert_eq!(hex(&bytes), "000005616c69636553724e01000027115c07932c000000ff00000000");
    let text = v1_text(Some("AAAFYWxpY2VTck4BAAAnEVwHkywAAAD/AAAAAA=="));
    assert_eq!(sha256_hex(&text), "e95f71e20d9f719dee75992d8cbde09bda33fca475cbd6951ee3e72097466080");
    assert_eq!(
        hex(&sign_v1(&text)),
        "3046022100d499eafd94966aadab1133f8207cf4d0d90ed859ab3af5f701d6954ac3d2e50b\
         022100e2ac97f52c82deb15e8745b5ddf2a2e8ee6c08b09145348e5536f2e1dc1d34b7"
    );
    let ours =
        issue_private_map_key(&app(), TicketVersion::V1, "alice", &number(10001), Privilege::ALL, NOW, LIFE).unwrap();
    assert_eq!(Envelope::open(&ours), Envelope::open(V1_PRIVATE_MAP_KEY));
    let authority = authority(app());
    let judge = |room: u32| judge_both(&authority, V1_USER_SIG, Some(V1_PRIVATE_MAP_KEY), "alice", &number(room), NOW);
    assert_eq!(judge(10001), Ok(Privilege::ALL));
    assert_eq!(judge(10002), Err(Code::PrivateMapKeyInvalid));
}

#[test]
fn v2_macs_are_the_vectors() {
    let key = super::key::v2_key(V2_SECRET);
    let text_room = RoomName::Text("room-A".into());
    assert_eq!(
        hex(&userbuf(text_room.clone())),
        "010005616c69636553724e01000000005c07932c000000ff000000000006726f6f6d2d41"
    );
    for (userbuf, mac) in [
        (None, "c07f99c985303b8512ee82ff2ba56b4de96866367b10272fd4c5943d83a8a521"),
        (Some(userbuf(number(10001))), "d8aa1763c5ee91baa19078445381881772a7b92e763fc4e213fca1e63420900f"),
        (Some(userbuf(text_room.clone())), "bed1b051b3428d8f8ded1bcc8553bf5ca42116425325005919638183b523b219"),
    ] {
        let userbuf = userbuf.map(|bytes| STANDARD.encode(bytes));
        let text = v2::signed_text("alice", APP, NOW, LIFE, userbuf.as_deref());
        assert_eq!(hex(aws_lc_rs::hmac::sign(&key, text.as_bytes()).as_ref()), mac);
    }
    let ours = issue_user_sig(&app(), TicketVersion::V2, "alice", NOW, LIFE).unwrap();
    assert_eq!(Envelope::open(&ours), Envelope::open(V2_USER_SIG));
    assert_eq!(judge(V2_USER_SIG, "alice", NOW), Ok(Privilege::ALL));
    for room in [number(10001), text_room] {
        let key = issue_private_map_key(&app(), TicketVersion::V2, "alice", &room, Privilege(42), NOW, LIFE).unwrap();
        let judged = judge_both(&authority(app()), V2_USER_SIG, Some(&key), "alice", &room, NOW);
        assert_eq!(judged, Ok(Privilege(42)), "{room}");
    }
}

/// A version 1 ticket as some generator makes it: these JSON values, signed over these lines.
fn generated(values: serde_json::Value, lines: &str) -> String {
    let mut values = values;
    values["TLS.sig"] = STANDARD.encode(sign_v1(lines)).into();
    Envelope::seal(values.to_string().as_bytes())
}

#[test]
fn tickets_of_every_generator_in_the_field_are_accepted() {
    let month = 30 * 24 * 3600;
    // appid_at_3rd is the real app, and there is no version.
    let real_app = generated(
        json!({
            "TLS.appid_at_3rd": "1400000001", "TLS.account_type": "14418", "TLS.identifier": "alice",
            "TLS.sdk_appid": "1400000001", "TLS.time": "1544000000", "TLS.expire_after": "2592000",
        }),
        "TLS.appid_at_3rd:1400000001\nTLS.account_type:14418\nTLS.identifier:alice\nTLS.sdk_appid:1400000001\n\
         TLS.time:1544000000\nTLS.expire_after:2592000\n",
    );
    assert_eq!(judge(&real_app, "alice", NOW + month), Ok(Privilege::ALL));
    assert_eq!(judge(&real_app, "alice", NOW + month + 1), Err(Code::UserSigExpired));
    // appid_at_3rd is empty text, which has a line of its own.
    let empty = generated(
        json!({
            "TLS.appid_at_3rd": "", "TLS.account_type": "0", "TLS.identifier": "alice", "TLS.version": "20151204",
            "TLS.sdk_appid": "1400000001", "TLS.time": "1544000000", "TLS.expire_after": "300",
        }),
        "TLS.appid_at_3rd:\nTLS.account_type:0\nTLS.identifier:alice\nTLS.sdk_appid:1400000001\n\
         TLS.time:1544000000\nTLS.expire_after:300\n",
    );
    assert_eq!(judge(&empty, "alice", NOW), Ok(Privilege::ALL));
    // appid_at_3rd is not there at all, and neither is its line.
    let absent = generated(
        json!({
            "TLS.account_type": "0", "TLS.identifier": "alice", "TLS.version": "201803230000",
            "TLS.sdk_appid": "1400000001", "TLS.time": "1544000000", "TLS.expire_after": "300",
        }),
        "TLS.account_type:0\nTLS.identifier:alice\nTLS.sdk_appid:1400000001\nTLS.time:1544000000\n\
         TLS.expire_after:300\n",
    );
    assert_eq!(judge(&absent, "alice", NOW), Ok(Privilege::ALL));
    // Base64 in lines of 76, as OpenSSL's command line and old PHP write it.
    let lines: String =
        V1_USER_SIG.as_bytes().chunks(76).map(|c| format!("{}\r\n", str::from_utf8(c).unwrap())).collect();
    assert_eq!(judge(&lines, "alice", NOW), Ok(Privilege::ALL));
    // Version 2 in JSON with spaces and a line break at the end, not compressed (zlib level 0).
    let json = serde_json::to_string_pretty(&json!({
        "TLS.ver": "2.0", "TLS.identifier": "alice", "TLS.sdkappid": APP, "TLS.expire": LIFE, "TLS.time": NOW,
        "TLS.sig": STANDARD.encode(
            aws_lc_rs::hmac::sign(
                &super::key::v2_key(V2_SECRET),
                v2::signed_text("alice", APP, NOW, LIFE, None).as_bytes()
            )
            .as_ref()
        ),
    }));
    assert_eq!(judge(&Envelope::seal(format!("{}\n", json.unwrap()).as_bytes()), "alice", NOW), Ok(Privilege::ALL));
}

#[test]
fn a_private_map_key_without_appid_at_3rd_is_refused() {
    let bytes = STANDARD.encode(userbuf(number(10001)));
    let lines = v1_text(Some(&bytes)).replace("TLS.appid_at_3rd:0\n", "");
    let key = generated(
        json!({
            "TLS.account_type": "0", "TLS.identifier": "alice", "TLS.sdk_appid": "1400000001",
            "TLS.time": "1544000000", "TLS.expire_after": "300", "TLS.userbuf": bytes,
        }),
        &lines,
    );
    let judged = judge_both(&authority(app()), V1_USER_SIG, Some(&key), "alice", &number(10001), NOW);
    assert_eq!(judged, Err(Code::PrivateMapKeyInvalid));
}

#[test]
fn a_signature_made_by_another_key_or_for_another_user_or_app_is_refused_in_one_code() {
    let other =
        AppConfig { v1_keys_pem: vec![pem(&secret_key("another"))], v2_secret: Some("another".into()), ..app() };
    let foreign = AppConfig { sdk_app_id: APP + 1, ..app() };
    for version in [TicketVersion::V1, TicketVersion::V2] {
        let issue = |app: &AppConfig, user: &str| issue_user_sig(app, version, user, NOW, LIFE).unwrap();
        assert_eq!(judge(&issue(&app(), "alice"), "alice", NOW), Ok(Privilege::ALL));
        assert_eq!(judge(&issue(&other, "alice"), "alice", NOW), Err(Code::UserSigInvalid), "other key");
        assert_eq!(judge(&issue(&foreign, "alice"), "alice", NOW), Err(Code::UserSigInvalid), "foreign app");
        assert_eq!(judge(&issue(&app(), "bob"), "alice", NOW), Err(Code::UserSigInvalid), "other user");
        // A forger who sends an expired ticket learns no more than one who sends a fresh one.
        assert_eq!(judge(&issue(&other, "alice"), "alice", NOW + LIFE + 1), Err(Code::UserSigInvalid));
    }
}

#[test]
fn a_ticket_lives_from_a_minute_before_its_time_to_its_expiry() {
    for version in [TicketVersion::V1, TicketVersion::V2] {
        let ticket = issue_user_sig(&app(), version, "alice", NOW, LIFE).unwrap();
        assert_eq!(judge(&ticket, "alice", NOW - 60), Ok(Privilege::ALL));
        assert_eq!(judge(&ticket, "alice", NOW - 61), Err(Code::UserSigInvalid));
        assert_eq!(judge(&ticket, "alice", NOW + LIFE), Ok(Privilege::ALL));
        assert_eq!(judge(&ticket, "alice", NOW + LIFE + 1), Err(Code::UserSigExpired));
        let life_max = SignalingConfig::default().limits.ticket_life_max.as_secs();
        let long = |life_s| issue_user_sig(&app(), version, "alice", NOW, life_s).unwrap();
        assert_eq!(judge(&long(life_max), "alice", NOW), Ok(Privilege::ALL));
        assert_eq!(judge(&long(life_max + 1), "alice", NOW), Err(Code::UserSigInvalid));
        assert_eq!(judge(&long(u64::MAX), "alice", NOW), Err(Code::UserSigInvalid));
    }
}

#[test]
fn the_two_kinds_of_ticket_do_not_pass_for_one_another() {
    for version in [TicketVersion::V1, TicketVersion::V2] {
        let sig = issue_user_sig(&app(), version, "alice", NOW, LIFE).unwrap();
        let key = issue_private_map_key(&app(), version, "alice", &number(10001), Privilege::ALL, NOW, LIFE).unwrap();
        let judge = |sig: &str, key: &str| judge_both(&authority(app()), sig, Some(key), "alice", &number(10001), NOW);
        assert_eq!(judge(&sig, &key), Ok(Privilege::ALL));
        assert_eq!(judge(&key, &key), Err(Code::UserSigInvalid));
        assert_eq!(judge(&sig, &sig), Err(Code::PrivateMapKeyInvalid));
    }
}

#[test]
fn every_field_of_a_private_map_key_is_compared() {
    let authority = authority(AppConfig { private_map_key: PrivateMapKeyPolicy::Required, ..app() });
    let good = Userbuf {
        account: "alice".into(),
        sdk_app_id: APP,
        room: number(10001),
        expires_at_s: (NOW + LIFE) as u32,
        privilege: 42,
        account_type: 0,
    };
    let judge = |userbuf: &Userbuf, now_s| {
        let text = STANDARD.encode(userbuf.write());
        let key = super::key::v2_key(V2_SECRET);
        // The envelope is good whatever the payload says.
        let mac = aws_lc_rs::hmac::sign(&key, v2::signed_text("alice", APP, NOW, LIFE, Some(&text)).as_bytes());
        let ticket = json!({
            "TLS.ver": "2.0", "TLS.identifier": "alice", "TLS.sdkappid": APP, "TLS.expire": LIFE, "TLS.time": NOW,
            "TLS.userbuf": text, "TLS.sig": STANDARD.encode(mac.as_ref()),
        });
        let ticket = Envelope::seal(ticket.to_string().as_bytes());
        judge_both(&authority, V2_USER_SIG, Some(&ticket), "alice", &number(10001), now_s)
    };
    assert_eq!(judge(&good, NOW), Ok(Privilege(42)));
    assert_eq!(judge(&Userbuf { account: "bob".into(), ..good.clone() }, NOW), Err(Code::PrivateMapKeyInvalid));
    assert_eq!(judge(&Userbuf { sdk_app_id: APP + 1, ..good.clone() }, NOW), Err(Code::PrivateMapKeyInvalid));
    assert_eq!(judge(&Userbuf { room: number(10002), ..good.clone() }, NOW), Err(Code::PrivateMapKeyInvalid));
    let text = RoomName::Text("room-A".into());
    assert_eq!(judge(&Userbuf { room: text, ..good.clone() }, NOW), Err(Code::PrivateMapKeyInvalid));
    let soon = Userbuf { expires_at_s: (NOW + 10) as u32, ..good.clone() };
    assert_eq!(judge(&soon, NOW + 10), Ok(Privilege(42)));
    assert_eq!(judge(&soon, NOW + 11), Err(Code::PrivateMapKeyExpired), "its own expiry, before the envelope's");
    assert_eq!(judge(&Userbuf { privilege: 0, ..good.clone() }, NOW), Err(Code::PrivilegeMissing));
    assert_eq!(judge(&Userbuf { privilege: 255 - 2, ..good }, NOW), Err(Code::PrivilegeMissing));
    let without = judge_both(&authority, V2_USER_SIG, None, "alice", &number(10001), NOW);
    assert_eq!(without, Err(Code::PrivateMapKeyMissing));
}

#[test]
fn a_changed_bit_in_what_is_signed_is_refused() {
    for ticket in [V1_USER_SIG, V2_USER_SIG] {
        let json = inflated(ticket);
        let original = Envelope::open(ticket).unwrap().0;
        for (at, bit) in (0..json.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = json.clone();
            changed[at] ^= 1 << bit;
            let changed = Envelope::seal(&changed);
            if judge(&changed, "alice", NOW).is_ok() {
                // Only the version of version 1 is not signed.
                let changed = Envelope::open(&changed).unwrap().0;
                let kept = original.iter().filter(|(name, _)| *name != "TLS.version");
                assert!(kept.clone().all(|(name, value)| changed.get(name) == Some(value)), "bit {bit} of byte {at}");
            }
        }
    }
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

#[test]
fn only_strict_der_in_range_is_a_signature() {
    let der = sign_v1(&v1_text(None));
    assert_eq!(judge(&with_signature(&der), "alice", NOW), Ok(Privilege::ALL));
    let r = &der[4..4 + 33];
    let s = &der[39..39 + 32];
    let sequence = |body: &[u8]| [&[0x30, body.len() as u8], body].concat();
    let integer = |value: &[u8]| [&[0x02, value.len() as u8], value].concat();
    let rebuilt = sequence(&[integer(r), integer(s)].concat());
    assert_eq!(rebuilt, der);
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let order = [&[0][..], &order].concat();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("r = s = 0", sequence(&[integer(&[0]), integer(&[0])].concat())),
        ("r = 0", sequence(&[integer(&[0]), integer(s)].concat())),
        ("s = 0", sequence(&[integer(r), integer(&[0])].concat())),
        ("r = n", sequence(&[integer(&order), integer(s)].concat())),
        ("s = n", sequence(&[integer(r), integer(&order)].concat())),
        ("a byte behind", [&der[..], &[0]].concat()),
        ("a byte behind, inside", sequence(&[integer(r), integer(s), vec![0]].concat())),
        ("a padded s", sequence(&[integer(r), integer(&[&[0], s].concat())].concat())),
        ("r without its sign byte", sequence(&[integer(&r[1..]), integer(s)].concat())),
        ("a long length", [&[0x30, 0x81, (der.len() - 2) as u8], &der[2..]].concat()),
        ("an indefinite length", [&[0x30, 0x80], &der[2..], &[0, 0]].concat()),
        ("r and s as they are", [&r[1..], s].concat()),
        ("cut", der[..der.len() - 1].to_vec()),
    ];
    for (what, der) in bad {
        assert_eq!(judge(&with_signature(&der), "alice", NOW), Err(Code::UserSigInvalid), "{what}");
    }
}

#[test]
fn values_that_a_lax_reader_would_take_are_refused() {
    let base = || {
        json!({
            "TLS.appid_at_3rd": "0", "TLS.account_type": "0", "TLS.identifier": "alice", "TLS.sdk_appid": "1400000001",
            "TLS.time": "1544000000", "TLS.expire_after": "300",
        })
    };
    for (name, value) in [
        ("TLS.identifier", "alice\nTLS.sdk_appid:1400000001"),
        ("TLS.sdk_appid", "01400000001"),
        ("TLS.sdk_appid", "+1400000001"),
        ("TLS.sdk_appid", "5694967297"),
        ("TLS.time", "1544000000 "),
        ("TLS.time", "1544000000.0"),
        ("TLS.expire_after", "-1"),
        ("TLS.expire_after", "0x12c"),
        ("TLS.account_type", "0\nTLS.identifier:bob"),
        ("TLS.appid_at_3rd", "0\nTLS.identifier:bob"),
    ] {
        let mut json = base();
        json[name] = value.into();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        let lines: String = ["appid_at_3rd", "account_type", "identifier", "sdk_appid", "time", "expire_after"]
            .map(|name| format!("TLS.{name}:{}\n", text(&format!("TLS.{name}"))))
            .concat();
        let identifier = text("TLS.identifier");
        let ticket = generated(json.clone(), &lines);
        assert_eq!(judge(&ticket, &identifier, NOW), Err(Code::UserSigInvalid), "{name} = {value:?}");
    }
    // Numbers where version 1 has text would be left out of the signed text.
    let mut json = base();
    json["TLS.appid_at_3rd"] = 0.into();
    let ticket = generated(json, &v1_text(None).replace("TLS.appid_at_3rd:0\n", ""));
    assert_eq!(judge(&ticket, "alice", NOW), Err(Code::UserSigInvalid));
}

#[test]
fn any_key_of_an_app_verifies_and_a_public_one_does_not_sign() {
    let (old, new) = (vector_key(), secret_key("next"));
    let public = old.public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let both = AppConfig { v1_keys_pem: vec![public.clone(), pem(&new)], v2_secret: None, ..app() };
    let authority_both = authority(both.clone());
    let ticket = issue_user_sig(&both, TicketVersion::V1, "alice", NOW, LIFE).unwrap();
    for ticket in [V1_USER_SIG, &ticket] {
        let judged = judge_both(&authority_both, ticket, None, "alice", &number(1), NOW);
        assert_eq!(judged, Ok(Privilege::ALL));
    }
    let only_public = AppConfig { v1_keys_pem: vec![public], v2_secret: None, ..app() };
    assert_eq!(
        issue_user_sig(&only_public, TicketVersion::V1, "alice", NOW, LIFE),
        Err(IssueError::NoKey(APP, TicketVersion::V1))
    );
    assert_eq!(TicketVersion::of(&only_public), None);
    let sec1 = AppConfig { v1_keys_pem: vec![old.to_sec1_pem(LineEnding::CRLF).unwrap().to_string()], ..app() };
    assert!(issue_user_sig(&sec1, TicketVersion::V1, "alice", NOW, LIFE).is_ok());
    assert_eq!(issue_user_sig(&app(), TicketVersion::V2, "a\nb", NOW, LIFE), Err(IssueError::BadUser));
}

#[test]
fn settings_without_a_usable_key_are_refused() {
    let of = |app: AppConfig| Authority::new(&SignalingConfig { apps: vec![app], ..SignalingConfig::default() }).err();
    assert_eq!(of(app()), None);
    assert_eq!(of(AppConfig { v1_keys_pem: vec![], v2_secret: None, ..app() }), Some(ConfigError::NoKey(APP)));
    let rubbish = AppConfig { v1_keys_pem: vec![pem(&vector_key()), "-----BEGIN".into()], ..app() };
    assert_eq!(of(rubbish), Some(ConfigError::BadKey { app: APP, index: 2 }));
    assert_eq!(of(AppConfig { sdk_app_id: 0, ..app() }), Some(ConfigError::ZeroApp));
    let none = Authority::new(&SignalingConfig::default()).err();
    assert_eq!(none, Some(ConfigError::NoApp));
    let twice = SignalingConfig { apps: vec![app(), app()], ..SignalingConfig::default() };
    assert_eq!(Authority::new(&twice).err(), Some(ConfigError::DuplicateApp(APP)));
}

#[test]
fn the_debug_form_of_settings_shows_no_key() {
    let app = AppConfig { push_key: Some("a-push-key".into()), ..app() };
    let text = format!("{:?}", SignalingConfig { apps: vec![app], ..SignalingConfig::default() });
    for secret in [V2_SECRET, "BEGIN", "a-push-key"] {
        assert!(!text.contains(secret), "{text}");
    }
}
