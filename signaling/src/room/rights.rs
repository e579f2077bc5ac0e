//! Rights that end: members and players whose ticket is over.

use std::time::Instant;

use media::{MemberId, TransportId};

use super::{Output, Room};
use crate::{code::Code, message::LeaveReason};

impl Room {
    /// When the next member's or player's rights end.
    pub fn next_rights_end(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(|m| m.who.until);
        members.chain(self.player_ends.values().copied()).min()
    }

    /// A member showed a new ticket: his rights end when it does.
    pub fn set_rights_end(&mut self, member: MemberId, until: Option<Instant>) {
        if let Some(m) = self.members.get_mut(&member) {
            m.who.until = until;
        }
    }

    /// Lets those go whose rights are over. What they send and receive ends with them.
    pub fn end_rights(&mut self, now: Instant, out: &mut Vec<Output>) {
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let members: Vec<MemberId> = self.members.values().filter(|m| over(m.who.until)).map(|m| m.id).collect();
        for member in members {
            self.take_out(member, LeaveReason::Expired, Some(Code::PrivateMapKeyExpired), out);
        }
        let players: Vec<TransportId> =
            self.player_ends.iter().filter(|(_, until)| over(Some(**until))).map(|(transport, _)| *transport).collect();
        for transport in players {
            self.close_transport(transport, out);
        }
        self.settle(out);
    }
}
