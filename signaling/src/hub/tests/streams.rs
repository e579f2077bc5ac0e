//! Publishing, subscribing, pushing and playing.

use std::time::Instant;

use media::{
    Command, Refusal,
    command::{CloseReason, PlayGrant, PlayWatch},
};
use serde_json::json;

use super::{
    super::{SessionKind, Trickle, Trickled},
    *,
};
use crate::{
    auth::url::{tx_secret, tx_time},
    config::PlayPolicy,
    member::{Newcomer, Protocol, Role},
    name::StreamName,
    room::{Action, Output, Room},
};

#[tokio::test]
async fn a_stream_is_published_seen_subscribed_to_and_answered() {
    let mut house = House::new();
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.event("member-entered").await;
    alice.publish();
    let (_, streams) = house.answer_publish().await;
    assert_eq!(alice.next().await, json!({ "id": 2, "type": "ok", "sdp": "v=0 answer" }));
    let added = bob.event("stream-added").await;
    assert_eq!(added["stream"]["audio"], json!({ "codec": "opus", "muted": false }));

    let wanted = json!([{ "userID": "alice", "stream": "main", "audio": false }]);
    assert_eq!(bob.ask(json!({ "type": "subscribe", "streams": wanted })).await["type"], "ok");
    let (_, wanted) = house.answer_subscribe().await;
    assert_eq!(wanted, [Wanted { stream: streams[0], audio: false, video: true }]);
    let offer = bob.event("offer").await;
    assert_eq!((&offer["version"], &offer["sdp"]), (&json!(1), &json!("v=0 offer")));
    assert_eq!(offer["tracks"][0]["userID"], "alice");
    bob.send(json!({ "type": "answer", "version": 1, "sdp": "v=0" }));
    house.answer_answer().await;
    assert_eq!(bob.next().await["type"], "ok");
    assert!(house.no_command());
}

/// Publishes as `names` and has `bob` enter after them.
async fn crowd(house: &mut House, names: &[&str]) -> (Vec<Client>, Vec<StreamId>, Client) {
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for name in names {
        let mut client = house.member(name).await;
        client.publish();
        ids.extend(house.answer_publish().await.1);
        client.next().await;
        clients.push(client);
    }
    let bob = house.member("bob").await;
    (clients, ids, bob)
}

fn subscribe(names: &[&str]) -> Value {
    let streams: Vec<Value> = names.iter().map(|name| json!({ "userID": name, "stream": "main" })).collect();
    json!({ "type": "subscribe", "streams": streams })
}

#[tokio::test]
async fn one_offer_is_under_way_at_a_time_and_changes_meanwhile_are_gathered() {
    let mut house = House::new();
    let (_clients, ids, mut bob) = crowd(&mut house, &["a", "b", "c"]).await;
    let of = |command_wanted: Vec<Wanted>| command_wanted.iter().map(|w| w.stream).collect::<Vec<_>>();
    assert_eq!(bob.ask(subscribe(&["a"])).await["type"], "ok");
    let (transport, wanted) = house.answer_subscribe().await;
    assert_eq!(of(wanted), ids[..1]);
    bob.event("offer").await;
    assert_eq!(bob.ask(subscribe(&["b"])).await["type"], "ok");
    assert_eq!(bob.ask(subscribe(&["c"])).await["type"], "ok");
    let gone = json!({ "type": "unsubscribe", "streams": [{ "userID": "a", "stream": "main" }] });
    assert_eq!(bob.ask(gone).await["type"], "ok");
    assert!(house.no_command(), "the first offer is not answered yet");
    let stale = bob.ask(json!({ "type": "answer", "version": 2, "sdp": "v=0" })).await;
    assert_eq!(code_of(&stale), number(Code::StaleAnswer));
    bob.send(json!({ "type": "answer", "version": 1, "sdp": "v=0" }));
    house.answer_answer().await;
    assert_eq!(bob.next().await["type"], "ok");
    let (same, wanted) = house.answer_subscribe().await;
    assert_eq!((same, of(wanted)), (transport, ids[1..].to_vec()), "one offer for all three changes");
    assert_eq!(bob.event("offer").await["version"], 2);
}

