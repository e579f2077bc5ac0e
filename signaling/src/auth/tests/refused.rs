//! What must be refused, at every limit.

use super::*;

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
        let key = crate::auth::key::v2_key(V2_SECRET);
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
