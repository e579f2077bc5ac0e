//! Members who lose their connection and come back: nothing twice, nothing not at all, and nobody notices.

use proptest::prelude::*;

use super::*;

const HEARTBEAT: &str = r#"{ "type": "heartbeat" }"#;

fn say(text: &str) -> Value {
    json!({ "type": "message", "text": text })
}

#[tokio::test]
async fn who_comes_back_in_time_gets_what_he_missed_and_nobody_sees_him_leave() {
    let mut house = House::new();
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.drain();
    bob.publish();
    house.answer_publish().await;
    bob.next().await;
    alice.event("stream-added").await;
    bob.lose();
    for n in 0..5 {
        assert_eq!(alice.ask(say(&n.to_string())).await["type"], "ok", "no event of a leave comes between");
    }
    assert_eq!(alice.ask(json!({ "type": "message", "to": "bob", "text": "5" })).await["type"], "ok");
    let resumed = bob.resume().await.unwrap();
    assert_eq!((&resumed["lastRequest"], &resumed["replayed"]), (&json!(2), &json!(6)));
    for n in 0..6 {
        assert_eq!(bob.event("message").await["text"], n.to_string());
    }
    assert_eq!(bob.ask(serde_json::from_str(HEARTBEAT).unwrap()).await["type"], "ok");
    assert_eq!(alice.ask(serde_json::from_str(HEARTBEAT).unwrap()).await["type"], "ok");
    assert!(house.no_command(), "media went on untouched");
}

#[tokio::test]
async fn who_does_not_come_back_in_time_leaves_with_all_that_is_his() {
    let house = House::with(|config| config.resume_within = Duration::from_millis(50));
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.drain();
    bob.lose();
    assert_eq!(alice.event("member-left").await["reason"], "disconnected");
    assert_eq!(bob.resume().await.unwrap_err().code, Code::ResumeRefused);
    assert!(house.hub.0.resumable.len() == 1, "only alice's token is left");
}

#[tokio::test]
async fn without_a_grace_time_a_lost_connection_is_a_member_gone() {
    let house = House::with(|config| config.resume_within = Duration::ZERO);
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.drain();
    assert_eq!(bob.token, None);
    bob.lose();
    assert_eq!(alice.event("member-left").await["userID"], "bob");
}

#[tokio::test]
async fn a_new_connection_takes_over_from_one_that_seems_to_stand() {
    let house = House::new();
    let mut alice = house.member("alice").await;
    let (old_seat, old_link) = (alice.seat.clone().unwrap(), alice.link.clone());
    alice.cut();
    alice.resume().await.unwrap();
    // What the old connection still does concerns nobody.
    house.hub.lose(&old_seat, Instant::now());
    house.hub.disconnect(&old_seat, None);
    house.hub.request(&old_seat, 9, Request::Leave(crate::request::Leave {}));
    assert_eq!(alice.ask(serde_json::from_str(HEARTBEAT).unwrap()).await["type"], "ok");
    drop(old_link);
    assert_eq!(house.hub.counts().members, 1);
}

#[tokio::test]
async fn as_much_is_kept_for_a_comeback_as_the_limit_says_and_then_it_is_refused() {
    let house = House::with(|config| {
        config.limits.replay_messages = 5;
        config.limits.chat_burst = 100;
    });
    let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
    alice.drain();
    bob.lose();
    for _ in 0..5 {
        alice.ask(say("x")).await;
    }
    assert_eq!(bob.resume().await.unwrap()["replayed"], 5);
    bob.drain();
    bob.lose();
    for _ in 0..6 {
        alice.ask(say("x")).await;
    }
    assert_eq!(bob.resume().await.unwrap_err().code, Code::ResumeRefused);
    // He enters anew, and the earlier stay ends.
    assert_eq!(bob.enter("bob").await["type"], "ok");
    assert_eq!(alice.event("member-left").await["reason"], "ejected");
}

