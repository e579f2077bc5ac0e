//! The gate of every way in: how often, how long, and for whom.

use std::{net::IpAddr, time::Instant};

use media::Command;
use serde_json::json;

use super::{super::SessionKind, *};
use crate::config::{PrivateMapKeyPolicy, RightsEnd};

/// A privateMapKey for the room of these tests that is good for so many seconds from now.
fn key_for(user: &str, privilege: u32, life_s: u64) -> String {
    let room = RoomName::Number(ROOM);
    issue_private_map_key(&app(), TicketVersion::V2, user, &room, Privilege(privilege), now_s(), life_s).unwrap()
}

fn with_key(user: &str, key: &str) -> Value {
    json!({ "userID": user, "userSig": user_sig(user), "privateMapKey": key })
}

/// Waits for a command and says how long after `expires_at_s` (Unix) it came, in milliseconds.
async fn late_ms(house: &mut House, expires_at_s: u64) -> (Command, i128) {
    let command = house.command().await;
    (command, i128::from(unix_ms()) - i128::from(expires_at_s) * 1000)
}

#[tokio::test]
async fn u15_who_publishes_leaves_within_a_second_after_his_private_map_key_expired() {
    let mut house = House::new();
    let mut bob = house.member("bob").await;
    let mut eve = house.client();
    let (key, expires_at_s) = (key_for("eve", 255, 1), now_s() + 1);
    assert_eq!(eve.enter_with(with_key("eve", &key)).await["type"], "ok");
    bob.event("member-entered").await;
    eve.publish();
    let (transport, _) = house.answer_publish().await;
    assert_eq!(eve.next().await["type"], "ok");
    bob.event("stream-added").await;

    let (command, late_ms) = late_ms(&mut house, expires_at_s).await;
    assert!(matches!(command, Command::CloseTransport { transport: t } if t == transport));
    println!("U15 media of an expired privateMapKey ends: {late_ms} ms after, bound 1000");
    assert!((-100..=1000).contains(&late_ms), "{late_ms} ms");
    bob.event("stream-removed").await;
    assert_eq!(bob.event("member-left").await["reason"], "expired");
    assert_eq!(code_of(&eve.event("closed").await), number(Code::PrivateMapKeyExpired));
}

#[tokio::test]
async fn u15_pushes_whip_whep_and_players_end_with_their_private_map_keys() {
    let mut house = House::new();
    let camera = house.pushed("camera").await;
    let life_s = 2;
    let expires_at_s = now_s() + life_s;
    let key = |user| key_for(user, 255, life_s);

    let (query, hub) =
        (format!("userid=phone&usersig={}&privatemapkey={}", user_sig("phone"), key("phone")), &house.hub);
    let play = hub.authorise_play(&format!("{APP}_{ROOM}_camera_main"), &query, None).unwrap();
    let left = play.until.unwrap().duration_since(Instant::now());
    assert!(left.as_secs_f64() <= life_s as f64, "{left:?}");
    let pushed = house.push("push", &ROOM.to_string(), &query).await.unwrap().stream;
    let whip = offer("whip", &format!("privatemapkey={}", key("whip")));
    let opening = tokio::spawn({
        let hub = house.hub.clone();
        async move { hub.open_publish(whip).await }
    });
    let (whip_transport, _) = house.answer_publish().await;
    let whip = opening.await.unwrap().unwrap();
    let whep = offer("whep", &format!("play=camera&privatemapkey={}", key("whep")));
    let opening = tokio::spawn({
        let hub = house.hub.clone();
        async move { hub.open_play(whep).await }
    });
    let (whep_transport, _) = house.answer_play().await;
    let whep = opening.await.unwrap().unwrap();

    let mut ended = Vec::new();
    for _ in 0..3 {
        let (command, late_ms) = late_ms(&mut house, expires_at_s).await;
        println!("U15 a push, WHIP or WHEP of an expired privateMapKey ends: {late_ms} ms after, bound 1000");
        assert!((-100..=1000).contains(&late_ms), "{late_ms} ms");
        ended.push(match command {
            Command::CloseStream { stream } => stream.0,
            Command::CloseTransport { transport } => transport.0 + 1_000_000,
            _ => panic!("another command"),
        });
    }
    ended.sort_unstable();
    let mut expected = vec![pushed.0, whip_transport.0 + 1_000_000, whep_transport.0 + 1_000_000];
    expected.sort_unstable();
    assert_eq!(ended, expected);
    assert_eq!(house.hub.close_session(SessionKind::Whip, &whip.name), Err(Code::SessionNotFound));
    assert_eq!(house.hub.close_session(SessionKind::Whep, &whep.name), Err(Code::SessionNotFound));
    assert_eq!(house.hub.counts().members, 1, "the camera, which showed a userSig only");
    let _ = camera;
}

