//! A member's line: the numbered messages to him, and the connection over which they go at the moment.
//!
//! Every message to a member, be it an event or an answer, gets the next number of his line, whether he is connected or not;
//! the newest are kept. Who comes back says the number of the last one that arrived, and gets the rest: nothing twice, nothing
//! not at all.

use std::collections::VecDeque;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    code::Fault,
    config::Limits,
    link::{Link, SendError},
};

/// The newest messages to one member, by number.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// Of the newest message; the first has 1.
    last: u64,
    kept: VecDeque<Utf8Bytes>,
    bytes: usize,
}

impl Feed {
    /// Numbers a message and keeps it for as long as newer ones leave room.
    pub(super) fn push(&mut self, text: Utf8Bytes, limits: &Limits) -> u64 {
        self.last += 1;
        self.bytes += text.len();
        self.kept.push_back(text);
        while self.kept.len() > limits.replay_messages || self.bytes > limits.replay_bytes {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.last
    }

    /// Everything behind message `seq`; `None` if some of it is not kept any more, or there was no such message.
    pub(super) fn after(&self, seq: u64) -> Option<Vec<(u64, Utf8Bytes)>> {
        let missed = usize::try_from(self.last.checked_sub(seq)?).ok()?;
        let from = self.kept.len().checked_sub(missed)?;
        Some((seq + 1..).zip(self.kept.iter().skip(from).cloned()).collect())
    }
}

/// The messages to one member and where they go.
#[derive(Debug)]
pub(super) struct Line {
    /// `None` while the connection is lost.
    link: Option<Link>,
    /// Counts connections: what an older one still does concerns nobody.
    pub(super) generation: u64,
    feed: Feed,
    /// The greatest id of a request that arrived.
    pub(super) last_request: u64,
    /// By which he may come back; `None` where members may not.
    pub(super) token: Option<String>,
}

impl Line {
    pub(super) fn new(link: Link, token: Option<String>) -> Line {
        Line { link: Some(link), generation: 0, feed: Feed::default(), last_request: 0, token }
    }

    /// Says the first word, which has no number.
    pub(super) fn greet(&self, text: Utf8Bytes) -> Result<(), SendError> {
        self.link.as_ref().map_or(Ok(()), |link| link.send(text))
    }

    pub(super) fn send(&mut self, text: Utf8Bytes, limits: &Limits) -> Result<(), SendError> {
        let Some(link) = &self.link else {
            self.feed.push(text, limits);
            return Ok(());
        };
        let seq = self.feed.push(text.clone(), limits);
        match link.send_numbered(seq, text) {
            // The connection broke a moment ago, and whoever reads from it is about to say so.
            Err(SendError::Gone) => {
                self.link = None;
                Ok(())
            }
            sent => sent,
        }
    }

    /// Says something that is old in a moment: it has no number, and who is away or behind with his reading misses it.
    pub(super) fn pass(&self, text: Utf8Bytes) {
        if let Some(link) = &self.link {
            let _ = link.send(text);
        }
    }

    /// The connection is lost.
    pub(super) fn cut(&mut self) {
        self.link = None;
        self.generation += 1;
    }

    /// Another connection takes over; the old one, if it still stands, is told why it closes.
    pub(super) fn take_over(&mut self, link: Link, why: &Fault) {
        self.generation += 1;
        if let Some(old) = self.link.replace(link) {
            old.close(why);
        }
    }

    pub(super) fn after(&self, seq: u64) -> Option<Vec<(u64, Utf8Bytes)>> {
        self.feed.after(seq)
    }

    /// Hands over what was missed, behind the answer to `resume`.
    pub(super) fn replay(&self, answer: Utf8Bytes, missed: Vec<(u64, Utf8Bytes)>) -> Result<(), SendError> {
        let Some(link) = &self.link else { return Err(SendError::Gone) };
        link.send(answer)?;
        if missed.is_empty() { Ok(()) } else { link.send_replay(missed) }
    }

    /// Says why and ends the connection, if there is one.
    pub(super) fn close(&self, fault: &Fault) {
        if let Some(link) = &self.link {
            link.close(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(messages: usize, bytes: usize) -> Limits {
        Limits { replay_messages: messages, replay_bytes: bytes, ..Limits::default() }
    }

    fn numbers(feed: &Feed, seq: u64) -> Option<Vec<u64>> {
        feed.after(seq).map(|missed| missed.into_iter().map(|(seq, _)| seq).collect())
    }

    #[test]
    fn what_follows_a_number_is_replayed_without_gap_or_repeat() {
        let (mut feed, limits) = (Feed::default(), limits(9, 999));
        assert_eq!(numbers(&feed, 0), Some(vec![]));
        for n in 1..=5 {
            assert_eq!(feed.push(n.to_string().into(), &limits), n);
        }
        assert_eq!(numbers(&feed, 0), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(feed.after(3).unwrap(), [(4, "4".into()), (5, "5".into())]);
        assert_eq!(numbers(&feed, 5), Some(vec![]));
        assert_eq!(numbers(&feed, 6), None, "nobody can have seen what was not sent");
    }

    #[test]
    fn as_many_messages_and_bytes_are_kept_as_the_limits_say_and_then_the_gap_is_known() {
        let mut feed = Feed::default();
        for _ in 0..4 {
            feed.push("x".into(), &limits(3, 999));
        }
        assert_eq!((numbers(&feed, 1).map(|n| n.len()), numbers(&feed, 0)), (Some(3), None));
        let mut feed = Feed::default();
        for _ in 0..3 {
            feed.push("xx".into(), &limits(99, 4));
        }
        assert_eq!((numbers(&feed, 1).map(|n| n.len()), numbers(&feed, 0)), (Some(2), None));
        feed.push("xxxxx".into(), &limits(99, 4));
        assert_eq!((numbers(&feed, 4), numbers(&feed, 3)), (Some(vec![]), None));
    }
}
