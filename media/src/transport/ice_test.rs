//! The ICE agent against hostile and moving peers.

use std::time::Duration;

use super::{
    ice::*,
    stun::{self, IntegrityKey, Message},
    *,
};
use crate::drop_reason::DropReason;

const START: Time = Time::from_millis(1_000);

/// A lite agent and what its peer knows.
struct Lite {
    ice: Ice,
    local: IceCredentials,
    remote: IceCredentials,
    out: Outbox,
}

impl Lite {
    fn new() -> Self {
        let (local, remote) = (IceCredentials::random(), IceCredentials::random());
        let ice = Ice::new(START, IceRole::Lite, local.clone(), Some(remote.clone()));
        Lite { ice, local, remote, out: Outbox::default() }
    }

    fn check(&self) -> Vec<u8> {
        self.check_as(&format!("{}:{}", self.local.ufrag, self.remote.ufrag), &self.local.pwd)
    }

    fn check_as(&self, username: &str, password: &str) -> Vec<u8> {
        stun::write_request(&[7; 12], username, 1, 2, &IntegrityKey::new(password))
    }

    fn handle(&mut self, now: Time, path: Path, datagram: &[u8]) -> Result<Option<Path>, DropReason> {
        self.ice.handle(now, path, datagram, &mut self.out)
    }
}

fn path(n: u16) -> Path {
    Path { remote: ([192, 0, 2, 1], n).into(), local_ip: [198, 51, 100, 1].into(), via: Via::Udp }
}

/// Takes USE-CANDIDATE out of a check, and signs it again.
fn without_nomination(lite: &Lite) -> Vec<u8> {
    // USE-CANDIDATE becomes an attribute that may be ignored.
    let mut check = lite.check();
    let at = check.windows(4).position(|bytes| bytes == [0, 0x25, 0, 0]).unwrap();
    check[at] = 0x90;
    let integrity_at = check.len() - 8 - 24;
    check.truncate(integrity_at);
    sign(check, &lite.local.pwd)
}

/// Appends MESSAGE-INTEGRITY.
fn sign(mut message: Vec<u8>, password: &str) -> Vec<u8> {
    use aws_lc_rs::hmac;
    let length = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    message.extend_from_slice(&[0, 8, 0, 20]);
    message.extend_from_slice(tag.as_ref());
    message
}

#[test]
fn an_authenticated_check_is_answered_to_its_source_and_makes_the_path_valid() {
    let mut lite = Lite::new();
    let check = lite.check();
    assert_eq!(lite.handle(START, path(1), &check), Ok(Some(path(1))));
    assert_eq!(lite.handle(START, path(1), &check), Ok(None), "it is new only once");
    let (to, answer) = &lite.out.datagrams[0];
    assert_eq!(*to, path(1));
    assert!(answer.len() <= check.len());
    let answer = Message::parse(answer).unwrap();
    assert_eq!(answer.mapped, Some(path(1).remote));
    assert!(answer.verify(&IntegrityKey::new(&lite.local.pwd)));
    assert!(lite.ice.is_valid(path(1)) && !lite.ice.is_valid(path(2)));
    assert_eq!(lite.ice.selected(), Some(path(1)));
}

#[test]
fn checks_without_the_right_credentials_get_no_answer() {
    let mut lite = Lite::new();
    let (ours, theirs) = (lite.local.ufrag.clone(), lite.remote.ufrag.clone());
    let pwd = lite.local.pwd.clone();
    let mut unsigned = lite.check();
    unsigned.truncate(unsigned.len() - 32);
    let length = (unsigned.len() - 20) as u16;
    unsigned[2..4].copy_from_slice(&length.to_be_bytes());
    let bad = [
        lite.check_as(&format!("{ours}:{theirs}"), "another password"),
        lite.check_as(&format!("{ours}:other"), &pwd),
        lite.check_as(&format!("other:{theirs}"), &pwd),
        lite.check_as(&ours, &pwd),
        lite.check_as(":", &pwd),
        lite.check_as("", &pwd),
        unsigned,
    ];
    for (i, check) in bad.iter().enumerate() {
        assert_eq!(lite.handle(START, path(1), check), Err(DropReason::StunAuth), "{i}");
    }
    assert!(lite.out.datagrams.is_empty() && lite.ice.selected().is_none());
    assert!(lite.ice.last_seen().is_none());
}

