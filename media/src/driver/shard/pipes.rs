//! What comes from other threads' rings and goes to them: streams of the bridge, copies of other shards' tracks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{PipeSource, Shard};
use crate::{
    bridge::packetize::AUDIO_LEVEL_ID,
    forward::UpKey,
    ids::Kind,
    rtp::{
        ext,
        packet::{self, Header},
    },
    units::time::Time,
};

/// Packets taken out of one pipe in one turn.
const PIPE_PACKETS_PER_TURN: usize = 256;

impl Shard {
    /// Moves what is waiting in the pipes into their rooms; true if something may be left.
    pub(super) fn drain_pipes(&mut self, now: Time) -> bool {
        let (mut more, mut ended) = (false, false);
        let mut broken = Vec::new();
        let pipes = std::mem::take(&mut self.pipes);
        for source in &pipes {
            // Read before the packets are, so that none is left behind.
            let closed = source.pipe.is_closed();
            match catch_unwind(AssertUnwindSafe(|| self.drain_pipe(now, source))) {
                Ok(left) => {
                    more |= left;
                    ended |= source.copy && closed && !left;
                }
                Err(_) => broken.push(source.room),
            }
        }
        // Nothing in this loop adds a pipe.
        self.pipes = pipes;
        broken.into_iter().for_each(|room| self.discard_room(room));
        self.drain_output();
        if ended {
            self.remove_ended_copies();
        }
        more
    }

    /// Moves what is waiting in one pipe; true if something may be left.
    fn drain_pipe(&mut self, now: Time, source: &PipeSource) -> bool {
        let Some(slot) = self.rooms.get_mut(source.room as usize) else { return false };
        source.pipe.set_sound_wanted(slot.room.is_wanted(source.audio));
        let caught_up = source.pipe.is_caught_up();
        let mut taken = 0;
        while taken < PIPE_PACKETS_PER_TURN {
            let Some((kind, mut packet)) = source.pipe.read() else { break };
            taken += 1;
            let up = if kind == Kind::Audio { source.audio } else { source.video };
            if kind == Kind::Audio
                && !source.copy
                && let Some(level) = piped_level(packet.data())
            {
                slot.room.hear(now, up, level.dbov);
            }
            if slot.room.handle_piped(now, up, &mut packet, &mut self.output) {
                let counts = &mut self.counts;
                *(if source.copy { &mut counts.packets_relayed } else { &mut counts.packets_in }) += 1;
            }
            source.pipe.recycle(packet);
        }
        let left = taken == PIPE_PACKETS_PER_TURN;
        if source.copy && caught_up && !left && slot.room.up(source.video).is_some_and(|up| up.filling) {
            slot.room.end_filling(now, source.video, &mut self.output);
        }
        if taken > 0 {
            self.touch(source.room);
        }
        left
    }

    /// Copies whose origin is gone go with the last packet.
    fn remove_ended_copies(&mut self) {
        let over: Vec<(u32, UpKey)> =
            (self.pipes.iter()).filter(|p| p.copy && p.pipe.is_closed()).map(|p| (p.room, p.video)).collect();
        for (room, up) in over {
            self.unpublish(room, up);
            self.remove_room_if_empty(room);
        }
    }

    /// Passes on what the viewers of our tracks on other shards wish for.
    pub(super) fn grant_key_wishes(&mut self, now: Time) {
        let mut touched = false;
        for relay in &self.relays {
            if relay.pipe.take_key_wanted()
                && let Some(slot) = self.rooms.get_mut(relay.room as usize)
            {
                slot.room.want_key_frame(now, relay.track, &mut self.output);
                if !slot.touched {
                    slot.touched = true;
                    self.touched.push(relay.room);
                }
                touched = true;
            }
        }
        if touched {
            self.drain_output();
        }
    }

    /// Tells the other shards of what was written for them, each at most once.
    pub(super) fn announce_relays(&self) {
        self.relays.iter().for_each(|relay| relay.pipe.announce());
    }
}

/// How loud a packet of the bridge says that it is.
fn piped_level(packet: &[u8]) -> Option<ext::AudioLevel> {
    let header = Header::parse(packet).ok().filter(|_| !packet::is_rtcp(packet))?;
    ext::find(packet, &header, AUDIO_LEVEL_ID).and_then(ext::audio_level)
}
