//! What a bad ticket costs whoever refuses it: memory and time (U14).

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::{elliptic_curve::Generate, pkcs8::EncodePrivateKey};
use signaling::{
    AppConfig, Code, Privilege, RoomName, SignalingConfig, TicketVersion,
    auth::{
        authorise::{Authority, Credential, Presented, Purpose},
        envelope::Envelope,
        userbuf::Userbuf,
        v2,
    },
    issue_private_map_key, issue_user_sig,
};

const APP: u32 = 1_400_000_001;
const NOW_S: u64 = 1_544_000_000;
/// Bounds of one refusal.
const HEAP_BYTES_MAX: usize = 64 << 10;
const CPU_US_MAX: f64 = 1000.0;
/// Refusals over which time is taken, since the clock of the kernel is coarse.
const ROUNDS: u32 = 100;

/// Counts what the current thread holds, and its greatest.
struct Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // While a thread ends, its counter is gone before its last memory.
    let _ = HELD.try_with(|held| {
        let now = held.get().0 + bytes;
        held.set((now, held.get().1.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The greatest that `f` held above what was held before.
fn peak_bytes(f: impl FnOnce()) -> usize {
    HELD.with(|held| held.set((0, 0)));
    f();
    HELD.with(|held| held.get().1.max(0) as usize)
}

/// Time that this thread has spent on a processor, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("nanoseconds")
}

#[test]
fn u14_a_bad_ticket_costs_less_than_a_millisecond_and_64_kib() {
    let p256 = p256::SecretKey::generate().to_pkcs8_pem(Default::default()).unwrap().to_string();
    let k256 = k256::SecretKey::generate().to_pkcs8_pem(Default::default()).unwrap().to_string();
    let p256_app =
        AppConfig { sdk_app_id: APP, v1_keys_pem: vec![p256], v2_secret: Some("s".into()), ..AppConfig::default() };
    // The dearest that can be configured for one curve.
    let k256_app = AppConfig { sdk_app_id: APP + 1, v1_keys_pem: vec![k256; 4], ..AppConfig::default() };
    let stranger = p256::SecretKey::generate().to_pkcs8_pem(Default::default()).unwrap().to_string();
    let stranger = |app| AppConfig {
        sdk_app_id: app,
        v1_keys_pem: vec![stranger.clone()],
        v2_secret: Some("x".into()),
        ..AppConfig::default()
    };
    let authority =
        Authority::new(&SignalingConfig { apps: vec![p256_app.clone(), k256_app], ..SignalingConfig::default() })
            .unwrap();

    let sign = |app: &AppConfig, version, user: &str, from_s, life_s| {
        issue_user_sig(app, version, user, from_s, life_s).unwrap()
    };
    let (v1, v2) = (TicketVersion::V1, TicketVersion::V2);
    let room = RoomName::Number(10001);
    let pack = |json: &str| Envelope::seal(json.as_bytes());
    let mut cases: Vec<(&str, u32, String)> = vec![
        ("signed by a stranger, P-256", APP, sign(&stranger(APP), v1, "alice", NOW_S, 300)),
        ("signed by a stranger, four secp256k1 keys", APP + 1, sign(&stranger(APP + 1), v1, "alice", NOW_S, 300)),
        ("signed by a stranger, version 2", APP, sign(&stranger(APP), v2, "alice", NOW_S, 300)),
        ("of another app", APP, sign(&stranger(APP + 1), v1, "alice", NOW_S, 300)),
        ("of another user", APP, sign(&p256_app, v1, "bob", NOW_S, 300)),
        ("expired", APP, sign(&p256_app, v1, "alice", NOW_S - 1000, 300)),
        ("of the future", APP, sign(&p256_app, v1, "alice", NOW_S + 61, 300)),
        ("over-long life", APP, sign(&p256_app, v1, "alice", NOW_S, u64::MAX)),
        (
            "a privateMapKey",
            APP,
            issue_private_map_key(&p256_app, v1, "alice", &room, Privilege::ALL, NOW_S, 300).unwrap(),
        ),
        ("a mebibyte of zeros, packed", APP, pack(&"0".repeat(1 << 20))),
        ("a mebibyte of brackets, packed", APP, pack(&"[".repeat(1 << 20))),
        ("4 KiB of brackets", APP, pack(&"[".repeat(4096))),
        (
            "4 KiB of keys",
            APP,
            pack(&format!("{{{}}}", (0..440).map(|n| format!("\"{n}\":{n}")).collect::<Vec<_>>().join(","))),
        ),
        ("4 KiB of text", APP, pack(&format!("{{\"TLS.sig\":\"{}\"}}", "A".repeat(4080)))),
        ("2 KiB of letters", APP, "A".repeat(2048)),
        ("a mebibyte of letters", APP, "A".repeat(1 << 20)),
        ("empty", APP, String::new()),
    ];
    // A gibibyte, packed, is a mebibyte: it is refused for its length.
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        std::io::Write::write_all(&mut packed, &zeros).unwrap();
    }
    cases.push(("a gibibyte of zeros, packed", APP, STANDARD.encode(packed.finish().unwrap())));
    let mut begin = String::from_utf8(STANDARD.encode(&zeros[..1500]).into()).unwrap();
    begin.truncate(2040);
    cases.push(("base64 of zeros", APP, begin));

    println!("{:<44} {:>8} {:>12} {:>12}", "U14 a bad userSig", "code", "heap bytes", "CPU µs");
    for (what, sdk_app_id, ticket) in &cases {
        let shown = Presented {
            sdk_app_id: Some(*sdk_app_id),
            user: "alice",
            room: &room,
            credential: Credential::Ticket { user_sig: ticket, private_map_key: None },
            purpose: Purpose::Member,
        };
        let judge = || authority.authorise(NOW_S, &shown, Privilege::JOIN).unwrap_err();
        let code = judge();
        let heap = peak_bytes(|| assert_eq!(judge(), code));
        let start = cpu_ns();
        for _ in 0..ROUNDS {
            judge();
        }
        let cpu_us = (cpu_ns() - start) as f64 / 1000.0 / f64::from(ROUNDS);
        println!("{what:<44} {:>8} {heap:>12} {cpu_us:>12.1}", code.number());
        let expected = if *what == "expired" { Code::UserSigExpired } else { Code::UserSigInvalid };
        assert_eq!(code, expected, "{what}");
        assert!(heap <= HEAP_BYTES_MAX, "{what}: {heap} bytes");
        assert!(cpu_us < CPU_US_MAX, "{what}: {cpu_us} µs");
    }
    println!("bounds: {HEAP_BYTES_MAX} bytes, {CPU_US_MAX} µs");
}

/// Draws numbers; the same at every run, so that what fails fails again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        // xorshift64 (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    /// Changes, adds, removes or repeats some bytes.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len());
            match self.roll(6) {
                _ if bytes.is_empty() => bytes.push(self.roll(256) as u8),
                0 => bytes[at] = self.roll(256) as u8,
                1 => bytes[at] ^= 1 << self.roll(8),
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, self.roll(256) as u8),
                4 => bytes.truncate(at),
                _ => {
                    let end = at + self.roll(bytes.len() - at);
                    let part = bytes[at..end].to_vec();
                    let to = self.roll(bytes.len());
                    bytes.splice(to..to, part);
                }
            }
        }
    }
}

