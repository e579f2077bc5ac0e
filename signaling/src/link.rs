//! The way from a room to one WebSocket: a bounded queue that a room fills without waiting.
//!
//! A reader who is too slow for it is let go: waiting for him would hold up his room, and skipping would leave him with a
//! wrong picture of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{Notify, mpsc};

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

/// The queue is full, or the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

impl Link {
    pub fn new() -> (Link, Outbound) {
        let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let (waiting_bytes, abort) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let link = Link { queue: sender, waiting_bytes: waiting_bytes.clone(), abort: abort.clone() };
        (link, Outbound { queue: receiver, waiting_bytes, abort })
    }

    pub fn send(&self, text: Utf8Bytes) -> Result<(), Overrun> {
        let len = text.len();
        // Each filler adds before it looks, so two at once cannot both squeeze under the limit.
        let before = self.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        if before + len > QUEUE_BYTES_MAX || self.queue.try_send(Outgoing::Text(text)).is_err() {
            self.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
            return Err(Overrun);
        }
        Ok(())
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
        if let Some(Outgoing::Text(text)) = &next {
            self.waiting_bytes.fetch_sub(text.len(), Ordering::Relaxed);
        }
        next
    }

    /// What is notified when the connection is to be cut without a word.
    pub fn abort(&self) -> Arc<Notify> {
        self.abort.clone()
    }
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
        assert_eq!(link.send("x".into()), Err(Overrun));
    }

    #[tokio::test]
    async fn the_queue_holds_4_mib_and_what_is_read_makes_room() {
        let (link, mut outbound) = Link::new();
        let half = Utf8Bytes::from("x".repeat(QUEUE_BYTES_MAX / 2));
        assert_eq!((link.send(half.clone()), link.send(half.clone())), (Ok(()), Ok(())));
        assert_eq!(link.send("x".into()), Err(Overrun));
        assert_eq!(outbound.next().await, Some(Outgoing::Text(half)));
        assert_eq!(link.send("x".into()), Ok(()));
    }

    #[tokio::test]
    async fn a_full_queue_cannot_be_told_and_is_cut() {
        let (link, outbound) = Link::new();
        while link.send("x".into()).is_ok() {}
        link.close(&Code::TooSlow.into());
        outbound.abort().notified().await;
    }
}
