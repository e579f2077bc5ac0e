//! What time does to a room, on a clock of the test's own.

use std::time::Duration;

use super::*;
use crate::{
    member::Role,
    message::Content,
    request::{Request, Say},
};

/// A room, and a clock that stands still unless it is told otherwise.
struct House {
    room: Room,
    clock: Clock,
}

impl House {
    fn new() -> House {
        let clock = Clock { now: Instant::now(), unix_ms: 1_700_000_000_000 };
        let limits = Arc::new(Limits::default());
        let name = RoomName::Number(1);
        House { room: Room::new(1, name, 15, 0, limits, Arc::default(), clock), clock }
    }

    fn enter(&mut self, user: &str) -> Result<MemberId, Fault> {
        let who = Newcomer {
            user: user.to_owned(),
            name: None,
            role: Role::Anchor,
            protocol: Protocol::Webrtc,
            privilege: Privilege::ALL,
            until: None,
            reached_at: None,
        };
        self.room.enter(who, &mut Vec::new())
    }

    /// Lets time pass, and tells what became of it.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        self.clock.now += time;
        self.clock.unix_ms += time.as_millis() as u64;
        self.room.turn(self.clock);
        let mut out = Vec::new();
        self.room.tick(self.clock.now, &mut out);
        out
    }

    /// How many of so many messages at once are taken.
    fn say(&mut self, member: MemberId, messages: usize) -> usize {
        let say = || Request::Say(Say { to: None, content: Content::Text { text: "x".into() } });
        let mut out = Vec::new();
        for id in 0..messages {
            self.room.request(member, id as u64, say(), &mut out);
        }
        out.iter().filter(|output| matches!(output, Output::Reply { result: Ok(_), .. })).count()
    }
}

#[test]
fn sixty_messages_pass_at_once_and_then_twenty_a_second_for_each_member() {
    let mut house = House::new();
    let (alice, bob) = (house.enter("alice").unwrap(), house.enter("bob").unwrap());
    assert_eq!(house.say(alice, 61), 60);
    house.pass(Duration::from_millis(49));
    assert_eq!(house.say(alice, 1), 0);
    house.pass(Duration::from_millis(1));
    assert_eq!(house.say(alice, 2), 1);
    house.pass(Duration::from_secs(1));
    assert_eq!(house.say(alice, 100), 20);
    house.pass(Duration::from_secs(3600));
    assert_eq!(house.say(alice, 100), 60, "no more than sixty are saved up");
    assert_eq!(house.say(bob, 100), 60);
}

#[test]
fn who_is_away_stays_to_the_end_of_his_time_and_not_beyond() {
    let mut house = House::new();
    let (alice, bob) = (house.enter("alice").unwrap(), house.enter("bob").unwrap());
    let grace = Duration::from_secs(15);
    house.room.lost(bob, house.clock.now + grace);
    assert!(house.pass(grace - Duration::from_millis(1)).is_empty());
    house.room.came_back(bob);
    assert!(house.pass(grace).is_empty(), "he came back in the last moment");
    house.room.lost(bob, house.clock.now + grace);
    let out = house.pass(grace);
    let left = |output: &Output| matches!(output, Output::Broadcast { event: Event::MemberLeft { user, reason }, .. } if user == "bob" && *reason == LeaveReason::Disconnected);
    assert!(out.iter().any(left), "{out:?}");
    assert!(house.room.members.contains_key(&alice) && !house.room.members.contains_key(&bob));
}

#[test]
fn a_ban_ends_to_the_millisecond_and_with_it_a_room_without_members() {
    let mut house = House::new();
    let owner = house.enter("owner").unwrap();
    let until = house.clock.unix_ms + 60_000;
    house.room.ban("eve", Some(until), &mut Vec::new()).unwrap();
    house.pass(Duration::from_millis(59_999));
    assert_eq!(house.enter("eve").unwrap_err().code, Code::Banned);
    house.room.leave(owner, LeaveReason::Left, None, &mut Vec::new());
    assert!(!house.room.is_over());
    let out = house.pass(Duration::from_millis(1));
    assert!(matches!(out[..], [Output::RecordChanged]), "{out:?}");
    assert!(house.room.is_over());
    house.enter("eve").unwrap();
}

#[test]
fn a_restored_room_is_kept_for_a_while_and_then_ends() {
    let mut house = House::new();
    house.room.keep_until(house.clock.now + Duration::from_secs(60));
    house.pass(Duration::from_secs(59));
    assert!(!house.room.is_over());
    house.pass(Duration::from_secs(1));
    assert!(house.room.is_over());
}

#[test]
fn a_lost_member_counts_against_the_capacity_and_his_second_login_does_not() {
    let mut house = House::new();
    let limits = Limits { members_per_room: 2, ..Limits::default() };
    house.room = Room::new(1, RoomName::Number(1), 15, 0, Arc::new(limits), Arc::default(), house.clock);
    let bob = house.enter("bob").unwrap();
    house.enter("alice").unwrap();
    house.room.lost(bob, house.clock.now + Duration::from_secs(15));
    assert_eq!(house.enter("carol").unwrap_err().code, Code::RoomFull);
    assert_ne!(house.enter("bob").unwrap(), bob);
}

#[test]
fn who_speaks_is_told_by_name_to_all_and_to_who_enters_and_ends_with_the_stream() {
    let mut house = House::new();
    let bob = house.enter("bob").unwrap();
    let mut out = Vec::new();
    let stream = StreamId(7);
    house.room.open_stream(bob, StreamName::Main, Stream::new(stream, house.clock.now), &mut out);
    let speaker = |stream, dbov| Speaker { stream, dbov };
    out.clear();
    house.room.speak(vec![speaker(stream, 22), speaker(StreamId(999), 30)], &mut out);
    let [Output::Passing { to: None, event: Event::Speakers { speakers } }] = &out[..] else { panic!("{out:?}") };
    assert_eq!(speakers.len(), 1, "a stream that nobody knows has no name");
    assert_eq!((speakers[0].user.as_str(), speakers[0].stream, speakers[0].level), ("bob", StreamName::Main, -22));
    let alice = house.enter("alice").unwrap();
    assert_eq!(house.room.entered(alice).unwrap().speakers, *speakers);
    house.room.leave(bob, LeaveReason::Left, None, &mut Vec::new());
    assert_eq!(house.room.entered(alice).unwrap().speakers, []);
}
