//! Roles, and keeping order: who may, and what it does.

use super::*;
use crate::room::{RoomChange, RoomRecord, Silence};

fn room() -> RoomName {
    RoomName::Number(ROOM)
}

/// The owner, somebody else, and a moderator, with nothing left to read.
async fn three(house: &House) -> (Client, Client, Client) {
    let (mut owner, mut bob) = (house.member("owner").await, house.member("bob").await);
    let mut moderator = house.client();
    let key = map_key("mod", &room(), 255 | 256);
    moderator.enter_with(json!({ "userID": "mod", "userSig": user_sig("mod"), "privateMapKey": key })).await;
    for client in [&mut owner, &mut bob, &mut moderator] {
        client.drain();
    }
    (owner, bob, moderator)
}

#[tokio::test]
async fn only_the_owner_and_moderators_keep_order() {
    let house = House::new();
    let (mut owner, mut bob, mut moderator) = three(&house).await;
    let requests = [
        json!({ "type": "kick", "userID": "mod" }),
        json!({ "type": "ban", "userID": "mod" }),
        json!({ "type": "unban", "userID": "mod" }),
        json!({ "type": "mute-member", "userID": "mod", "audio": true }),
        json!({ "type": "update-room", "locked": true }),
        json!({ "type": "dissolve" }),
    ];
    for request in requests {
        assert_eq!(code_of(&bob.ask(request.clone()).await), number(Code::NotModerator), "{request}");
    }
    for request in [json!({ "type": "kick", "userID": "owner" }), json!({ "type": "ban", "userID": "owner" })] {
        assert_eq!(code_of(&moderator.ask(request).await), number(Code::NotModerator), "nothing is done to the owner");
    }
    assert_eq!(moderator.ask(json!({ "type": "kick", "userID": "bob" })).await["type"], "member-left");
    assert_eq!(moderator.next().await["type"], "ok");
    assert_eq!(code_of(&bob.event("closed").await), number(Code::Kicked));
    assert_eq!(bob.next().await, json!({ "close": 4403 }));
    assert_eq!(owner.event("member-left").await["reason"], "kicked");
    assert_eq!(code_of(&owner.ask(json!({ "type": "kick", "userID": "bob" })).await), number(Code::NoSuchMember));
    let _back = house.member("bob").await;
}

#[tokio::test]
async fn the_owner_is_who_created_the_room_also_when_he_comes_back() {
    let house = House::new();
    let (mut owner, mut bob, _moderator) = three(&house).await;
    assert_eq!(owner.ask(json!({ "type": "leave" })).await["type"], "ok");
    bob.event("member-left").await;
    assert_eq!(code_of(&bob.ask(json!({ "type": "dissolve" })).await), number(Code::NotModerator));
    let mut owner = house.client();
    assert_eq!(owner.enter("owner").await["owner"], "owner");
    bob.event("member-entered").await;
    owner.send(json!({ "type": "dissolve" }));
    assert_eq!(owner.next().await["type"], "ok");
    for client in [&mut owner, &mut bob] {
        assert_eq!(code_of(&client.event("closed").await), number(Code::RoomDissolved));
    }
    assert_eq!(house.hub.counts().rooms, 0);
    assert_eq!(house.client().enter("bob").await["owner"], "bob", "the next room of that name is another");
}

#[tokio::test]
async fn who_is_banned_stays_out_until_it_is_over_also_when_the_room_was_empty() {
    let mut house = House::new();
    let (mut owner, mut bob, mut moderator) = three(&house).await;
    owner.send(json!({ "type": "ban", "userID": "bob" }));
    assert_eq!(owner.event("member-left").await["reason"], "banned");
    assert_eq!(owner.next().await["type"], "ok");
    assert_eq!(code_of(&bob.event("closed").await), number(Code::Banned));
    assert_eq!(code_of(&house.client().enter("bob").await), number(Code::Banned));
    let query = format!("userid=bob&usersig={}", user_sig("bob"));
    let refused = house.push("push", &ROOM.to_string(), &query).await.unwrap_err();
    assert_eq!(refused.code, Code::Banned.number(), "whichever way he comes");
    owner.disconnect();
    moderator.disconnect();
    assert!(
        matches!(house.command().await, Command::CloseRoom { .. }),
        "media keeps nothing of a room without members"
    );
    assert_eq!(house.hub.counts().rooms, 1);
    assert_eq!(code_of(&house.client().enter("bob").await), number(Code::Banned));
    let mut owner = house.member("owner").await;
    assert_eq!(owner.ask(json!({ "type": "unban", "userID": "bob" })).await["type"], "ok");
    assert_eq!(code_of(&owner.ask(json!({ "type": "unban", "userID": "bob" })).await), number(Code::NoSuchBan));
    let mut bob = house.member("bob").await;
    bob.disconnect();
    owner.disconnect();
    assert_eq!(house.hub.counts().rooms, 0);
}

