//! The users who may hear one another, as media sees them: up tracks, the down tracks that copy them, and what each side
//! must be told by RTCP. A packet comes in, [`Forward`]s come out.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use slab::Slab;

use super::{
    down_track::{DownSpec, DownTrack},
    speaker::Floor,
    up_track::{Accepted, Source, UpSpec, UpTrack},
};
use crate::{
    buf::{pipe::PipeWriter, slot::Slot},
    command::Speaker,
    drop_reason::{DropCounts, DropReason},
    forward::{DownKey, Forward, TransportKey, UpKey, rtp_header},
    ids::{Kind, StreamId, TrackId},
    rtp::{
        packet,
        rtcp::{self, ReportBlock, Rtcp, SenderInfo, SenderReport},
    },
    units::time::Time,
};

/// Time between two reports about, and to, each track. RFC 3550 §6.2 would allow less often; lip sync and loss estimates of
/// browsers want about this.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Longest kept group that a newcomer gets in one burst if the publisher could be asked for a key frame instead. More is a
/// burst that a narrow network would lose; 128 packets are a second at 1.2 Mbit/s.
const BURST_PACKETS_MAX: u64 = 128;
/// The SSRC under which a room speaks to publishers. It sends no media to them, so any will do.
pub const OWN_SSRC: u32 = 1;
/// The name in SDES packets (RFC 3550 §6.5.1). One for all: browsers group tracks by `msid`.
pub const CNAME: &str = "roomcast";

/// What a turn of a room leaves to be done. Kept by the caller and emptied after each turn, so that it is not allocated anew.
#[derive(Default)]
pub struct Output {
    pub forwards: Vec<Forward>,
    /// Compound RTCP packets in plain text.
    pub rtcp: Vec<(TransportKey, Vec<u8>)>,
    pub drops: DropCounts,
    /// Who speaks from now on, the loudest first, if that changed.
    pub speakers: Option<Vec<Speaker>>,
}

/// The tracks of the users who may hear one another.
pub struct Room {
    ups: Slab<UpTrack>,
    downs: Slab<DownTrack>,
    by_track: HashMap<TrackId, UpKey>,
    random: SmallRng,
    floor: Floor,
    next_report: Time,
    due: Vec<u16>,
}

impl Room {
    pub fn new(now: Time, seed: u64) -> Self {
        Room {
            ups: Slab::new(),
            downs: Slab::new(),
            by_track: HashMap::new(),
            random: SmallRng::seed_from_u64(seed),
            floor: Floor::default(),
            next_report: now + REPORT_INTERVAL,
            due: Vec::new(),
        }
    }

    /// Adds an up track.
    ///
    /// # Panics
    /// If there is one of the same name: streams are numbered once, and their tracks set once.
    pub fn publish(&mut self, spec: UpSpec) -> UpKey {
        let id = spec.id;
        assert!(!self.by_track.contains_key(&id), "a track is published once");
        let key = UpKey(self.ups.insert(UpTrack::new(spec)) as u32);
        self.by_track.insert(id, key);
        key
    }

    /// Gives an up track to another publisher; `None` if the codec is not the one that its subscribers know. The bridge says its
    /// codec with its packets. Who listened to it outside of the room has to listen anew.
    pub fn take_over(&mut self, key: UpKey, spec: UpSpec) -> Option<()> {
        let bridged = spec.source == Source::Pipe;
        let up = self.ups.get_mut(key.0 as usize).filter(|up| bridged || up.spec.codec == spec.codec)?;
        up.taps.drain(..).for_each(|tap| tap.close());
        up.set_spec(spec);
        if !bridged {
            // That was about the sound of the bridge.
            Self::set_hold(up, 0);
        }
        Some(())
    }

    /// Takes an up track's publisher away. Its subscribers stay and wait.
    pub fn hold(&mut self, key: UpKey) {
        if let Some(up) = self.ups.get_mut(key.0 as usize) {
            up.taps.drain(..).for_each(|tap| tap.close());
            let spec = UpSpec { source: Source::Nobody, ssrc: None, rtx_ssrc: None, nack: false, ..up.spec.clone() };
            up.set_spec(spec);
        }
    }

    /// Removes an up track and the down tracks that copy it, which are answered: whoever holds their keys must forget
    /// them. Its pipes are closed.
    pub fn unpublish(&mut self, key: UpKey) -> Vec<(TransportKey, DownKey)> {
        let Some(up) = self.ups.try_remove(key.0 as usize) else { return Vec::new() };
        self.by_track.remove(&up.spec.id);
        up.taps.iter().chain(&up.relays).for_each(PipeWriter::close);
        let removed = up.downs.into_iter().map(|key| (self.downs.remove(key.0 as usize).spec.transport, key));
        removed.collect()
    }

    pub fn up(&self, key: UpKey) -> Option<&UpTrack> {
        self.ups.get(key.0 as usize)
    }

    pub fn up_mut(&mut self, key: UpKey) -> Option<&mut UpTrack> {
        self.ups.get_mut(key.0 as usize)
    }

    pub fn find(&self, track: TrackId) -> Option<UpKey> {
        self.by_track.get(&track).copied()
    }

    /// The up tracks of a stream.
    pub fn tracks_of(&self, stream: StreamId) -> impl Iterator<Item = (TrackId, UpKey)> {
        [Kind::Audio, Kind::Video].into_iter().filter_map(move |kind| {
            let id = TrackId { stream, kind };
            Some((id, self.find(id)?))
        })
    }

    /// Whether what comes on a track goes to anybody: a subscriber, players by URL, another shard.
    pub fn is_wanted(&self, key: UpKey) -> bool {
        let wanted = |up: &UpTrack| !(up.muted || up.downs.is_empty() && up.taps.is_empty() && up.relays.is_empty());
        self.up(key).is_some_and(wanted)
    }

    pub fn is_empty(&self) -> bool {
        self.ups.is_empty() && self.downs.is_empty()
    }

    pub fn down(&self, key: DownKey) -> Option<&DownTrack> {
        self.downs.get(key.0 as usize)
    }

    pub fn ups(&self) -> impl Iterator<Item = &UpTrack> {
        self.ups.iter().map(|(_, up)| up)
    }

