//! Who is logged in to the room services: the tokens that `login` hands out, one for each user.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

/// A token that nobody showed for this long is forgotten.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Bytes of an `accountType` that come back in the token.
const ACCOUNT_TYPE_BYTES_MAX: usize = 32;

/// Which of the services a client speaks; they share paths but not words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// RTMPRoom: `rtcroom.js`, `liveroom.js`.
    RtmpRoom,
    /// `mlvb-live-room` and the MLVB phone libraries. They say `platform` when they log in.
    Mlvb,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub app: u32,
    pub user: String,
    pub style: Style,
}

/// Why a token is refused, by the vendor's sub-codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// Another one is the user's.
    Wrong = 1,
    /// It is none.
    Malformed = 2,
    NotLoggedIn = 3,
    /// `userID` or `token` is not in the query.
    Missing = 4,
}

impl BadToken {
    pub fn text(self) -> &'static str {
        match self {
            BadToken::Wrong | BadToken::Malformed => "the token is wrong",
            BadToken::NotLoggedIn => "this user is not logged in, or the token has expired: call login",
            BadToken::Missing => "userID and token must be in the query",
        }
    }
}

struct Entry {
    token: String,
    style: Style,
    seen_at: Instant,
}

/// Everybody who is logged in.
#[derive(Default)]
pub struct Logins(HashMap<(u32, String), Entry>);

impl Logins {
    /// Logs somebody in; his token before is good no more. `None`: `max` users are logged in.
    pub fn add(
        &mut self,
        app: u32,
        user: &str,
        account_type: &str,
        style: Style,
        max: usize,
        now: Instant,
    ) -> Option<String> {
        let key = (app, user.to_owned());
        if self.0.len() >= max && !self.0.contains_key(&key) {
            self.0.retain(|_, entry| now.duration_since(entry.seen_at) < LIFE);
            if self.0.len() >= max {
                return None;
            }
        }
        let mut random = [0; 16];
        rand::fill(&mut random).ok()?;
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let kept = &account_type.as_bytes()[..account_type.len().min(ACCOUNT_TYPE_BYTES_MAX)];
        let token = format!("{random}*{app:x}*{}", STANDARD.encode(kept));
        self.0.insert(key, Entry { token: token.clone(), style, seen_at: now });
        Some(token)
    }

    /// Whose token this is.
    pub fn check(&mut self, user: Option<&str>, token: Option<&str>, now: Instant) -> Result<Login, BadToken> {
        let (Some(user), Some(token)) = (user, token) else { return Err(BadToken::Missing) };
        let mut parts = token.split('*');
        let (random, app, _, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
        let app = app.and_then(|app| u32::from_str_radix(app, 16).ok());
        let (Some(_), Some(app), None) = (random.filter(|random| random.len() == 32), app, rest) else {
            return Err(BadToken::Malformed);
        };
        let key = (app, user.to_owned());
        let entry = self.0.get_mut(&key).filter(|entry| now.duration_since(entry.seen_at) < LIFE);
        let entry = entry.ok_or(BadToken::NotLoggedIn)?;
        if !bool::from(entry.token.as_bytes().ct_eq(token.as_bytes())) {
            return Err(BadToken::Wrong);
        }
        entry.seen_at = now;
        Ok(Login { app, user: key.1, style: entry.style })
    }

    pub fn remove(&mut self, login: &Login) {
        self.0.remove(&(login.app, login.user.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_user_until_he_logs_in_again_or_out() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        let add = |logins: &mut Logins| logins.add(1_400_000_001, "alice", "0", Style::RtmpRoom, 9, now).unwrap();
        let first = add(&mut logins);
        assert!(first.ends_with("*53724e01*MA=="), "{first}");
        let check = |logins: &mut Logins, user, token: &str| logins.check(Some(user), Some(token), now);
        assert_eq!(check(&mut logins, "alice", &first).unwrap().app, 1_400_000_001);
        assert_eq!(check(&mut logins, "bob", &first), Err(BadToken::NotLoggedIn));
        let second = add(&mut logins);
        assert_eq!(check(&mut logins, "alice", &first), Err(BadToken::Wrong));
        assert_eq!(check(&mut logins, "alice", "x"), Err(BadToken::Malformed));
        assert_eq!(logins.check(Some("alice"), None, now), Err(BadToken::Missing));
        let login = check(&mut logins, "alice", &second).unwrap();
        assert_eq!(logins.check(Some("alice"), Some(&second), now + LIFE), Err(BadToken::NotLoggedIn));
        logins.remove(&login);
        assert_eq!(check(&mut logins, "alice", &second), Err(BadToken::NotLoggedIn));
    }

    #[test]
    fn as_many_log_in_as_may_and_who_was_not_seen_for_a_day_makes_room() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        let mut add = |user: &str, now| logins.add(1, user, "", Style::Mlvb, 1, now).is_some();
        assert!(add("a", now) && !add("b", now) && add("a", now));
        assert!(add("b", now + LIFE));
    }
}
