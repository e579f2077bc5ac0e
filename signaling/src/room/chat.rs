//! Messages: to one member and to all, numbered in the order in which the room took them, and the last ones kept for
//! newcomers where the app wants it.

use std::{collections::VecDeque, time::Instant};

use media::MemberId;

use super::{Output, Room};
use crate::{
    code::{Code, Fault},
    member::Protocol,
    message::{Content, Event, Message},
};

/// Bytes of content that a history keeps at most, however many messages it may have.
pub const HISTORY_BYTES_MAX: usize = 1 << 20;

/// The messages of a room.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// Of the newest message.
    last_id: u64,
    /// How many messages are kept for newcomers.
    history_max: usize,
    history: VecDeque<Message>,
    history_bytes: usize,
}

impl Chat {
    pub(super) fn new(history_max: usize) -> Chat {
        Chat { history_max, ..Chat::default() }
    }

    fn keep(&mut self, message: Message) {
        self.history_bytes += message.content.bytes();
        self.history.push_back(message);
        while self.history.len() > self.history_max || self.history_bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.history.pop_front() else { return };
            self.history_bytes -= oldest.content.bytes();
        }
    }

    pub(super) fn history(&self) -> Vec<Message> {
        self.history.iter().cloned().collect()
    }
}

/// How many messages one member may send: at a steady rate, with some at once.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    tokens: f64,
    filled_at: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant, per_second: u32, burst: u32) -> bool {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * f64::from(per_second);
        self.tokens = (self.tokens + gained).min(f64::from(burst));
        self.filled_at = self.filled_at.max(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

impl Room {
    /// A member's message. It is put into the queues of whom it is for before the answer is.
    pub(crate) fn say(
        &mut self,
        member: MemberId,
        to: Option<String>,
        content: Content,
        out: &mut Vec<Output>,
    ) -> Result<(u64, u64), Fault> {
        let now = self.clock.now;
        let (per_second, burst) = (self.limits.chat_per_second, self.limits.chat_burst);
        let m = self.members.get_mut(&member).ok_or(Code::NotEntered)?;
        if m.silenced.messages {
            return Err(Code::Silenced.into());
        }
        let full = Allowance { tokens: f64::from(burst), filled_at: now };
        if !m.allowance.get_or_insert(full).take(now, per_second, burst) {
            return Err(Code::TooManyMessages.into());
        }
        let from = Some(m.who.user.clone());
        self.deliver(Some(member), from, to, content, out)
    }

    /// A message of the server, or of a user who need not be in the room; `from` is what receivers are told. Returns its number
    /// and time.
    pub fn announce(
        &mut self,
        from: Option<String>,
        to: Option<String>,
        content: Content,
        out: &mut Vec<Output>,
    ) -> Result<(u64, u64), Fault> {
        self.deliver(None, from, to, content, out)
    }

    /// The number of a message that comes to be now.
    pub(crate) fn next_message_id(&mut self) -> u64 {
        self.chat.last_id += 1;
        self.chat.last_id
    }

    fn deliver(
        &mut self,
        sender: Option<MemberId>,
        from: Option<String>,
        to: Option<String>,
        content: Content,
        out: &mut Vec<Output>,
    ) -> Result<(u64, u64), Fault> {
        let bytes_max = match to {
            Some(_) => self.limits.chat_bytes_to_one,
            None => self.limits.chat_bytes_to_room,
        };
        if content.bytes() > bytes_max {
            return Err(Fault::with(Code::ContentTooBig, format!("the content may have {bytes_max} bytes")));
        }
        let receiver = match &to {
            None => None,
            Some(user) => {
                let receiver = self.members.get(self.by_user.get(user).ok_or(Code::NoSuchMember)?);
                let receiver = receiver.ok_or(Code::NoSuchMember)?;
                if receiver.who.protocol != Protocol::Webrtc {
                    return Err(Code::Unreachable.into());
                }
                Some(receiver.id)
            }
        };
        let (id, time) = (self.next_message_id(), self.clock.unix_ms);
        let message = Message { id, from, to, time, content };
        match receiver {
            Some(receiver) => out.push(Output::Event { to: receiver, event: Event::Message(message) }),
            None => {
                out.push(Output::Broadcast { except: sender, event: Event::Message(message.clone()) });
                self.chat.keep(message);
            }
        }
        Ok((id, time))
    }

    /// Puts back what was said before a restart.
    pub fn restore_history(&mut self, history: Vec<Message>) {
        for message in history {
            self.chat.last_id = self.chat.last_id.max(message.id);
            self.chat.keep(message);
        }
    }
}