    pub fn downs_len(&self) -> usize {
        self.downs.len()
    }

    /// Adds a down track; it flows after [`start`](Self::start). `None` if there is no such up track.
    pub fn subscribe(&mut self, spec: DownSpec) -> Option<DownKey> {
        let up_key = self.find(spec.track)?;
        let random = self.random.random();
        let up = self.ups.get_mut(up_key.0 as usize)?;
        let needs_key = up.kind() == Kind::Video;
        let key = DownKey(self.downs.insert(DownTrack::new(spec, up_key, needs_key, random)) as u32);
        up.downs.push(key);
        Some(key)
    }

    /// Whether the subscriber of these pictures hears their stream as well, see [`DownTrack::set_heard`].
    pub fn set_heard(&mut self, key: DownKey, is_heard: bool) {
        if let Some(down) = self.downs.get_mut(key.0 as usize) {
            down.set_heard(is_heard);
        }
    }

    pub fn unsubscribe(&mut self, key: DownKey) {
        let Some(down) = self.downs.try_remove(key.0 as usize) else { return };
        if let Some(up) = self.ups.get_mut(down.up.0 as usize) {
            up.downs.retain(|d| *d != key);
        }
    }

    /// Lets a down track flow: its transport is up. A video begins with the kept group of pictures if there is one, which
    /// costs the publisher nothing and shows a picture at once; else a WebRTC publisher is asked for a key frame.
    pub fn start(&mut self, now: Time, key: DownKey, out: &mut Output) {
        let Some(down) = self.downs.get_mut(key.0 as usize) else { return };
        if !down.is_idle() {
            return;
        }
        down.start();
        if !down.awaits_key() {
            return;
        }
        let Some(up) = self.ups.get_mut(down.up.0 as usize) else { return };
        if !up.filling {
            Self::begin(now, up, down, out);
        }
    }

    /// Begins a video with the kept group of pictures, or asks for a key frame.
    fn begin(now: Time, up: &mut UpTrack, down: &mut DownTrack, out: &mut Output) {
        let Some(group) = Self::group_for_newcomer(up) else {
            up.key_frames.want();
            Self::ask_for_key_frame(now, up, out);
            return;
        };
        let mut timestamps: Vec<u32> = Vec::new();
        for meta in group.clone().filter_map(|seq| up.meta(seq)) {
            if timestamps.last() != Some(&meta.timestamp) {
                timestamps.push(meta.timestamp);
            }
        }
        down.start_burst(&group, &timestamps);
        for seq in group {
            let Some(meta) = up.meta(seq) else { continue };
            match down.forward(&Accepted { seq, meta, empty: false }) {
                Ok(forward) => out.forwards.push(forward),
                Err(reason) => out.drops.count(reason),
            }
        }
    }

    /// What a newcomer begins with: the kept group of pictures, unless it is long and a key frame can be had instead.
    fn group_for_newcomer(up: &UpTrack) -> Option<RangeInclusive<u64>> {
        up.kept_group().filter(|g| !up.muted && (!up.can_be_asked() || g.end() - g.start() < BURST_PACKETS_MAX))
    }

    /// What was kept elsewhere is here now: those who waited for it start.
    pub fn end_filling(&mut self, now: Time, key: UpKey, out: &mut Output) {
        let Some(up) = self.ups.get_mut(key.0 as usize) else { return };
        up.filling = false;
        // The list is as it was before: starting adds nobody to it.
        let downs = std::mem::take(&mut up.downs);
        for down in &downs {
            if let Some(down) = self.downs.get_mut(down.0 as usize).filter(|d| d.awaits_key()) {
                Self::begin(now, up, down, out);
            }
        }
        up.downs = downs;
    }

    /// Feeds a copy of a track on another shard from here on. What a newcomer here would begin with goes first.
    pub fn relay(&mut self, now: Time, track: TrackId, pipe: PipeWriter, out: &mut Output) -> bool {
        let Some(key) = self.find(track) else { return false };
        let Some(up) = self.ups.get_mut(key.0 as usize) else { return false };
        Self::write_clock(now, up, &pipe);
        if up.hold != 0 {
            Self::write_hold(up, &pipe);
        }
        let kept = Self::group_for_newcomer(up).filter(|_| track.kind == Kind::Video);
        for packet in kept.into_iter().flatten().filter_map(|seq| up.packet(seq)) {
            if !pipe.write(track.kind, packet) {
                out.drops.count(DropReason::PipeFull);
            }
        }
        pipe.set_makes_keys(up.can_be_asked());
        pipe.set_caught_up();
        up.relays.push(pipe);
        true
    }

    /// The copy of a track on another shard cannot go on without a key frame.
    pub fn want_key_frame(&mut self, now: Time, track: TrackId, out: &mut Output) {
        let Some(key) = self.find(track) else { return };
        let Some(up) = self.ups.get_mut(key.0 as usize) else { return };
        up.key_frames.want();
        Self::ask_for_key_frame(now, up, out);
    }

    /// Tells a new pipe what time it is on a track, if that is known.
    fn write_clock(now: Time, up: &UpTrack, pipe: &PipeWriter) {
        if let Some(anchor) = up.anchor {
            let (ntp, rtp_timestamp) = anchor.at(now, up.spec.codec.clock_rate());
            let info = SenderInfo { ssrc: up.spec.ssrc.unwrap_or(0), ntp, rtp_timestamp, packets: 0, bytes: 0 };
            let mut report = Vec::new();
            rtcp::write_sender_report(&mut report, &info, &[]);
            pipe.write(up.kind(), &report);
        }
    }

    /// Copies a track into a pipe from here on. A video track is asked for a key frame.
    pub fn tap(&mut self, now: Time, track: TrackId, pipe: PipeWriter, out: &mut Output) -> bool {
        let Some(key) = self.find(track) else { return false };
        let Some(up) = self.ups.get_mut(key.0 as usize) else { return false };
        Self::write_clock(now, up, &pipe);
        up.taps.push(pipe);
        if track.kind == Kind::Video {
            up.key_frames.want();
            Self::ask_for_key_frame(now, up, out);
        }
        true
    }