#[tokio::test]
async fn as_many_are_banned_as_the_limit_says() {
    let house = House::with(|config| config.limits.bans_per_room = 2);
    let mut owner = house.member("owner").await;
    let ban = |user: &str| json!({ "type": "ban", "userID": user });
    for user in ["a", "b", "a"] {
        assert_eq!(owner.ask(ban(user)).await["type"], "ok");
    }
    assert_eq!(code_of(&owner.ask(ban("c")).await), number(Code::TooManyBans));
    house.hub.ban(APP, &room(), "a", Some(1)).unwrap();
    assert_eq!(house.client().enter("a").await["type"], "ok", "that ban is over");
}

#[tokio::test]
async fn into_a_locked_room_come_its_owner_moderators_and_who_is_there() {
    let house = House::new();
    let (mut owner, _bob, _moderator) = three(&house).await;
    let locked = owner.ask(json!({ "type": "update-room", "locked": true, "metadata": "topic" })).await;
    assert_eq!(locked, json!({ "type": "room-changed", "owner": "owner", "locked": true, "metadata": "topic" }));
    assert_eq!(owner.next().await["type"], "ok");
    assert_eq!(code_of(&house.client().enter("carol").await), number(Code::RoomLocked));
    assert_eq!(house.client().enter("bob").await["locked"], true);
    assert_eq!(house.client().enter("owner").await["metadata"], "topic");
    let change = RoomChange { locked: Some(false), metadata: Some(String::new()), ..RoomChange::default() };
    house.hub.update_room(APP, &room(), change).unwrap();
    let entered = house.client().enter("carol").await;
    assert_eq!((entered.get("locked"), entered.get("metadata")), (None, None));
}

#[tokio::test]
async fn metadata_has_8_kib_and_not_a_byte_more() {
    let house = House::new();
    let (mut owner, mut bob, _moderator) = three(&house).await;
    let set = |len: usize| json!({ "type": "set-metadata", "metadata": "x".repeat(len) });
    assert_eq!(bob.ask(set(8 << 10)).await["type"], "ok");
    let changed = owner.event("member-changed").await;
    assert_eq!(changed["member"]["metadata"].as_str().unwrap().len(), 8 << 10);
    assert_eq!(bob.refused(set((8 << 10) + 1)).await["field"], "metadata");
    let update = json!({ "type": "update-room", "metadata": "x".repeat((8 << 10) + 1) });
    assert_eq!(owner.refused(update).await["field"], "metadata");
    let change = RoomChange { metadata: Some("x".repeat((8 << 10) + 1)), ..RoomChange::default() };
    assert_eq!(house.hub.update_room(APP, &room(), change).unwrap_err().code, Code::BadField);
    assert_eq!(bob.ask(set(0)).await["type"], "ok");
    assert_eq!(owner.event("member-changed").await["member"].get("metadata"), None);
}

#[tokio::test]
async fn who_is_muted_by_the_owner_cannot_unmute_himself_nor_by_coming_back() {
    let mut house = House::new();
    let (mut owner, mut bob, _moderator) = three(&house).await;
    bob.publish();
    let (_, streams) = house.answer_publish().await;
    bob.next().await;
    owner.event("stream-added").await;
    owner.send(json!({ "type": "mute-member", "userID": "bob", "audio": true, "messages": true }));
    let muted = json!({ "type": "muted", "userID": "bob", "stream": "main", "kind": "audio", "muted": true });
    for client in [&mut owner, &mut bob] {
        assert_eq!(client.next().await, muted);
        let silenced = client.event("member-changed").await["member"]["silenced"].clone();
        assert_eq!(silenced, json!({ "audio": true, "video": false, "messages": true }));
    }
    assert_eq!(owner.next().await["type"], "ok");
    let Command::SetMuted { stream, kind: Kind::Audio, muted: true } = house.command().await else { panic!() };
    assert_eq!(stream, streams[0]);
    let unmute = json!({ "type": "mute", "stream": "main", "kind": "audio", "muted": false });
    assert_eq!(code_of(&bob.ask(unmute).await), number(Code::Silenced));
    assert_eq!(code_of(&bob.ask(json!({ "type": "message", "text": "x" })).await), number(Code::Silenced));
    bob.disconnect();
    owner.drain();
    assert!(matches!(house.command().await, Command::CloseTransport { .. }));
    let mut bob = house.member("bob").await;
    bob.publish();
    house.answer_publish().await;
    bob.next().await;
    owner.event("member-entered").await;
    assert_eq!(owner.event("stream-added").await["stream"]["audio"]["muted"], true);
    assert!(matches!(house.command().await, Command::SetMuted { kind: Kind::Audio, muted: true, .. }));
    house.hub.silence(APP, &room(), "bob", Silence::NONE).unwrap();
    assert_eq!(owner.next().await["muted"], false);
    assert_eq!(owner.event("member-changed").await["member"].get("silenced"), None);
}