/// The JSON in a ticket.
fn unpacked(ticket: &str) -> Vec<u8> {
    let text = ticket.replace('*', "+").replace('-', "/").replace('_', "=");
    let mut json = Vec::new();
    let packed = STANDARD.decode(text).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&packed[..]), &mut json).unwrap();
    json
}

/// A version 2 privateMapKey around any payload, signed as it should be.
fn signed(secret: &str, userbuf: &[u8]) -> String {
    let userbuf = STANDARD.encode(userbuf);
    let text = v2::signed_text("alice", APP, NOW_S, 300, Some(&userbuf));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
    let json = serde_json::json!({
        "TLS.ver": "2.0", "TLS.identifier": "alice", "TLS.sdkappid": APP, "TLS.time": NOW_S, "TLS.expire": 300,
        "TLS.userbuf": userbuf, "TLS.sig": STANDARD.encode(mac),
    });
    Envelope::seal(json.to_string().as_bytes())
}

#[test]
fn u15_a_spoilt_private_map_key_never_panics_never_gains_and_costs_little() {
    const RUNS: usize = 20_000;
    let key = p256::SecretKey::generate().to_pkcs8_pem(Default::default()).unwrap().to_string();
    let app =
        AppConfig { sdk_app_id: APP, v1_keys_pem: vec![key], v2_secret: Some("secret".into()), ..AppConfig::default() };
    let authority = Authority::new(&SignalingConfig { apps: vec![app.clone()], ..SignalingConfig::default() }).unwrap();
    let user_sig = issue_user_sig(&app, TicketVersion::V2, "alice", NOW_S, 300).unwrap();
    // It allows to enter and to hear: a spoilt one must never allow more, unless the app's own key signed that.
    let granted = Privilege(2 | 8);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut greatest, mut accepted, mut codes) = (0, 0, std::collections::BTreeMap::new());
    for run in 0..RUNS {
        let room = match run % 2 {
            0 => RoomName::Number(10001),
            _ => RoomName::from_text("room-A").unwrap(),
        };
        // Version 1 costs much more to check, so there are fewer of them.
        let version = if run % 10 == 0 { TicketVersion::V1 } else { TicketVersion::V2 };
        let good = || issue_private_map_key(&app, version, "alice", &room, granted, NOW_S, 300).unwrap();
        let mut resigned = false;
        let ticket = match run % 3 {
            0 => {
                let mut bytes = good().into_bytes();
                dice.spoil(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            }
            1 => {
                let mut json = unpacked(&good());
                dice.spoil(&mut json);
                Envelope::seal(&json)
            }
            // The key is known here, and the payload is nonsense.
            _ => {
                let good = Userbuf {
                    account: "alice".into(),
                    sdk_app_id: APP,
                    room: room.clone(),
                    expires_at_s: NOW_S as u32 + 300,
                    privilege: granted.0,
                    account_type: 0,
                };
                let mut bytes = good.write();
                dice.spoil(&mut bytes);
                resigned = true;
                signed("secret", &bytes)
            }
        };
        let credential = Credential::Ticket { user_sig: &user_sig, private_map_key: Some(&ticket) };
        let shown =
            Presented { sdk_app_id: Some(APP), user: "alice", room: &room, credential, purpose: Purpose::Member };
        let mut outcome = None;
        greatest = greatest.max(peak_bytes(|| outcome = Some(authority.authorise(NOW_S, &shown, Privilege::JOIN))));
        match outcome.expect("it was judged") {
            Ok(grant) => {
                accepted += 1;
                assert!(resigned || grant.privilege == granted, "run {run} gained {:?}: {ticket}", grant.privilege);
            }
            Err(code) => {
                let signed_so = [Code::PrivateMapKeyExpired, Code::PrivilegeMissing];
                assert!(
                    code == Code::PrivateMapKeyInvalid || (resigned && signed_so.contains(&code)),
                    "run {run}: {code:?}: {ticket}"
                );
                *codes.entry(code.number()).or_insert(0) += 1;
            }
        }
    }
    println!("U15 {RUNS} spoilt privateMapKeys: {accepted} mean what they meant, refused by code {codes:?}");
    println!("U15 greatest heap {greatest} bytes (bound {HEAP_BYTES_MAX})");
    assert!(greatest <= HEAP_BYTES_MAX, "{greatest}");
    assert!(accepted < RUNS / 10, "{accepted} of {RUNS} are no refusals");
}