    /// Stops or resumes forwarding of a track at its source.
    pub fn set_muted(&mut self, now: Time, track: TrackId, muted: bool, out: &mut Output) {
        let Some(key) = self.find(track) else { return };
        let Some(up) = self.ups.get_mut(key.0 as usize) else { return };
        if up.muted == muted {
            return;
        }
        up.muted = muted;
        if !muted {
            Self::restart_downs(now, up, &mut self.downs, out);
        }
    }

    /// After a break in the flow: each subscriber goes on at the next packet that a decoder can start at.
    fn restart_downs(now: Time, up: &mut UpTrack, downs: &mut Slab<DownTrack>, out: &mut Output) {
        for key in &up.downs {
            if let Some(down) = downs.get_mut(key.0 as usize).filter(|d| d.is_live()) {
                down.start();
            }
        }
        if up.kind() == Kind::Video {
            up.key_frames.want();
            Self::ask_for_key_frame(now, up, out);
        }
    }

    /// Takes a plaintext packet of an up track, and says who gets it. The slot is swapped for another one.
    pub fn handle_rtp(&mut self, now: Time, key: UpKey, via_rtx: bool, slot: &mut Slot, out: &mut Output) {
        let Some(up) = self.ups.get_mut(key.0 as usize) else {
            out.drops.count(DropReason::UnknownSsrc);
            return;
        };
        if up.follow_codec(slot.data()) {
            // Under their payload types these packets would be something else.
            up.downs.iter().for_each(|down| self.downs[down.0 as usize].stop());
        }
        let source_changed = up.source_changed() && !via_rtx;
        let accepted = match up.accept(now, slot, via_rtx) {
            Ok(accepted) if source_changed => {
                Self::restart_downs(now, up, &mut self.downs, out);
                Self::write_break(up);
                accepted
            }
            Ok(accepted) => accepted,
            Err(reason) => {
                out.drops.count(reason);
                return;
            }
        };
        if up.muted {
            out.drops.count(DropReason::Muted);
            return;
        }
        if up.filling {
            return;
        }
        for down in &up.downs {
            match self.downs[down.0 as usize].forward(&accepted) {
                Ok(forward) => out.forwards.push(forward),
                Err(reason) => out.drops.count(reason),
            }
        }
        if !up.relays.is_empty() {
            Self::write_relays(now, up, &accepted, out);
        }
        if !up.taps.is_empty() && !accepted.empty {
            let (kind, packet) = (up.spec.id.kind, up.packet(accepted.seq).unwrap_or(&[]));
            let mut key_wanted = false;
            for tap in &up.taps {
                if !tap.write(kind, packet) {
                    out.drops.count(DropReason::PipeFull);
                }
                key_wanted |= kind == Kind::Video && tap.take_key_wanted();
            }
            up.taps.retain(|tap| !tap.is_closed());
            if key_wanted {
                up.key_frames.want();
                Self::ask_for_key_frame(now, up, out);
            }
        }
    }

    /// A packet of an up track says how loud it is, in decibels below overload.
    pub fn hear(&mut self, now: Time, key: UpKey, dbov: u8) {
        if let Some(up) = self.ups.get_mut(key.0 as usize).filter(|up| up.kind() == Kind::Audio && !up.muted) {
            up.voice.hear(dbov);
            self.floor.arm(now);
        }
    }