#[tokio::test]
async fn an_app_may_let_rights_end_with_the_user_sig_or_never() {
    for (rights_end, user_sig_life_s, key_life_s, expected) in [
        (RightsEnd::Key, 100, Some(200), Some(200)),
        (RightsEnd::Key, 100, None, None),
        (RightsEnd::Ticket, 100, Some(200), Some(100)),
        (RightsEnd::Ticket, 100, None, Some(100)),
        (RightsEnd::Ticket, 200, Some(100), Some(100)),
        (RightsEnd::Never, 100, Some(50), None),
    ] {
        let app = AppConfig { rights_end, ..app() };
        let house = House::with(|config| config.apps = vec![app.clone()]);
        let sig = issue_user_sig(&app, TicketVersion::V2, "eve", now_s(), user_sig_life_s).unwrap();
        let key = key_life_s.map(|life_s| format!("&privatemapkey={}", key_for("eve", 255, life_s)));
        house.pushed("camera").await;
        let query = format!("userid=eve&usersig={sig}{}", key.unwrap_or_default());
        let play = house.hub.authorise_play(&format!("{APP}_{ROOM}_camera_main"), &query, None).unwrap();
        let left_s = play.until.map(|until| until.duration_since(Instant::now()).as_secs_f64().round() as u64);
        let near = |left_s: u64| expected.is_some_and(|expected: u64| (expected - 2..=expected).contains(&left_s));
        assert!(left_s.map_or(expected.is_none(), near), "{rights_end:?}: {left_s:?}, not {expected:?}");
    }
}

#[tokio::test]
async fn a_private_map_key_that_may_be_used_once_is_refused_the_second_time_over_every_way() {
    let once = AppConfig { private_map_key_once: true, private_map_key: PrivateMapKeyPolicy::Required, ..app() };
    let house = House::with(|config| config.apps = vec![once.clone()]);
    let key = map_key("eve", &RoomName::Number(ROOM), 255);
    let mut eve = house.client();
    assert_eq!(eve.enter_with(with_key("eve", &key)).await["type"], "ok");
    let used = number(Code::PrivateMapKeyUsed);
    assert_eq!(code_of(&house.client().enter_with(with_key("eve", &key)).await), used);
    let query = format!("userid=eve&usersig={}&privatemapkey={key}", user_sig("eve"));
    assert_eq!(u64::from(house.push("push", "1001", &query).await.unwrap_err().code), used);
    let http = offer("eve", &format!("privatemapkey={key}"));
    assert_eq!(house.hub.open_publish(http.clone()).await.unwrap_err().code, Code::PrivateMapKeyUsed);
    assert_eq!(house.hub.open_play(http).await.unwrap_err().code, Code::PrivateMapKeyUsed);
    // Another key of the same user is another key.
    let fresh = map_key("eve", &RoomName::Number(ROOM), 127);
    assert_eq!(house.client().enter_with(with_key("eve", &fresh)).await["type"], "ok");

    let many = House::new();
    for _ in 0..3 {
        assert_eq!(
            many.client().enter_with(with_key("eve", &key)).await["type"],
            "ok",
            "as often as wanted by default"
        );
    }
}

#[tokio::test]
async fn used_keys_are_remembered_up_to_the_limit_and_none_is_forgotten_for_another() {
    let once = AppConfig { private_map_key_once: true, ..app() };
    let house = House::with(|config| {
        config.apps = vec![once];
        config.limits.spent_keys_max = 3;
    });
    for user in ["a", "b", "c"] {
        assert_eq!(house.client().enter_with(with_key(user, &key_for(user, 255, 300))).await["type"], "ok");
    }
    let fourth = house.client().enter_with(with_key("d", &key_for("d", 255, 300))).await;
    assert_eq!(code_of(&fourth), number(Code::MediaLimit));
    let without_key = house.client().enter("d").await;
    assert_eq!(without_key["type"], "ok");
}

#[tokio::test]
async fn a_user_enters_10_times_a_minute_whatever_the_way_and_the_11th_is_refused() {
    let house = House::new();
    for n in 0..9 {
        assert_eq!(house.client().enter("eve").await["type"], "ok", "{n}");
    }
    let query = format!("userid=eve&usersig={}", user_sig("eve"));
    house.push("push", "1001", &query).await.unwrap();
    let refused = number(Code::TooManyJoins);
    assert_eq!(code_of(&house.client().enter("eve").await), refused);
    assert_eq!(u64::from(house.push("push", "1001", &query).await.unwrap_err().code), refused);
    assert_eq!(house.hub.open_publish(offer("eve", "")).await.unwrap_err().code, Code::TooManyJoins);
    // Players are not members; others are others; and nobody can use up the joins of somebody whose ticket he lacks.
    let played = house.hub.open_play(offer("eve", "play=nobody")).await.unwrap_err();
    assert_eq!(played.code, Code::NoSuchStream);
    let bad = json!({ "userID": "bob", "userSig": user_sig("eve") });
    for _ in 0..20 {
        assert_eq!(code_of(&house.client().enter_with(bad.clone()).await), number(Code::UserSigInvalid));
    }
    assert_eq!(house.client().enter("bob").await["type"], "ok");
    println!("joins per user per minute: 10 let in, the 11th refused with {refused}");
}

