//! What must hold whatever happens, against a model: who was told that he is in is listed until he leaves, is sent away or is
//! lost; nobody else is; and a room with a member is never collected (I2, I5, I7). And nobody stays who is gone (I4).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::message::LeaveReason;

const USERS: usize = 5;
const ROOMS: [&str; 3] = ["one", "two", "three"];

#[derive(Clone, Debug)]
enum Step {
    /// This user enters this room, whether or not he is in it.
    Enter(usize, usize),
    /// He says that he leaves, his page closes, his connection breaks and he does not come back, or breaks and he comes back.
    Leave(usize, usize),
    Close(usize, usize),
    Vanish(usize, usize),
    Return(usize, usize),
    /// He pushes by RTMP.
    Push(usize, usize),
    /// The server sends him away, keeps him out, or ends the room.
    Kick(usize, usize),
    Ban(usize, usize),
    Dissolve(usize),
    /// Time passes.
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..ROOMS.len(), 0..USERS);
    prop_oneof![
        6 => place().prop_map(|(r, u)| Step::Enter(r, u)),
        2 => place().prop_map(|(r, u)| Step::Leave(r, u)),
        1 => place().prop_map(|(r, u)| Step::Close(r, u)),
        1 => place().prop_map(|(r, u)| Step::Vanish(r, u)),
        1 => place().prop_map(|(r, u)| Step::Return(r, u)),
        1 => place().prop_map(|(r, u)| Step::Push(r, u)),
        1 => place().prop_map(|(r, u)| Step::Kick(r, u)),
        1 => place().prop_map(|(r, u)| Step::Ban(r, u)),
        1 => (0..ROOMS.len()).prop_map(Step::Dissolve),
        1 => Just(Step::Tick),
    ]
}

/// What the answers said, and who is still connected.
#[derive(Default)]
struct Model {
    members: BTreeMap<&'static str, BTreeSet<String>>,
    banned: BTreeSet<(&'static str, String)>,
    clients: BTreeMap<(usize, usize), Client>,
}

impl Model {
    fn is_in(&self, room: &str, user: &str) -> bool {
        self.members.get(room).is_some_and(|members| members.contains(user))
    }

    fn out(&mut self, room: &'static str, user: &str) {
        let members = self.members.entry(room).or_default();
        members.remove(user);
        // With its last member the room ends, and bans keep it.
        if members.is_empty() && self.banned.iter().all(|(banned_in, _)| *banned_in != room) {
            self.members.remove(room);
        }
    }

