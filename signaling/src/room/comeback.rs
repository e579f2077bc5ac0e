//! Publishers who are gone without a word and come back, by the same way or by another: their streams wait for them, and go on
//! for everybody who receives them.

use std::time::Instant;

use media::{MemberId, StreamId};

use super::{Action, Output, Room};
use crate::{
    code::Code,
    member::{Member, Newcomer, Protocol},
    message::Event,
    name::StreamName,
};

impl Room {
    /// The publisher of a pushed stream is gone without a word.
    pub fn stream_lost(&mut self, stream: StreamId, out: &mut Vec<Output>) {
        if let Some((member, name)) = self.find_stream(stream) {
            self.wait_for(member, name, out);
        }
        self.settle(out);
    }

    /// A stream that was pulled from another server is not wanted any more.
    pub fn end_pulled_stream(&mut self, stream: StreamId, out: &mut Vec<Output>) {
        self.end_pushed(stream, true, out);
        self.settle(out);
    }

    /// Lets a stream wait for its publisher, or ends it where nobody waits.
    pub(super) fn wait_for(&mut self, member: MemberId, name: StreamName, out: &mut Vec<Output>) {
        let now = self.clock().now;
        let Some(m) = self.members.get_mut(&member) else { return };
        let Some(stream) = m.streams.get_mut(&name) else { return };
        let id = stream.id;
        // Of a stream that never carried anything nobody knows, and the server's own does not come back.
        if self.limits.republish_within.is_zero() || !stream.is_announced() || m.who.protocol == Protocol::Test {
            stream.lost_at = Some(now);
            return self.end_pushed(id, true, out);
        }
        if stream.lost_at.replace(now).is_none() {
            let event = Event::StreamChanged { user: m.who.user.clone(), stream: stream.info(name, m.silenced) };
            out.push(Output::Broadcast { except: Some(member), event });
        }
    }

    /// Ends the streams that have waited for long enough. Who has nothing else in the room leaves.
    pub(super) fn drop_waiting(&mut self, now: Instant, out: &mut Vec<Output>) {
        let within = self.limits.republish_within;
        let late: Vec<StreamId> = self
            .members
            .values()
            .filter(|m| !m.up.busy)
            .flat_map(|m| m.streams.values())
            .filter(|s| s.lost_at.is_some_and(|at| now.saturating_duration_since(at) >= within))
            .map(|s| s.id)
            .collect();
        late.into_iter().for_each(|stream| self.end_pushed(stream, true, out));
    }

    /// Gives the place of a member who publishes to the same user, who comes by another way. His streams wait for him to
    /// publish them there.
    pub(super) fn take_place(&mut self, old: MemberId, who: Newcomer, out: &mut Vec<Output>) -> Option<MemberId> {
        let mut member = self.members.remove(&old)?;
        let id = self.ids.member();
        for (name, stream) in &mut member.streams {
            // Before its transport is closed, which would take it along.
            out.push(Output::Media(Action::HoldStream(stream.id)));
            stream.lost_at = Some(self.clock().now);
            stream.b_frames = false;
            self.streams.insert(stream.id, (id, *name));
        }
        for transport in [member.up.transport, member.down.transport].into_iter().flatten() {
            self.close_transport(transport, out);
        }
        out.push(Output::Gone { member: old, code: Some(Code::LoggedInElsewhere) });
        self.by_user.insert(who.user.clone(), id);
        let new = Member { streams: member.streams, silenced: member.silenced, ..Member::new(id, who) };
        out.push(Output::Broadcast { except: Some(id), event: Event::MemberChanged { member: new.info() } });
        self.members.insert(id, new);
        Some(id)
    }
}
