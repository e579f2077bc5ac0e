//! A player whose socket the stream's own task writes to, so that nobody has to be woken for it. Only what does not fit into
//! the socket is left to the player's task, which waits until there is room.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::{Buf, Bytes};
use tokio::{net::TcpStream, sync::Notify, time::timeout};

use super::wire::bound_unsent;
use crate::outlet::{Form, Found, PLAYER_STALL_MAX, Player, Sink};

/// A player and the socket that it reads from, as the stream's task knows it.
#[derive(Debug)]
pub struct Direct {
    /// `None` once the player is gone.
    state: Mutex<Option<State>>,
    /// Its task has something to do: wait for room, or end.
    called: Notify,
}

#[derive(Debug)]
struct State {
    socket: Arc<TcpStream>,
    player: Player,
    form: Form,
    /// What is left of a piece, or of words, that went out in part, and what comes after it: where a key frame begins a piece,
    /// the one before it goes out with it.
    rest: [Bytes; 2],
    /// Words of the protocol that go out between two pieces.
    words: Vec<u8>,
    /// Words may still come, but nothing of the stream.
    ended: bool,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// Everything is in the socket.
    Done,
    /// The socket is full: who waits for it to have room goes on.
    Full,
    /// Everything is in the socket, and nothing more comes.
    Over,
    Failed(io::ErrorKind),
}

/// Why a player gets nothing more.
#[derive(Debug, thiserror::Error)]
pub enum DirectEnd {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the player takes no data")]
    Stalled,
}

impl Direct {
    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Direct {
    /// Unless the player's task is at it.
    fn pass_on(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(state) = &mut *state else { return false };
        if let Outcome::Done = state.outcome {
            state.write(now);
            if !matches!(state.outcome, Outcome::Done) {
                self.called.notify_one();
            }
        }
        true
    }

    fn call(&self) {
        self.called.notify_one();
    }
}

/// A player that is written to by its stream, for as long as the player's task keeps this. The task calls
/// [`drain`](Self::drain) first of all, and then whenever [`called`](Self::called) says so.
#[derive(Debug)]
pub struct Seat {
    direct: Arc<Direct>,
    socket: Arc<TcpStream>,
}

impl Seat {
    /// From here on the stream's [`fan_out`](crate::outlet::Outlet::fan_out) writes to the socket. `first` goes before everything.
    pub fn new(player: Player, form: Form, socket: Arc<TcpStream>, first: Vec<u8>) -> Seat {
        bound_unsent(&socket);
        let outlet = player.outlet().clone();
        let state = State {
            socket: socket.clone(),
            player,
            form,
            rest: [first.into(), Bytes::new()],
            words: Vec::new(),
            ended: false,
            // Until the first call of drain, which also writes what was kept.
            outcome: Outcome::Full,
        };
        let direct = Arc::new(Direct { state: Mutex::new(Some(state)), called: Notify::new() });
        outlet.add_sink(direct.clone());
        Seat { direct, socket }
    }

    /// Ready when [`drain`](Self::drain) should be called.
    pub async fn called(&self) {
        self.direct.called.notified().await;
    }

    /// Says something to the player, between two pieces; never waits.
    pub fn say(&self, words: Vec<u8>) {
        let mut state = self.direct.lock();
        if let Some(state) = state.as_mut().filter(|_| !words.is_empty()) {
            state.words.extend_from_slice(&words);
            if !matches!(state.outcome, Outcome::Full) {
                state.write(Instant::now());
                self.direct.called.notify_one();
            }
        }
    }

    /// Holds the stream back, or lets it go on from a key frame.
    pub fn set_paused(&self, paused: bool) {
        if let Some(state) = &mut *self.direct.lock() {
            state.player.set_paused(paused);
        }
    }

    /// Nothing more of the stream, once what was begun is out.
    pub fn end(&self) {
        if let Some(state) = &mut *self.direct.lock() {
            state.ended = true;
        }
    }

    /// Waits until all that is there for the player is in its socket. False if nothing more comes: the stream is over.
    /// Nothing is lost if the future is dropped before it is ready.
    ///
    /// # Errors
    /// The connection broke, or the player took nothing for [`PLAYER_STALL_MAX`].
    pub async fn drain(&self) -> Result<bool, DirectEnd> {
        loop {
            if let Some(state) = &mut *self.direct.lock() {
                state.write(Instant::now());
                match state.outcome {
                    Outcome::Done => return Ok(true),
                    Outcome::Over => return Ok(false),
                    Outcome::Failed(kind) => return Err(io::Error::from(kind).into()),
                    Outcome::Full => {}
                }
            }
            timeout(PLAYER_STALL_MAX, self.socket.writable()).await.map_err(|_| DirectEnd::Stalled)??;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // The stream's task notices later; the socket and the place among the players are given back at once.
        let state = self.direct.lock().take();
        drop(state);
    }
}

impl State {
    /// Writes until there is nothing left, or no room.
    fn write(&mut self, now: Instant) {
        if let Outcome::Failed(_) = self.outcome {
            return;
        }
        let mut last = None;
        loop {
            for place in 0..self.rest.len() {
                if self.rest[place].is_empty() && last.is_none() {
                    match self.take(now) {
                        Ok(bytes) => self.rest[place] = bytes,
                        Err(outcome) => last = Some(outcome),
                    }
                }
            }
            if self.rest.iter().all(Bytes::is_empty)
                && let Some(outcome) = last
            {
                self.outcome = outcome;
                return;
            }
            match self.write_once() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outcome = Outcome::Full;
                    return;
                }
                Err(error) => {
                    self.outcome = Outcome::Failed(error.kind());
                    return;
                }
            }
        }
    }

    /// What goes out next; never empty.
    fn take(&mut self, now: Instant) -> Result<Bytes, Outcome> {
        loop {
            if !self.words.is_empty() {
                return Ok(std::mem::take(&mut self.words).into());
            }
            if self.ended {
                return Err(Outcome::Over);
            }
            match self.player.try_next(now) {
                Found::Here(given) => {
                    let bytes = self.player.bytes(&given, self.form);
                    if !bytes.is_empty() {
                        return Ok(bytes);
                    }
                }
                Found::Later => return Err(Outcome::Done),
                Found::Over => return Err(Outcome::Over),
            }
        }
    }

    /// One system call.
    fn write_once(&mut self) -> io::Result<()> {
        let [first, second] = &self.rest;
        let written = match (first.is_empty(), second.is_empty()) {
            (false, false) => self.socket.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?,
            (false, true) => self.socket.try_write(first)?,
            (true, _) => self.socket.try_write(second)?,
        };
        let of_first = written.min(first.len());
        for (part, sent) in self.rest.iter_mut().zip([of_first, written - of_first]) {
            part.advance(sent);
            if part.is_empty() {
                // What was sent need not be held.
                *part = Bytes::new();
            }
        }
        if self.rest[0].is_empty() {
            self.rest.swap(0, 1);
        }
        Ok(())
    }
}
