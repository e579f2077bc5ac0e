//! Fan-out of one stream's tags to its RTMP and FLV players.
//!
//! Not the packet path: a few dozen tags a second, so a mutex does. Tags are gathered for a moment, then appended to the
//! [`Log`] as one piece, whose bytes are made once for all players. A player is a [`Cursor`] in that log and nothing more: none
//! can hold up the stream or another player, and one that reads too slowly loses everything up to a key frame.
//!
//! ```text
//! push ─▶ gathered ──merge──▶ Log ─┬─▶ Player::next      whoever writes to its socket, or packages, itself
//!                                  └─▶ fan_out ─▶ Sink   one task that writes into the sockets of all the others
//! ```

mod cursor;
mod log;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, watch},
    task::yield_now,
    time::sleep_until,
};

pub use cursor::Given;

pub use log::Form;

use crate::{
    bridge::tag::{Tag, TagKind},
    flv,
};
use cursor::Cursor;
use log::Log;

/// Live bytes that a player may be behind.
pub const PLAYER_BYTES_MAX: usize = 4 << 20;

/// How far behind what it could have a slow player may be.
pub const PLAYER_WAIT_MAX: Duration = Duration::from_secs(2);

/// A player that has taken nothing for this long while tags wait for it is let go.
pub const PLAYER_STALL_MAX: Duration = Duration::from_secs(10);

/// Tags that are gathered at most, however long merging may take.
const GATHERED_TAGS_MAX: usize = 64;

/// Sockets that are written to before other tasks have their turn: a third of a millisecond.
const SOCKETS_AT_ONCE: usize = 64;

/// A socket of a player that [`Outlet::fan_out`] writes to.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Writes what there is for the player, and never waits. False if the player is gone.
    fn pass_on(&self, now: Instant) -> bool;

    /// Has the player's own task look after it.
    fn call(&self);
}

/// The exit of one stream to its players.
#[derive(Debug)]
pub struct Outlet {
    state: Mutex<State>,
    /// Counts changes of the log, for whoever waits for the next piece.
    changed: watch::Sender<u64>,
    /// For [`fan_out`](Self::fan_out): something is gathered, or the stream is over.
    stir: Notify,
}

#[derive(Debug, Default)]
struct State {
    log: Log,
    players: usize,
    /// Sockets that wait for [`Outlet::fan_out`] to take them on.
    joining: Vec<Arc<dyn Sink>>,
    /// Tags are gathered for so long before players get them.
    merge: Duration,
    /// Newcomers get a kept group that is no longer than this; `None`: any.
    start_max: Option<Duration>,
    gathered: Vec<Tag>,
    gathered_since: Option<Instant>,
    pace: Pace,
    closed: bool,
    key_wanted: bool,
}

impl Outlet {
    #[allow(clippy::new_ret_no_self, reason = "an outlet is always shared: the stream pushes, its players attach")]
    pub fn new() -> Arc<Self> {
        Arc::new(Outlet { state: Mutex::default(), changed: watch::Sender::new(0), stir: Notify::new() })
    }

    #[cfg(test)]
    pub(crate) fn push(&self, tag: Tag) {
        self.push_at(Instant::now(), tag);
    }

    /// Sends a tag to every player and keeps what later ones need. Never waits. Without effect after [`close`](Self::close).
    pub fn push_at(&self, now: Instant, tag: Tag) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let is_first = state.gathered.is_empty();
        let next_picture = state.pace.next_after(&tag);
        if tag.key && !tag.header && !is_first {
            // A key frame begins a piece; the time of the gathering goes on.
            let before = std::mem::take(&mut state.gathered);
            state.log.append(now, before);
        }
        state.gathered.push(tag);
        let since = *state.gathered_since.get_or_insert(now);
        // A picture does not wait when no other could come while it did.
        let is_alone = next_picture.is_some_and(|next| next > state.merge);
        let is_due = now.saturating_duration_since(since) >= state.merge
            || is_alone
            || state.gathered.len() >= GATHERED_TAGS_MAX;
        if is_due {
            state.flush(now);
        }
        let has_players = state.players > 0;
        drop(state);
        if is_due && has_players {
            self.tell();
        } else if is_first && has_players {
            self.stir.notify_one();
        }
    }

    /// Gives what was gathered to the players' sockets when its time has come, as long as the stream lasts. One task for each
    /// stream runs this; without it, sockets get nothing, and others only what the next tag pushes on.
    ///
    /// Writing to all of them from one place is what makes a player cheap: nobody has to be woken. When they are so many that a
    /// round takes longer than gathering, more is gathered for the next.
    pub async fn fan_out(self: Arc<Self>) {
        let mut sockets: Vec<Arc<dyn Sink>> = Vec::new();
        loop {
            self.stir.notified().await;
            let due = {
                let state = self.lock();
                state.gathered_since.filter(|_| !state.closed).map(|since| since + state.merge)
            };
            if let Some(due) = due.filter(|due| *due > Instant::now()) {
                tokio::select! {
                    () = sleep_until(due.into()) => {}
                    () = self.stir.notified() => {}
                }
            }
            let now = Instant::now();
            let closed = {
                let mut state = self.lock();
                state.flush(now);
                sockets.append(&mut state.joining);
                state.closed
            };
            self.changed.send_modify(|changes| *changes += 1);
            for at in (0..sockets.len()).rev() {
                if !sockets[at].pass_on(now) {
                    sockets.swap_remove(at);
                }
                if at.is_multiple_of(SOCKETS_AT_ONCE) {
                    yield_now().await;
                }
            }
            if closed {
                return sockets.iter().for_each(|socket| socket.call());
            }
        }
    }

    /// A newcomer gets what was kept since the last key frame if that is no longer than this; otherwise he waits for the next.
    pub fn set_start(&self, longest: Duration) {
        self.lock().start_max = Some(longest);
    }

    /// Gathers tags for so long at most before players get them, so that their sockets are written to that much less often.
    /// Pictures that are further apart than this, by the distance of the last two, do not wait at all.
    pub fn set_merge(&self, merge: Duration) {
        self.lock().merge = merge;
    }

    /// Adds a player. It gets metadata, sequence headers and the kept group of pictures, timestamps as they were, and then what
    /// is live; nothing before the stream's first frame. Dropping it detaches it.
    pub fn attach(self: &Arc<Self>) -> Player {
        self.attach_at(Instant::now())
    }

    pub(crate) fn attach_at(self: &Arc<Self>, now: Instant) -> Player {
        let changed = self.changed.subscribe();
        let mut state = self.lock();
        state.flush(now);
        let cursor = match state.closed {
            true => Cursor::at_end(&state.log),
            false => Cursor::new(&state.log, state.start_max),
        };
        state.key_wanted |= cursor.wants_key() && !state.closed;
        state.players += 1;
        drop(state);
        self.tell();
        Player { outlet: self.clone(), cursor, changed, headed: false, paused: false }
    }

    /// From here on [`fan_out`](Self::fan_out) writes to it, until it is gone.
    pub fn add_sink(&self, sink: Arc<dyn Sink>) {
        self.lock().joining.push(sink);
    }

    /// Ends the stream: players get what waits for them, and then their end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.flush(Instant::now());
        state.closed = true;
        drop(state);
        self.tell();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many players are attached.
    pub fn players(&self) -> usize {
        self.lock().players
    }

    /// Whether a player was attached, since this was last called, to whom no key frame could be given. Who feeds the outlet
    /// from a source that can be asked for one should ask.
    pub fn take_key_wanted(&self) -> bool {
        std::mem::take(&mut self.lock().key_wanted)
    }

    /// The log changed, or the stream is over.
    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
        self.stir.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything that may panic, so a poisoned state is a usable one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often pictures come.
