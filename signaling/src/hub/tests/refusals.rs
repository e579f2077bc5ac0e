//! One table: every way in times every way of not being allowed in, and the code of each.

use serde_json::json;

use super::*;
use crate::{auth::tests::secret_key, config::PlayPolicy, config::PrivateMapKeyPolicy};

/// What somebody shows.
struct Shown {
    user_sig: String,
    private_map_key: String,
}

/// Shows it at every door; returns the refusals by the name of the door.
async fn at_every_door(house: &House, shown: &Shown) -> Vec<(&'static str, Option<u32>)> {
    let Shown { user_sig, private_map_key } = shown;
    let query = format!("userid=eve&usersig={user_sig}&privatemapkey={private_map_key}");
    let mut web = house.client();
    let fields = json!({ "userID": "eve", "userSig": user_sig, "privateMapKey": private_map_key });
    let entered = web.enter_with(fields).await;
    let mut web_code = entered["code"].as_u64().map(|code| code as u32);
    if web_code.is_none() {
        // Entering is allowed: sending or receiving may not be.
        let wanted = json!([{ "userID": "cam", "stream": "main" }]);
        for request in [
            json!({ "type": "publish", "sdp": OFFER, "tracks": [{ "mid": "0", "stream": "main" }] }),
            json!({ "type": "subscribe", "streams": wanted }),
        ] {
            let reply = web.ask(request).await;
            web_code = web_code.or(reply["code"].as_u64().map(|code| code as u32));
        }
        web.disconnect();
    }
    let http = PublishOffer { user_sig: Some(user_sig.clone()), ..offer("eve", &query) };
    let name = format!("{APP}_{ROOM}_cam_main");
    vec![
        ("WebSocket", web_code),
        ("WHIP", house.hub.open_publish(http.clone()).await.err().map(|fault| fault.code.number())),
        ("WHEP", house.hub.open_play(http).await.err().map(|fault| fault.code.number())),
        ("RTMP push", house.push("push", &ROOM.to_string(), &query).await.err().map(|refusal| refusal.code)),
        (
            "RTMP push by name",
            house.push("live", &format!("{APP}_{ROOM}_eve_main"), &query).await.err().map(|r| r.code),
        ),
        ("RTMP play", house.play(&name, &query).await.err().map(|refusal| refusal.code)),
        ("FLV play", house.hub.authorise_play(&name, &query, None).err().map(Code::number)),
    ]
}

