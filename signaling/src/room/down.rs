//! What members and players receive.

use std::time::Instant;

use media::{
    MemberId, StreamId, TransportId,
    command::{SubscribeOffer, Wanted},
};

use super::{Action, Index, Output, Owner, Room};
use crate::{
    code::{Code, Fault},
    member::{Down, DownState, Media, Member},
    message::{Direction, Event, OfferedTrack, OkBody, TransportState},
    name::StreamName,
};

/// A stream that a WHEP player may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playable {
    pub name: StreamName,
    pub stream: StreamId,
    pub audio: bool,
    pub video: bool,
}

impl Room {
    /// The media side wrote an offer for a subscriber.
    pub fn offered(&mut self, member: MemberId, result: Result<SubscribeOffer, Fault>, out: &mut Vec<Output>) {
        self.hand_over_offer(member, result, out);
        self.settle(out);
    }

    fn hand_over_offer(&mut self, id: MemberId, result: Result<SubscribeOffer, Fault>, out: &mut Vec<Output>) {
        if !self.members.contains_key(&id) {
            if let Ok(offer) = result {
                out.push(Output::Media(Action::CloseTransport(offer.transport)));
            }
            return;
        }
        let offer = match result {
            Ok(offer) => offer,
            Err(fault) => return self.lose_down(id, fault.message.into_owned(), true, out),
        };
        let tracks = offer
            .tracks
            .iter()
            .filter_map(|track| {
                // What ended meanwhile has no name any more; the next offer will be without it.
                let (user, stream) = self.name_of(track.stream)?;
                let codec = track.codec.name().to_owned();
                Some(OfferedTrack { mid: track.mid.clone(), user, stream, kind: track.kind.into(), codec })
            })
            .collect();
        if self.transports.insert(offer.transport, Owner::Down(id)).is_none() {
            out.push(Output::Index(Index::TransportOpened(offer.transport)));
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        member.down.transport = Some(offer.transport);
        member.down.version += 1;
        member.down.state = DownState::Offered;
        let event = Event::Offer { version: member.down.version, sdp: offer.offer, tracks };
        out.push(Output::Event { to: id, event });
    }

    /// The media side read a subscriber's answer. After a bad one the offer still stands, and can be answered again.
    pub fn answer_applied(&mut self, member: MemberId, request: u64, result: Result<(), Fault>, out: &mut Vec<Output>) {
        if let Some(m) = self.members.get_mut(&member) {
            if m.down.state == DownState::Applying {
                m.down.state = if result.is_ok() { DownState::Idle } else { DownState::Offered };
            }
            out.push(Output::Reply { to: member, id: request, result: result.map(|()| OkBody::Empty {}) });
        }
        self.settle(out);
    }

    /// What a WHEP player gets: the named user's stream, or without a name that of whoever published first.
    pub fn playable(&self, user: Option<&str>, name: Option<StreamName>) -> Option<Playable> {
        let members = self.members.values().filter(|m| user.is_none_or(|user| m.who.user == user));
        let mut streams = members.flat_map(|m| m.streams.iter());
        let (name, stream) = streams.find(|(n, s)| s.is_announced() && name.is_none_or(|name| name == **n))?;
        Some(Playable { name: *name, stream: stream.id, audio: stream.audio.is_some(), video: stream.video.is_some() })
    }

    /// Whether one more WHEP player may come.
    pub fn check_players(&self) -> Result<(), Fault> {
        let players = self.transports.values().filter(|owner| matches!(owner, Owner::Player(_))).count();
        if players >= self.limits.players_per_room {
            return Err(Code::PlayersFull.into());
        }
        Ok(())
    }

    /// A WHEP player has his transport, for as long as his rights last. If the stream ended meanwhile it is closed again.
    pub fn player_started(
        &mut self,
        transport: TransportId,
        stream: StreamId,
        until: Option<Instant>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        if self.find_stream(stream).is_none() {
            out.push(Output::Media(Action::CloseTransport(transport)));
            return Err(Code::NoSuchStream.into());
        }
        self.transports.insert(transport, Owner::Player(stream));
        if let Some(until) = until {
            self.player_ends.insert(transport, until);
        }
        out.push(Output::Index(Index::TransportOpened(transport)));
        Ok(())
    }

    /// Starts offers for the members whose subscriptions changed and who have none under way.
    pub(crate) fn settle(&mut self, out: &mut Vec<Output>) {
        let due = |m: &Member| (m.down.changed || m.down.restart) && m.down.state == DownState::Idle;
        let due: Vec<MemberId> = self.members.values().filter(|m| due(m)).map(|m| m.id).collect();
        for id in due {
            let Some(down) = self.members.get(&id).map(|m| &m.down) else { continue };
            let wanted: Vec<Wanted> = down.wanted.iter().filter_map(|(id, media)| self.wanted(*id, *media)).collect();
            let Some(Down { transport, state, changed, restart, .. }) = self.members.get_mut(&id).map(|m| &mut m.down)
            else {
                continue;
            };
            *changed = false;
            let restart_ice = std::mem::take(restart);
            if transport.is_none() && wanted.is_empty() {
                continue;
            }
            *state = DownState::Offering;
            out.push(Output::Media(Action::Subscribe { member: id, transport: *transport, wanted, restart_ice }));
        }
    }

    /// What of a stream can be had now.
    fn wanted(&self, id: StreamId, media: Media) -> Option<Wanted> {
        let (member, name) = self.find_stream(id)?;
        let stream = self.members.get(&member)?.streams.get(&name)?;
        let (audio, video) = (media.audio && stream.audio.is_some(), media.video && stream.video.is_some());
        (audio || video).then_some(Wanted { stream: id, audio, video })
    }

    /// Marks the members who subscribe to this stream for a new offer.
    pub(super) fn touch_subscribers(&mut self, stream: StreamId) {
        for member in self.members.values_mut() {
            member.down.changed |= member.down.wanted.contains_key(&stream);
        }
    }

    /// A member's down transport is gone, or could not be made: he subscribes anew.
    pub(super) fn lose_down(&mut self, member: MemberId, reason: String, close: bool, out: &mut Vec<Output>) {
        let Some(m) = self.members.get_mut(&member) else { return };
        // Versions go on counting, so that an answer to an offer of the old transport is known as stale.
        let version = m.down.version;
        let old = std::mem::replace(&mut m.down, Down { version, ..Down::default() });
        match old.transport {
            Some(transport) if close => self.close_transport(transport, out),
            Some(transport) => self.forget_transport(transport, out),
            None => {}
        }
        out.push(Output::Event { to: member, event: closed_event(Direction::Down, reason) });
    }
}

/// A member's transport is gone.
pub(super) fn closed_event(direction: Direction, reason: String) -> Event {
    Event::Transport { direction, state: TransportState::Closed, reason: Some(reason) }
}