#[tokio::test]
async fn an_address_has_20_refused_tickets_a_minute_and_then_good_ones_are_refused_unread() {
    let house = House::new();
    let remote = Some(IpAddr::from([192, 0, 2, 7]));
    let push = |sig: String| {
        let query = format!("play=nobody&sdkappid={APP}");
        let hub = house.hub.clone();
        async move {
            let offer = PublishOffer { user_sig: Some(sig), remote, ..offer("eve", &query) };
            hub.open_play(offer).await.unwrap_err().code
        }
    };
    for _ in 0..10 {
        assert_eq!(push(user_sig("eve")).await, Code::NoSuchStream, "a good one is no failure");
        assert_eq!(push("bad".into()).await, Code::UserSigInvalid);
        assert_eq!(house.hub.authorise_owner(remote, APP, Some("wrong")), Err(Code::OwnerRefused));
    }
    assert_eq!(push(user_sig("eve")).await, Code::TooManyFailures);
    assert_eq!(house.hub.authorise_owner(remote, APP, Some("secret")), Err(Code::TooManyFailures));
    assert_eq!(house.client().enter("eve").await["type"], "ok", "another address");
}

#[tokio::test]
async fn the_owner_is_known_by_the_secret_of_his_app() {
    let house = House::new();
    let judge = |app, secret| house.hub.authorise_owner(None, app, secret);
    assert_eq!(judge(APP, Some("secret")), Ok(()));
    for (app, secret) in
        [(APP, None), (APP, Some("")), (APP, Some("secre")), (APP + 1, Some("secret")), (0, Some("secret"))]
    {
        assert_eq!(judge(app, secret), Err(Code::OwnerRefused), "{app} {secret:?}");
    }
    let keys_only = AppConfig {
        v1_keys_pem: vec![crate::auth::tests::pem(&crate::auth::tests::secret_key("any"))],
        v2_secret: None,
        ..app()
    };
    let house = House::with(|config| config.apps = vec![keys_only]);
    assert_eq!(
        house.hub.authorise_owner(None, APP, Some("")),
        Err(Code::OwnerRefused),
        "no secret is not an empty one"
    );
}

#[tokio::test]
async fn keys_are_replaced_while_the_server_runs_and_members_stay() {
    let house = House::new();
    let mut alice = house.member("alice").await;
    let old = user_sig("bob");
    let rotated = AppConfig { v2_secret: Some("new".into()), v2_secrets_before: vec!["secret".into()], ..app() };
    let second = AppConfig { sdk_app_id: APP + 1, v2_secret: Some("second".into()), ..app() };
    house.hub.replace_apps(vec![rotated.clone(), second.clone()]).unwrap();
    let new = issue_user_sig(&rotated, TicketVersion::V2, "carol", now_s(), 300).unwrap();
    assert_eq!(house.client().enter_with(json!({ "userID": "bob", "userSig": old })).await["type"], "ok");
    assert_eq!(house.client().enter_with(json!({ "userID": "carol", "userSig": new })).await["type"], "ok");
    let of_second = issue_user_sig(&second, TicketVersion::V2, "dan", now_s(), 300).unwrap();
    let dan = json!({ "sdkAppID": APP + 1, "userID": "dan", "userSig": of_second });
    assert_eq!(house.client().enter_with(dan.clone()).await["type"], "ok", "an app that came");
    // The old secret goes, and so does the second app.
    let last = AppConfig { v2_secrets_before: Vec::new(), ..rotated };
    house.hub.replace_apps(vec![last]).unwrap();
    let old = json!({ "userID": "bob", "userSig": user_sig("bob") });
    assert_eq!(code_of(&house.client().enter_with(old).await), number(Code::UserSigInvalid));
    assert_eq!(code_of(&house.client().enter_with(dan).await), number(Code::UnknownApp));
    alice.drain();
    assert_eq!(alice.ask(json!({ "type": "heartbeat" })).await["type"], "ok");
    // What cannot be used changes nothing.
    assert!(house.hub.replace_apps(vec![AppConfig { v1_keys_pem: Vec::new(), v2_secret: None, ..app() }]).is_err());
    assert_eq!(house.hub.apps().len(), 1);
}
