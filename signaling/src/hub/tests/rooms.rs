//! Members coming and going.

use media::{Command, command::CloseReason};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_member_is_told_of_the_others_and_they_of_him() {
    let house = House::new();
    let mut alice = house.client();
    let fields = json!({ "userID": "alice", "userSig": user_sig("alice"), "name": "Alice", "role": "audience" });
    let entered = alice.enter_with(fields).await;
    assert_eq!(
        entered,
        json!({ "id": 1, "type": "ok", "roomID": ROOM, "userID": "alice", "role": "audience", "privilege": 255,
                "heartbeatSeconds": 10, "members": [], "owner": "alice" })
    );
    let mut bob = house.client();
    let entered = bob.enter("bob").await;
    let info = json!({ "userID": "alice", "name": "Alice", "role": "audience", "protocol": "webrtc", "streams": [] });
    assert_eq!(entered["members"], json!([info]));
    let event = alice.event("member-entered").await;
    assert_eq!((&event["member"]["userID"], &event["member"]["name"]), (&json!("bob"), &json!("bob")));
    assert_eq!(bob.ask(json!({ "type": "leave" })).await, json!({ "id": 2, "type": "ok" }));
    assert_eq!(alice.next().await, json!({ "type": "member-left", "userID": "bob", "reason": "left" }));
}

#[tokio::test]
async fn members_of_other_rooms_and_apps_hear_nothing() {
    let house = House::with(|config| config.apps.push(AppConfig { sdk_app_id: 7, ..app() }));
    let mut elsewhere = house.client();
    let fields = json!({ "userID": "carol", "userSig": user_sig("carol"), "roomID": "other" });
    assert_eq!(elsewhere.enter_with(fields).await["type"], "ok");
    let sig = issue_user_sig(&AppConfig { sdk_app_id: 7, ..app() }, TicketVersion::V2, "dave", now_s(), 300).unwrap();
    let mut tenant = house.client();
    let entered = tenant.enter_with(json!({ "userID": "dave", "userSig": sig, "sdkAppID": 7 })).await;
    assert_eq!(entered["members"], json!([]), "the same room number of another app is another room");
    let mut alice = house.member("alice").await;
    assert_eq!(alice.ask(json!({ "type": "leave" })).await["type"], "ok");
    for client in [&mut elsewhere, &mut tenant] {
        assert_eq!(client.ask(json!({ "type": "heartbeat" })).await["type"], "ok", "the first message since");
    }
}

#[tokio::test]
async fn the_second_login_ejects_the_first() {
    let house = House::new();
    let mut watcher = house.member("watcher").await;
    let mut first = house.member("alice").await;
    let mut second = house.client();
    let entered = second.enter("alice").await;
    assert_eq!(entered["members"].as_array().unwrap().len(), 1);
    assert_eq!(code_of(&first.event("closed").await), number(Code::LoggedInElsewhere));
    assert_eq!(first.next().await, json!({ "close": 4409 }));
    watcher.event("member-entered").await;
    assert_eq!(watcher.event("member-left").await["reason"], "ejected");
    watcher.event("member-entered").await;
    // What the first connection still does concerns nobody: it is gone without a trace.
    first.disconnect();
    assert_eq!(watcher.ask(json!({ "type": "heartbeat" })).await["type"], "ok");
    assert_eq!(house.hub.counts().members, 2);
}

#[tokio::test]
async fn a_room_ends_with_its_last_member_and_nothing_of_it_stays() {
    let mut house = House::new();
    let mut alice = house.member("alice").await;
    alice.publish();
    let (transport, _) = house.answer_publish().await;
    assert_eq!(alice.next().await["sdp"], "v=0 answer");
    assert_eq!((house.hub.counts().rooms, house.hub.counts().transports), (1, 1));
    alice.disconnect();
    assert!(matches!(house.command().await, Command::CloseTransport { transport: t } if t == transport));
    assert!(matches!(house.command().await, Command::CloseRoom { .. }));
    assert_eq!(house.hub.counts(), super::super::Counts::default());
    let again = house.member("alice").await;
    assert!(again.seat.is_some());
}