#[tokio::test]
async fn a_bad_answer_can_be_given_again() {
    let mut house = House::new();
    let (_clients, _, mut bob) = crowd(&mut house, &["a"]).await;
    bob.ask(subscribe(&["a"])).await;
    house.answer_subscribe().await;
    bob.event("offer").await;
    bob.send(json!({ "type": "answer", "version": 1, "sdp": "rubbish" }));
    let Command::SubscribeAnswer { reply, .. } = house.command().await else { panic!() };
    reply.send(Err(Refusal::BadSdp("line 1".into()))).unwrap();
    assert_eq!(code_of(&bob.next().await), number(Code::BadSdp));
    bob.send(json!({ "type": "answer", "version": 1, "sdp": "v=0" }));
    house.answer_answer().await;
    assert_eq!(bob.next().await["type"], "ok");
}

#[tokio::test]
async fn a_restart_is_offered_once_the_offer_before_it_was_answered() {
    let mut house = House::new();
    let (_clients, ids, mut bob) = crowd(&mut house, &["a"]).await;
    assert_eq!(bob.ask(json!({ "type": "restart" })).await["type"], "ok", "nothing to restart is no error");
    bob.ask(subscribe(&["a"])).await;
    let (down, _) = house.answer_subscribe().await;
    bob.event("offer").await;
    assert_eq!(bob.ask(json!({ "type": "restart" })).await["type"], "ok");
    bob.send(json!({ "type": "answer", "version": 1, "sdp": "v=0" }));
    house.answer_answer().await;
    let Command::Subscribe { transport, wanted, restart_ice: true, reply, .. } = house.command().await else {
        panic!("not a restart")
    };
    assert_eq!((transport, wanted[0].stream), (Some(down), ids[0]));
    reply.send(Ok(SubscribeOffer { transport: down, offer: "v=0".into(), tracks: Vec::new() })).ok().unwrap();
    assert_eq!(bob.next().await["type"], "ok");
    assert_eq!(bob.event("offer").await["version"], 2);
}

