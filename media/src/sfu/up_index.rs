//! Which up track an arriving SSRC belongs to, for one publisher.
//!
//! Most publishers say their SSRCs in the SDP. Those that do not are recognised by the `mid` of the first packet
//! (RFC 8843 §9.2), else by its payload type. Only authenticated packets come here, so nothing can be claimed by a stranger.

use crate::{
    forward::UpKey,
    ids::TrackId,
    rtp::{
        ext::{self, ExtIds},
        packet::Header,
    },
};

/// SSRCs that one publisher may use without having said so. More is not what browsers do.
pub const LEARNED_SSRCS_MAX: usize = 16;

/// One up track of a publisher, as its SSRCs are recognised.
#[derive(Clone, Debug)]
pub struct UpEntry {
    pub key: UpKey,
    pub track: TrackId,
    pub mid: String,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
}

/// What an SSRC means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub key: UpKey,
    pub rtx: bool,
    /// This packet was the first of its SSRC: the up track must be told of it.
    pub learned: bool,
}

/// The up tracks of one publisher.
#[derive(Clone, Debug, Default)]
pub struct UpIndex {
    entries: Vec<UpEntry>,
    learned: usize,
    ext: ExtIds,
}

impl UpIndex {
    pub fn set_ext(&mut self, ext: ExtIds) {
        self.ext = ext;
    }

    pub fn ext(&self) -> &ExtIds {
        &self.ext
    }

    pub fn add(&mut self, entry: UpEntry) {
        self.entries.push(entry);
    }

    /// Notes the SSRCs that a new description names for a track; `None` leaves what was known. Answers the up track, if
    /// there is one.
    pub fn set_ssrcs(&mut self, track: TrackId, ssrc: Option<u32>, rtx_ssrc: Option<u32>) -> Option<UpKey> {
        let entry = self.entries.iter_mut().find(|e| e.track == track)?;
        entry.ssrc = ssrc.or(entry.ssrc);
        entry.rtx_ssrc = rtx_ssrc.or(entry.rtx_ssrc);
        Some(entry.key)
    }

    pub fn remove(&mut self, track: TrackId) {
        self.entries.retain(|e| e.track != track);
    }

    pub fn iter(&self) -> impl Iterator<Item = &UpEntry> {
        self.entries.iter()
    }

    /// By SSRC alone, as reports name tracks.
    pub fn by_ssrc(&self, ssrc: u32) -> Option<UpKey> {
        self.entries.iter().find(|e| e.ssrc == Some(ssrc)).map(|e| e.key)
    }

    /// Says which up track a plaintext packet belongs to.
    pub fn resolve(&mut self, header: &Header, packet: &[u8]) -> Option<Resolved> {
        for entry in &self.entries {
            if entry.ssrc == Some(header.ssrc) {
                return Some(Resolved { key: entry.key, rtx: false, learned: false });
            }
            if entry.rtx_ssrc == Some(header.ssrc) {
                return Some(Resolved { key: entry.key, rtx: true, learned: false });
            }
        }
        self.learn(header, packet)
    }

    fn learn(&mut self, header: &Header, packet: &[u8]) -> Option<Resolved> {
        if self.learned >= LEARNED_SSRCS_MAX {
            return None;
        }
        let mid = self.ext.mid.and_then(|id| ext::find(packet, header, id));
        let fits = |e: &UpEntry| {
            let by_mid = mid.is_none_or(|mid| mid == e.mid.as_bytes());
            by_mid && (header.payload_type == e.payload_type || Some(header.payload_type) == e.rtx_payload_type)
        };
        // Without a mid the payload type must leave no doubt.
        if mid.is_none() && self.entries.iter().filter(|e| fits(e)).count() != 1 {
            return None;
        }
        let entry = self.entries.iter_mut().find(|e| fits(e))?;
        let rtx = Some(header.payload_type) == entry.rtx_payload_type;
        let known = if rtx { &mut entry.rtx_ssrc } else { &mut entry.ssrc };
        *known = Some(header.ssrc);
        self.learned += 1;
        Some(Resolved { key: entry.key, rtx, learned: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Kind, StreamId},
        rtp::packet::NewHeader,
    };

    fn entry(n: u32, mid: &str, payload_type: u8, ssrc: Option<u32>) -> UpEntry {
        UpEntry {
            key: UpKey(n),
            track: TrackId { stream: StreamId(1), kind: Kind::Video },
            mid: mid.into(),
            payload_type,
            rtx_payload_type: Some(payload_type + 1),
            ssrc,
            rtx_ssrc: None,
        }
    }

    fn resolve(index: &mut UpIndex, payload_type: u8, ssrc: u32, mid: Option<&str>) -> Option<Resolved> {
        let mut packet = [0u8; 64];
        let elements: Vec<(u8, &[u8])> = mid.iter().map(|m| (4, m.as_bytes())).collect();
        let header = NewHeader { marker: false, payload_type, seq: 1, timestamp: 2, ssrc, ext: &elements };
        let len = header.write(&mut packet).unwrap();
        let header = Header::parse(&packet[..len]).unwrap();
        index.resolve(&header, &packet[..len])
    }

    #[test]
    fn a_known_ssrc_needs_nothing_else() {
        let mut index = UpIndex::default();
        index.add(entry(0, "0", 96, Some(5)));
        assert_eq!(resolve(&mut index, 120, 5, None), Some(Resolved { key: UpKey(0), rtx: false, learned: false }));
        assert_eq!(resolve(&mut index, 120, 6, None), None);
    }

    #[test]
    fn an_unknown_ssrc_is_recognised_by_mid_and_then_remembered() {
        let mut index = UpIndex::default();
        index.set_ext(ExtIds { mid: Some(4), ..ExtIds::default() });
        index.add(entry(0, "0", 96, None));
        index.add(entry(1, "1", 96, None));
        assert_eq!(resolve(&mut index, 96, 9, None), None, "the payload type alone leaves a doubt");
        assert_eq!(resolve(&mut index, 96, 9, Some("1")), Some(Resolved { key: UpKey(1), rtx: false, learned: true }));
        assert_eq!(resolve(&mut index, 96, 9, None), Some(Resolved { key: UpKey(1), rtx: false, learned: false }));
        assert_eq!(resolve(&mut index, 97, 10, Some("1")), Some(Resolved { key: UpKey(1), rtx: true, learned: true }));
    }

    #[test]
    fn no_more_ssrcs_are_learned_than_the_limit() {
        let mut index = UpIndex::default();
        index.add(entry(0, "0", 96, None));
        for ssrc in 0..LEARNED_SSRCS_MAX as u32 {
            assert!(resolve(&mut index, 96, 100 + ssrc, None).is_some());
        }
        assert!(resolve(&mut index, 96, 500, None).is_none());
    }
}