#[derive(Debug, Default)]
struct Pace {
    last_ms: Option<u32>,
}

impl Pace {
    /// If `tag` is a picture: how long after it the next will come, as it came after the one before.
    fn next_after(&mut self, tag: &Tag) -> Option<Duration> {
        if tag.kind != TagKind::Video || tag.header {
            return None;
        }
        let last_ms = self.last_ms.replace(tag.timestamp_ms)?;
        Some(Duration::from_millis(tag.timestamp_ms.wrapping_sub(last_ms).into()))
    }
}

impl State {
    /// Makes a piece of what was gathered.
    fn flush(&mut self, now: Instant) {
        self.gathered_since = None;
        if !self.gathered.is_empty() {
            let tags = std::mem::take(&mut self.gathered);
            self.log.append(now, tags);
        }
    }
}

/// One player of a stream, until it is dropped.
#[derive(Debug)]
pub struct Player {
    outlet: Arc<Outlet>,
    cursor: Cursor,
    changed: watch::Receiver<u64>,
    /// The header of an FLV file was written.
    headed: bool,
    paused: bool,
}

/// What a player finds.
#[derive(Debug)]
pub enum Found {
    Here(Given),
    /// Nothing yet.
    Later,
    /// Nothing any more.
    Over,
}

impl Player {
    /// What comes next; `None` once the stream is over. Nothing is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Given> {
        loop {
            match self.try_next(Instant::now()) {
                Found::Here(given) => return Some(given),
                Found::Over => return None,
                // The sender is the outlet's, which is held here.
                Found::Later => self.changed.changed().await.ok()?,
            }
        }
    }

    /// As [`next`](Self::next), in bytes of `form`; those of FLV begin with the header of a file.
    pub async fn next_bytes(&mut self, form: Form) -> Option<Bytes> {
        let given = self.next().await?;
        Some(self.bytes(&given, form))
    }

    /// Nothing more is wanted, or again, and then from a key frame on.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What is there now.
    pub fn try_next(&mut self, now: Instant) -> Found {
        let state = self.outlet.lock();
        match self.cursor.next(now, &state.log, self.paused) {
            Some(given) => Found::Here(given),
            None if state.closed && self.cursor.is_at_end(&state.log) => Found::Over,
            None => Found::Later,
        }
    }

    /// All tags that are there now.
    #[cfg(test)]
    pub(crate) fn tags(&mut self) -> Vec<Tag> {
        let found = std::iter::from_fn(|| match self.try_next(Instant::now()) {
            Found::Here(given) => Some(given.tags()),
            Found::Later | Found::Over => None,
        });
        found.flatten().collect()
    }

    /// Of what stream.
    pub fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// What was given, as it goes over the wire; that of FLV begins with the header of a file.
    pub fn bytes(&mut self, given: &Given, form: Form) -> Bytes {
        let bytes = given.bytes(form);
        if form != Form::Flv || std::mem::replace(&mut self.headed, true) {
            return bytes;
        }
        // The header says whether there is sound and picture, and players in pages believe it: one that is promised sound
        // shows no picture before it came. What the stream has is known by now: nothing is given before its first frame.
        let (audio, video) = self.outlet.lock().log.tracks();
        [&flv::file_header(audio, video)[..], &bytes].concat().into()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.outlet.lock().players -= 1;
    }
}

#[cfg(test)]
mod tests;