    fn end(&mut self, room: &'static str) {
        self.members.remove(room);
        self.banned.retain(|(banned_in, _)| *banned_in != room);
    }
}

async fn take(house: &House, model: &mut Model, step: Step) {
    let user = |u: usize| format!("user{u}");
    let name = |r: usize| RoomName::from_text(ROOMS[r]).unwrap();
    match step {
        Step::Enter(r, u) => {
            let mut client = house.client();
            let answer = client
                .enter_with(json!({ "userID": user(u), "userSig": user_sig(&user(u)), "roomID": ROOMS[r] }))
                .await;
            let banned = model.banned.contains(&(ROOMS[r], user(u)));
            assert_eq!(answer["type"] == "ok", !banned, "{answer}");
            if !banned {
                model.members.entry(ROOMS[r]).or_default().insert(user(u));
                model.clients.insert((r, u), client);
            }
        }
        Step::Leave(r, u) => {
            let Some(mut client) = model.clients.remove(&(r, u)) else { return };
            client.drain();
            client.send(json!({ "type": "leave" }));
            model.out(ROOMS[r], &user(u));
        }
        Step::Close(r, u) => {
            let Some(mut client) = model.clients.remove(&(r, u)) else { return };
            client.disconnect();
            model.out(ROOMS[r], &user(u));
        }
        Step::Vanish(r, u) => {
            let Some(client) = model.clients.remove(&(r, u)) else { return };
            let seat = client.seat.as_ref().unwrap();
            // The grace time is over at once for somebody who was silent for that long already.
            let Some(heard_at) = Instant::now().checked_sub(Duration::from_secs(60)) else { return };
            client.hub.lose(seat, heard_at);
            model.out(ROOMS[r], &user(u));
        }
        Step::Return(r, u) => {
            let Some(client) = model.clients.get_mut(&(r, u)) else { return };
            client.drain();
            client.lose();
            client.resume().await.unwrap();
        }
        Step::Push(r, u) => {
            let query = format!("userid={}&usersig={}", user(u), user_sig(&user(u)));
            let pushed = house.push("push", ROOMS[r], &query).await;
            assert_eq!(pushed.is_ok(), !model.banned.contains(&(ROOMS[r], user(u))));
            if pushed.is_ok() {
                // A WebSocket member of that name is sent away: one login per user and room.
                model.clients.remove(&(r, u));
                model.members.entry(ROOMS[r]).or_default().insert(user(u));
            }
        }
        Step::Kick(r, u) => {
            let kicked = house.hub.kick(APP, &name(r), &user(u));
            assert_eq!(kicked.is_ok(), model.is_in(ROOMS[r], &user(u)));
            model.clients.remove(&(r, u));
            model.out(ROOMS[r], &user(u));
        }
        Step::Ban(r, u) => {
            if house.hub.ban(APP, &name(r), &user(u), None).is_err() {
                assert!(!model.members.contains_key(ROOMS[r]), "only a room that is not there refuses");
                return;
            }
            model.banned.insert((ROOMS[r], user(u)));
            model.clients.remove(&(r, u));
            model.out(ROOMS[r], &user(u));
        }
        Step::Dissolve(r) => {
            assert_eq!(house.hub.dissolve(APP, &name(r)).is_ok(), model.members.contains_key(ROOMS[r]));
            model.clients.retain(|(room, _), _| *room != r);
            model.end(ROOMS[r]);
        }
        Step::Tick => {
            for cell in house.hub.0.cells() {
                house.hub.0.with_cell(&cell, |cell, out| cell.room.tick(Instant::now(), out));
            }
        }
    }
}

/// What the server lists.
fn listed(house: &House) -> BTreeMap<String, BTreeSet<String>> {
    let rooms = house.hub.rooms(APP).into_iter();
    rooms.map(|view| (view.room.to_string(), view.members.into_iter().map(|member| member.user).collect())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i2_i5_i7_what_is_listed_is_who_came_and_did_not_go(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut house = House::with(|config| config.limits.joins_per_user_per_minute = 10_000);
            let mut model = Model::default();
            for step in steps {
                take(&house, &mut model, step.clone()).await;
                model.clients.values_mut().for_each(Client::drain);
                while house.commands.try_recv().is_ok() {}
                let expected: BTreeMap<String, BTreeSet<String>> =
                    model.members.iter().map(|(room, members)| ((*room).to_owned(), members.clone())).collect();
                assert_eq!(listed(&house), expected, "after {step:?}");
                assert_eq!(house.hub.counts().rooms, expected.len(), "after {step:?}");
            }
        });
    }
}

#[tokio::test]
async fn i4_nobody_is_listed_for_more_than_30_s_who_is_gone() {
    let config = SignalingConfig::default();
    assert!(config.dead_after <= Duration::from_secs(30) && config.resume_within <= Duration::from_secs(30));
    // A connection that breaks late after its last word gives no more than what is left of the 30 s: here nothing.
    let house = House::new();
    let (mut alice, bob) = (house.member("alice").await, house.member("bob").await);
    alice.event("member-entered").await;
    let Some(heard_at) = Instant::now().checked_sub(config.dead_after) else { return };
    house.hub.lose(bob.seat.as_ref().unwrap(), heard_at);
    assert_eq!(alice.event("member-left").await["reason"], json!(LeaveReason::Disconnected));
    // 25 s are gone: the grace time of 15 s is cut to 5 s.
    let bob = house.member("bob").await;
    alice.event("member-entered").await;
    let heard_at = heard_at + Duration::from_secs(5);
    house.hub.lose(bob.seat.as_ref().unwrap(), heard_at);
    let cells = house.hub.0.cells();
    let cell = crate::hub::lock(&cells[0]);
    let until = cell.room.members.values().find_map(|member| member.away_until).expect("he may still come back");
    assert!(until.duration_since(heard_at) <= Duration::from_millis(30_100), "30 s after his last word");
}
