//! What is inside a payload: just enough of each codec to forward, to cut and to join. No RTP header, no memory of the past.

pub mod aac;
pub mod av1;
pub mod bits;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod vp8;
pub mod vp9;

use std::fmt;

use crate::ids::Kind;

/// A codec that roomcast forwards over RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    H264,
    Vp8,
    Vp9,
    Av1,
    H265,
    Opus,
}

impl Codec {
    pub const ALL: [Codec; 6] = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H265, Codec::Opus];

    /// The encoding name of `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Av1 => "AV1",
            Codec::H265 => "H265",
            Codec::Opus => "opus",
        }
    }

    /// By encoding name, in any case.
    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|c| c.name().eq_ignore_ascii_case(name))
    }

    /// RTP timestamp units per second.
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            _ => 90_000,
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Codec::Opus => Kind::Audio,
            _ => Kind::Video,
        }
    }

    /// The payload type by which the bridge tells the room what its packets carry.
    pub fn bridged_payload_type(self) -> u8 {
        match self {
            Codec::Av1 => 45,
            Codec::H265 => 49,
            Codec::Vp8 => 96,
            Codec::Vp9 => 98,
            Codec::H264 => 102,
            Codec::Opus => 111,
        }
    }

    /// By [`bridged_payload_type`](Self::bridged_payload_type).
    pub fn of_bridged(payload_type: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.bridged_payload_type() == payload_type)
    }

    /// What an RTP payload says about its frame.
    pub fn inspect(self, payload: &[u8]) -> Payload {
        match self {
            Codec::H264 => h264::inspect(payload),
            Codec::Vp8 => vp8::inspect(payload),
            Codec::Vp9 => vp9::inspect(payload),
            Codec::Av1 => av1::inspect(payload),
            Codec::H265 => h265::inspect(payload),
            Codec::Opus => Payload { starts_frame: true, key: true },
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one RTP payload says about the frame it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// A frame begins in this packet, as far as the payload alone can tell.
    pub starts_frame: bool,
    /// A decoder can start here: this packet is the first of a key frame (H.264: carries SPS, or an IDR's first part
    /// when the parameter sets came in packets of the same timestamp before it).
    pub key: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_payloads_of_every_first_two_bytes_are_inspected_without_panic() {
        for codec in Codec::ALL {
            for start in 0..=u16::MAX {
                for (len, filler) in [(0, 0), (1, 0), (2, 0), (3, 0xff), (5, 0), (9, 0x81), (40, 0xff)] {
                    let mut payload = [filler; 40];
                    payload[..2].copy_from_slice(&start.to_be_bytes());
                    let says = codec.inspect(&payload[..len]);
                    assert!(says.starts_frame || !says.key, "{codec} {start:04x}");
                }
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Codec::from_name("OPUS"), Some(Codec::Opus));
        assert_eq!(Codec::from_name("h264"), Some(Codec::H264));
        assert_eq!(Codec::from_name("H266"), None);
    }
}
