//! Keeping order in a room: who may, and what they may do. The owner's server may do all of it without being a member.

use media::{Kind, MemberId};

use super::{
    Action, Output, Room,
    record::{RoomChange, Silence},
};
use crate::{
    auth::authorise::Privilege,
    code::{Code, Fault},
    member::DownState,
    message::{Event, LeaveReason, RoomInfo},
    name::StreamName,
};

impl Room {
    /// Refuses unless this member owns the room or has the privilege to moderate it.
    pub(crate) fn require_moderator(&self, member: MemberId) -> Result<(), Fault> {
        let who = &self.members.get(&member).ok_or(Code::NotEntered)?.who;
        match self.is_owner(&who.user) || who.privilege.contains(Privilege::MODERATE) {
            true => Ok(()),
            false => Err(Code::NotModerator.into()),
        }
    }

    /// Refuses unless this member may act on that user: moderators may not act on the owner.
    pub(crate) fn require_power_over(&self, member: MemberId, user: &str) -> Result<(), Fault> {
        self.require_moderator(member)?;
        let own = self.members.get(&member).is_some_and(|m| m.who.user == user);
        if self.is_owner(user) && !own {
            return Err(Code::NotModerator.into());
        }
        Ok(())
    }

    pub(crate) fn is_owner(&self, user: &str) -> bool {
        self.record.owner.as_deref() == Some(user)
    }

    /// Sends a member away. He may come back.
    pub fn kick(&mut self, user: &str, out: &mut Vec<Output>) -> Result<(), Fault> {
        let member = self.member_of(user).ok_or(Code::NoSuchMember)?;
        self.leave(member, LeaveReason::Kicked, Some(Code::Kicked), out);
        Ok(())
    }

    /// Sends a user away, if he is there, and keeps him out. `until` in Unix milliseconds.
    pub fn ban(&mut self, user: &str, until: Option<u64>, out: &mut Vec<Output>) -> Result<(), Fault> {
        let (full, known) = (self.record.bans.len() >= self.limits.bans_per_room, self.record.bans.contains_key(user));
        if full && !known {
            return Err(Code::TooManyBans.into());
        }
        self.record.bans.insert(user.to_owned(), until);
        // Said before he is sent away: with its last member the room may end, and then there is nothing to change any more.
        out.push(Output::RecordChanged);
        if let Some(member) = self.member_of(user) {
            self.leave(member, LeaveReason::Banned, Some(Code::Banned), out);
        }
        Ok(())
    }

    /// Lets a banned user in again.
    pub fn unban(&mut self, user: &str, out: &mut Vec<Output>) -> Result<(), Fault> {
        self.record.bans.remove(user).ok_or(Code::NoSuchBan)?;
        out.push(Output::RecordChanged);
        Ok(())
    }

    /// Sets which of a user's media the others do not get. It holds when he comes back, for as long as the room exists.
    pub fn silence(&mut self, user: &str, silence: Silence, out: &mut Vec<Output>) -> Result<(), Fault> {
        let known = self.record.silenced.contains_key(user);
        let member = self.member_of(user);
        if member.is_none() && !known {
            return Err(Code::NoSuchMember.into());
        }
        if !known && self.record.silenced.len() >= self.limits.bans_per_room {
            return Err(Code::TooManyBans.into());
        }
        match silence.is_none() {
            true => drop(self.record.silenced.remove(user)),
            false => drop(self.record.silenced.insert(user.to_owned(), silence)),
        }
        out.push(Output::RecordChanged);
        let Some(m) = member.and_then(|id| self.members.get_mut(&id)) else { return Ok(()) };
        let before = std::mem::replace(&mut m.silenced, silence);
        for (name, stream) in &m.streams {
            let kinds = [
                (Kind::Audio, stream.audio, before.audio, silence.audio),
                (Kind::Video, stream.video, before.video, silence.video),
            ];
            for (kind, track, was, is) in kinds {
                // What he muted himself stays as it is.
                if track.is_none_or(|track| track.muted) || was == is {
                    continue;
                }
                if stream.is_announced() {
                    let user = user.to_owned();
                    let event = Event::Muted { user, stream: *name, kind: kind.into(), muted: is };
                    out.push(Output::Broadcast { except: None, event });
                }
                out.push(Output::Media(Action::SetMuted { stream: stream.id, kind, muted: is }));
            }
        }
        out.push(Output::Broadcast { except: None, event: Event::MemberChanged { member: m.info() } });
        Ok(())
    }

