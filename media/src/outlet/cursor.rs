//! Where one player is in a stream's log, and what it is given next.
//!
//! ```text
//! Begin ──first frame──▶ Live ──too slow, or paused──▶ Key ──a start that is recent──▶ Live
//!                  └──no start──▶ Sound ──a start──▶ Live
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    PLAYER_BYTES_MAX, PLAYER_WAIT_MAX,
    log::{Form, Log, Piece, bytes_of},
};
use crate::bridge::tag::Tag;

/// What a player is given.
#[derive(Clone, Debug)]
pub enum Given {
    /// Metadata and sequence headers.
    Headers(Vec<Tag>),
    Piece(Arc<Piece>),
    /// The piece without its pictures, which the player could not decode yet.
    Sound(Arc<Piece>),
}

impl Given {
    pub fn tags(&self) -> Vec<Tag> {
        match self {
            Given::Headers(tags) => tags.clone(),
            Given::Piece(piece) => piece.tags.clone(),
            Given::Sound(piece) => piece.sound().cloned().collect(),
        }
    }

    /// As it goes over the wire. A whole piece is the same bytes for every player.
    pub fn bytes(&self, form: Form) -> Bytes {
        match self {
            Given::Headers(tags) => bytes_of(tags.iter(), form),
            Given::Piece(piece) => piece.bytes(form),
            Given::Sound(piece) => bytes_of(piece.sound().collect::<Vec<_>>().into_iter(), form),
        }
    }
}

/// A few words for each player; all else is the log's.
#[derive(Debug)]
pub struct Cursor {
    /// The piece that comes next.
    next: u64,
    /// Pieces before this one were there when the player came: he may be as late with them as he needs.
    kept_until: u64,
    /// What the headers that the player has are the newest of.
    headers_version: Option<u64>,
    wait: Wait,
}

/// What a player waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The first frame of the stream.
    Begin,
    /// The next piece, and nothing else.
    Live,
    /// A picture to start with; there is sound meanwhile.
    Sound,
    /// The next start; there is nothing meanwhile.
    Key,
}

impl Cursor {
    /// Of a player that comes now. What is kept for it must not be longer than `start_max`, if that says something.
    pub fn new(log: &Log, start_max: Option<Duration>) -> Cursor {
        let mut cursor = Cursor { next: 0, kept_until: 0, headers_version: None, wait: Wait::Begin };
        if log.has_begun() {
            cursor.enter(log, start_max);
        }
        cursor
    }

    /// Of a player for whom there is nothing.
    pub fn at_end(log: &Log) -> Cursor {
        Cursor { next: log.end(), kept_until: 0, headers_version: Some(0), wait: Wait::Key }
    }

    fn enter(&mut self, log: &Log, start_max: Option<Duration>) {
        let start = log.start().filter(|_| start_max.is_none_or(|longest| log.start_length() <= longest));
        self.kept_until = log.end();
        (self.next, self.wait) = match start {
            Some(start) => (start, Wait::Live),
            None => (log.end(), Wait::Sound),
        };
    }

    /// Whether a key frame of now would help.
    pub fn wants_key(&self) -> bool {
        self.wait != Wait::Live
    }

    /// Whether there is nothing after what the player was given.
    pub fn is_at_end(&self, log: &Log) -> bool {
        self.wait == Wait::Begin || self.next == log.end()
    }

    /// What the player gets now; `None` if there is nothing for it yet. `paused`: it wants nothing.
    pub fn next(&mut self, now: Instant, log: &Log, paused: bool) -> Option<Given> {
        if self.wait == Wait::Begin {
            if !log.has_begun() {
                return None;
            }
            match log.first() {
                // All that ever was is still there, headers where the publisher had them.
                0 => (self.wait, self.headers_version) = (Wait::Sound, Some(0)),
                _ => self.enter(log, None),
            }
        }
        if paused && self.wait != Wait::Begin {
            (self.next, self.wait) = (log.end(), Wait::Key);
            return None;
        }
        if self.wait == Wait::Live && self.is_behind(now, log) {
            self.skip(now, log);
        }
        if self.wait == Wait::Sound && self.next < log.first() {
            self.next = log.first();
        }
        while self.wait == Wait::Key {
            let piece = match self.next < log.first() {
                true => None,
                false => Some(log.piece(self.next)?),
            };
            // What is before the log's start cannot be decoded with the newest headers.
            let can_start = log.start().is_some_and(|start| self.next >= start);
            match piece {
                Some(piece) if piece.start && can_start => {
                    self.wait = Wait::Live;
                    self.want_new_headers(log);
                }
                Some(_) => self.next += 1,
                None => self.next = log.first(),
            }
        }
        self.give(log)
    }

    fn give(&mut self, log: &Log) -> Option<Given> {
        loop {
            let piece = log.piece(self.next);
            if self.wait == Wait::Sound && piece.is_some_and(|piece| piece.start) {
                self.wait = Wait::Live;
            }
            if self.headers_version.is_none() {
                self.headers_version = Some(log.headers_version());
                let headers: Vec<Tag> = log.headers().cloned().collect();
                if !headers.is_empty() {
                    return Some(Given::Headers(headers));
                }
            }
            let piece = piece?.clone();
            self.next += 1;
            self.headers_version = self.headers_version.max(Some(piece.headers_version));
            if self.wait == Wait::Live {
                return Some(Given::Piece(piece));
            }
            if piece.sound().next().is_some() {
                return Some(Given::Sound(piece));
            }
        }
    }

    fn is_behind(&self, now: Instant, log: &Log) -> bool {
        if self.next < log.first() {
            return true;
        }
        let live = self.next.max(self.kept_until);
        let late = match log.piece(self.next) {
            Some(piece) => self.next == live && now.saturating_duration_since(piece.at) >= PLAYER_WAIT_MAX,
            None => false,
        };
        late || log.bytes_from(live) > PLAYER_BYTES_MAX as u64
    }

    /// To the newest start, if that is recent; otherwise the next one is waited for.
    fn skip(&mut self, now: Instant, log: &Log) {
        let newest = match log.has_video() {
            true => log.start(),
            // Without pictures everything is a start.
            false => log.end().checked_sub(1),
        };
        let recent = newest.filter(|start| {
            let piece = log.piece(*start);
            *start > self.next && piece.is_some_and(|p| now.saturating_duration_since(p.at) < PLAYER_WAIT_MAX)
        });
        (self.next, self.wait) = match recent {
            Some(start) => (start, Wait::Live),
            None => (log.end(), Wait::Key),
        };
        if self.wait == Wait::Live {
            self.want_new_headers(log);
        }
    }

    /// Headers that changed while the player was given nothing go before what it is given next.
    fn want_new_headers(&mut self, log: &Log) {
        if self.headers_version != Some(log.headers_version()) {
            self.headers_version = None;
        }
    }
}