#[test]
fn a_lite_agent_believes_no_answers() {
    let mut lite = Lite::new();
    let check = lite.check();
    let message = Message::parse(&check).unwrap();
    let answer = stun::write_success(&message, path(1).remote, &IntegrityKey::new(&lite.remote.pwd)).unwrap();
    assert_eq!(lite.handle(START, path(1), &answer), Err(DropReason::StunAuth));
    assert!(!lite.ice.is_valid(path(1)));
}

#[test]
fn fragments_of_256_characters_are_taken_and_longer_ones_not() {
    for (len, accepted) in [(UFRAG_LEN_MAX, true), (UFRAG_LEN_MAX + 1, false)] {
        let mut lite = Lite::new();
        lite.ice = Ice::new(START, IceRole::Lite, lite.local.clone(), None);
        let check = lite.check_as(&format!("{}:{}", lite.local.ufrag, "x".repeat(len)), &lite.local.pwd);
        assert_eq!(lite.handle(START, path(1), &check).is_ok(), accepted);
    }
}

#[test]
fn fifty_checks_a_second_are_answered_and_no_more() {
    let mut lite = Lite::new();
    let check = lite.check();
    for _ in 0..200 {
        let _ = lite.handle(START, path(1), &check);
    }
    assert_eq!(lite.out.datagrams.len(), CHECKS_PER_SECOND_MAX as usize);
    assert!(lite.handle(START + Duration::from_secs(1), path(1), &check).is_ok());
}

#[test]
fn what_we_send_follows_the_latest_nomination_and_not_a_mere_check() {
    let mut lite = Lite::new();
    let (nominated, mere) = (lite.check(), without_nomination(&lite));
    lite.handle(START, path(1), &nominated).unwrap();
    lite.handle(START, path(2), &mere).unwrap();
    assert!(lite.ice.is_valid(path(2)));
    assert_eq!(lite.ice.selected(), Some(path(1)));
    lite.handle(START, path(2), &nominated).unwrap();
    assert_eq!(lite.ice.selected(), Some(path(2)));
}

#[test]
fn a_peer_that_nominates_nothing_is_sent_to_all_the_same() {
    let mut lite = Lite::new();
    let mere = without_nomination(&lite);
    lite.handle(START, path(3), &mere).unwrap();
    assert_eq!(lite.ice.selected(), Some(path(3)));
}

#[test]
fn media_moves_the_path_once_the_old_one_is_silent() {
    let mut lite = Lite::new();
    let (nominated, mere) = (lite.check(), without_nomination(&lite));
    lite.handle(START, path(1), &nominated).unwrap();
    lite.handle(START, path(2), &mere).unwrap();
    lite.ice.on_media(START + Duration::from_millis(100), path(1));
    lite.ice.on_media(START + Duration::from_millis(200), path(2));
    assert_eq!(lite.ice.selected(), Some(path(1)), "packets under way do not move it");
    lite.ice.on_media(START + Duration::from_millis(700), path(2));
    assert_eq!(lite.ice.selected(), Some(path(2)));
}

#[test]
fn a_check_without_nomination_moves_the_path_once_the_old_one_was_silent_for_a_second() {
    let mut lite = Lite::new();
    let (nominated, mere) = (lite.check(), without_nomination(&lite));
    lite.handle(START, path(1), &nominated).unwrap();
    lite.handle(START + Duration::from_millis(999), path(2), &mere).unwrap();
    assert_eq!(lite.ice.selected(), Some(path(1)), "U3");
    lite.handle(START + Duration::from_millis(1_000), path(2), &mere).unwrap();
    assert_eq!(lite.ice.selected(), Some(path(2)), "F5");
    let forged = lite.check_as(&format!("{}:{}", lite.local.ufrag, lite.remote.ufrag), "a password of somebody's");
    assert_eq!(lite.handle(START + Duration::from_secs(9), path(3), &forged), Err(DropReason::StunAuth));
    assert_eq!(lite.ice.selected(), Some(path(2)));
}

#[test]
fn paths_are_bounded_and_the_selected_one_stays() {
    let mut lite = Lite::new();
    let (nominated, mere) = (lite.check(), without_nomination(&lite));
    lite.handle(START, path(1), &nominated).unwrap();
    for n in 2..100u16 {
        let now = START + Duration::from_secs(u64::from(n));
        lite.ice.on_media(now, path(1));
        assert_eq!(lite.handle(now, path(n), &mere), Ok(Some(path(n))));
        let valid = (1..100).filter(|n| lite.ice.is_valid(path(*n))).count();
        assert!(valid <= PATHS_MAX, "{valid}");
    }
    assert_eq!(lite.ice.selected(), Some(path(1)));
    assert!(lite.ice.is_valid(path(1)) && lite.ice.is_valid(path(99)) && !lite.ice.is_valid(path(2)));
}

