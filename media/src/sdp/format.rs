//! Codecs as SDP writes them: parameters of `a=fmtp`, H.264 profiles, and which of several formats is the better one.

use super::description::FormatLine;
use crate::{codec::Codec, ids::Kind};

/// The parameters of an `a=fmtp` line, `name=value` between semicolons.
#[derive(Clone, Debug)]
pub(super) struct Fmtp<'a>(&'a str);

impl<'a> Fmtp<'a> {
    pub fn parse(text: &'a str) -> Self {
        Fmtp(text)
    }

    /// The first value of `name`; names are compared without case.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.0
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The parameter is there and `1`.
    fn is_set(&self, name: &str) -> bool {
        self.value(name) == Some("1")
    }
}

/// The profiles of H.264 that browsers know (RFC 6184 §8.1, table 5), best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    /// High and everything else; browsers decode High, but do not name it.
    Other,
}

impl H264Profile {
    fn of(fmtp: &Fmtp<'_>) -> H264Profile {
        // Baseline at level 1 is what a missing parameter means (RFC 6184 §8.1).
        let id = fmtp.value("profile-level-id").unwrap_or("42000a");
        let Some(Ok(id)) = id.get(..6).filter(|_| id.len() == 6).map(|id| u32::from_str_radix(id, 16)) else {
            return H264Profile::Other;
        };
        let (profile, flags) = (id >> 16, (id >> 8) & 0xff);
        // constraint_set1_flag says of a Baseline stream that a Main decoder can read it, and the other way round with
        // constraint_set0_flag: both are Constrained Baseline.
        match profile {
            0x42 if flags & 0x40 != 0 => H264Profile::ConstrainedBaseline,
            0x4d if flags & 0x80 != 0 => H264Profile::ConstrainedBaseline,
            0x58 if flags & 0xc0 == 0xc0 => H264Profile::ConstrainedBaseline,
            0x42 => H264Profile::Baseline,
            0x4d => H264Profile::Main,
            _ => H264Profile::Other,
        }
    }

    /// The profile under which a stream of this one is offered. High is decoded by every browser that takes Constrained
    /// Baseline, but offered under its own name it is rejected.
    fn named(self) -> H264Profile {
        if self == H264Profile::Other { H264Profile::ConstrainedBaseline } else { self }
    }
}

/// A row of the table of payload types in our offers.
pub(super) struct Offered {
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    pub fmtp: &'static str,
}

const fn offered(payload_type: u8, rtx_payload_type: u8, fmtp: &'static str) -> Offered {
    Offered { payload_type, rtx_payload_type: Some(rtx_payload_type), fmtp }
}

/// How a stream of `codec` with the publisher's `fmtp` is offered. Within one BUNDLE a payload type has one configuration
/// (RFC 9143 §9.1), so every configuration has a payload type of its own, those that Chromium uses. The level of H.264
/// is 3.1 always, since browsers do not compare levels.
pub(super) fn offered_as(codec: Codec, fmtp: &str) -> Offered {
    let fmtp = Fmtp::parse(fmtp);
    match codec {
        Codec::H264 => match H264Profile::of(&fmtp).named() {
            H264Profile::Baseline => {
                offered(102, 103, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f")
            }
            H264Profile::Main => {
                offered(116, 117, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f")
            }
            _ => offered(108, 109, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        },
        Codec::Vp8 => offered(96, 97, ""),
        Codec::Vp9 => match fmtp.value("profile-id") {
            Some("2") => offered(100, 101, "profile-id=2"),
            _ => offered(98, 99, "profile-id=0"),
        },
        Codec::Av1 => match fmtp.value("profile") {
            Some("1") => offered(47, 48, "level-idx=5;profile=1;tier=0"),
            _ => offered(45, 46, "level-idx=5;profile=0;tier=0"),
        },
        // Main profile, level 3.1; browsers do not compare levels here either.
        Codec::H265 => offered(49, 50, "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"),
        Codec::Opus => {
            let stereo = fmtp.is_set("stereo") || fmtp.is_set("sprop-stereo");
            let (payload_type, fmtp) = match stereo {
                true => (112, "minptime=10;sprop-stereo=1;stereo=1;useinbandfec=1"),
                false => (111, "minptime=10;useinbandfec=1"),
            };
            Offered { payload_type, rtx_payload_type: None, fmtp }
        }
    }
}

/// The `a=fmtp` of an answer that takes `offered` up.
pub(super) fn answered_fmtp(codec: Codec, offered: &str) -> String {
    let fmtp = Fmtp::parse(offered);
    let (always, kept): (&[&str], &[&str]) = match codec {
        // The mode and the profile are those of the offer or none (RFC 6184 §8.2.2).
        Codec::H264 => (&[], &["level-asymmetry-allowed", "packetization-mode", "profile-level-id"]),
        Codec::Vp8 => (&[], &[]),
        Codec::Vp9 => (&[], &["profile-id"]),
        Codec::Av1 => (&[], &["level-idx", "profile", "tier"]),
        Codec::H265 => (&[], &["level-id", "profile-id", "tier-flag", "tx-mode"]),
        Codec::Opus => (&["minptime=10", "useinbandfec=1"], &["stereo", "sprop-stereo", "usedtx"]),
    };
    let mut parameters: Vec<String> = always.iter().map(|parameter| (*parameter).to_owned()).collect();
    for name in kept {
        if let Some(value) = fmtp.value(name)
            && value.len() <= PARAMETER_BYTES_MAX
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            parameters.push(format!("{name}={value}"));
        }
    }
    parameters.join(";")
}

/// Longest value of an fmtp parameter that is repeated in an answer.
const PARAMETER_BYTES_MAX: usize = 16;

/// The codec of a format, if it is one of ours with its clock and channels.
pub(super) fn codec_of(format: &FormatLine) -> Option<Codec> {
    let codec = Codec::from_name(&format.name)?;
    let channels = if codec.kind() == Kind::Audio { 2 } else { 1 };
    (format.clock_rate == codec.clock_rate() && format.channels == channels).then_some(codec)
}

/// How good an offered format is for `codec`, smaller is better; `None` if it cannot be used. `like` describes a stream
/// that exists already.
pub(super) fn rank(codec: Codec, offered: &Fmtp<'_>, like: Option<&Fmtp<'_>>) -> Option<u32> {
    match codec {
        Codec::H264 => {
            let profile = H264Profile::of(offered);
            let mismatch = like.is_some_and(|like| H264Profile::of(like).named() != profile);
            // Without packetization-mode=1 a NAL unit has to fit a packet. It comes last, whatever its profile.
            let single_nal = offered.value("packetization-mode") != Some("1");
            Some(u32::from(single_nal) * 100 + u32::from(mismatch) * 10 + profile as u32)
        }
        Codec::Vp9 => same_profile(offered, like, "profile-id"),
        Codec::Av1 => same_profile(offered, like, "profile"),
        // Profile 1 is Main, and what a missing parameter means (RFC 7798 §7.1).
        Codec::H265 => (offered.value("profile-id").unwrap_or("1") == "1").then_some(0),
        Codec::Vp8 | Codec::Opus => Some(0),
    }
}

/// A decoder of another profile of VP9 or AV1 cannot read the stream; publishers are held to profile 0, eight bits 4:2:0.
fn same_profile(offered: &Fmtp<'_>, like: Option<&Fmtp<'_>>, name: &str) -> Option<u32> {
    let wanted = like.and_then(|like| like.value(name)).unwrap_or("0");
    (offered.value(name).unwrap_or("0") == wanted).then_some(0)
}
