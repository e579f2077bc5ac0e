//! Opus packets: how long they last, whether they are stereo, whether they are silence (RFC 6716 §3). Nothing is decoded.

use crate::drop_reason::DropReason;

/// The longest packet, in samples at 48 kHz: 120 ms (RFC 6716 §3.2.5, requirement R5).
pub const PACKET_SAMPLES_MAX: u32 = 5_760;

/// The longest packet of discontinuous transmission: TOC and at most one more byte. The reference encoder returns such
/// packets for frames that need not be sent.
const DTX_LEN_MAX: usize = 2;

/// What the first bytes of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Two channels were coded. The decoder gives any packet in the number of channels that it was asked for.
    pub stereo: bool,
    /// Frames in the packet, 1..=48.
    pub frames: u8,
    /// Samples at 48 kHz in each frame: 120 (2.5 ms) to 2,880 (60 ms).
    pub frame_samples: u32,
    /// The encoder hears nothing worth sending: no frame carries more than a byte.
    pub dtx: bool,
}

impl Packet {
    /// Reads the TOC byte and, where there is one, the frame count byte.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] for an empty packet or a missing count, [`DropReason::Malformed`] for no frames, or more
    /// audio than [`PACKET_SAMPLES_MAX`].
    pub fn parse(packet: &[u8]) -> Result<Packet, DropReason> {
        let (&toc, behind) = packet.split_first().ok_or(DropReason::TooShort)?;
        let frames = match toc & 3 {
            0 => 1,
            1 | 2 => 2,
            _ => behind.first().ok_or(DropReason::TooShort)? & 0x3f,
        };
        let frame_samples = frame_samples(toc);
        if frames == 0 || u32::from(frames) * frame_samples > PACKET_SAMPLES_MAX {
            return Err(DropReason::Malformed);
        }
        Ok(Packet { stereo: toc & 4 != 0, frames, frame_samples, dtx: packet.len() <= DTX_LEN_MAX })
    }

    /// Samples at 48 kHz, which are RTP timestamp units (RFC 7587 §4.1).
    pub fn samples(&self) -> u32 {
        u32::from(self.frames) * self.frame_samples
    }
}

/// Samples at 48 kHz of one frame, by the configuration number in a TOC byte (RFC 6716 table 2).
fn frame_samples(toc: u8) -> u32 {
    let config = toc >> 3;
    match config {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        // Hybrid: 10, 20 ms.
        12..=15 => 480 << (config & 1),
        // CELT: 2.5, 5, 10, 20 ms.
        _ => 120 << (config & 3),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frame_lengths_are_those_of_the_table() {
        // RFC 6716 table 2, in units of 2.5 ms, configuration by configuration.
        let silk = [4, 8, 16, 24];
        let celt = [1, 2, 4, 8];
        let table = [silk, silk, silk, [4, 8, 4, 8], celt, celt, celt, celt].concat();
        for (config, units) in table.into_iter().enumerate() {
            assert_eq!(frame_samples((config as u8) << 3), units * 120, "{config}");
        }
    }

    #[test]
    fn the_packet_of_a_browser_is_twenty_milliseconds() {
        // Configuration 15 (hybrid, fullband, 20 ms), stereo; configuration 31 (CELT, fullband, 20 ms), mono.
        let packet = Packet::parse(&[0x7c, 1, 2, 3]).unwrap();
        assert_eq!(packet, Packet { stereo: true, frames: 1, frame_samples: 960, dtx: false });
        assert_eq!(Packet::parse(&[0xf8, 1, 2, 3]).map(|p| (p.stereo, p.samples())), Ok((false, 960)));
    }

    #[test]
    fn frames_are_counted_by_code_or_by_count_byte() {
        let frames = |packet: &[u8]| Packet::parse(packet).map(|p| (p.frames, p.samples()));
        assert_eq!(frames(&[0xf9, 0, 0]), Ok((2, 1_920)));
        assert_eq!(frames(&[0xfa, 1, 0, 0]), Ok((2, 1_920)));
        assert_eq!(frames(&[0xfb, 0xc3, 0, 0]), Ok((3, 2_880)), "variable rate and padding bits are no count");
        assert_eq!(frames(&[0xfb]), Err(DropReason::TooShort));
        assert_eq!(frames(&[]), Err(DropReason::TooShort));
    }

    #[test]
    fn a_packet_lasts_up_to_120_ms() {
        let with_count = |toc: u8, count: u8| Packet::parse(&[toc, count, 0, 0]).map(|p| p.samples());
        assert_eq!(with_count(0xfb, 6), Ok(PACKET_SAMPLES_MAX));
        assert_eq!(with_count(0xfb, 7), Err(DropReason::Malformed));
        assert_eq!(with_count(0xe3, 48), Ok(PACKET_SAMPLES_MAX), "48 frames of 2.5 ms");
        assert_eq!(with_count(0xe3, 49), Err(DropReason::Malformed));
        assert_eq!(with_count(0xfb, 0), Err(DropReason::Malformed));
    }

    #[test]
    fn a_packet_of_one_or_two_bytes_is_silence() {
        assert_eq!(Packet::parse(&[0xf8]).map(|p| p.dtx), Ok(true));
        assert_eq!(Packet::parse(&[0xf8, 0xff]).map(|p| p.dtx), Ok(true));
        assert_eq!(Packet::parse(&[0xf8, 0xff, 0xfe]).map(|p| p.dtx), Ok(false));
    }

    proptest! {
        #[test]
        fn a_packet_that_is_read_lasts_between_2_5_and_120_ms(bytes in prop::collection::vec(any::<u8>(), 0..8)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!((120..=PACKET_SAMPLES_MAX).contains(&packet.samples()));
            }
        }
    }
}
