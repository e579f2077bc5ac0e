//! A room: the users who may hear one another. Sans-IO: what happens goes in, [`Output`]s come out, and nothing is waited for.
//!
//! Requests of WebSocket members are applied in [`crate::request`], one file each; here is what they share: members coming and
//! going, streams appearing and ending, and one down offer at a time for each member.
//!
//! Every public function leaves the room settled: members whose subscriptions changed have an offer under way.

mod away;
mod chat;
mod comeback;
mod down;
mod order;
mod output;
pub mod record;
mod rights;
mod speak;
mod up;

pub use chat::{Allowance, HISTORY_BYTES_MAX};
pub use down::Playable;
pub use output::{Action, Ids, Index, Output};
pub use record::{RoomChange, RoomRecord, Silence};

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use media::{
    MemberId, RoomId, StreamId, TransportId,
    command::{CloseReason, Speaker},
};

use crate::{
    auth::authorise::Privilege,
    code::{Code, Fault},
    config::Limits,
    member::{Member, Newcomer, Protocol, Role, Stream},
    message::{Direction, Entered, Event, LeaveReason, TransportState},
    name::{RoomName, StreamName, StreamPath},
};

/// An RTMP publisher whose stream carries nothing that we know after this long is sent away.
const NAMELESS_STREAM_MAX: Duration = Duration::from_secs(20);

/// The users who may hear one another.
pub struct Room {
    pub id: RoomId,
    sdk_app_id: u32,
    name: RoomName,
    heartbeat_s: u32,
    pub(crate) limits: Arc<Limits>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) members: BTreeMap<MemberId, Member>,
    by_user: HashMap<String, MemberId>,
    /// Where each stream of the room is, announced or not.
    streams: HashMap<StreamId, (MemberId, StreamName)>,
    transports: HashMap<TransportId, Owner>,
    /// What outlives the members.
    pub record: RoomRecord,
    chat: chat::Chat,
    clock: Clock,
    /// Until when the room is kept though nobody is in it, and nothing in its record says so: after a restart its members get
    /// the time to come back.
    kept_until: Option<Instant>,
    /// Who speaks, as media said last; `None` as long as nobody ever spoke.
    speakers: Option<Vec<Speaker>>,
    /// When the rights of WHEP players end, of those whose rights do.
    player_ends: HashMap<TransportId, Instant>,
}

/// What the clocks say in the present turn.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub now: Instant,
    pub unix_ms: u64,
}

/// Whose transport it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Up(MemberId),
    Down(MemberId),
    /// A WHEP player of this stream. Players are not members.
    Player(StreamId),
}

impl Room {
    /// `history`: how many messages are kept for newcomers.
    pub fn new(
        sdk_app_id: u32,
        name: RoomName,
        heartbeat_s: u32,
        history: usize,
        limits: Arc<Limits>,
        ids: Arc<Ids>,
        clock: Clock,
    ) -> Room {
        Room {
            id: ids.room(),
            sdk_app_id,
            name,
            heartbeat_s,
            limits,
            ids,
            members: BTreeMap::new(),
            by_user: HashMap::new(),
            streams: HashMap::new(),
            transports: HashMap::new(),
            record: RoomRecord::default(),
            chat: chat::Chat::new(history),
            clock,
            kept_until: None,
            speakers: None,
            player_ends: HashMap::new(),
        }
    }

