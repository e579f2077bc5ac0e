//! What listeners hear, and what the server itself may do.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    hub::{Fact, Play},
    name::StreamName,
};

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

#[tokio::test]
async fn listeners_hear_where_a_push_came_from_and_who_plays_and_is_gone() {
    let house = House::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    house.hub.listen({
        let heard = heard.clone();
        move |notice| {
            heard.lock().unwrap().push(notice.fact.clone());
        }
    });
    let name = format!("{APP}_1001_cam_main");
    let query = format!(
        "userid=cam&usersig={}&privatemapkey={}&z=1",
        user_sig("cam"),
        map_key("cam", &RoomName::Number(ROOM), 255)
    );
    let grant = house.push("push", &ROOM.to_string(), &format!("sdkappid={APP}&{query}")).await.unwrap();
    house.event(Event::StreamTracks { stream: grant.stream, audio: None, video: Some(Codec::H264) }).await;
    house.settled().await;
    let origin = heard.lock().unwrap().iter().find_map(|fact| match fact {
        Fact::PublishStarted { origin, .. } => origin.clone(),
        _ => None,
    });
    let origin = origin.expect("the push is told of");
    assert_eq!((origin.app.as_str(), origin.host.as_str()), ("push", "push.example.com"));
    assert_eq!(origin.param, format!("sdkappid={APP}&userid=cam&z=1"));
    heard.lock().unwrap().clear();

    let asked = house.hub.authorise_play(&name, "", Some([203, 0, 113, 5].into())).unwrap();
    assert!(heard.lock().unwrap().is_empty(), "asking is not playing");
    let playing = asked.watch.begin();
    drop(playing);
    let heard = heard.lock().unwrap().clone();
    match &heard[..] {
        [Fact::PlayStarted(begun), Fact::PlayStopped(gone)] => {
            assert_eq!(begun, gone);
            assert_eq!((begun.user.as_str(), begun.protocol, begun.ip), ("cam", "flv", Some([203, 0, 113, 5].into())));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_hls_player_is_told_of_like_the_others_and_only_under_its_streams_name() {
    let house = House::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    house.hub.listen({
        let heard = heard.clone();
        move |notice| heard.lock().unwrap().push(notice.fact.clone())
    });
    let stream = house.pushed("cam").await;
    let name = format!("{APP}_{ROOM}_cam_main");
    let grant = house.hub.authorise_hls(&name, "userid=eye", None).unwrap();
    assert_eq!((grant.stream, grant.until, grant.player), (stream, None, None));
    assert_eq!(
        house.hub.authorise_hls(&format!("{APP}_{ROOM}_nobody_main"), "", None).unwrap_err(),
        Code::NoSuchStream
    );
    house.settled().await;
    heard.lock().unwrap().clear();
    let other = StreamId(stream.0 + 1);
    for (name, stream) in [(name.as_str(), other), (&format!("{APP}_{ROOM}_cam_aux"), stream), ("nonsense", stream)] {
        assert!(house.hub.watch_hls(name, stream, None, None).is_none(), "{name}");
    }
    for _ in 0..2 {
        drop(house.hub.watch_hls(&name, stream, Some("anna"), Some([203, 0, 113, 5].into())).unwrap().begin());
    }
    let heard = heard.lock().unwrap().clone();
    let plays: Vec<Play> = heard
        .iter()
        .map(|fact| match fact {
            Fact::PlayStarted(play) | Fact::PlayStopped(play) => play.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((plays.len(), &plays[0], &plays[2]), (4, &plays[1], &plays[3]));
    assert_ne!(plays[0].id, plays[2].id, "whoever begins again is another");
    assert_eq!((plays[0].user.as_str(), plays[0].protocol), ("cam", "hls"));
    assert_eq!((plays[0].player.as_deref(), plays[0].ip), (Some("anna"), Some([203, 0, 113, 5].into())));
}
