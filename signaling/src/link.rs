//! The way from a room to one WebSocket: a bounded queue that a room fills without waiting.
//!
//! A reader who is too slow for it is let go: waiting for him would hold up his room, and skipping would leave him with a
//! wrong picture of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    code::Fault,
    message::{Event, to_text},
};

/// Messages that may wait for one reader.
pub const QUEUE_MESSAGES_MAX: usize = 256;
/// Bytes that may wait for one reader. Thirty offers of a large room.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;

/// What a connection writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    Text(Utf8Bytes),
    /// A message with its number, which the writer puts in front: the text itself is the same for all members.
    Numbered(u64, Utf8Bytes),
    /// What a member missed while he was away. Counts as one message.
    Replay(Vec<(u64, Utf8Bytes)>),
    /// Close with this code (RFC 6455 §7.4).
    Close {
        code: u16,
        reason: &'static str,
    },
}

/// The filling end, held by the room and by the connection itself.
#[derive(Clone, Debug)]
pub struct Link {
    queue: mpsc::Sender<Outgoing>,
    waiting_bytes: Arc<AtomicUsize>,
    abort: Arc<Notify>,
}

/// The emptying end, held by the connection.
#[derive(Debug)]
pub struct Outbound {
    queue: mpsc::Receiver<Outgoing>,
    waiting_bytes: Arc<AtomicUsize>,
    abort: Arc<Notify>,
}

/// Why nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Its reader is too slow: the queue is full.
    Full,
    /// The connection is gone.
    Gone,
}

impl Link {
    pub fn new() -> (Link, Outbound) {
        let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let (waiting_bytes, abort) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let link = Link { queue: sender, waiting_bytes: waiting_bytes.clone(), abort: abort.clone() };
        (link, Outbound { queue: receiver, waiting_bytes, abort })
    }

    pub fn send(&self, text: Utf8Bytes) -> Result<(), SendError> {
        self.put(text.len(), Outgoing::Text(text))
    }

    /// Sends a JSON object with `seq` among its fields.
    pub fn send_numbered(&self, seq: u64, text: Utf8Bytes) -> Result<(), SendError> {
        self.put(text.len(), Outgoing::Numbered(seq, text))
    }

    pub fn send_replay(&self, missed: Vec<(u64, Utf8Bytes)>) -> Result<(), SendError> {
        self.put(missed.iter().map(|(_, text)| text.len()).sum(), Outgoing::Replay(missed))
    }

    fn put(&self, len: usize, outgoing: Outgoing) -> Result<(), SendError> {
        // Each filler adds before it looks, so two at once cannot both squeeze under the limit.
        let before = self.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        let sent = match before + len > QUEUE_BYTES_MAX {
            true => Err(SendError::Full),
            false => self.queue.try_send(outgoing).map_err(|error| match error {
                TrySendError::Full(_) => SendError::Full,
                TrySendError::Closed(_) => SendError::Gone,
            }),
        };
        if sent.is_err() {
            self.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
        }
        sent
    }

    /// Says why, then closes. If there is no room to say it, the connection is cut.
    pub fn close(&self, fault: &Fault) {
        let told = self.send(to_text(&Event::Closed(fault.body())).into());
        let close = Outgoing::Close { code: fault.code.close_code(), reason: fault.code.name() };
        if told.is_err() || self.queue.try_send(close).is_err() {
            self.abort.notify_one();
        }
    }
}

impl Outbound {
    /// The next message; `None` when every filling end is gone.
    pub async fn next(&mut self) -> Option<Outgoing> {
        let next = self.queue.recv().await;
        let len = match &next {
            Some(Outgoing::Text(text) | Outgoing::Numbered(_, text)) => text.len(),
            Some(Outgoing::Replay(missed)) => missed.iter().map(|(_, text)| text.len()).sum(),
            Some(Outgoing::Close { .. }) | None => 0,
        };
        self.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
        next
    }

    /// What is notified when the connection is to be cut without a word.
    pub fn abort(&self) -> Arc<Notify> {
        self.abort.clone()
    }
}

/// A JSON object with its number in front.
pub fn numbered(seq: u64, text: &str) -> String {
    // Each of our messages is an object that has a `type` at least.
    format!("{{\"seq\":{seq},{}", text.strip_prefix('{').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    #[test]
    fn the_queue_holds_256_messages_and_not_one_more() {
        let (link, _outbound) = Link::new();
        for _ in 0..QUEUE_MESSAGES_MAX {
            assert_eq!(link.send("x".into()), Ok(()));
        }
        assert_eq!(link.send("x".into()), Err(SendError::Full));
    }

    #[tokio::test]
    async fn the_queue_holds_4_mib_and_what_is_read_makes_room() {
        let (link, mut outbound) = Link::new();
        let half = Utf8Bytes::from("x".repeat(QUEUE_BYTES_MAX / 2));
        assert_eq!((link.send(half.clone()), link.send(half.clone())), (Ok(()), Ok(())));
        assert_eq!(link.send("x".into()), Err(SendError::Full));
        assert_eq!(outbound.next().await, Some(Outgoing::Text(half)));
        assert_eq!(link.send("x".into()), Ok(()));
    }

    #[test]
    fn a_connection_that_is_gone_is_not_a_slow_one() {
        let (link, outbound) = Link::new();
        drop(outbound);
        assert_eq!(link.send("x".into()), Err(SendError::Gone));
    }

    #[tokio::test]
    async fn a_full_queue_cannot_be_told_and_is_cut() {
        let (link, outbound) = Link::new();
        while link.send("x".into()).is_ok() {}
        link.close(&Code::TooSlow.into());
        outbound.abort().notified().await;
    }
}
