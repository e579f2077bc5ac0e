//! Messages between members.

use super::*;
use crate::room::HISTORY_BYTES_MAX;

fn text(text: &str) -> Value {
    json!({ "type": "message", "text": text })
}

#[tokio::test]
async fn a_message_reaches_everybody_else_and_its_sender_gets_its_number() {
    let house = House::new();
    let (mut alice, mut bob, mut carol) =
        (house.member("alice").await, house.member("bob").await, house.member("carol").await);
    alice.drain();
    bob.drain();
    let said = alice.ask(text("hello")).await;
    assert_eq!((&said["type"], &said["messageID"]), (&json!("ok"), &json!(1)));
    for other in [&mut bob, &mut carol] {
        let heard = other.event("message").await;
        let expected =
            json!({ "type": "message", "messageID": 1, "from": "alice", "time": said["time"], "text": "hello" });
        assert_eq!(heard, expected);
    }
    let custom = json!({ "type": "message", "to": "bob", "data": "{}", "desc": "d", "ext": "e" });
    assert_eq!(alice.ask(custom).await["messageID"], 2);
    let heard = bob.event("message").await;
    assert_eq!((&heard["to"], &heard["data"], &heard["ext"]), (&json!("bob"), &json!("{}"), &json!("e")));
    assert_eq!(carol.ask(json!({ "type": "heartbeat" })).await["type"], "ok", "it was not for her");
}

#[tokio::test]
async fn who_is_not_there_or_cannot_receive_gets_no_message() {
    let house = House::new();
    let mut alice = house.member("alice").await;
    house.pushed("cam").await;
    alice.drain();
    let to = |user: &str| json!({ "type": "message", "to": user, "text": "x" });
    assert_eq!(code_of(&alice.ask(to("nobody")).await), number(Code::NoSuchMember));
    assert_eq!(code_of(&alice.ask(to("cam")).await), number(Code::Unreachable));
    let empty = json!({ "type": "message", "text": "" });
    assert_eq!(code_of(&alice.refused(empty).await), number(Code::BadField));
    let both = json!({ "type": "message", "text": "x", "data": "y" });
    assert_eq!(code_of(&alice.refused(both).await), number(Code::BadField));
}

#[tokio::test]
async fn content_has_12000_bytes_to_one_and_8898_to_all_and_not_one_more() {
    let house = House::new();
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.drain();
    let say = |to: Option<&str>, len: usize| json!({ "type": "message", "to": to, "text": "x".repeat(len) });
    assert_eq!(alice.ask(say(None, 8_898)).await["type"], "ok");
    assert_eq!(code_of(&alice.ask(say(None, 8_899)).await), number(Code::ContentTooBig));
    assert_eq!(alice.ask(say(Some("bob"), 12_000)).await["type"], "ok");
    assert_eq!(code_of(&alice.refused(say(Some("bob"), 12_001)).await), number(Code::ContentTooBig));
    let custom = |ext: usize| json!({ "type": "message", "data": "x".repeat(8_000), "desc": "y".repeat(800), "ext": "z".repeat(ext) });
    assert_eq!(alice.ask(custom(98)).await["type"], "ok");
    assert_eq!(code_of(&alice.ask(custom(99)).await), number(Code::ContentTooBig), "the three count together");
    for _ in 0..3 {
        bob.event("message").await;
    }
}

#[tokio::test]
async fn sixty_messages_pass_at_once_and_the_next_is_refused() {
    let house = House::with(|config| config.limits.chat_per_second = 1);
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.drain();
    for _ in 0..60 {
        assert_eq!(alice.ask(text("x")).await["type"], "ok");
    }
    assert_eq!(code_of(&alice.ask(text("x")).await), number(Code::TooManyMessages));
    bob.drain();
    assert_eq!(bob.ask(text("x")).await["type"], "ok", "each has his own allowance");
}

#[tokio::test]
async fn newcomers_are_told_the_last_messages_where_the_app_wants_it() {
    let house = House::with(|config| config.apps[0].history_messages = 3);
    let mut alice = house.member("alice").await;
    for n in 1..=5 {
        alice.ask(text(&n.to_string())).await;
    }
    alice.ask(json!({ "type": "message", "to": "alice", "text": "a secret" })).await;
    alice.drain();
    let entered = house.client().enter("bob").await;
    let told: Vec<&str> = entered["history"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap()).collect();
    assert_eq!(told, ["3", "4", "5"]);
    let without = House::new();
    without.member("alice").await.ask(text("x")).await;
    assert!(without.client().enter("bob").await.get("history").is_none());
}

#[tokio::test]
async fn a_history_has_1_mib_at_most() {
    let house = House::with(|config| {
        config.apps[0].history_messages = 10_000;
        config.limits.chat_burst = 10_000;
    });
    let mut alice = house.member("alice").await;
    let big = "x".repeat(8_192);
    let fits = HISTORY_BYTES_MAX / big.len();
    for _ in 0..fits {
        alice.ask(text(&big)).await;
    }
    let mut bob = house.client();
    let len = |entered: &Value| entered["history"].as_array().unwrap().len();
    assert_eq!(len(&bob.enter("bob").await), fits);
    alice.drain();
    alice.ask(text(&big)).await;
    assert_eq!(len(&house.client().enter("carol").await), fits);
    alice.drain();
    alice.ask(text("y")).await;
    assert_eq!(len(&house.client().enter("dave").await), fits, "one went for the small one");
}

#[tokio::test]
async fn the_server_speaks_to_the_room_and_to_one() {
    let house = House::new();
    let mut alice = house.member("alice").await;
    let (room, content) = (RoomName::Number(ROOM), crate::message::Content::Text { text: "noon".into() });
    let (id, _) = house.hub.send_message(APP, &room, None, None, content.clone()).unwrap();
    let heard = alice.event("message").await;
    assert_eq!((&heard["messageID"], heard.get("from")), (&json!(id), None));
    house.hub.send_message(APP, &room, Some("admin"), Some("alice"), content.clone()).unwrap();
    assert_eq!(alice.event("message").await["from"], "admin");
    let refused = house.hub.send_message(APP, &room, None, Some("bob"), content.clone()).unwrap_err();
    assert_eq!(refused.code, Code::NoSuchMember);
    let refused = house.hub.send_message(APP, &RoomName::Number(7), None, None, content).unwrap_err();
    assert_eq!(refused.code, Code::NoSuchRoom);
}