#[tokio::test]
async fn a_token_is_good_for_its_member_only_and_unknown_ones_lock_nobody_out() {
    let house = House::new();
    let mut alice = house.member("alice").await;
    let remote = Some("192.0.2.1".parse().unwrap());
    let guess = Resume { token: "0".repeat(32), seq: 0 };
    // After a restart everybody comes with a token that is not known any more, perhaps from one address.
    for _ in 0..30 {
        let refused = house.hub.resume(1, &guess, &alice.link, remote).err().unwrap();
        assert_eq!(refused.code, Code::ResumeRefused);
    }
    alice.seq += 1;
    alice.cut();
    assert_eq!(alice.resume().await.unwrap_err().code, Code::ResumeRefused, "a number that was never given");
    alice.seq -= 1;
    alice.resume().await.unwrap();
    assert_eq!(alice.ask(json!({ "type": "leave" })).await["type"], "ok");
    assert_eq!(alice.resume().await.unwrap_err().code, Code::ResumeRefused);
    assert!(house.hub.0.resumable.is_empty());
}

/// What may happen between a member and the room.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody says something to all, or to the member who comes and goes.
    Say(bool),
    /// Somebody else comes, or goes.
    Come,
    Go,
    /// The member reads so many messages.
    Read(usize),
    /// His connection is lost with whatever is under way, and the server notices or not.
    Lose(bool),
    Resume,
    /// He asks something himself.
    Ask,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Say),
        1 => Just(Step::Come),
        1 => Just(Step::Go),
        3 => (0..8usize).prop_map(Step::Read),
        2 => any::<bool>().prop_map(Step::Lose),
        2 => Just(Step::Resume),
        2 => Just(Step::Ask),
    ]
}

/// Reads up to `most` of what waits; [`Client::next`] holds each number to be the next one.
fn read(client: &mut Client, most: usize, said: &mut Vec<u64>, answered: &mut Vec<u64>) {
    for _ in 0..most {
        let Some(message) = client.next().now_or_never() else { return };
        match message["type"].as_str().unwrap() {
            "message" => said.push(message["text"].as_str().unwrap().parse().unwrap()),
            "ok" => answered.extend(message["now"].as_u64().and_then(|_| message["id"].as_u64())),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// I6: whenever and however often the connection is lost, every message arrives once and in order, numbered without gap or
    /// repeat, and every request is answered once.
    #[test]
    fn i6_numbers_have_no_gap_and_no_repeat_across_resume(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::with(|config| {
                config.limits.chat_burst = 1000;
                config.limits.joins_per_user_per_minute = 1000;
            });
            let (mut alice, mut bob) = (house.member("alice").await, house.member("bob").await);
            let (mut sent, mut said) = (Vec::new(), Vec::new());
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            let (mut guests, mut connected) = (Vec::new(), true);
            for step in steps {
                alice.drain();
                match step {
                    Step::Say(privately) => {
                        sent.push(sent.len() as u64);
                        let to = privately.then_some("bob");
                        alice.send(json!({ "type": "message", "to": to, "text": (sent.len() - 1).to_string() }));
                    }
                    Step::Come => guests.push(house.member(&format!("guest{}", guests.len())).await),
                    Step::Go => drop(guests.pop().map(|mut guest| guest.disconnect())),
                    Step::Read(most) => read(&mut bob, most, &mut said, &mut answered),
                    Step::Lose(noticed) => {
                        if noticed && connected {
                            bob.hub.lose(bob.seat.as_ref().unwrap(), Instant::now());
                        }
                        bob.cut();
                        connected = false;
                    }
                    Step::Resume if !connected => {
                        bob.resume().await.unwrap();
                        connected = true;
                    }
                    Step::Ask if connected => {
                        bob.send(json!({ "type": "heartbeat" }));
                        asked.push(bob.id);
                    }
                    Step::Resume | Step::Ask => {}
                }
            }
            if !connected {
                bob.resume().await.unwrap();
            }
            read(&mut bob, usize::MAX, &mut said, &mut answered);
            assert_eq!(said, sent);
            assert_eq!(answered, asked);
        });
    }
}