    /// Which of a user's media the others do not get.
    pub fn silence_of(&self, user: &str) -> Silence {
        self.record.silenced.get(user).copied().unwrap_or_default()
    }

    /// Changes the room's own state; everybody is told.
    pub fn change(&mut self, change: RoomChange, out: &mut Vec<Output>) {
        let before = self.info();
        change.apply(&mut self.record);
        if before == self.info() {
            return;
        }
        out.push(Output::RecordChanged);
        out.push(Output::Broadcast { except: None, event: Event::RoomChanged(self.info()) });
    }

    /// The room as members see it.
    pub fn info(&self) -> RoomInfo {
        let record = &self.record;
        RoomInfo {
            owner: record.owner.clone(),
            locked: record.locked,
            metadata: record.metadata.clone(),
            members_max: record.members_max,
            publishers_max: record.publishers_max,
        }
    }

    /// Ends the room: everybody is sent away, and nothing of it is kept.
    pub fn dissolve(&mut self, out: &mut Vec<Output>) {
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        // First all are told of their own end, so that nobody is told of everybody else's.
        for member in &members {
            out.push(Output::Gone { member: *member, code: Some(Code::RoomDissolved) });
        }
        for member in members {
            self.take_out(member, LeaveReason::Dissolved, Some(Code::RoomDissolved), out);
        }
        self.record = super::RoomRecord::default();
        self.kept_until = None;
        out.push(Output::Dissolved);
    }

    /// Gives a member other privileges. What they do not allow any more ends at once: streams that he sends, and media that
    /// he receives.
    pub fn set_privilege(&mut self, member: MemberId, privilege: Privilege, out: &mut Vec<Output>) {
        let Some(m) = self.members.get_mut(&member) else { return };
        m.who.privilege = privilege;
        let lost = |name: StreamName, audio: bool, video: bool| {
            let may = |kind| privilege.contains(Privilege::to_send(name, kind));
            (audio && !may(Kind::Audio)) || (video && !may(Kind::Video))
        };
        let ended: Vec<StreamName> = m
            .streams
            .iter()
            .filter(|(name, s)| lost(**name, s.audio.is_some(), s.video.is_some()))
            .map(|(name, _)| *name)
            .collect();
        for name in ended {
            self.end_stream(member, name, true, out);
            // He is told like the others: he did not ask for it.
            let user = self.members.get(&member).map(|m| m.who.user.clone()).unwrap_or_default();
            out.push(Output::Event { to: member, event: Event::StreamRemoved { user, stream: name } });
        }
        let Some(m) = self.members.get(&member) else { return };
        let mut wanted = m.down.wanted.clone();
        for (id, media) in &mut wanted {
            let Some((_, name)) = self.streams.get(id) else { continue };
            media.audio &= privilege.contains(Privilege::to_receive(*name, Kind::Audio));
            media.video &= privilege.contains(Privilege::to_receive(*name, Kind::Video));
        }
        wanted.retain(|_, media| media.audio || media.video);
        let (less, idle) = (wanted != m.down.wanted, m.down.state == DownState::Idle);
        if less && !idle {
            // An offer is under way, and the next one would wait for a client who may never answer.
            self.lose_down(member, "the ticket allows less now".to_owned(), true, out);
        } else if let Some(m) = self.members.get_mut(&member) {
            m.down.changed |= less;
            m.down.wanted = wanted;
        }
        self.settle(out);
    }
}