#[test]
fn a_tcp_connection_that_is_gone_takes_its_paths_with_it() {
    let mut lite = Lite::new();
    let check = lite.check();
    let tcp = Path { via: Via::Tcp(4), ..path(1) };
    lite.handle(START, path(2), &check).unwrap();
    lite.handle(START, tcp, &check).unwrap();
    assert_eq!(lite.ice.selected(), Some(tcp));
    lite.ice.forget(Via::Tcp(4));
    assert_eq!(lite.ice.selected(), Some(path(2)));
    assert!(!lite.ice.is_valid(tcp));
}

#[test]
fn an_ice_restart_keeps_the_path_until_the_new_credentials_are_used() {
    let mut lite = Lite::new();
    let old_check = lite.check();
    lite.handle(START, path(1), &old_check).unwrap();
    lite.local = IceCredentials::random();
    lite.remote = IceCredentials::random();
    lite.ice.set_local(lite.local.clone());
    lite.ice.set_remote(lite.remote.clone());
    assert_eq!(lite.ice.selected(), Some(path(1)));
    assert_eq!(lite.handle(START, path(1), &old_check), Ok(None), "consent goes on meanwhile");

    let new_check = lite.check();
    assert_eq!(lite.handle(START, path(2), &new_check), Ok(Some(path(2))));
    assert_eq!(lite.ice.selected(), Some(path(2)));
    assert_eq!(lite.handle(START, path(1), &old_check), Err(DropReason::StunAuth), "the old ones are over");
    let stranger = lite.check_as(&format!("{}:stranger", lite.local.ufrag), &lite.local.pwd);
    assert_eq!(lite.handle(START, path(3), &stranger), Err(DropReason::StunAuth));
}

#[test]
fn a_controlling_agent_repeats_its_check_until_it_is_answered() {
    let (ours, theirs) = (IceCredentials::random(), IceCredentials::random());
    let role = IceRole::Controlling { remote_candidate: path(9).remote };
    let mut ice = Ice::new(START, role, ours.clone(), Some(theirs.clone()));
    let mut now = START;
    for _ in 0..5 {
        let due = ice.next_timeout().unwrap();
        assert!(due >= now);
        now = due;
        ice.handle_timeout(now, &mut Outbox::default());
    }
    let mut out = Outbox::default();
    now = ice.next_timeout().unwrap();
    ice.handle_timeout(now, &mut out);
    let (to, check) = &out.datagrams[0];
    assert_eq!(to.remote, path(9).remote);
    let check = Message::parse(check).unwrap();
    assert_eq!(check.username.unwrap(), format!("{}:{}", theirs.ufrag, ours.ufrag));
    assert!(check.use_candidate && check.verify(&IntegrityKey::new(&theirs.pwd)));

    let answer = stun::write_success(&check, path(9).remote, &IntegrityKey::new(&theirs.pwd)).unwrap();
    let elsewhere = ice.handle(now, path(8), &answer, &mut Outbox::default());
    assert_eq!(elsewhere, Err(DropReason::StunAuth), "it must come from where the check went");
    assert_eq!(ice.handle(now, path(9), &answer, &mut Outbox::default()), Ok(Some(path(9))));
    assert_eq!(ice.selected(), Some(path(9)));
    let again = ice.handle(now, path(9), &answer, &mut Outbox::default());
    assert_eq!(again, Err(DropReason::StunAuth), "it answers one check only");
    let wait = ice.next_timeout().unwrap().since(now);
    assert!(wait >= Duration::from_secs(4) && wait <= Duration::from_secs(6), "{wait:?}");
}

#[test]
fn random_credentials_are_of_ice_characters_and_hide_their_password() {
    let a = IceCredentials::random();
    assert_eq!((a.ufrag.len(), a.pwd.len()), (8, 24));
    assert!(a.ufrag.chars().chain(a.pwd.chars()).all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/'));
    assert_ne!(a, IceCredentials::random());
    assert!(!format!("{a:?}").contains(&a.pwd));
}