    /// Takes what came by a pipe: a packet, or a report. True if it was a packet.
    pub fn handle_piped(&mut self, now: Time, key: UpKey, slot: &mut Slot, out: &mut Output) -> bool {
        if !packet::is_rtcp(slot.data()) {
            self.handle_rtp(now, key, false, slot, out);
            return true;
        }
        for packet in rtcp::packets(slot.data()).flatten() {
            match packet {
                Rtcp::SenderReport(report) => self.handle_sender_report(now, key, &report),
                Rtcp::Hold { tens } => {
                    if let Some(up) = self.ups.get_mut(key.0 as usize) {
                        Self::set_hold(up, tens);
                    }
                }
                // The source changed on the original's shard: what comes now does not follow on what came before.
                Rtcp::Bye(_) => {
                    if let Some(up) = self.ups.get_mut(key.0 as usize) {
                        Self::restart_downs(now, up, &mut self.downs, out);
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// Says how long the pictures of a track are to be held from here on, in units of 10 ms.
    fn set_hold(up: &mut UpTrack, tens: u8) {
        if std::mem::replace(&mut up.hold, tens) != tens {
            up.relays.iter().for_each(|relay| Self::write_hold(up, relay));
        }
    }

    /// Tells the copy on another shard how long pictures are to be held.
    fn write_hold(up: &UpTrack, relay: &PipeWriter) {
        let mut hold = Vec::new();
        rtcp::write_hold(&mut hold, up.spec.ssrc.unwrap_or(0), up.hold);
        // What finds no room is told again when it changes.
        let _ = relay.write(up.kind(), &hold);
    }

    /// Tells the copies on other shards that the source changed (RFC 3550 §6.6).
    fn write_break(up: &UpTrack) {
        if !up.relays.is_empty() {
            let mut bye = Vec::new();
            rtcp::write_bye(&mut bye, &[up.spec.ssrc.unwrap_or(0)]);
            for relay in &up.relays {
                // A pipe that is full has a hole anyway, and asks for a key frame with the next packet.
                let _ = relay.write(up.kind(), &bye);
            }
        }
    }

    /// Copies a packet to the other shards that have viewers. What carries nothing goes too, so that its number is left
    /// out there as it is here.
    fn write_relays(now: Time, up: &mut UpTrack, accepted: &Accepted, out: &mut Output) {
        // A packet without payload is in no ring: its number is all there is to it.
        let bare = rtp_header(false, up.spec.payload_type, accepted.seq as u16, accepted.meta.timestamp, 0);
        let packet = if accepted.empty { &bare } else { up.packet(accepted.seq).unwrap_or_default() };
        let (mut closed, mut overrun) = (false, false);
        let can_be_asked = up.can_be_asked();
        for relay in &up.relays {
            relay.set_makes_keys(can_be_asked);
            if relay.write(up.spec.id.kind, packet) {
                continue;
            }
            if relay.is_closed() {
                closed = true;
            } else {
                out.drops.count(DropReason::PipeFull);
                overrun = true;
            }
        }
        if closed {
            up.relays.retain(|relay| !relay.is_closed());
        }
        if overrun && up.kind() == Kind::Video {
            up.key_frames.want();
            Self::ask_for_key_frame(now, up, out);
        }
    }

    /// A publisher says what time it is on a track.
    pub fn handle_sender_report(&mut self, now: Time, key: UpKey, report: &SenderReport) {
        let Some(up) = self.ups.get_mut(key.0 as usize) else { return };
        up.on_sender_report(now, report);
        // Without one it is about a source whose clock is not known here yet.
        let Some(anchor) = up.anchor else { return };
        if !up.taps.is_empty() || !up.relays.is_empty() {
            let mut bytes = Vec::new();
            let SenderReport { ssrc, ntp, packets, bytes: sent, .. } = *report;
            // In the timestamps that the packets have in the ring.
            let rtp_timestamp = anchor.rtp;
            rtcp::write_sender_report(&mut bytes, &SenderInfo { ssrc, ntp, rtp_timestamp, packets, bytes: sent }, &[]);
            for pipe in up.taps.iter().chain(&up.relays) {
                pipe.write(up.spec.id.kind, &bytes);
            }
        }
    }

    /// A subscriber says what it got of a track.
    pub fn handle_report_block(&mut self, now: Time, key: DownKey, block: &ReportBlock) {
        if let Some(down) = self.downs.get_mut(key.0 as usize) {
            down.on_report_block(now, block);
        }
    }

    /// A subscriber misses packets: they are resent from the publisher's ring.
    pub fn handle_nack(&mut self, now: Time, key: DownKey, missed: impl Iterator<Item = u16>, out: &mut Output) {
        let Some(down) = self.downs.get_mut(key.0 as usize) else { return };
        let Some(up) = self.ups.get(down.up.0 as usize) else { return };
        let mut spent = false;
        for number in missed {
            let found = down.reverse(number).and_then(|seq| Some((seq, up.meta(seq)?)));
            match found.ok_or(DropReason::NotInRing).and_then(|(seq, meta)| down.resend(now, seq, number, &meta)) {
                Ok(forward) => out.forwards.push(forward),
                Err(reason) => {
                    spent |= reason == DropReason::ResendsSpent;
                    out.drops.count(reason);
                }
            }
        }
        // The picture stands still until the next key frame. Who can be asked for one is asked when the subscriber wants it;
        // from what is kept it costs nobody else anything, so the subscriber need not ask.
        if spent && up.kind() == Kind::Video && up.spec.source == Source::Pipe && !up.can_be_asked() {
            self.handle_key_request(now, key, out);
        }
    }

    /// A subscriber cannot go on without a key frame. Where a bridged publisher's pictures are not coded here nobody can be asked
    /// for one, so what is kept of them is sent to this subscriber again.
    pub fn handle_key_request(&mut self, now: Time, key: DownKey, out: &mut Output) {
        let Some(down) = self.downs.get_mut(key.0 as usize) else { return };
        let Some(up) = self.ups.get_mut(down.up.0 as usize) else { return };
        if up.spec.source != Source::Pipe || up.can_be_asked() {
            up.key_frames.want();
            Self::ask_for_key_frame(now, up, out);
        } else if down.is_live() && !up.filling && down.may_restart(now, up.spec.key_frame_interval) {
            down.start();
            Self::begin(now, up, down, out);
        }
    }

    /// Does what is due: requests to publishers, reports to everyone, and who speaks.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Output) {
        let sounds = self.ups.iter_mut().map(|(_, up)| up).filter(|up| up.spec.id.kind == Kind::Audio);
        if let Some(speakers) = self.floor.handle_timeout(now, sounds.map(|up| (up.spec.id.stream, &mut up.voice))) {
            out.speakers = Some(speakers);
        }
        for (_, up) in &mut self.ups {
            self.due.clear();
            if up.poll_nacks(now, &mut self.due) && up.kind() == Kind::Video {
                up.key_frames.want();
            }
            if let (Source::Transport(to), Some(ssrc), false) = (up.spec.source, up.spec.ssrc, self.due.is_empty()) {
                let mut packet = Vec::new();
                rtcp::write_nack(&mut packet, OWN_SSRC, ssrc, &self.due);
                out.rtcp.push((to, packet));
            }
            Self::ask_for_key_frame(now, up, out);
        }
        let regular = now >= self.next_report;
        if regular {
            self.next_report = now + REPORT_INTERVAL;
            for (_, up) in &mut self.ups {
                if let (Source::Transport(to), Some(block)) = (up.spec.source, up.report_block(now)) {
                    let mut packet = Vec::new();
                    rtcp::write_receiver_report(&mut packet, OWN_SSRC, &[block]);
                    out.rtcp.push((to, packet));
                }
            }
        }
        for (_, down) in &mut self.downs {
            if !(regular || down.report_due) || down.packets == 0 {
                continue;
            }
            let Some(up) = self.ups.get(down.up.0 as usize) else { continue };
            let Some(anchor) = up.anchor else { continue };
            down.report_due = false;
            // The publisher's own clock, carried on to now: what makes its sound and its picture meet is that both
            // are told in the same clock, whichever it is.
            let (ntp, rtp) = anchor.at(now, up.spec.codec.clock_rate());
            let (ssrc, rtp_timestamp) = (down.spec.ssrc, down.map_timestamp(rtp));
            down.on_report_sent(now, ntp);
            let info = SenderInfo { ssrc, ntp, rtp_timestamp, packets: down.packets, bytes: down.bytes };
            let mut packet = Vec::new();
            rtcp::write_sender_report(&mut packet, &info, &[]);
            rtcp::write_sdes_cname(&mut packet, ssrc, CNAME);
            out.rtcp.push((down.spec.transport, packet));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn next_timeout(&self) -> Time {
        let mut next = self.floor.next_timeout().map_or(self.next_report, |at| at.min(self.next_report));
        for (_, up) in &self.ups {
            if up.spec.source != Source::Pipe || up.can_be_asked() {
                let requests = [up.next_nack(), up.key_frames.next_timeout()];
                next = requests.into_iter().flatten().fold(next, Time::min);
            }
        }
        next
    }

    fn ask_for_key_frame(now: Time, up: &mut UpTrack, out: &mut Output) {
        if up.kind() != Kind::Video {
            return;
        }
        match (up.spec.source, up.spec.ssrc, &up.key_wish) {
            (Source::Transport(to), Some(ssrc), _) if up.key_frames.poll(now) => {
                let mut packet = Vec::new();
                rtcp::write_pli(&mut packet, OWN_SSRC, ssrc);
                out.rtcp.push((to, packet));
            }
            // Merged here for this shard; there with the wishes of the others.
            (Source::Relay, _, Some(wish)) if up.key_frames.poll(now) => wish.want_key(),
            (Source::Pipe, _, Some(wish)) if wish.is_heard() && up.key_frames.poll(now) => wish.want_key(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buf::pipe::{PipeReader, relay},
        codec::Codec,
        units::time::Ntp,
    };

    const PUBLISHER: TransportKey = TransportKey(0);

    fn spec(kind: Kind, source: Source) -> UpSpec {
        UpSpec {
            id: TrackId { stream: StreamId(1), kind },
            source,
            codec: if kind == Kind::Audio { Codec::Opus } else { Codec::Vp8 },
            payload_type: 96,
            rtx_payload_type: None,
            ssrc: Some(0x1111),
            rtx_ssrc: None,
            nack: true,
            ring_packets: 256,
            key_frame_interval: Duration::from_millis(500),
        }
    }

    fn subscriber(kind: Kind, n: u32) -> DownSpec {
        DownSpec {
            track: TrackId { stream: StreamId(1), kind },
            transport: TransportKey(n),
            ssrc: 0x9000 + n,
            payload_type: 100,
            rtx: Some((101, 0xa000 + n)),
            transport_cc: None,
            playout_delay: None,
        }
    }

    /// One VP8 frame in one packet.
    fn frame(seq: u16, key: bool) -> Slot {
        let mut packet = rtp_header(true, 96, seq, u32::from(seq) * 3000, 0x1111).to_vec();
        packet.extend_from_slice(&[0x10, u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0, seq as u8]);
        Slot::copy_of(&packet).unwrap()
    }

    fn feed(room: &mut Room, now: Time, up: UpKey, seq: u16, key: bool) -> Vec<Forward> {
        let mut out = Output::default();
        room.handle_rtp(now, up, false, &mut frame(seq, key), &mut out);
        out.forwards
    }

    fn plis(out: &Output) -> usize {
        let all = out.rtcp.iter().flat_map(|(to, bytes)| rtcp::packets(bytes).map(move |p| (*to, p.unwrap())));
        all.filter(|(to, p)| *to == PUBLISHER && matches!(p, Rtcp::Pli { media: 0x1111, .. })).count()
    }

    #[test]
    fn every_subscriber_gets_each_packet_from_the_first_key_frame_on() {
        let mut room = Room::new(Time::ZERO, 7);
        let mut out = Output::default();
        let up = room.publish(spec(Kind::Video, Source::Transport(PUBLISHER)));
        for n in 1..=3 {
            let down = room.subscribe(subscriber(Kind::Video, n)).unwrap();
            room.start(Time::from_millis(1000), down, &mut out);
        }
        assert_eq!(plis(&out), 1, "three newcomers cost one request");
        assert!(feed(&mut room, Time::from_millis(1010), up, 1, false).is_empty());
        assert_eq!(feed(&mut room, Time::from_millis(1040), up, 2, true).len(), 3);
        let forwards = feed(&mut room, Time::from_millis(1080), up, 3, false);
        let to: Vec<u32> = forwards.iter().map(|f| f.to.0).collect();
        assert_eq!(to, [1, 2, 3]);
        assert_eq!(room.up(up).unwrap().payload(forwards[0].seq).unwrap().last(), Some(&3));
    }

    #[test]
    fn a_lost_packet_is_resent_to_the_one_who_missed_it() {
        let mut room = Room::new(Time::ZERO, 7);
        let mut out = Output::default();
        let up = room.publish(spec(Kind::Video, Source::Transport(PUBLISHER)));
        let downs: Vec<DownKey> = (1..=2).map(|n| room.subscribe(subscriber(Kind::Video, n)).unwrap()).collect();
        downs.iter().for_each(|down| room.start(Time::ZERO, *down, &mut out));
        feed(&mut room, Time::ZERO, up, 1, true);
        let sent = feed(&mut room, Time::ZERO, up, 2, false);
        let missed = u16::from_be_bytes([sent[1].header[2], sent[1].header[3]]);
        let mut out = Output::default();
        room.handle_nack(Time::from_millis(50), downs[1], [missed, missed.wrapping_add(9)].into_iter(), &mut out);
        assert_eq!(out.forwards.len(), 1);
        let resent = out.forwards[0];
        assert_eq!((resent.to, resent.seq, resent.original_seq), (TransportKey(2), sent[1].seq, Some(missed)));
        assert_eq!(resent.header[1] & 0x7f, 101);
        assert_eq!(out.drops.get(DropReason::NotInRing), 1);
    }

    #[test]
    fn a_newcomer_to_a_bridged_stream_gets_the_kept_group_at_once() {
        let mut room = Room::new(Time::ZERO, 7);
        let up = room.publish(spec(Kind::Video, Source::Pipe));
        for seq in 1..=30 {
            feed(&mut room, Time::ZERO, up, seq, seq % 10 == 1);
        }
        let down = room.subscribe(subscriber(Kind::Video, 1)).unwrap();
        let mut out = Output::default();
        room.start(Time::ZERO, down, &mut out);
        assert_eq!(out.forwards.len(), 10);
        assert_eq!(feed(&mut room, Time::ZERO, up, 31, true).len(), 1);
        assert!(out.rtcp.is_empty(), "the bridge cannot be asked");
    }

    #[test]
    fn who_lost_his_picture_of_a_bridged_stream_gets_the_kept_group_again_but_not_in_a_hurry() {
        let mut room = Room::new(Time::ZERO, 7);
        let up = room.publish(spec(Kind::Video, Source::Pipe));
        let down = room.subscribe(subscriber(Kind::Video, 1)).unwrap();
        let mut out = Output::default();
        room.start(Time::ZERO, down, &mut out);
        let mut sent = Vec::new();
        (1..=5).for_each(|seq| sent.extend(feed(&mut room, Time::ZERO, up, seq, seq == 1)));
        let number = |f: &Forward| u16::from_be_bytes([f.header[2], f.header[3]]);
        let mut repeated = Vec::new();
        for ms in 0..400 {
            let mut out = Output::default();
            room.handle_key_request(Time::from_millis(1000 + ms), down, &mut out);
            repeated.extend(out.forwards);
        }
        let seqs: Vec<u64> = repeated.iter().map(|f| f.seq).collect();
        assert_eq!(seqs, sent.iter().map(|f| f.seq).collect::<Vec<_>>(), "once in 400 ms, all of it");
        assert_eq!(number(&repeated[0]), number(&sent[4]).wrapping_add(1), "under new numbers");
        let next = feed(&mut room, Time::from_millis(1500), up, 6, false);
        assert_eq!(number(&next[0]), number(&repeated[4]).wrapping_add(1));
    }

    #[test]
    fn where_the_bridge_makes_key_frames_it_is_asked_for_them_once_for_all() {
        let (writer, reader) = relay(64, || (), || ());
        let mut room = Room::new(Time::ZERO, 7);
        let up = room.publish(spec(Kind::Video, Source::Pipe));
        room.up_mut(up).unwrap().key_wish = Some(reader.key_wish());
        let long = BURST_PACKETS_MAX as u16 + 1;
        (1..=long).for_each(|seq| drop(feed(&mut room, Time::ZERO, up, seq, seq == 1)));
        let mut out = Output::default();
        let kept = room.subscribe(subscriber(Kind::Video, 1)).unwrap();
        room.start(Time::ZERO, kept, &mut out);
        assert!(!writer.take_key_wanted() && out.forwards.len() == usize::from(long), "it does not: all that is kept");

        writer.set_makes_keys(true);
        let now = Time::from_millis(1_000);
        room.handle_timeout(now, &mut out);
        let mut out = Output::default();
        let fresh = room.subscribe(subscriber(Kind::Video, 2)).unwrap();
        room.start(now, fresh, &mut out);
        assert!(writer.take_key_wanted() && out.forwards.is_empty(), "the group is long");
        for ms in 0..499 {
            room.handle_key_request(now + Duration::from_millis(ms), kept, &mut out);
        }
        assert!(!writer.take_key_wanted() && out.forwards.is_empty(), "not more often than other publishers");
        assert_eq!(room.next_timeout(), now + Duration::from_millis(500), "repeated until there is one");
        room.handle_timeout(now + Duration::from_millis(500), &mut out);
        assert!(writer.take_key_wanted());
        assert_eq!(feed(&mut room, now, up, long + 1, true).len(), 2);
        room.handle_timeout(now + Duration::from_millis(1_000), &mut out);
        assert!(!writer.take_key_wanted(), "it came");
        room.handle_key_request(now + Duration::from_millis(1_000), kept, &mut out);
        assert!(writer.take_key_wanted());

        writer.set_makes_keys(false);
        let mut out = Output::default();
        room.handle_key_request(now + Duration::from_millis(2_000), kept, &mut out);
        assert!(!writer.take_key_wanted() && out.forwards.len() == 1, "what is kept, again");
    }

    #[test]
    fn viewers_on_another_shard_are_heard_by_the_bridge_too_while_it_makes_key_frames() {
        let (bridge, of_bridge) = relay(64, || (), || ());
        let (mut room, up, mut other, copy, reader, writer) = with_copy(Source::Pipe, 64);
        room.up_mut(up).unwrap().key_wish = Some(of_bridge.key_wish());
        bridge.set_makes_keys(true);
        let mut out = Output::default();
        feed(&mut room, Time::ZERO, up, 1, true);
        let watched = writer.clone();
        assert!(room.relay(Time::ZERO, TRACK, writer, &mut out));
        let down = other.subscribe(subscriber(Kind::Video, 1)).unwrap();
        carry(Time::ZERO, &reader, &mut other, copy, &mut out);
        other.end_filling(Time::ZERO, copy, &mut out);
        other.start(Time::ZERO, down, &mut out);
        let now = Time::from_millis(1_000);
        other.handle_key_request(now, down, &mut out);
        assert!(watched.take_key_wanted());
        room.want_key_frame(now, TRACK, &mut out);
        assert!(bridge.take_key_wanted());
        bridge.set_makes_keys(false);
        feed(&mut room, now, up, 2, false);
        other.handle_key_request(Time::from_millis(2_000), down, &mut out);
        assert!(!watched.take_key_wanted(), "no more");
    }

    #[test]
    fn a_newcomer_to_a_page_gets_a_short_kept_group_and_otherwise_the_publisher_is_asked() {
        for (packets, asked) in [(BURST_PACKETS_MAX as u16, 0), (BURST_PACKETS_MAX as u16 + 1, 1)] {
            let mut room = Room::new(Time::ZERO, 7);
            let up = room.publish(spec(Kind::Video, Source::Transport(PUBLISHER)));
            for seq in 1..=packets {
                feed(&mut room, Time::ZERO, up, seq, seq == 1);
            }
            let down = room.subscribe(subscriber(Kind::Video, 1)).unwrap();
            let mut out = Output::default();
            room.start(Time::ZERO, down, &mut out);
            assert_eq!((plis(&out), out.forwards.is_empty()), (asked, asked == 1), "{packets} packets");
        }
    }

    #[test]
    fn sender_reports_tell_the_publishers_clock_in_the_subscribers_timestamps() {
        let mut room = Room::new(Time::ZERO, 7);
        let mut out = Output::default();
        let up = room.publish(spec(Kind::Audio, Source::Transport(PUBLISHER)));
        let down = room.subscribe(subscriber(Kind::Audio, 1)).unwrap();
        room.start(Time::ZERO, down, &mut out);
        let mut packet = rtp_header(false, 96, 1, 48_000, 0x1111).to_vec();
        packet.push(1);
        room.handle_rtp(Time::ZERO, up, false, &mut Slot::copy_of(&packet).unwrap(), &mut out);
        let offset = u32::from_be_bytes(out.forwards[0].header[4..8].try_into().unwrap()).wrapping_sub(48_000);
        let ntp = Ntp::from_unix_micros(1_000_000_000);
        let info = SenderInfo { ssrc: 0x1111, ntp, rtp_timestamp: 48_000, packets: 1, bytes: 1 };
        let mut bytes = Vec::new();
        rtcp::write_sender_report(&mut bytes, &info, &[]);
        let Some(Ok(Rtcp::SenderReport(report))) = rtcp::packets(&bytes).next() else { panic!("not a report") };
        room.handle_sender_report(Time::from_millis(100), up, &report);

        let mut out = Output::default();
        room.handle_timeout(Time::from_millis(600), &mut out);
        let (_, bytes) = out.rtcp.iter().find(|(to, _)| *to == TransportKey(1)).expect("a report to the subscriber");
        let Some(Ok(Rtcp::SenderReport(told))) = rtcp::packets(bytes).next() else { panic!("not a report") };
        assert_eq!(told.rtp_timestamp.wrapping_sub(offset), 48_000 + 24_000, "half a second later");
        assert!(told.ntp.as_micros().abs_diff(ntp.as_micros() + 500_000) <= 2);
        assert_eq!((told.ssrc, told.packets, told.bytes), (0x9001, 1, 1));
    }

    #[test]
    fn what_was_muted_is_not_forwarded_and_goes_on_without_a_hole_at_a_key_frame() {
        let mut room = Room::new(Time::ZERO, 7);
        let mut out = Output::default();
        let up = room.publish(spec(Kind::Video, Source::Transport(PUBLISHER)));
        let down = room.subscribe(subscriber(Kind::Video, 1)).unwrap();
        room.start(Time::ZERO, down, &mut out);
        let before = feed(&mut room, Time::ZERO, up, 1, true);
        let track = TrackId { stream: StreamId(1), kind: Kind::Video };
        room.set_muted(Time::ZERO, track, true, &mut out);
        assert!(feed(&mut room, Time::ZERO, up, 2, false).is_empty());
        let mut out = Output::default();
        room.set_muted(Time::from_millis(5000), track, false, &mut out);
        assert_eq!(plis(&out), 1);
        assert!(feed(&mut room, Time::from_millis(5010), up, 3, false).is_empty());
        let after = feed(&mut room, Time::from_millis(5020), up, 4, true);
        let seq = |f: &Forward| u16::from_be_bytes([f.header[2], f.header[3]]);
        assert_eq!(seq(&after[0]), seq(&before[0]).wrapping_add(1));
    }

    #[test]
    fn what_leaves_with_a_publisher_is_told_to_whoever_holds_it() {
        let mut room = Room::new(Time::ZERO, 7);
        let up = room.publish(spec(Kind::Video, Source::Transport(PUBLISHER)));
        let down = room.subscribe(subscriber(Kind::Video, 5)).unwrap();
        assert_eq!(room.unpublish(up), [(TransportKey(5), down)]);
        assert!(room.is_empty());
        assert!(room.subscribe(subscriber(Kind::Video, 6)).is_none());
    }

    /// A room, and a copy of its only track on another shard.
    fn with_copy(source: Source, capacity: usize) -> (Room, UpKey, Room, UpKey, PipeReader, PipeWriter) {
        let (writer, reader) = relay(capacity, || (), || ());
        let (mut room, mut other) = (Room::new(Time::ZERO, 7), Room::new(Time::ZERO, 8));
        let up = room.publish(spec(Kind::Video, source));
        let copied = if source == Source::Pipe { Source::Pipe } else { Source::Relay };
        let copy = other.publish(UpSpec { nack: false, ssrc: None, ..spec(Kind::Video, copied) });
        let copied = other.up_mut(copy).unwrap();
        copied.key_wish = Some(reader.key_wish());
        copied.filling = true;
        (room, up, other, copy, reader, writer)
    }

    fn carry(now: Time, pipe: &PipeReader, to: &mut Room, copy: UpKey, out: &mut Output) {
        while let Some((_, mut slot)) = pipe.read() {
            to.handle_piped(now, copy, &mut slot, out);
            pipe.recycle(slot);
        }
    }

    const TRACK: TrackId = TrackId { stream: StreamId(1), kind: Kind::Video };

    #[test]
    fn a_newcomer_to_the_copy_of_a_bridged_stream_gets_the_kept_group_once_it_is_there() {
        let (mut room, up, mut other, copy, reader, writer) = with_copy(Source::Pipe, 64);
        for seq in 1..=27 {
            feed(&mut room, Time::ZERO, up, seq, seq % 10 == 1);
        }
        let down = other.subscribe(subscriber(Kind::Video, 1)).unwrap();
        let mut out = Output::default();
        other.start(Time::ZERO, down, &mut out);
        assert!(room.relay(Time::ZERO, TRACK, writer, &mut out));
        feed(&mut room, Time::ZERO, up, 28, false);
        assert!(reader.is_caught_up());
        carry(Time::ZERO, &reader, &mut other, copy, &mut out);
        assert!(out.forwards.is_empty(), "old pictures do not come as if they were live");
        other.end_filling(Time::ZERO, copy, &mut out);
        let timestamps: Vec<u32> =
            out.forwards.iter().map(|f| u32::from_be_bytes(f.header[4..8].try_into().unwrap())).collect();
        assert_eq!(timestamps.len(), 8);
        assert!(timestamps[7].wrapping_sub(timestamps[0]) < 3000, "they are pushed together");
        out.forwards.clear();
        feed(&mut room, Time::ZERO, up, 29, false);
        carry(Time::ZERO, &reader, &mut other, copy, &mut out);
        assert_eq!(out.forwards.len(), 1);
    }

    #[test]
    fn how_long_pictures_are_held_is_told_on_both_shards_whenever_their_copy_began() {
        for early in [true, false] {
            let (mut room, up, mut other, copy, reader, writer) = with_copy(Source::Pipe, 64);
            let mut out = Output::default();
            let knows = |n| DownSpec { playout_delay: Some(5), ..subscriber(Kind::Video, n) };
            for (room, n) in [(&mut room, 1), (&mut other, 2)] {
                let down = room.subscribe(knows(n)).unwrap();
                room.set_heard(down, true);
                room.start(Time::ZERO, down, &mut out);
            }
            if early {
                assert!(room.relay(Time::ZERO, TRACK, writer.clone(), &mut out));
            }
            let mut hold = Vec::new();
            rtcp::write_hold(&mut hold, 0x1111, 9);
            assert!(!room.handle_piped(Time::ZERO, up, &mut Slot::copy_of(&hold).unwrap(), &mut out));
            if !early {
                assert!(room.relay(Time::ZERO, TRACK, writer, &mut out));
            }
            other.end_filling(Time::ZERO, copy, &mut out);
            room.handle_rtp(Time::ZERO, up, false, &mut frame(1, true), &mut out);
            carry(Time::ZERO, &reader, &mut other, copy, &mut out);
            let told = |out: &mut Output| -> Vec<_> { out.forwards.drain(..).map(|forward| forward.hold).collect() };
            assert_eq!(told(&mut out), [Some((5, 9)); 2], "{early}");
            // A publisher who comes by WebRTC has sound of his own.
            room.take_over(up, UpSpec { nack: false, ..spec(Kind::Video, Source::Transport(PUBLISHER)) }).unwrap();
            let later = Time::from_millis(100);
            room.handle_rtp(later, up, false, &mut frame(2, true), &mut out);
            carry(later, &reader, &mut other, copy, &mut out);
            assert_eq!(told(&mut out), [Some((5, 0)); 2], "{early}");
        }
    }

    #[test]
    fn a_full_pipe_between_shards_drops_counts_and_asks_for_a_key_frame() {
        let (mut room, up, mut other, copy, reader, writer) = with_copy(Source::Transport(PUBLISHER), 4);
        let mut out = Output::default();
        assert!(room.relay(Time::ZERO, TRACK, writer, &mut out));
        let now = Time::from_millis(1000);
        for seq in 1..=6 {
            room.handle_rtp(now, up, false, &mut frame(seq, seq == 1), &mut out);
        }
        assert_eq!(out.drops.get(DropReason::PipeFull), 2);
        assert_eq!(plis(&out), 1);
        let down = other.subscribe(subscriber(Kind::Video, 1)).unwrap();
        other.end_filling(now, copy, &mut out);
        other.start(now, down, &mut out);
        carry(now, &reader, &mut other, copy, &mut out);
        assert_eq!(out.forwards.len(), 4, "what fitted arrives");
    }

    #[test]
    fn a_packet_without_payload_leaves_no_hole_on_the_other_shard_either() {
        let (mut room, up, mut other, copy, reader, writer) = with_copy(Source::Transport(PUBLISHER), 64);
        let mut out = Output::default();
        assert!(room.relay(Time::ZERO, TRACK, writer, &mut out));
        let down = other.subscribe(subscriber(Kind::Video, 1)).unwrap();
        other.end_filling(Time::ZERO, copy, &mut out);
        other.start(Time::ZERO, down, &mut out);
        feed(&mut room, Time::ZERO, up, 1, true);
        let mut probe = Slot::copy_of(&rtp_header(false, 96, 2, 3000, 0x1111)).unwrap();
        room.handle_rtp(Time::ZERO, up, false, &mut probe, &mut out);
        feed(&mut room, Time::ZERO, up, 3, false);
        carry(Time::ZERO, &reader, &mut other, copy, &mut out);
        let numbers: Vec<u16> = out.forwards.iter().map(|f| u16::from_be_bytes([f.header[2], f.header[3]])).collect();
        assert_eq!(numbers.len(), 2);
        assert_eq!(numbers[1], numbers[0].wrapping_add(1));
    }

    #[test]
    fn a_new_source_goes_on_without_a_hole_on_the_other_shard_too() {
        let (mut room, up, mut other, copy, reader, writer) = with_copy(Source::Transport(PUBLISHER), 64);
        let mut out = Output::default();
        assert!(room.relay(Time::ZERO, TRACK, writer, &mut out));
        let down = other.subscribe(subscriber(Kind::Video, 1)).unwrap();
        other.end_filling(Time::ZERO, copy, &mut out);
        other.start(Time::ZERO, down, &mut out);
        feed(&mut room, Time::ZERO, up, 60_000, true);
        room.up_mut(up).unwrap().set_ssrc(false, 0x2222);
        let now = Time::from_millis(100);
        for (seq, key) in [(7, true), (8, false)] {
            let mut slot = frame(seq, key);
            slot.data_mut()[8..12].copy_from_slice(&0x2222u32.to_be_bytes());
            room.handle_rtp(now, up, false, &mut slot, &mut out);
        }
        carry(now, &reader, &mut other, copy, &mut out);
        let number = |f: &Forward| u16::from_be_bytes([f.header[2], f.header[3]]);
        let numbers: Vec<u16> = out.forwards.iter().map(number).collect();
        assert_eq!(numbers.len(), 3);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
    }

    #[test]
    fn wishes_on_the_other_shard_reach_the_publisher_as_one() {
        let (mut room, _, mut other, copy, reader, writer) = with_copy(Source::Transport(PUBLISHER), 64);
        let mut out = Output::default();
        let watched = writer.clone();
        assert!(room.relay(Time::ZERO, TRACK, writer, &mut out));
        let now = Time::from_millis(100);
        for n in 1..=40 {
            let down = other.subscribe(subscriber(Kind::Video, n)).unwrap();
            other.start(now, down, &mut out);
        }
        assert!(!watched.take_key_wanted(), "nothing is asked for that may be on its way");
        other.end_filling(now, copy, &mut out);
        assert!(watched.take_key_wanted());
        room.want_key_frame(now, TRACK, &mut out);
        assert!(!watched.take_key_wanted());
        assert_eq!(plis(&out), 1);
        assert_eq!(other.next_timeout(), now + Duration::from_millis(500), "repeated until a key frame comes");
        drop(reader);
    }
}
