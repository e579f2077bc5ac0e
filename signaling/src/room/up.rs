//! What members publish: streams that appear, change and end.

use std::time::Instant;

use media::{Kind, MemberId, StreamId, codec::Codec, command::PublishAnswer};

use super::{Action, Index, Output, Owner, Room};
use crate::{
    auth::authorise::Privilege,
    code::{Code, Fault},
    member::{Member, Protocol, Stream, Track},
    message::{Event, LeaveReason, OkBody},
    name::StreamName,
};

impl Room {
    /// The media side answered a publisher. What to answer the publisher himself is returned.
    pub fn published(
        &mut self,
        now: Instant,
        member: MemberId,
        result: Result<PublishAnswer, Fault>,
        out: &mut Vec<Output>,
    ) -> Result<OkBody, Fault> {
        let result = self.accept_publish(now, member, result, out);
        self.settle(out);
        result
    }

    fn accept_publish(
        &mut self,
        now: Instant,
        id: MemberId,
        result: Result<PublishAnswer, Fault>,
        out: &mut Vec<Output>,
    ) -> Result<OkBody, Fault> {
        let Some(member) = self.members.get_mut(&id) else {
            // He left while media was at work: nobody will ever use what it made.
            if let Ok(answer) = result {
                out.push(Output::Media(Action::CloseTransport(answer.transport)));
            }
            return Err(Code::NotEntered.into());
        };
        member.up.busy = false;
        let pending = std::mem::take(&mut member.up.pending);
        let answer = result?;
        let of = |name: StreamName, id: StreamId| {
            let codec = |kind| answer.tracks.iter().find(|t| t.stream == id && t.kind == kind).map(|t| t.codec);
            (name, id, codec(Kind::Audio), codec(Kind::Video))
        };
        let known = member.streams.iter().map(|(name, stream)| (*name, stream.id));
        let fresh = pending.into_iter().filter(|(name, _)| !member.streams.contains_key(name));
        let carried: Vec<_> = known.chain(fresh).map(|(name, id)| of(name, id)).collect();
        let privilege = member.who.privilege;
        let allowed = carried.iter().all(|(name, _, audio, video)| {
            let kinds = [(audio, Kind::Audio), (video, Kind::Video)];
            kinds.iter().all(|(codec, kind)| codec.is_none() || privilege.contains(Privilege::to_send(*name, *kind)))
        });
        member.up.transport = Some(answer.transport);
        if self.transports.insert(answer.transport, Owner::Up(id)).is_none() {
            out.push(Output::Index(Index::TransportOpened(answer.transport)));
        }
        if !allowed {
            // The offer was looked through before it went to media; what it hid from that look ends the transport.
            self.close_up(id, out);
            return Err(Code::PrivilegeMissing.into());
        }
        for (name, stream, audio, video) in carried {
            self.carry(now, id, name, stream, audio, video, out);
        }
        Ok(OkBody::Published { sdp: answer.answer })
    }

    /// What an RTMP or built-in stream carries became known, or changed.
    pub fn stream_tracks(
        &mut self,
        now: Instant,
        stream: StreamId,
        audio: Option<Codec>,
        video: Option<Codec>,
        out: &mut Vec<Output>,
    ) {
        if let Some((member, name)) = self.find_stream(stream) {
            if audio.is_some() || video.is_some() {
                self.carry(now, member, name, stream, audio, video, out);
            }
            self.settle(out);
        }
    }

    /// The publisher of an RTMP stream sends B-frames.
    pub fn b_frames_seen(&mut self, stream: StreamId, out: &mut Vec<Output>) {
        let Some((member, name)) = self.find_stream(stream) else { return };
        let Some(m) = self.members.get_mut(&member) else { return };
        let Some(stream) = m.streams.get_mut(&name).filter(|stream| !stream.b_frames) else { return };
        stream.b_frames = true;
        // Of one that is not announced yet others hear when it is.
        if stream.is_announced() {
            let event = Event::StreamChanged { user: m.who.user.clone(), stream: stream.info(name, m.silenced) };
            out.push(Output::Broadcast { except: Some(member), event });
        }
    }

    /// An RTMP or built-in stream ended by itself. With his last stream such a member leaves.
    pub fn stream_ended(&mut self, stream: StreamId, out: &mut Vec<Output>) {
        self.end_pushed(stream, false, out);
        self.settle(out);
    }

    /// Ends a member's stream and tells everybody. `close`: media does not know yet.
    pub(crate) fn end_stream(&mut self, member: MemberId, name: StreamName, close: bool, out: &mut Vec<Output>) {
        let Some(m) = self.members.get_mut(&member) else { return };
        let Some(stream) = m.streams.remove(&name) else { return };
        self.streams.remove(&stream.id);
        let user = m.who.user.clone();
        if stream.is_announced() {
            let event = Event::StreamRemoved { user: user.clone(), stream: name };
            out.push(Output::Broadcast { except: Some(member), event });
        }
        // One that waits for its publisher is nobody's: media does not end it with anything else.
        if close || stream.lost_at.is_some() {
            out.push(Output::Media(Action::CloseStream(stream.id)));
        }
        out.push(Output::Index(Index::StreamClosed { stream: stream.id, path: self.path(&user, name) }));
        for member in self.members.values_mut() {
            member.down.changed |= member.down.wanted.remove(&stream.id).is_some();
        }
        self.end_players(stream.id, out);
    }