    /// Begins a turn: what follows happens at this time.
    pub fn turn(&mut self, clock: Clock) {
        self.clock = clock;
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Nobody is in it, and nothing asks for it to be kept.
    pub fn is_over(&self) -> bool {
        self.is_empty()
            && !self.record.outlives_members()
            && self.kept_until.is_none_or(|until| until <= self.clock.now)
    }

    /// Keeps the room until then though nobody is in it.
    pub fn keep_until(&mut self, until: Instant) {
        self.kept_until = Some(until);
    }

    /// From now on media knows the room by another number.
    pub fn renumber(&mut self) {
        self.id = self.ids.room();
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The address by which this member reached us.
    pub fn reached_at(&self, member: MemberId) -> Option<IpAddr> {
        self.members.get(&member)?.who.reached_at
    }

    /// How many members it may have.
    fn members_max(&self) -> usize {
        self.record.members_max.unwrap_or(usize::MAX).min(self.limits.members_per_room)
    }

    pub fn members_len(&self) -> usize {
        self.members.len()
    }

    /// Lets somebody in. The first one needs the privilege to create the room. A member of the same name is sent away: one
    /// login per user and room.
    pub fn enter(&mut self, who: Newcomer, out: &mut Vec<Output>) -> Result<MemberId, Fault> {
        let creates = self.is_empty() && !self.record.lasting;
        let needed = if creates { Privilege::JOIN | Privilege::CREATE } else { Privilege::JOIN };
        who.privilege.require(needed)?;
        let same = self.by_user.get(&who.user).copied();
        let trusted = self.is_owner(&who.user) || who.privilege.contains(Privilege::MODERATE);
        if self.record.is_banned(&who.user, self.clock.unix_ms) {
            return Err(Code::Banned.into());
        }
        if self.record.locked && !trusted && same.is_none() {
            return Err(Code::RoomLocked.into());
        }
        if same.and_then(|id| self.members.get(&id)).is_some_and(|m| m.who.protocol == Protocol::Test) {
            return Err(Code::UserInUse.into());
        }
        if self.members.len() - usize::from(same.is_some()) >= self.members_max() {
            return Err(Code::RoomFull.into());
        }
        if let Some(same) = same {
            let publishes = self.members.get(&same).is_some_and(|m| m.streams.values().any(Stream::is_announced));
            if publishes
                && !self.limits.republish_within.is_zero()
                && let Some(id) = self.take_place(same, who.clone(), out)
            {
                self.settle(out);
                return Ok(id);
            }
            self.take_out(same, LeaveReason::Ejected, Some(Code::LoggedInElsewhere), out);
        }
        let id = self.ids.member();
        self.by_user.insert(who.user.clone(), id);
        let owns = creates && self.record.owner.is_none() && who.protocol != Protocol::Test;
        let mut member = Member::new(id, who);
        member.silenced = self.silence_of(&member.who.user);
        out.push(Output::Broadcast { except: Some(id), event: Event::MemberEntered { member: member.info() } });
        if owns {
            self.record.owner = Some(member.who.user.clone());
            out.push(Output::RecordChanged);
        }
        self.members.insert(id, member);
        self.settle(out);
        Ok(id)
    }

    /// What somebody who just entered is told.
    pub fn entered(&self, member: MemberId) -> Option<Entered> {
        let who = &self.members.get(&member)?.who;
        Some(Entered {
            room: self.name.clone(),
            user: who.user.clone(),
            role: who.role,
            privilege: who.privilege.0,
            heartbeat_seconds: self.heartbeat_s,
            members: self.members.values().filter(|m| m.id != member).map(Member::info).collect(),
            info: self.info(),
            history: self.chat.history(),
            speakers: self.speaker_infos(),
            resume: None,
        })
    }

    /// Takes a member out with everything that is his. Nothing happens if he is gone already.
    pub fn leave(&mut self, member: MemberId, reason: LeaveReason, code: Option<Code>, out: &mut Vec<Output>) {
        self.take_out(member, reason, code, out);
        self.settle(out);
    }

    /// The member of this name.
    pub fn member_of(&self, user: &str) -> Option<MemberId> {
        self.by_user.get(user).copied()
    }

    /// Lets an RTMP publisher in, or the built-in one, and opens his stream, of which others hear when it is known what
    /// it carries.
    ///
    /// A publisher that comes back, by whatever way he came before, goes on with his stream; if his old connection still
    /// stands it is closed. With another stream he stays the same member, and so does who is in
    /// by WebSocket and publishes nothing there.
    pub fn push(
        &mut self,
        now: Instant,
        who: Newcomer,
        name: StreamName,
        out: &mut Vec<Output>,
    ) -> Result<StreamId, Fault> {
        let same = self.by_user.get(&who.user).and_then(|id| self.members.get(id));
        let stays = |m: &&Member| match m.who.protocol {
            Protocol::Rtmp => true,
            // He is here for members and messages, and what he sends comes by RTMP: a mini-program.
            Protocol::Webrtc => m.who.role == Role::Anchor && m.up.transport.is_none() && !m.up.busy,
            _ => false,
        };
        let same = same.filter(|_| who.protocol == Protocol::Rtmp).filter(stays).map(|m| m.id);
        self.check_publishers(self.by_user.get(&who.user).copied())?;
        let member = match same {
            Some(member) => {
                who.privilege.require(Privilege::JOIN)?;
                // Who is in by WebSocket stays who he is; the push is only what he sends.
                if let Some(m) = self.members.get_mut(&member).filter(|m| m.who.protocol == Protocol::Rtmp) {
                    m.who = who;
                }
                member
            }
            None => self.enter(who, out)?,
        };
        if let Some(known) = self.members.get_mut(&member).and_then(|m| m.streams.get_mut(&name)) {
            // He has as long again to send something.
            known.lost_at = known.lost_at.map(|_| now);
            known.b_frames = false;
            let stream = known.id;
            self.settle(out);
            return Ok(stream);
        }
        let stream = self.ids.stream();
        self.open_stream(member, name, Stream::new(stream, now), out);
        self.settle(out);
        Ok(stream)
    }

    /// Lets a WHIP publisher in and draws his stream; [`Room::published`] follows.
    pub fn enter_to_publish(
        &mut self,
        who: Newcomer,
        name: StreamName,
        out: &mut Vec<Output>,
    ) -> Result<(MemberId, StreamId), Fault> {
        self.check_publishers(self.by_user.get(&who.user).copied())?;
        let id = self.enter(who, out)?;
        let known = self.members.get(&id).and_then(|m| m.streams.get(&name)).map(|stream| stream.id);
        let stream = known.unwrap_or_else(|| self.ids.stream());
        if let Some(member) = self.members.get_mut(&id) {
            member.up.busy = true;
            member.up.pending.insert(name, stream);
        }
        Ok((id, stream))
    }

    /// A WHIP publisher could not be served. He leaves, unless streams of his wait that another way would bring back.
    pub fn publish_failed(&mut self, member: MemberId, out: &mut Vec<Output>) {
        if self.members.get(&member).is_none_or(|m| m.streams.is_empty()) {
            self.leave(member, LeaveReason::Failed, None, out);
        }
    }

    pub fn transport_connected(&mut self, transport: TransportId, out: &mut Vec<Output>) {
        if let Some((member, direction)) = self.owner(transport) {
            let event = Event::Transport { direction, state: TransportState::Connected, reason: None };
            out.push(Output::Event { to: member, event });
        }
    }

    /// A transport ended by itself.
    pub fn transport_closed(&mut self, transport: TransportId, reason: CloseReason, out: &mut Vec<Output>) {
        let reason = match reason {
            CloseReason::ConsentExpired => "nothing was heard for 30 s",
            CloseReason::ConnectTimeout => "it did not come up in time",
            CloseReason::DtlsFailed => "DTLS failed",
            CloseReason::ClosedByPeer => "closed by the client",
            CloseReason::Internal => "the server discarded the room",
        };
        match self.transports.get(&transport).copied() {
            Some(Owner::Up(member)) => {
                self.forget_transport(transport, out);
                let Some(m) = self.members.get_mut(&member) else { return };
                m.up.transport = None;
                let whip = m.who.protocol == Protocol::Whip;
                let names: Vec<StreamName> = m.streams.keys().copied().collect();
                names.into_iter().for_each(|name| self.wait_for(member, name, out));
                let waits = self.members.get(&member).is_some_and(|m| !m.streams.is_empty());
                if whip && !waits {
                    return self.leave(member, LeaveReason::Disconnected, None, out);
                }
                let event = down::closed_event(Direction::Up, reason.to_owned());
                out.push(Output::Event { to: member, event });
            }
            Some(Owner::Down(member)) => self.lose_down(member, reason.to_owned(), false, out),
            Some(Owner::Player(_)) => self.forget_transport(transport, out),
            None => {}
        }
        self.settle(out);
    }

    /// What time alone changes; to be called every few seconds.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let nameless: Vec<StreamId> = self
            .members
            .values()
            .filter(|m| m.who.protocol == Protocol::Rtmp)
            .flat_map(|m| m.streams.values())
            .filter(|s| !s.is_announced() && now.duration_since(s.opened_at) >= NAMELESS_STREAM_MAX)
            .map(|s| s.id)
            .collect();
        for stream in nameless {
            self.end_pushed(stream, true, out);
        }
        self.drop_waiting(now, out);
        self.drop_lost(now, out);
        if self.record.drop_expired(self.clock.unix_ms) {
            out.push(Output::RecordChanged);
        }
        self.settle(out);
    }

    /// Ends the transport of a WHEP player, or of a WHIP publisher, who leaves with it.
    pub fn end_session(&mut self, transport: TransportId, out: &mut Vec<Output>) {
        match self.transports.get(&transport).copied() {
            Some(Owner::Up(member)) => self.take_out(member, LeaveReason::Left, None, out),
            Some(Owner::Player(_)) => self.close_transport(transport, out),
            Some(Owner::Down(_)) | None => {}
        }
        self.settle(out);
    }

    /// The stream of that name of that user.
    pub(crate) fn stream_of(&self, user: &str, name: StreamName) -> Option<&Stream> {
        self.members.get(self.by_user.get(user)?)?.streams.get(&name)
    }

    fn take_out(&mut self, id: MemberId, reason: LeaveReason, code: Option<Code>, out: &mut Vec<Output>) {
        let Some(member) = self.members.get(&id) else { return };
        // Media ends the streams of a transport with it; those that came by RTMP or from inside have none.
        let pushed = matches!(member.who.protocol, Protocol::Rtmp | Protocol::Test);
        for name in StreamName::ALL {
            self.end_stream(id, name, pushed, out);
        }
        let Some(member) = self.members.remove(&id) else { return };
        self.by_user.remove(&member.who.user);
        for transport in [member.up.transport, member.down.transport].into_iter().flatten() {
            self.close_transport(transport, out);
        }
        out.push(Output::Broadcast { except: Some(id), event: Event::MemberLeft { user: member.who.user, reason } });
        out.push(Output::Gone { member: id, code });
    }

    fn close_transport(&mut self, transport: TransportId, out: &mut Vec<Output>) {
        out.push(Output::Media(Action::CloseTransport(transport)));
        self.forget_transport(transport, out);
    }

    fn forget_transport(&mut self, transport: TransportId, out: &mut Vec<Output>) {
        self.player_ends.remove(&transport);
        if self.transports.remove(&transport).is_some() {
            out.push(Output::Index(Index::TransportClosed(transport)));
        }
    }

    fn owner(&self, transport: TransportId) -> Option<(MemberId, Direction)> {
        match self.transports.get(&transport)? {
            Owner::Up(member) => Some((*member, Direction::Up)),
            Owner::Down(member) => Some((*member, Direction::Down)),
            Owner::Player(_) => None,
        }
    }

    fn find_stream(&self, stream: StreamId) -> Option<(MemberId, StreamName)> {
        self.streams.get(&stream).copied()
    }

    fn name_of(&self, stream: StreamId) -> Option<(String, StreamName)> {
        let (member, name) = self.find_stream(stream)?;
        Some((self.members.get(&member)?.who.user.clone(), name))
    }

    fn path(&self, user: &str, stream: StreamName) -> StreamPath {
        StreamPath { sdk_app_id: self.sdk_app_id, room: self.name.clone(), user: user.to_owned(), stream }
    }
}

#[cfg(test)]
mod tests;
