//! Every bound of a room, at it and over it.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_room_has_300_members_and_the_301st_is_refused() {
    let house = House::new();
    let mut members: Vec<Client> = Vec::new();
    for n in 0..300 {
        members.push(house.member(&format!("user{n}")).await);
        // They read along; nobody's queue is ever full.
        members.iter_mut().for_each(Client::drain);
    }
    assert_eq!(code_of(&house.client().enter("one-more").await), number(Code::RoomFull));
    members[0].disconnect();
    assert_eq!(house.client().enter("one-more").await["type"], "ok");
}

#[tokio::test]
async fn members_are_refused_over_the_limit_and_a_second_login_is_not_one_more() {
    let house = House::with(|config| config.limits.members_per_room = 3);
    let _members = [house.member("a").await, house.member("b").await, house.member("c").await];
    assert_eq!(code_of(&house.client().enter("d").await), number(Code::RoomFull));
    let query = format!("userid=d&usersig={}", user_sig("d"));
    assert_eq!(u64::from(house.push("push", "1001", &query).await.unwrap_err().code), number(Code::RoomFull));
    let _again = house.member("c").await;
    assert_eq!(house.hub.counts().members, 3);
}

#[tokio::test]
async fn publishers_are_refused_over_the_limit_whichever_way_they_come() {
    let mut house = House::with(|config| config.limits.publishers_per_room = 2);
    let mut alice = house.member("alice").await;
    let _cam = house.pushed("cam").await;
    alice.event("member-entered").await;
    alice.event("stream-added").await;
    alice.publish();
    house.answer_publish().await;
    assert_eq!(alice.next().await["type"], "ok");
    let mut bob = house.member("bob").await;
    bob.publish();
    assert_eq!(code_of(&bob.next().await), number(Code::PublishersFull));
    let query = format!("userid=x&usersig={}", user_sig("x"));
    assert_eq!(house.push("push", "1001", &query).await.unwrap_err().code, Code::PublishersFull.number());
    assert_eq!(house.hub.open_publish(offer("y", "")).await.unwrap_err().code, Code::PublishersFull);
    // Those who publish already may go on: renegotiate, or take their stream over.
    alice.event("member-entered").await;
    alice.publish();
    house.answer_publish().await;
    assert_eq!(alice.next().await["type"], "ok");
    house.pushed("cam").await;
}

#[tokio::test]
async fn a_room_has_as_many_members_and_publishers_as_its_owner_says() {
    let mut house = House::new();
    let mut owner = house.member("owner").await;
    let capacity = json!({ "type": "update-room", "membersMax": 3, "publishersMax": 1 });
    let changed = owner.ask(capacity).await;
    assert_eq!((&changed["membersMax"], &changed["publishersMax"]), (&json!(3), &json!(1)));
    assert_eq!(owner.next().await["type"], "ok");
    let (mut bob, _carol) = (house.member("bob").await, house.member("carol").await);
    assert_eq!(code_of(&house.client().enter("dave").await), number(Code::RoomFull));
    assert_eq!(house.client().enter("carol").await["membersMax"], 3, "a second login is not one more");
    for client in [&mut owner, &mut bob] {
        client.drain();
    }
    bob.publish();
    house.answer_publish().await;
    assert_eq!(bob.next().await["type"], "ok");
    owner.drain();
    owner.publish();
    assert_eq!(code_of(&owner.next().await), number(Code::PublishersFull));
    // Fewer than there are: nobody is sent away, and nobody comes. None said: the server's limit holds.
    owner.send(json!({ "type": "update-room", "membersMax": 1 }));
    assert_eq!(owner.event("room-changed").await["membersMax"], 1);
    assert_eq!(house.hub.counts().members, 3);
    owner.send(json!({ "type": "update-room", "membersMax": 0, "publishersMax": 0 }));
    assert_eq!(owner.next().await["type"], "ok");
    assert_eq!(owner.event("room-changed").await.get("membersMax"), None);
    assert_eq!(house.client().enter("dave").await["type"], "ok");
}

