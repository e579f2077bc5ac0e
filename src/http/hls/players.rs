//! HLS players: who they are, when they begin, and when they are gone.
//!
//! A player has no connection, only requests. So the multivariant playlist names the media playlist with a word of the
//! player's own in its query, signed with the folder it is for; players keep it in all their requests for that playlist
//! (RFC 8216bis §6.2.5), and files stand at addresses without it, so that caches still have one copy for all. Nothing is
//! remembered for a word until its playlist is asked for, which is the player's beginning; its silence is the end. A player that
//! is back after that begins anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{hmac, rand};
use media::command::{PlayWatch, Playing};
use signaling::code::{Code, Fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{SIGNATURE_BYTES, hex};
use crate::{http::same, metrics::HlsPlayer};

/// The name of a player's word in the query.
pub const WORD: &str = "player";

/// What a word says, if it is one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub id: u64,
    /// Who plays, if he showed a ticket.
    pub user: Option<String>,
}

impl Word {
    /// For a player who is let in.
    pub fn new(user: Option<String>) -> Word {
        let mut id = [0; 8];
        // Without randomness nothing in this process would be safe, TLS to begin with.
        rand::fill(&mut id).expect("the system has randomness");
        Word { id: u64::from_be_bytes(id), user }
    }

    /// As text, good in this folder only.
    pub fn to_text(&self, key: &hmac::Key, folder: &str) -> String {
        let said = format!("{:016x}-{}", self.id, hex(self.user.as_deref().unwrap_or_default().as_bytes()));
        let signature = hmac::sign(key, format!("{folder}/{said}").as_bytes());
        format!("{said}-{}", hex(&signature.as_ref()[..SIGNATURE_BYTES]))
    }

