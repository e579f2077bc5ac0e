//! Members whose connection is lost: for a while they stay, with all their media, so that they can come back unnoticed.

use std::time::Instant;

use media::MemberId;

use super::{Output, Room};
use crate::message::LeaveReason;

impl Room {
    /// A member's connection is lost. Unless [`Room::came_back`] is called before, he leaves at the first tick after `until`.
    pub fn lost(&mut self, member: MemberId, until: Instant) {
        if let Some(m) = self.members.get_mut(&member) {
            m.away_until = Some(until);
        }
    }

    /// He is connected again.
    pub fn came_back(&mut self, member: MemberId) {
        if let Some(m) = self.members.get_mut(&member) {
            m.away_until = None;
        }
    }

    /// Takes out those who were away for too long.
    pub(super) fn drop_lost(&mut self, now: Instant, out: &mut Vec<Output>) {
        let late = self.members.values().filter(|m| m.away_until.is_some_and(|until| until <= now));
        let late: Vec<MemberId> = late.map(|m| m.id).collect();
        for member in late {
            self.take_out(member, LeaveReason::Disconnected, None, out);
        }
    }
}
