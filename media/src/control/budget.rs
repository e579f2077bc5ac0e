//! How much memory media may come to hold, in named terms whose sum is compared with one setting.

use crate::{
    buf::{pipe::pipe_bytes, slot::SLOT_BYTES},
    command::Refusal,
    config::MediaConfig,
    ids::Kind,
};

/// What a transport comes to hold: keys, replay windows, queues, reports; what is announced as the cost of a viewer.
pub const TRANSPORT_BYTES: u64 = 50 * 1024;
/// What a shard holds whatever it does: a batch of slots to receive into, and one to send from.
pub const SHARD_SLOTS_BYTES: u64 = 1 << 20;
/// Packets that may wait on their way from shard to shard: video at 10 Mbit/s for half a second, and a kept group of
/// pictures in front of it.
pub const RELAY_VIDEO_PACKETS: usize = 2048;
/// The same for sound: five seconds.
pub const RELAY_AUDIO_PACKETS: usize = 256;
/// What the ring remembers of a packet beside its bytes.
const RING_ENTRY_BYTES: usize = 64;

/// Packets that may wait on their way to a copy of a track.
pub fn relay_packets(kind: Kind) -> usize {
    match kind {
        Kind::Audio => RELAY_AUDIO_PACKETS,
        Kind::Video => RELAY_VIDEO_PACKETS,
    }
}

/// What may come to be held, in bytes. Each term is what its part can grow to, not what it holds at the moment: what was
/// admitted always has its room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The rings of up tracks and of copies.
    pub rings: u64,
    /// The shards' own slots.
    pub slots: u64,
    /// Pipes of the bridge and between shards.
    pub pipes: u64,
    pub transports: u64,
}

impl Terms {
    pub fn sum(&self) -> u64 {
        self.rings + self.slots + self.pipes + self.transports
    }

    /// Counts in the ring of one up track.
    pub fn add_ring(&mut self, config: &MediaConfig, kind: Kind) {
        let packets = match kind {
            Kind::Audio => config.audio_ring_packets,
            Kind::Video => config.video_ring_packets,
        };
        self.rings += (packets.next_power_of_two() * (SLOT_BYTES + RING_ENTRY_BYTES)) as u64;
    }

    /// Counts in a pipe for `packets` packets.
    pub fn add_pipe(&mut self, packets: usize) {
        self.pipes += pipe_bytes(packets, SLOT_BYTES) as u64;
    }

    /// Counts in the copy of a track: its ring and the pipe that feeds it.
    pub fn add_copy(&mut self, config: &MediaConfig, kind: Kind) {
        self.add_ring(config, kind);
        self.add_pipe(relay_packets(kind));
    }

    /// Whether `more` still fits beside what is held.
    ///
    /// # Errors
    /// [`Refusal::Limit`] with the name of the setting if it does not.
    pub fn admit(&self, config: &MediaConfig, more: &Terms) -> Result<(), Refusal> {
        if self.sum() + more.sum() > config.memory_max_bytes {
            return Err(Refusal::Limit("memory_max_bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_to_the_byte_is_admitted_and_one_more_is_not() {
        let mut more = Terms::default();
        more.add_ring(&MediaConfig::default(), Kind::Audio);
        let held = Terms { rings: 1, slots: 2, pipes: 3, transports: 4 };
        let config = |memory_max_bytes| MediaConfig { memory_max_bytes, ..MediaConfig::default() };
        let limit = held.sum() + more.sum();
        assert_eq!(held.admit(&config(limit), &more), Ok(()));
        assert_eq!(held.admit(&config(limit - 1), &more), Err(Refusal::Limit("memory_max_bytes")));
    }

    #[test]
    fn a_ring_counts_as_what_it_can_grow_to() {
        let config = MediaConfig { video_ring_packets: 1000, ..MediaConfig::default() };
        let mut terms = Terms::default();
        terms.add_ring(&config, Kind::Video);
        assert!(terms.rings >= 1024 * SLOT_BYTES as u64);
        let ring = terms.rings;
        terms.add_copy(&config, Kind::Video);
        assert_eq!(terms.rings, 2 * ring);
        assert!(terms.pipes >= (RELAY_VIDEO_PACKETS * SLOT_BYTES) as u64);
    }
}