#[tokio::test]
async fn who_leaves_while_media_is_at_work_leaves_no_transport_behind() {
    let mut house = House::new();
    let mut alice = house.member("alice").await;
    alice.publish();
    let Command::Publish { reply, .. } = house.command().await else { panic!() };
    alice.disconnect();
    assert!(matches!(house.command().await, Command::CloseRoom { .. }));
    let transport = TransportId(77);
    reply.send(Ok(PublishAnswer { transport, answer: String::new(), tracks: Vec::new() })).ok().unwrap();
    assert!(matches!(house.command().await, Command::CloseTransport { transport: t } if t == transport));
    assert_eq!(house.hub.counts(), super::super::Counts::default());
}

#[tokio::test]
async fn members_hear_what_becomes_of_their_transports() {
    let mut house = House::new();
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.event("member-entered").await;
    alice.publish();
    let (transport, streams) = house.answer_publish().await;
    alice.next().await;
    bob.event("stream-added").await;
    house.event(Event::TransportConnected { transport }).await;
    assert_eq!(alice.next().await, json!({ "type": "transport", "direction": "up", "state": "connected" }));
    house.event(Event::TransportClosed { transport, reason: CloseReason::ConsentExpired }).await;
    let closed = alice.event("transport").await;
    assert_eq!((&closed["direction"], &closed["state"]), (&json!("up"), &json!("closed")));
    assert_eq!(bob.event("stream-changed").await["stream"]["waiting"], true);
    // He is still a member and goes on with the same stream, on a new transport.
    alice.publish();
    let (again, same) = house.answer_publish().await;
    assert_ne!(again, transport);
    assert_eq!(same, streams);
    assert_eq!(bob.event("stream-changed").await["stream"].get("waiting"), None);
}

#[tokio::test]
async fn a_reader_too_slow_for_his_queue_is_let_go_and_the_others_hear_it() {
    let house = House::with(|config| config.limits.members_per_room = 1000);
    let _slow = house.member("slow").await;
    let mut watcher = house.member("watcher").await;
    let mut crowd = Vec::new();
    // The watcher's coming is the first message that the slow one does not read.
    for n in 1..crate::link::QUEUE_MESSAGES_MAX {
        crowd.push(house.member(&format!("user{n}")).await);
        watcher.event("member-entered").await;
    }
    crowd.push(house.member("one-more").await);
    watcher.event("member-entered").await;
    assert_eq!(watcher.event("member-left").await["userID"], "slow");
}

#[tokio::test]
async fn when_the_server_goes_down_members_are_told_and_nobody_enters() {
    let house = House::new();
    let mut alice = house.member("alice").await;
    house.hub.shut_down();
    assert_eq!(code_of(&alice.event("closed").await), number(Code::ShuttingDown));
    assert_eq!(alice.next().await, json!({ "close": 1001 }));
    assert_eq!(code_of(&house.client().enter("bob").await), number(Code::ShuttingDown));
}

#[tokio::test]
async fn a_stream_of_the_server_is_a_member_whose_name_nobody_takes() {
    let mut house = House::new();
    let (room, stream) = house.hub.add_test_stream(APP, "1001", "teststream").unwrap();
    let mut alice = house.member("alice").await;
    house.event(Event::StreamTracks { stream, audio: Some(Codec::Opus), video: Some(Codec::H264) }).await;
    let added = alice.event("stream-added").await;
    assert_eq!(added["userID"], "teststream");
    assert_eq!(added["stream"]["video"], json!({ "codec": "H264", "muted": false }));
    assert_eq!(code_of(&house.client().enter("teststream").await), number(Code::UserInUse));
    let query = format!("userid=teststream&usersig={}", user_sig("teststream"));
    let refused = house.push("push", "1001", &query).await.unwrap_err();
    assert_eq!(u64::from(refused.code), number(Code::UserInUse));
    let entered = house.client().enter("bob").await;
    let member = entered["members"].as_array().unwrap().iter().find(|m| m["userID"] == "teststream").unwrap();
    assert_eq!(member["protocol"], "test");
    assert_eq!(house.play(&format!("{APP}_1001_teststream_main"), "").await, Ok(stream));
    // The room stays while the stream does, whoever leaves.
    alice.disconnect();
    assert!(house.no_command());
    assert_eq!(house.hub.add_test_stream(APP, "1002", "teststream").map(|(other, _)| other != room), Ok(true));
    assert_eq!(house.hub.add_test_stream(8, "1001", "x").unwrap_err().code, Code::UnknownApp);
}
