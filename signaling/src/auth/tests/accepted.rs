//! Vectors of the ticket formats, and the habits of the generators in the field.

use super::*;

#[test]
fn the_vector_key_is_the_one_of_the_vectors() {
    let point = vector_key().public_key().to_sec1_point(false);
    assert_eq!(
        hex(point.as_bytes()),
        "049b8883e4c5bf8d1f9c6296b6bbe883b698804c865a270f604dbc31a304b96864\
         2154e5571e5b57dd530ff91b080a797265f04769fa5fcc8cfeb01bdfe6541cf6"
    );
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
    let key = crate::auth::key::v2_key(V2_SECRET);
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
                &crate::auth::key::v2_key(V2_SECRET),
                v2::signed_text("alice", APP, NOW, LIFE, None).as_bytes()
            )
            .as_ref()
        ),
    }));
    assert_eq!(judge(&Envelope::seal(format!("{}\n", json.unwrap()).as_bytes()), "alice", NOW), Ok(Privilege::ALL));
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