#[tokio::test]
async fn no_door_opens_to_what_another_refuses() {
    // The same under the policies that ask for least and for most: what is shown is checked.
    for (play, required) in
        [(PlayPolicy::Open, PrivateMapKeyPolicy::Optional), (PlayPolicy::Ticket, PrivateMapKeyPolicy::Required)]
    {
        let house = House::with(|config| {
            config.apps[0].play = play;
            config.apps[0].private_map_key = required;
        });
        let room = RoomName::Number(ROOM);
        let camera = map_key("cam", &room, 255);
        let query = format!("userid=cam&usersig={}&privatemapkey={camera}", user_sig("cam"));
        let grant = house.push("push", &ROOM.to_string(), &query).await.unwrap();
        house
            .event(Event::StreamTracks { stream: grant.stream, audio: Some(Codec::Opus), video: Some(Codec::H264) })
            .await;
        let name = format!("{APP}_{ROOM}_cam_main");
        assert!(house.play(&name, &query).await.is_ok());

        let (v1, v2) = (TicketVersion::V1, TicketVersion::V2);
        for version in [v1, v2] {
            let now = now_s();
            let sig = |app: &AppConfig, at| issue_user_sig(app, version, "eve", at, 300).unwrap();
            let key = |app: &AppConfig, room: &RoomName, bits: u32, at| {
                issue_private_map_key(app, version, "eve", room, Privilege(bits), at, 300).unwrap()
            };
            let foreign = AppConfig { sdk_app_id: APP + 1, ..app() };
            let other_key =
                AppConfig { v1_keys_pem: vec![pem(&secret_key("x"))], v2_secret: Some("x".into()), ..app() };
            let good_sig = || sig(&app(), now);
            let good_key = || key(&app(), &room, 255, now);
            let tampered = |ticket: String| {
                let at = ticket.len() / 2;
                let swapped = if ticket.as_bytes()[at] == b'A' { "B" } else { "A" };
                format!("{}{swapped}{}", &ticket[..at], &ticket[at + 1..])
            };
            let other_room = RoomName::Number(ROOM + 1);
            let table: Vec<(&str, Code, String, String)> = vec![
                ("expired userSig", Code::UserSigExpired, sig(&app(), now - 400), good_key()),
                ("foreign app's userSig", Code::UserSigInvalid, sig(&foreign, now), good_key()),
                ("userSig of another key", Code::UserSigInvalid, sig(&other_key, now), good_key()),
                ("tampered userSig", Code::UserSigInvalid, tampered(good_sig()), good_key()),
                ("privateMapKey as userSig", Code::UserSigInvalid, good_key(), good_key()),
                ("expired privateMapKey", Code::PrivateMapKeyExpired, good_sig(), key(&app(), &room, 255, now - 400)),
                ("foreign app's privateMapKey", Code::PrivateMapKeyInvalid, good_sig(), key(&foreign, &room, 255, now)),
                (
                    "privateMapKey of another key",
                    Code::PrivateMapKeyInvalid,
                    good_sig(),
                    key(&other_key, &room, 255, now),
                ),
                ("tampered privateMapKey", Code::PrivateMapKeyInvalid, good_sig(), tampered(good_key())),
                ("another room's", Code::PrivateMapKeyInvalid, good_sig(), key(&app(), &other_room, 255, now)),
                ("another user's", Code::PrivateMapKeyInvalid, good_sig(), map_key("cam", &room, 255)),
                ("no bit to enter", Code::PrivilegeMissing, good_sig(), key(&app(), &room, 255 - 2, now)),
                ("only bits to enter", Code::PrivilegeMissing, good_sig(), key(&app(), &room, 3, now)),
                ("no audio bits", Code::PrivilegeMissing, good_sig(), key(&app(), &room, 255 - 4 - 8, now)),
            ];
            for (what, code, user_sig, private_map_key) in table {
                let shown = Shown { user_sig, private_map_key };
                for (door, refused) in at_every_door(&house, &shown).await {
                    assert_eq!(refused, Some(code.number()), "{what} at {door}, version {version}, play {play:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn creating_a_room_needs_its_bit() {
    let house = House::new();
    let key = map_key("eve", &RoomName::Number(ROOM), 255 - 1);
    let fields = json!({ "userID": "eve", "userSig": user_sig("eve"), "privateMapKey": key });
    assert_eq!(code_of(&house.client().enter_with(fields.clone()).await), number(Code::PrivilegeMissing));
    assert_eq!(house.hub.counts().rooms, 0);
    let _alice = house.member("alice").await;
    assert_eq!(house.client().enter_with(fields).await["type"], "ok");
}

#[tokio::test]
async fn an_audience_member_may_not_publish_and_aux_has_bits_of_its_own() {
    let house = House::new();
    let mut listener = house.client();
    listener.enter_with(json!({ "userID": "l", "userSig": user_sig("l"), "role": "audience" })).await;
    listener.publish();
    assert_eq!(code_of(&listener.next().await), number(Code::RoleMayNotPublish));

    let key = map_key("eve", &RoomName::Number(ROOM), 255 - 64 - 128);
    let mut eve = house.client();
    eve.enter_with(json!({ "userID": "eve", "userSig": user_sig("eve"), "privateMapKey": key })).await;
    let tracks = json!([{ "mid": "1", "stream": "aux" }]);
    let refused = eve.ask(json!({ "type": "publish", "sdp": OFFER, "tracks": tracks })).await;
    assert_eq!(code_of(&refused), number(Code::PrivilegeMissing));
    let tracks = json!([{ "mid": "9", "stream": "main" }]);
    let refused = eve.ask(json!({ "type": "publish", "sdp": OFFER, "tracks": tracks })).await;
    assert_eq!((code_of(&refused), &refused["field"]), (number(Code::BadField), &json!("tracks")));
}

#[tokio::test]
async fn what_an_offer_hid_ends_the_transport_when_media_finds_it() {
    let mut house = House::new();
    let key = map_key("eve", &RoomName::Number(ROOM), 255 - 16);
    let mut eve = house.client();
    eve.enter_with(json!({ "userID": "eve", "userSig": user_sig("eve"), "privateMapKey": key })).await;
    // Named as audio to us, answered as video by media.
    let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\n";
    eve.send(json!({ "type": "publish", "sdp": sdp, "tracks": [{ "mid": "1", "stream": "main" }] }));
    let (transport, _) = house.answer_publish().await;
    assert_eq!(code_of(&eve.next().await), number(Code::PrivilegeMissing));
    assert!(matches!(house.command().await, Command::CloseTransport { transport: t } if t == transport));
    assert_eq!(house.hub.counts().streams, 0);
}

#[tokio::test]
async fn a_policy_that_wants_a_ticket_tells_nobody_what_exists() {
    for (policy, code) in [(PlayPolicy::Ticket, Code::TicketMissing), (PlayPolicy::Signed, Code::TicketMissing)] {
        let house = House::with(|config| config.apps[0].play = policy);
        house.pushed("cam").await;
        for user in ["cam", "nobody"] {
            let name = format!("{APP}_{ROOM}_{user}_main");
            assert_eq!(house.play(&name, "").await.unwrap_err().code, code.number(), "{policy:?} {user}");
        }
        let query = format!("userid=v&usersig={}", user_sig("v"));
        let played = house.play(&format!("{APP}_{ROOM}_cam_main"), &query).await;
        assert_eq!(played.is_ok(), policy == PlayPolicy::Ticket);
    }
}

#[tokio::test]
async fn an_unknown_app_is_said_to_be_unknown() {
    let house = House::new();
    let fields = json!({ "userID": "eve", "userSig": user_sig("eve"), "sdkAppID": 5 });
    assert_eq!(code_of(&house.client().enter_with(fields).await), number(Code::UnknownApp));
    let query = format!("sdkappid=5&userid=eve&usersig={}", user_sig("eve"));
    assert_eq!(house.push("push", "1", &query).await.unwrap_err().code, Code::UnknownApp.number());
    assert_eq!(house.hub.open_publish(offer("eve", "sdkappid=5")).await.unwrap_err().code, Code::UnknownApp);
    assert_eq!(house.play("5_1_a_main", "").await.unwrap_err().code, Code::UnknownApp.number());
}