#[tokio::test]
async fn when_a_subscribed_publisher_leaves_the_others_stay_subscribed() {
    let mut house = House::new();
    let (mut clients, ids, mut bob) = crowd(&mut house, &["a", "b"]).await;
    bob.ask(subscribe(&["a", "b"])).await;
    house.answer_subscribe().await;
    bob.event("offer").await;
    bob.send(json!({ "type": "answer", "version": 1, "sdp": "v=0" }));
    house.answer_answer().await;
    bob.next().await;
    clients[0].disconnect();
    bob.event("stream-removed").await;
    bob.event("member-left").await;
    assert!(matches!(house.command().await, Command::CloseTransport { .. }));
    let (_, wanted) = house.answer_subscribe().await;
    assert_eq!(wanted.iter().map(|w| w.stream).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(bob.event("offer").await["tracks"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_down_transport_is_said_and_subscribed_to_anew() {
    let mut house = House::new();
    let (_clients, _, mut bob) = crowd(&mut house, &["a"]).await;
    bob.ask(subscribe(&["a"])).await;
    let (transport, _) = house.answer_subscribe().await;
    bob.event("offer").await;
    house.event(Event::TransportClosed { transport, reason: CloseReason::DtlsFailed }).await;
    assert_eq!(bob.event("transport").await["direction"], "down");
    bob.ask(subscribe(&["a"])).await;
    let Command::Subscribe { transport: None, reply, .. } = house.command().await else { panic!("a new transport") };
    reply.send(Err(Refusal::Limit("transports"))).ok().unwrap();
    let closed = bob.event("transport").await;
    assert_eq!((&closed["state"], &closed["reason"]), (&json!("closed"), &json!("limit reached: transports")));
}

#[tokio::test]
async fn republishing_changes_streams_and_tells_who_subscribes() {
    let mut house = House::new();
    let (mut clients, ids, mut bob) = crowd(&mut house, &["a"]).await;
    bob.ask(subscribe(&["a"])).await;
    house.answer_subscribe().await;
    bob.event("offer").await;
    bob.send(json!({ "type": "answer", "version": 1, "sdp": "v=0" }));
    house.answer_answer().await;
    bob.next().await;
    let tracks = json!([{ "mid": "0", "stream": "main" }, { "mid": "1", "stream": "aux" }]);
    clients[0].event("member-entered").await;
    clients[0].send(json!({ "type": "publish", "sdp": OFFER, "tracks": tracks }));
    clients[0].send(json!({ "type": "publish", "sdp": OFFER, "tracks": tracks }));
    assert_eq!(code_of(&clients[0].event("error").await), number(Code::PublishPending));
    let (_, streams) = house.answer_publish().await;
    assert_eq!(streams[0], ids[0], "main is the same stream as before");
    let changed = bob.event("stream-changed").await;
    assert_eq!((&changed["stream"]["stream"], &changed["stream"]["video"]), (&json!("main"), &json!(null)));
    assert_eq!(bob.event("stream-added").await["stream"]["stream"], "aux");
    let (_, wanted) = house.answer_subscribe().await;
    assert_eq!(wanted, [Wanted { stream: ids[0], audio: true, video: false }]);
    assert_eq!(clients[0].event("ok").await["sdp"], "v=0 answer");
    bob.event("offer").await;
    assert_eq!(clients[0].ask(json!({ "type": "unpublish", "stream": "aux" })).await["type"], "ok");
    assert!(matches!(house.command().await, Command::CloseStream { stream } if stream == streams[1]));
    assert_eq!(bob.event("stream-removed").await["stream"], "aux");
}

#[tokio::test]
async fn a_mute_reaches_media_once_and_the_others() {
    let mut house = House::new();
    let (mut clients, ids, mut bob) = crowd(&mut house, &["a"]).await;
    clients[0].event("member-entered").await;
    let mute = json!({ "type": "mute", "stream": "main", "kind": "audio", "muted": true });
    assert_eq!(clients[0].ask(mute.clone()).await["type"], "ok");
    assert_eq!(clients[0].ask(mute).await["type"], "ok");
    let command = house.command().await;
    assert!(matches!(command, Command::SetMuted { stream, kind: Kind::Audio, muted: true } if stream == ids[0]));
    assert!(house.no_command());
    assert_eq!(
        bob.next().await,
        json!({ "type": "muted", "userID": "a", "stream": "main", "kind": "audio", "muted": true })
    );
    let entered = house.client().enter("late").await;
    assert_eq!(entered["members"][0]["streams"][0]["audio"]["muted"], true);
    let aux = clients[0].ask(json!({ "type": "mute", "stream": "aux", "kind": "audio", "muted": true })).await;
    let aux = if aux["type"] == "member-entered" { clients[0].next().await } else { aux };
    assert_eq!(code_of(&aux), number(Code::NoSuchStream));
}

#[tokio::test]
async fn an_rtmp_publisher_enters_is_seen_and_leaves() {
    let mut house = House::new();
    let mut alice = house.member("alice").await;
    let query = format!("sdkappid={APP}&userid=phone&usersig={}&name=Phone", user_sig("phone"));
    let grant = house.push("push", "1001", &query).await.unwrap();
    let entered = alice.event("member-entered").await;
    assert_eq!((&entered["member"]["protocol"], &entered["member"]["name"]), (&json!("rtmp"), &json!("Phone")));
    let early = alice.ask(subscribe(&["phone"])).await;
    assert_eq!(code_of(&early), number(Code::NoSuchStream), "it is not known yet what it carries");
    house.event(Event::StreamTracks { stream: grant.stream, audio: Some(Codec::Opus), video: None }).await;
    assert_eq!(alice.event("stream-added").await["stream"]["video"], json!(null));
    house.event(Event::StreamTracks { stream: grant.stream, audio: Some(Codec::Opus), video: Some(Codec::H264) }).await;
    alice.event("stream-changed").await;
    assert_eq!(alice.ask(subscribe(&["phone"])).await["type"], "ok");
    let (_, wanted) = house.answer_subscribe().await;
    assert_eq!(wanted, [Wanted { stream: grant.stream, audio: true, video: true }]);
    alice.event("offer").await;
    house.event(Event::StreamEnded { stream: grant.stream }).await;
    alice.event("stream-removed").await;
    assert_eq!(alice.event("member-left").await["userID"], "phone");
    assert!(house.no_command(), "the offer without it waits for the answer to the one before");
    assert_eq!(house.play(&format!("{APP}_1001_phone_main"), "").await.unwrap_err().code, Code::NoSuchStream.number());
}

#[tokio::test]
async fn the_same_user_pushing_again_takes_the_stream_over() {
    let mut house = House::new();
    let mut alice = house.member("alice").await;
    let first = house.pushed("phone").await;
    alice.event("member-entered").await;
    alice.event("stream-added").await;
    let second = house.pushed("phone").await;
    assert_eq!(first, second, "the stream goes on; media lets the new connection in the old one's place");
    assert_eq!(house.play(&format!("{APP}_1001_phone_main"), "").await, Ok(second));
    let query = format!("userid=phone&stream=aux&usersig={}", user_sig("phone"));
    let aux = house.push("push", "1001", &query).await.unwrap();
    assert!(house.no_command(), "another stream of the same user is beside the first");
    house.event(Event::StreamEnded { stream: second }).await;
    alice.event("stream-removed").await;
    house.event(Event::StreamEnded { stream: aux.stream }).await;
    alice.event("member-left").await;
}

#[tokio::test]
async fn somebody_elses_ticket_takes_over_nothing() {
    let mut house = House::new();
    let stream = house.pushed("phone").await;
    let query = format!("userid=phone&usersig={}", user_sig("mallory"));
    let refused = house.push("push", "1001", &query).await.unwrap_err();
    assert_eq!(refused.code, Code::UserSigInvalid.number());
    assert_eq!(house.play(&format!("{APP}_1001_phone_main"), "").await, Ok(stream));
    assert!(house.no_command());
}

#[tokio::test]
async fn a_lost_publisher_is_waited_for_and_comes_back_to_the_same_stream() {
    let mut house = House::new();
    let mut alice = house.member("alice").await;
    let stream = house.pushed("phone").await;
    alice.event("member-entered").await;
    alice.event("stream-added").await;
    house.event(Event::StreamLost { stream }).await;
    assert_eq!(alice.event("stream-changed").await["stream"]["waiting"], true);
    assert_eq!(house.play(&format!("{APP}_1001_phone_main"), "").await, Ok(stream), "new players may wait too");
    assert_eq!(house.pushed("phone").await, stream);
    let back = alice.event("stream-changed").await;
    assert_eq!(back["stream"].get("waiting"), None);
    assert!(house.no_command());
}

#[test]
fn who_does_not_come_back_within_15_s_leaves() {
    let (ids, limits) = (std::sync::Arc::default(), std::sync::Arc::default());
    let clock = super::super::clock();
    let mut room = Room::new(APP, RoomName::Number(ROOM), 15, 0, limits, ids, clock);
    let (start, mut out) = (clock.now, Vec::new());
    let stream = room.push(start, phone(), StreamName::Main, &mut out).unwrap();
    room.stream_tracks(start, stream, Some(Codec::Opus), Some(Codec::H264), &mut out);
    room.stream_lost(stream, &mut out);
    out.clear();
    room.tick(start + Duration::from_millis(14_999), &mut out);
    assert!(out.is_empty());
    room.tick(start + Duration::from_secs(15), &mut out);
    assert!(out.iter().any(|o| matches!(o, Output::Media(Action::CloseStream(id)) if *id == stream)));
    assert!(room.is_empty());
}

fn phone() -> Newcomer {
    Newcomer {
        user: "phone".into(),
        name: None,
        role: Role::Anchor,
        protocol: Protocol::Rtmp,
        privilege: Privilege::ALL,
        until: None,
        reached_at: None,
    }
}

#[tokio::test]
async fn a_publisher_goes_on_over_the_other_protocol_in_both_directions() {
    let mut house = House::new();
    let mut alice = house.member("alice").await;
    let stream = house.pushed("cam").await;
    alice.event("member-entered").await;
    alice.event("stream-added").await;
    let opening = tokio::spawn({
        let hub = house.hub.clone();
        async move { hub.open_publish(offer("cam", "")).await }
    });
    assert!(matches!(house.command().await, Command::HoldStream { stream: s } if s == stream));
    let (transport, streams) = house.answer_publish().await;
    assert_eq!(streams, [stream]);
    opening.await.unwrap().unwrap();
    assert_eq!(alice.event("member-changed").await["member"]["protocol"], "whip");
    alice.event("stream-changed").await;
    assert_eq!(house.pushed("cam").await, stream);
    assert!(matches!(house.command().await, Command::HoldStream { stream: s } if s == stream));
    assert!(matches!(house.command().await, Command::CloseTransport { transport: t } if t == transport));
    assert_eq!(alice.event("member-changed").await["member"]["protocol"], "rtmp");
    assert_eq!(alice.event("stream-changed").await["stream"].get("waiting"), None);
    assert_eq!(house.hub.counts().members, 2);
}

#[tokio::test]
async fn what_nobody_here_knows_is_closed_there() {
    let mut house = House::new();
    let (audio, video) = (Some(Codec::Opus), None);
    house.event(Event::StreamTracks { stream: StreamId(99), audio, video }).await;
    assert!(matches!(house.command().await, Command::CloseStream { stream: StreamId(99) }));
}

#[tokio::test]
async fn a_member_by_websocket_who_publishes_nothing_there_may_push_and_stays_when_the_push_ends() {
    let mut house = House::new();
    let (mut alice, mut phone) = (house.member("alice").await, house.member("phone").await);
    alice.event("member-entered").await;
    let stream = house.pushed("phone").await;
    assert_eq!(alice.event("stream-added").await["userID"], "phone", "nobody left and nobody came");
    phone.send(json!({ "type": "message", "text": "here I am" }));
    assert_eq!(phone.next().await["type"], "ok");
    assert_eq!(alice.event("message").await["from"], "phone");
    house.event(Event::StreamEnded { stream }).await;
    alice.event("stream-removed").await;
    assert_eq!(phone.ask(json!({ "type": "heartbeat" })).await["type"], "ok");
    // Who publishes by WebRTC is somebody else than who pushes: one login per user and room.
    phone.publish();
    house.answer_publish().await;
    phone.next().await;
    house.pushed("phone").await;
    assert_eq!(phone.event("closed").await["code"], Code::LoggedInElsewhere.number());
}

#[tokio::test]
async fn a_push_whose_connection_is_gone_leaves_no_member() {
    let house = House::new();
    let mut alice = house.member("alice").await;
    let (reply, answer) = oneshot::channel();
    drop(answer);
    let query = format!("userid=phone&usersig={}", user_sig("phone"));
    house.event(Event::PushRequested { url: url("push", "1001", &query), reply }).await;
    alice.event("member-entered").await;
    alice.event("member-left").await;
}

#[tokio::test]
async fn a_signed_url_pushes_and_plays_by_the_streams_full_name() {
    let house = House::new();
    let name = format!("{APP}_1001_cam_aux");
    let signed = |name: &str, expires_at_s: u64| {
        format!("txSecret={}&txTime={}", tx_secret("pushkey", name, expires_at_s), tx_time(expires_at_s))
    };
    let grant = house.push("live", &name, &signed(&name, now_s() + 60)).await.unwrap();
    assert_eq!(house.play(&name, "").await, Ok(grant.stream));
    let played = house.hub.authorise_play(&name, &signed(&name, now_s() + 60), None);
    assert_eq!(played, Ok(PlayGrant { stream: grant.stream, until: None, watch: PlayWatch::nobody() }));
    for (query, code) in [
        (signed(&name, now_s() - 60), Code::UrlSignatureExpired),
        (signed(&format!("{APP}_1001_other_aux"), now_s() + 60), Code::UrlSignatureInvalid),
        (String::from("txTime=5C07932C"), Code::UrlSignatureInvalid),
        (String::new(), Code::TicketMissing),
    ] {
        assert_eq!(house.push("live", &name, &query).await.unwrap_err().code, code.number(), "{query}");
    }
    assert_eq!(house.push("live", "nonsense", "").await.unwrap_err().code, Code::NotFound.number());
    assert_eq!(house.push("vod", &name, "").await.unwrap_err().code, Code::NotFound.number());
}

/// MD5 of `10001_alice_main`.
const ALICE_MAIN: &str = "dc55e56030c21f8471e668eff3d4dd58";

#[tokio::test]
async fn an_older_name_plays_what_the_full_name_does_for_whoever_may() {
    let other = || AppConfig { sdk_app_id: 7, v2_secret: Some("of 7".into()), play: PlayPolicy::Ticket, ..app() };
    let house = House::with(|config| {
        config.apps = vec![
            AppConfig { bizid: Some("8888".into()), ..other() },
            AppConfig { bizid: Some("8888".into()), ..app() },
        ];
    });
    let query = |user: &str| format!("sdkappid={APP}&userid={user}&usersig={}", user_sig(user));
    let grant = house.push("push", "10001", &query("alice")).await.unwrap();
    let old = format!("8888_{ALICE_MAIN}");
    assert_eq!(house.play(&old, "").await, Ok(grant.stream), "of two apps with this bizid, the one whose stream it is");
    assert_eq!(house.hub.stream_named(APP, &old), Some(grant.stream));
    assert_eq!(house.hub.stream_named(7, &old), None, "it is not this app's");
    let signed = |name: &str| {
        let until_s = now_s() + 60;
        format!("txSecret={}&txTime={}", tx_secret("pushkey", name, until_s), tx_time(until_s))
    };
    let played = house.hub.authorise_play(&old, &signed(&old), None).map(|grant| grant.stream);
    assert_eq!(played, Ok(grant.stream), "signed is the name in the URL");
    for (name, query, code) in [
        (old.clone(), signed(&format!("{APP}_10001_alice_main")), Code::UrlSignatureInvalid),
        (format!("{APP}_{ALICE_MAIN}"), String::new(), Code::NoSuchStream),
        (format!("8889_{ALICE_MAIN}"), String::new(), Code::NoSuchStream),
        (format!("8888_{}", ALICE_MAIN.to_uppercase()), String::new(), Code::NoSuchStream),
    ] {
        assert_eq!(house.play(&name, &query).await.unwrap_err().code, code.number(), "{name}");
    }
    house.event(Event::StreamEnded { stream: grant.stream }).await;
    house.settled().await;
    let gone = house.play(&old, "").await.unwrap_err();
    // The first app of this bizid wants a ticket, and says no more of a stream that is not there.
    assert_eq!(gone.code, Code::TicketMissing.number());
}

#[tokio::test]
async fn without_a_bizid_older_names_begin_with_the_sdk_app_id() {
    let house = House::new();
    let grant = house.push("push", "10001", &format!("userid=alice&usersig={}", user_sig("alice"))).await.unwrap();
    assert_eq!(house.play(&format!("{APP}_{ALICE_MAIN}"), "").await, Ok(grant.stream));
}

#[tokio::test]
async fn where_a_ticket_is_wanted_older_names_do_not_say_what_is_there() {
    let house = House::with(|config| config.apps[0].play = PlayPolicy::Ticket);
    house.push("push", "10001", &format!("userid=alice&usersig={}", user_sig("alice"))).await.unwrap();
    let absent = ALICE_MAIN.replace('d', "e");
    for query in [String::new(), "userid=bob&usersig=bad".to_owned(), "txSecret=00&txTime=FFFFFFFF".to_owned()] {
        let codes = [ALICE_MAIN, &absent].map(|hash| house.hub.authorise_play(&format!("{APP}_{hash}"), &query, None));
        assert!(codes[0].is_err() && codes[0] == codes[1], "{query}: {codes:?}");
    }
}

#[tokio::test]
async fn a_push_to_an_older_name_says_who_and_where_it_is_and_both_have_to_fit() {
    let house = House::with(|config| config.apps[0].bizid = Some("8888".into()));
    let old = format!("8888_{ALICE_MAIN}");
    let until_s = now_s() + 60;
    let signature = format!("txSecret={}&txTime={}", tx_secret("pushkey", &old, until_s), tx_time(until_s));
    for (query, code) in [
        ("userid=alice", Code::BadField),
        ("roomid=10001", Code::BadField),
        ("roomid=10001&userid=bob", Code::NotFound),
        ("roomid=10001&userid=alice&stream=aux", Code::NotFound),
        ("roomid=10001&userid=alice&stream=third", Code::BadField),
        ("roomid=10001&userid=alice&sdkappid=7", Code::UnknownApp),
    ] {
        let refused = house.push("live", &old, &format!("{query}&{signature}")).await.unwrap_err();
        assert_eq!(refused.code, code.number(), "{query}: {}", refused.text);
    }
    let query = "roomid=10001&userid=alice";
    assert_eq!(house.push("live", &old, query).await.unwrap_err().code, Code::TicketMissing.number());
    let grant = house.push("live", &old, &format!("{query}&{signature}")).await.unwrap();
    assert_eq!(house.play(&format!("{APP}_10001_alice_main"), "").await, Ok(grant.stream));
    assert_eq!(house.play(&old, "").await, Ok(grant.stream));
    let unknown = format!("8889_{ALICE_MAIN}");
    assert_eq!(house.push("live", &unknown, query).await.unwrap_err().code, Code::UnknownApp.number());
}

#[tokio::test]
async fn whip_publishes_as_a_member_until_the_session_ends() {
    let mut house = House::new();
    let mut alice = house.member("alice").await;
    let opening = tokio::spawn({
        let hub = house.hub.clone();
        async move { hub.open_publish(offer("cam", "name=Camera")).await }
    });
    let (transport, _) = house.answer_publish().await;
    let session = opening.await.unwrap().unwrap();
    assert_eq!((session.sdp.as_str(), session.name.len()), ("v=0 answer", 32));
    assert_eq!(alice.event("member-entered").await["member"]["protocol"], "whip");
    assert_eq!(alice.event("stream-added").await["userID"], "cam");
    assert_eq!(house.hub.close_session(SessionKind::Whep, &session.name), Err(Code::SessionNotFound));
    assert_eq!(house.hub.close_session(SessionKind::Whip, &session.name), Ok(()));
    assert!(matches!(house.command().await, Command::CloseTransport { transport: t } if t == transport));
    alice.event("stream-removed").await;
    alice.event("member-left").await;
    assert_eq!(house.hub.close_session(SessionKind::Whip, &session.name), Err(Code::SessionNotFound));
}

#[tokio::test]
async fn a_whip_publisher_whose_transport_ends_leaves_and_one_refused_never_stays() {
    let mut house = House::with(|config| config.limits.republish_within = Duration::ZERO);
    let mut alice = house.member("alice").await;
    let open = |house: &House| {
        let hub = house.hub.clone();
        tokio::spawn(async move { hub.open_publish(offer("cam", "")).await })
    };
    let opening = open(&house);
    let (transport, _) = house.answer_publish().await;
    let session = opening.await.unwrap().unwrap();
    alice.event("member-entered").await;
    alice.event("stream-added").await;
    house.event(Event::TransportClosed { transport, reason: CloseReason::ConnectTimeout }).await;
    alice.event("stream-removed").await;
    assert_eq!(alice.event("member-left").await["reason"], "disconnected");
    assert!(matches!(house.command().await, Command::CloseStream { .. }), "media holds it");
    assert_eq!(house.hub.close_session(SessionKind::Whip, &session.name), Err(Code::SessionNotFound));
    let opening = open(&house);
    let Command::Publish { reply, .. } = house.command().await else { panic!() };
    reply.send(Err(Refusal::NoCodec(Kind::Video))).ok().unwrap();
    assert_eq!(opening.await.unwrap().unwrap_err().code, Code::NoCommonCodec);
    alice.event("member-entered").await;
    assert_eq!(alice.event("member-left").await["reason"], "failed");
}

#[tokio::test]
async fn whep_plays_whom_it_names_or_who_is_there_longest_and_ends_with_the_stream() {
    let mut house = House::new();
    let play = |house: &House, query: &str| {
        let (hub, offer) = (house.hub.clone(), offer("viewer", query));
        tokio::spawn(async move { hub.open_play(offer).await })
    };
    assert_eq!(play(&house, "").await.unwrap().unwrap_err().code, Code::NoSuchStream, "there is no room");
    let _first = house.pushed("first").await;
    let second = house.pushed("second").await;
    assert_eq!(house.hub.counts().members, 2);
    for (query, user) in [("", "first"), ("play=second", "second"), ("stream=second_main", "second")] {
        let opening = play(&house, query);
        let (_, wanted) = house.answer_play().await;
        let expected = house.play(&format!("{APP}_1001_{user}_main"), "").await.unwrap();
        assert_eq!(wanted, [Wanted { stream: expected, audio: true, video: true }], "{query}");
        assert_eq!(opening.await.unwrap().unwrap().sdp, "v=0 played");
    }
    assert_eq!(play(&house, "play=nobody").await.unwrap().unwrap_err().code, Code::NoSuchStream);
    assert_eq!(play(&house, "stream=second_aux").await.unwrap().unwrap_err().code, Code::NoSuchStream);
    assert_eq!(play(&house, "stream=second").await.unwrap().unwrap_err().code, Code::BadField);
    assert_eq!(house.hub.counts().members, 2, "players are not members");
    assert_eq!(house.hub.counts().sessions, 3);
    house.event(Event::StreamEnded { stream: second }).await;
    for _ in 0..2 {
        assert!(matches!(house.command().await, Command::CloseTransport { .. }));
    }
    assert_eq!(house.hub.counts().sessions, 1);
}

#[test]
fn a_push_that_carries_nothing_is_ended_after_20_s() {
    let (ids, limits) = (std::sync::Arc::default(), std::sync::Arc::default());
    let mut room = Room::new(APP, RoomName::Number(ROOM), 15, 0, limits, ids, super::super::clock());
    let (start, mut out) = (Instant::now(), Vec::new());
    let stream = room.push(start, phone(), StreamName::Main, &mut out).unwrap();
    out.clear();
    room.tick(start + Duration::from_millis(19_999), &mut out);
    assert!(out.is_empty());
    room.tick(start + Duration::from_secs(20), &mut out);
    assert!(out.iter().any(|o| matches!(o, Output::Media(Action::CloseStream(id)) if *id == stream)));
    assert!(room.is_empty());
}

#[tokio::test]
async fn a_fragment_with_other_credentials_restarts_ice_and_the_session_gets_another_tag() {
    let mut house = House::new();
    let opening = tokio::spawn({
        let hub = house.hub.clone();
        async move { hub.open_publish(offer("cam", "")).await }
    });
    let (transport, _) = house.answer_publish().await;
    let session = opening.await.unwrap().unwrap();
    let (hub, name) = (house.hub.clone(), session.name.clone());
    let send = |about: &'static str, fragment: &'static str, tag: &str| {
        let (hub, name, tag) = (hub.clone(), name.clone(), tag.to_owned());
        tokio::spawn(async move {
            let about = match about {
                "any" => Trickle::Any,
                "restart" => Trickle::Restart,
                _ => Trickle::Tag(&tag),
            };
            hub.trickle(SessionKind::Whip, &name, about, fragment, None).await.map_err(|fault| fault.code)
        })
    };
    let (first, fresh) = (session.tag.clone(), "a=ice-ufrag:new1\r\na=ice-pwd:0123456789012345678901");
    for about in ["any", "tag"] {
        assert_eq!(
            send(about, "a=candidate:1", &first).await.unwrap(),
            Ok(Trickled::Taken),
            "candidates are not needed"
        );
    }
    assert_eq!(send("tag", fresh, "\"another\"").await.unwrap(), Err(Code::SessionChanged));
    let mut tag = first.clone();
    for (about, theirs) in [("any", fresh), ("tag", "a=ice-ufrag:new2"), ("restart", fresh), ("restart", fresh)] {
        let sent = send(about, theirs, &tag);
        let Command::RestartIce { transport: t, fragment, reply, .. } = house.command().await else { panic!() };
        assert_eq!((t, fragment.as_str()), (transport, theirs));
        reply.send(Ok("ours".into())).unwrap();
        let Ok(Trickled::Restarted { fragment, tag: next }) = sent.await.unwrap() else { panic!("{about}") };
        assert_eq!(fragment, "ours");
        assert_ne!(next, tag);
        assert_eq!(send("tag", "", &tag).await.unwrap(), Err(Code::SessionChanged), "of before");
        tag = next;
        if about != "restart" {
            assert_eq!(
                send("tag", theirs, &tag).await.unwrap(),
                Ok(Trickled::Taken),
                "the same once more is no restart"
            );
        }
    }
    let sent = send("restart", "a=ice-ufrag:bad", "");
    let Command::RestartIce { reply, .. } = house.command().await else { panic!() };
    reply.send(Err(Refusal::BadSdp("no password".into()))).unwrap();
    assert_eq!(sent.await.unwrap(), Err(Code::BadSdp));
    assert_eq!(send("tag", fresh, &tag).await.unwrap(), Ok(Trickled::Taken), "what was refused changed nothing");
}
