//! What listeners hear, and what the server itself may do.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{hub::Fact, name::StreamName};

fn name_of(fact: &Fact) -> String {
    let text = format!("{fact:?}");
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn listeners_hear_a_rooms_life_in_order() {
    let mut house = House::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    house.hub.listen({
        let heard = heard.clone();
        move |notice| {
            assert_eq!((notice.sdk_app_id, &notice.room), (APP, &RoomName::Number(ROOM)));
            heard.lock().unwrap().push(notice.fact.clone());
        }
    });
    let mut alice = house.member("alice").await;
    alice.publish();
    house.answer_publish().await;
    alice.next().await;
    alice.disconnect();
    let heard = heard.lock().unwrap().clone();
    let names: Vec<String> = heard.iter().map(name_of).collect();
    assert_eq!(
        names,
        [
            "RoomCreated",
            "MemberEntered",
            "RecordChanged",
            "PublishStarted",
            "PublishStopped",
            "MemberLeft",
            "RoomDissolved"
        ]
    );
    assert_eq!(heard[4], Fact::PublishStopped { user: "alice".into(), stream: StreamName::Main });
}

#[tokio::test]
async fn who_is_refused_at_the_door_makes_no_room_that_listeners_hear_of() {
    let house = House::new();
    house.hub.listen(|notice| panic!("{notice:?}"));
    let fields =
        json!({ "userID": "a", "userSig": user_sig("a"), "privateMapKey": map_key("a", &RoomName::Number(ROOM), 2) });
    assert_eq!(code_of(&house.client().enter_with(fields).await), number(Code::PrivilegeMissing));
}

#[tokio::test]
async fn the_server_kicks_and_dissolves() {
    let house = House::new();
    let room = RoomName::Number(ROOM);
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.event("member-entered").await;
    assert_eq!(house.hub.room(APP, &room).unwrap().members.len(), 2);
    house.hub.kick(APP, &room, "bob").unwrap();
    assert_eq!(code_of(&bob.event("closed").await), number(Code::Kicked));
    assert_eq!(alice.event("member-left").await["reason"], "kicked");
    assert_eq!(house.hub.kick(APP, &room, "bob").unwrap_err().code, Code::NoSuchMember);
    house.member("bob").await;
    alice.event("member-entered").await;
    house.hub.dissolve(APP, &room).unwrap();
    assert_eq!(code_of(&alice.event("closed").await), number(Code::RoomDissolved));
    assert_eq!(house.hub.rooms(APP), []);
    assert_eq!(house.hub.dissolve(APP, &room).unwrap_err().code, Code::NoSuchRoom);
}