    /// `None` if we did not write it for this folder.
    pub fn read(key: &hmac::Key, folder: &str, text: &str) -> Option<Word> {
        let mut words = text.splitn(3, '-');
        let id = u64::from_str_radix(words.next()?, 16).ok()?;
        let user = String::from_utf8(unhex(words.next()?)?).ok()?;
        let word = Word { id, user: Some(user).filter(|user| !user.is_empty()) };
        same(word.to_text(key, folder).as_bytes(), text.as_bytes()).then_some(word)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    Some(digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// The players of one stream.
pub struct Players(Mutex<State>);

struct State {
    by_id: HashMap<u64, Player>,
    /// For one player each, of all streams.
    places: Arc<Semaphore>,
    /// The stream is over: what is left of it may be fetched, and is no beginning.
    over: bool,
}

/// What is held while a player is there; dropping it tells whoever wants to know.
struct Player {
    /// Requests of his that are held back.
    waiting: usize,
    heard_at: Instant,
    _counted: HlsPlayer,
    _playing: Playing,
    _place: OwnedSemaphorePermit,
}

impl Players {
    /// `places`: one for each player that there may be at once, of all streams.
    pub fn new(places: Arc<Semaphore>) -> Players {
        Players(Mutex::new(State { by_id: HashMap::new(), places, over: false }))
    }

    /// A player asks for the playlist, and is there while what this returns is. `begin` is called if he was not: whom to tell,
    /// and what counts him.
    ///
    /// # Errors
    /// What `begin` says, or that there are too many players.
    pub fn ask(
        self: &Arc<Self>,
        id: u64,
        begin: impl FnOnce() -> Result<(PlayWatch, HlsPlayer), Fault>,
    ) -> Result<Asking, Fault> {
        let mut state = self.lock();
        if let Some(player) = state.by_id.get_mut(&id) {
            player.waiting += 1;
        } else if !state.over {
            let place = state.places.clone().try_acquire_owned();
            let place = place.map_err(|_| Fault::with(Code::MediaLimit, "limit reached: hls.players_max"))?;
            let (watch, counted) = begin()?;
            let heard_at = Instant::now();
            let player = Player { waiting: 1, heard_at, _counted: counted, _playing: watch.begin(), _place: place };
            state.by_id.insert(id, player);
        }
        Ok(Asking { players: self.clone(), id })
    }

    /// Players who have said nothing for so long, as of `now`, are gone.
    pub fn forget_silent(&self, now: Instant, silence: Duration) {
        let here = |player: &Player| player.waiting > 0 || now.saturating_duration_since(player.heard_at) < silence;
        self.lock().by_id.retain(|_, player| here(player));
    }

    /// The stream is over, and everybody gone.
    pub fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        state.by_id.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything that may panic, so a poisoned state is a usable one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of a player that is not answered yet.
pub struct Asking {
    players: Arc<Players>,
    id: u64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(player) = self.players.lock().by_id.get_mut(&self.id) {
            player.waiting -= 1;
            player.heard_at = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::metrics::HlsCounts;

    const SILENCE: Duration = Duration::from_secs(20);

    /// Players of a stream, and how many are there as far as others were told.
    struct Told {
        players: Arc<Players>,
        there: Arc<AtomicI64>,
        begun: Arc<AtomicI64>,
        counts: Arc<HlsCounts>,
    }

    impl Told {
        fn new(places: usize) -> Told {
            let players = Arc::new(Players::new(Arc::new(Semaphore::new(places))));
            Told { players, there: Arc::default(), begun: Arc::default(), counts: Arc::default() }
        }

        fn ask(&self, id: u64) -> Result<Asking, Fault> {
            let (there, begun) = (self.there.clone(), self.begun.clone());
            let watch = PlayWatch::new(move |begins| {
                there.fetch_add(if begins { 1 } else { -1 }, Ordering::Relaxed);
                begun.fetch_add(i64::from(begins), Ordering::Relaxed);
            });
            self.players.ask(id, || Ok((watch, self.counts.admit())))
        }

        fn there(&self) -> (i64, i64) {
            (self.there.load(Ordering::Relaxed), self.begun.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_word_is_read_in_its_folder_and_no_other_text_is_one() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        for user in [None, Some("anna"), Some("a-b_c é/?&")] {
            let word = Word::new(user.map(str::to_owned));
            let text = word.to_text(&key, "7-0-ab");
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{text}");
            assert_eq!(Word::read(&key, "7-0-ab", &text), Some(word));
            let other = hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]);
            assert_eq!((Word::read(&key, "8-0-ab", &text), Word::read(&other, "7-0-ab", &text)), (None, None));
            let (start, end) = text.split_at(1);
            let first = if start == "0" { "1" } else { "0" };
            for forged in [format!("{first}{end}"), text.to_uppercase() + "x", text[..text.len() - 1].to_owned()] {
                assert_eq!(Word::read(&key, "7-0-ab", &forged), None, "{forged}");
            }
        }
        for text in ["", "-", "--", "1-zz-3", "1--", "1-a\u{301}-", "99999999999999999999-61-00"] {
            assert_eq!(Word::read(&key, "7-0-ab", text), None, "{text}");
        }
    }

    #[test]
    fn a_player_is_told_of_once_while_he_asks_and_gone_after_his_silence_only() {
        let told = Told::new(9);
        let held = told.ask(1).unwrap();
        assert_eq!(told.there(), (1, 1));
        drop(told.ask(1).unwrap());
        let later = Instant::now() + SILENCE * 2;
        told.players.forget_silent(later, SILENCE);
        assert_eq!(told.there(), (1, 1), "a request of his is held back");
        drop(held);
        told.players.forget_silent(Instant::now() + SILENCE / 2, SILENCE);
        assert_eq!(told.there(), (1, 1));
        told.players.forget_silent(Instant::now() + SILENCE, SILENCE);
        assert_eq!(told.there(), (0, 1));
        drop(told.ask(1).unwrap());
        assert_eq!(told.there(), (1, 2), "who is back begins anew");
    }

    #[test]
    fn players_are_refused_over_the_limit_and_a_place_is_free_again_when_one_is_gone() {
        let told = Told::new(2);
        drop((told.ask(1).unwrap(), told.ask(2).unwrap()));
        let refused = told.ask(3).err().expect("over the limit");
        assert_eq!(refused.code, Code::MediaLimit);
        drop(told.ask(1).expect("who is there goes on"));
        told.players.forget_silent(Instant::now() + SILENCE, SILENCE);
        assert!(told.ask(3).is_ok());
        assert_eq!(told.there(), (1, 3));
    }

    #[test]
    fn with_the_stream_everybody_is_gone_and_its_rest_begins_nobody() {
        let told = Told::new(2);
        let held = told.ask(1).unwrap();
        told.players.end();
        assert_eq!(told.there(), (0, 1));
        drop((held, told.ask(1).unwrap(), told.ask(2).unwrap(), told.ask(3).unwrap()));
        assert_eq!(told.there(), (0, 1));
    }
}