#[tokio::test]
async fn a_rooms_capacity_is_at_most_the_servers() {
    let house = House::new();
    let mut owner = house.member("owner").await;
    for (field, most) in [("membersMax", 300), ("publishersMax", 50)] {
        assert_eq!(owner.ask(json!({ "type": "update-room", field: most })).await[field], most);
        assert_eq!(owner.next().await["type"], "ok");
        assert_eq!(owner.refused(json!({ "type": "update-room", field: most + 1 })).await["field"], field);
    }
}

#[tokio::test]
async fn rooms_of_an_app_are_refused_over_the_limit_and_ended_ones_do_not_count() {
    let house = House::with(|config| config.limits.rooms_per_app = 2);
    let enter = |room: &'static str| {
        let mut client = house.client();
        async move {
            let reply = client.enter_with(json!({ "userID": "u", "userSig": user_sig("u"), "roomID": room })).await;
            (client, reply)
        }
    };
    let (mut one, _) = enter("one").await;
    let (_two, _) = enter("two").await;
    assert_eq!(code_of(&enter("three").await.1), number(Code::TooManyRooms));
    one.disconnect();
    assert_eq!(enter("three").await.1["type"], "ok");
    assert_eq!(house.hub.counts().rooms, 2);
}

#[tokio::test]
async fn players_are_refused_over_the_limit() {
    let mut house = House::with(|config| config.limits.players_per_room = 1);
    house.pushed("cam").await;
    let opening = tokio::spawn({
        let hub = house.hub.clone();
        async move { hub.open_play(offer("v", "")).await }
    });
    house.answer_play().await;
    assert!(opening.await.unwrap().is_ok());
    assert_eq!(house.hub.open_play(offer("w", "")).await.unwrap_err().code, Code::PlayersFull);
}

#[tokio::test]
async fn subscriptions_are_refused_over_the_limit() {
    let house = House::with(|config| config.limits.subscriptions_per_member = 2);
    for user in ["a", "b", "c"] {
        house.pushed(user).await;
    }
    let mut alice = house.member("alice").await;
    let subscribe = |users: &[&str]| {
        let streams: Vec<Value> = users.iter().map(|user| json!({ "userID": user, "stream": "main" })).collect();
        json!({ "type": "subscribe", "streams": streams })
    };
    assert_eq!(alice.ask(subscribe(&["a", "b"])).await["type"], "ok");
    assert_eq!(code_of(&alice.ask(subscribe(&["c"])).await), number(Code::TooManySubscriptions));
    assert_eq!(alice.ask(subscribe(&["b"])).await["type"], "ok", "what is subscribed to already is not one more");
}

#[tokio::test]
async fn connections_of_one_address_are_counted_except_from_loopback() {
    let house = House::with(|config| config.limits.connections_per_ip = 2);
    let remote = Some("192.0.2.1".parse().unwrap());
    let first = house.hub.count_connection(remote).unwrap();
    let _second = house.hub.count_connection(remote).unwrap();
    assert_eq!(house.hub.count_connection(remote).err(), Some(Code::TooManyConnections));
    drop(first);
    assert!(house.hub.count_connection(remote).is_ok());
    let local = Some("127.0.0.1".parse().unwrap());
    let _many: Vec<_> = (0..10).map(|_| house.hub.count_connection(local).unwrap()).collect();
}

#[tokio::test]
async fn guessing_is_locked_out_and_only_guessing() {
    let house = House::new();
    let name = format!("{APP}_1001_cam_main");
    let remote = Some("192.0.2.1".parse().unwrap());
    let guess = |query: &str| house.hub.authorise_play(&name, query, remote).unwrap_err();
    for _ in 0..30 {
        assert_eq!(guess(""), Code::NoSuchStream, "asking for what is not there is no guess");
    }
    for _ in 0..20 {
        assert_eq!(guess("txSecret=0&txTime=5C07932C"), Code::UrlSignatureInvalid);
    }
    assert_eq!(guess("txSecret=0&txTime=5C07932C"), Code::TooManyFailures);
    assert_eq!(guess(""), Code::TooManyFailures);
    let other = Some("192.0.2.2".parse().unwrap());
    assert_eq!(house.hub.authorise_play(&name, "", other), Err(Code::NoSuchStream));
}