#[tokio::test]
async fn to_become_anchor_a_ticket_is_judged_and_the_way_back_ends_the_streams() {
    let mut house = House::new();
    let mut watcher = house.member("watcher").await;
    let mut alice = house.client();
    let enter = json!({ "userID": "alice", "userSig": user_sig("alice"), "role": "audience", "privateMapKey": map_key("alice", &room(), 2 | 8 | 32) });
    alice.enter_with(enter).await;
    watcher.drain();
    let role = |role: &str, sig: Option<String>, key: Option<String>| json!({ "type": "role", "role": role, "userSig": sig, "privateMapKey": key });
    let sig = || Some(user_sig("alice"));
    let key = |bits| Some(map_key("alice", &room(), bits));
    for (request, code) in [
        (role("anchor", None, None), Code::TicketMissing),
        (role("anchor", None, key(255)), Code::TicketMissing),
        (role("anchor", Some(user_sig("bob")), key(255)), Code::UserSigInvalid),
        (role("anchor", sig(), Some(map_key("alice", &RoomName::Number(7), 255))), Code::PrivateMapKeyInvalid),
        (role("anchor", sig(), key(2 | 8 | 32)), Code::PrivilegeMissing),
        (role("anchor", sig(), key(4 | 16)), Code::PrivilegeMissing),
    ] {
        assert_eq!(code_of(&alice.ask(request).await), number(code));
    }
    alice.publish();
    assert_eq!(code_of(&alice.next().await), number(Code::RoleMayNotPublish));
    let granted = alice.ask(role("anchor", sig(), key(63))).await;
    assert_eq!((&granted["role"], &granted["privilege"]), (&json!("anchor"), &json!(63)));
    assert_eq!(watcher.event("member-changed").await["member"]["role"], "anchor");
    alice.publish();
    let (transport, _) = house.answer_publish().await;
    assert_eq!(alice.next().await["type"], "ok");
    watcher.event("stream-added").await;
    assert_eq!(alice.ask(role("audience", None, None)).await["role"], "audience");
    watcher.event("stream-removed").await;
    assert_eq!(watcher.event("member-changed").await["member"]["role"], "audience");
    assert!(matches!(house.command().await, Command::CloseTransport { transport: t } if t == transport));
}

#[tokio::test]
async fn a_renewed_ticket_that_allows_less_ends_what_it_does_not_allow() {
    let mut house = House::new();
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    house.pushed("cam").await;
    for client in [&mut alice, &mut bob] {
        client.drain();
    }
    alice.publish();
    let (_, streams) = house.answer_publish().await;
    alice.next().await;
    bob.event("stream-added").await;
    alice.send(json!({ "type": "subscribe", "streams": [{ "userID": "cam", "stream": "main" }] }));
    alice.next().await;
    let (_, wanted) = house.answer_subscribe().await;
    assert!(wanted[0].audio && wanted[0].video);
    let version = alice.event("offer").await["version"].clone();
    alice.send(json!({ "type": "answer", "version": version, "sdp": "v=0" }));
    house.answer_answer().await;
    alice.next().await;
    // May send sound only, and receive sound only.
    let key = map_key("alice", &room(), 2 | 4 | 8);
    alice.send(json!({ "type": "role", "role": "anchor", "userSig": user_sig("alice"), "privateMapKey": key }));
    assert_eq!(alice.event("stream-removed").await["userID"], "alice");
    assert_eq!(alice.next().await["privilege"], 14);
    bob.event("stream-removed").await;
    assert!(matches!(house.command().await, Command::CloseStream { stream } if stream == streams[0]));
    let (_, wanted) = house.answer_subscribe().await;
    assert!(wanted[0].audio && !wanted[0].video);
}

#[tokio::test]
async fn a_room_of_the_server_outlives_its_members_and_a_restored_one_waits_for_them() {
    let house = House::new();
    let record = RoomRecord { lasting: true, metadata: Some("hall".into()), ..RoomRecord::default() };
    house.hub.create_room(APP, &room(), record.clone()).unwrap();
    assert_eq!(house.hub.create_room(APP, &room(), record.clone()).unwrap_err().code, Code::RoomExists);
    // Who may not create rooms may enter it, and does not own it.
    let mut alice = house.client();
    let key = map_key("alice", &room(), 254);
    let entered =
        alice.enter_with(json!({ "userID": "alice", "userSig": user_sig("alice"), "privateMapKey": key })).await;
    assert_eq!((&entered["metadata"], entered.get("owner")), (&json!("hall"), None));
    alice.disconnect();
    assert_eq!(house.hub.rooms(APP).len(), 1);
    assert_eq!(house.hub.record(APP, &room()), Some(record));
    house.hub.dissolve(APP, &room()).unwrap();
    assert_eq!(house.hub.counts().rooms, 0);
    let record = RoomRecord { owner: Some("alice".into()), ..RoomRecord::default() };
    house.hub.listen(|notice| assert_ne!(notice.fact, crate::hub::Fact::RoomCreated));
    house.hub.restore_room(APP, &room(), record, Vec::new()).unwrap();
    let mut bob = house.client();
    assert_eq!(bob.enter("bob").await["owner"], "alice");
}