    /// Ends the transports of a stream's WHEP players.
    fn end_players(&mut self, stream: StreamId, out: &mut Vec<Output>) {
        let playing = |owner: &Owner| *owner == Owner::Player(stream);
        let players: Vec<_> = self.transports.iter().filter(|(_, o)| playing(o)).map(|(t, _)| *t).collect();
        for transport in players {
            self.close_transport(transport, out);
        }
    }

    pub(super) fn end_pushed(&mut self, stream: StreamId, close: bool, out: &mut Vec<Output>) {
        let Some((member, name)) = self.find_stream(stream) else { return };
        self.end_stream(member, name, close, out);
        let last = self.members.get(&member).is_some_and(|m| m.streams.is_empty());
        // A WHIP publisher has nothing in the room but his stream either.
        let only = |m: &Member| m.who.protocol != Protocol::Webrtc;
        if last && self.members.get(&member).is_some_and(only) {
            let reason = if close { LeaveReason::Disconnected } else { LeaveReason::Left };
            self.take_out(member, reason, None, out);
        }
    }

    /// Ends the transport on which a member publishes, and its streams.
    pub(crate) fn close_up(&mut self, member: MemberId, out: &mut Vec<Output>) {
        for name in StreamName::ALL {
            self.end_stream(member, name, false, out);
        }
        if let Some(transport) = self.members.get_mut(&member).and_then(|m| m.up.transport.take()) {
            self.close_transport(transport, out);
        }
    }

    /// Sets what a stream carries, and tells the others if that is new.
    #[expect(clippy::too_many_arguments, reason = "they are what one line of a publish answer says")]
    pub(super) fn carry(
        &mut self,
        now: Instant,
        member: MemberId,
        name: StreamName,
        id: StreamId,
        audio: Option<Codec>,
        video: Option<Codec>,
        out: &mut Vec<Output>,
    ) {
        if audio.is_none() && video.is_none() {
            return self.end_stream(member, name, false, out);
        }
        let Some(m) = self.members.get_mut(&member) else { return };
        if !m.streams.contains_key(&name) {
            self.open_stream(member, name, Stream::new(id, now), out);
        }
        let Some(m) = self.members.get_mut(&member) else { return };
        let Some(stream) = m.streams.get_mut(&name) else { return };
        let before = stream.clone();
        stream.lost_at = None;
        for (kind, codec) in [(Kind::Audio, audio), (Kind::Video, video)] {
            let track = stream.track(kind);
            let muted = track.is_some_and(|t| t.muted);
            *track = codec.map(|codec| Track { codec, muted });
            let silenced = if kind == Kind::Audio { m.silenced.audio } else { m.silenced.video };
            if silenced && codec.is_some() {
                out.push(Output::Media(Action::SetMuted { stream: id, kind, muted: true }));
            }
        }
        if *stream == before {
            return;
        }
        let (user, info) = (m.who.user.clone(), stream.info(name, m.silenced));
        let codecs = |stream: &Stream| (stream.audio.map(|t| t.codec), stream.video.map(|t| t.codec));
        let (old, new) = (codecs(&before), codecs(stream));
        let other = |old: Option<Codec>, new: Option<Codec>| old.is_some() && new.is_some() && old != new;
        if other(old.0, new.0) || other(old.1, new.1) {
            // WHEP players cannot be offered anything new.
            self.end_players(id, out);
        }
        let event = match before.is_announced() {
            true => Event::StreamChanged { user, stream: info },
            false => Event::StreamAdded { user, stream: info },
        };
        out.push(Output::Broadcast { except: Some(member), event });
        self.touch_subscribers(id);
    }

    pub(super) fn open_stream(&mut self, member: MemberId, name: StreamName, stream: Stream, out: &mut Vec<Output>) {
        let Some(m) = self.members.get_mut(&member) else { return };
        let (id, user) = (stream.id, m.who.user.clone());
        m.streams.insert(name, stream);
        self.streams.insert(id, (member, name));
        out.push(Output::Index(Index::StreamOpened { stream: id, path: self.path(&user, name) }));
    }

    /// Whether one more may publish; `publisher` does not count.
    pub(crate) fn check_publishers(&self, publisher: Option<MemberId>) -> Result<(), Fault> {
        let others = self.members.values().filter(|m| Some(m.id) != publisher && m.is_publisher()).count();
        let max = self.record.publishers_max.unwrap_or(usize::MAX).min(self.limits.publishers_per_room);
        if others >= max {
            return Err(Code::PublishersFull.into());
        }
        Ok(())
    }
}
