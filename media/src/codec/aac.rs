//! AAC's `AudioSpecificConfig`: object type, sample rate, channels, and the three ways to say that there is spectral band
//! replication (ISO/IEC 14496-3 §1.6). The access units themselves are for the decoder.

use super::bits::{BitReader, BitWriter};
use crate::drop_reason::DropReason;

/// Object types (ISO/IEC 14496-3 table 1.17): low complexity, spectral band replication (HE-AAC), parametric stereo
/// (HE-AAC v2), and error-resilient BSAC, whose extension repeats its channels.
pub const LOW_COMPLEXITY: u8 = 2;
const SPECTRAL_BAND_REPLICATION: u8 = 5;
const PARAMETRIC_STEREO: u8 = 29;
const ER_BSAC: u8 = 22;
const ESCAPE: u8 = 31;

/// The rates that an escaped sample rate may have, in Hz: those of the table, end to end. A decoder or resampler that is
/// asked for a stranger one would work without measure.
pub const SAMPLE_RATE_MIN: u32 = 7_350;
pub const SAMPLE_RATE_MAX: u32 = 96_000;

/// ISO/IEC 14496-3 table 1.18.
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
const RATE_ESCAPE: u32 = 15;

/// What announces an extension behind a configuration that old decoders understand.
const SYNC_SBR: u32 = 0x2b7;
const SYNC_PS: u32 = 0x548;

/// How an AAC stream is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Of the core: 2 is low complexity.
    pub object_type: u8,
    /// Of the core, in Hz. See [`output_sample_rate`](Self::output_sample_rate).
    pub sample_rate: u32,
    /// Of the core, 1..=8; zero: a program config element tells, which only the decoder reads.
    pub channels: u8,
    /// Samples of the core per access unit and channel: 1,024, or 960.
    pub frame_samples: u16,
    pub sbr: Sbr,
}

/// Spectral band replication: HE-AAC, whose core runs at half the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sbr {
    /// Nothing is said. It may still be in the stream, which only the decoder finds out ("implicit signalling").
    Unsaid,
    /// It is said that there is none.
    Absent,
    /// It is there.
    Present {
        /// After replication, in Hz.
        sample_rate: u32,
        /// Parametric stereo (HE-AAC v2): one channel of the core becomes two.
        parametric_stereo: bool,
        /// Said by the object type, so that a decoder without it refuses the stream; else behind the configuration, where
        /// such a decoder does not look.
        hierarchical: bool,
    },
}

impl AudioSpecificConfig {
    /// Low complexity, nothing else: what our own encoder makes. `sample_rate` in Hz.
    pub fn low_complexity(sample_rate: u32, channels: u8) -> Self {
        AudioSpecificConfig {
            object_type: LOW_COMPLEXITY,
            sample_rate,
            channels,
            frame_samples: 1_024,
            sbr: Sbr::Unsaid,
        }
    }

    /// The rate in Hz at which a decoder gives samples, unless replication is signalled implicitly.
    pub fn output_sample_rate(&self) -> u32 {
        match self.sbr {
            Sbr::Present { sample_rate, .. } => sample_rate,
            _ => self.sample_rate,
        }
    }

    /// The channels that a decoder gives; zero if only it knows.
    pub fn output_channels(&self) -> u8 {
        match (self.sbr, self.channels) {
            (Sbr::Present { parametric_stereo: true, .. }, 1) => 2,
            (_, channels) => channels,
        }
    }

    /// Reads the body of an AAC sequence header.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if it ends before its fields do, [`DropReason::Malformed`] for a reserved rate or channel
    /// configuration, a rate outside [`SAMPLE_RATE_MIN`]..=[`SAMPLE_RATE_MAX`], and an object type that is not general
    /// audio (MPEG-4 speech, synthesis, USAC ...).
    pub fn parse(config: &[u8]) -> Result<AudioSpecificConfig, DropReason> {
        let mut bits = BitReader::new(config);
        let first_type = object_type(&mut bits)?;
        let sample_rate = sample_rate(&mut bits)?;
        let channels = channels(&mut bits)?;
        let mut object_type_of_core = first_type;
        let mut sbr = Sbr::Unsaid;
        if matches!(first_type, SPECTRAL_BAND_REPLICATION | PARAMETRIC_STEREO) {
            let parametric_stereo = first_type == PARAMETRIC_STEREO;
            let extended = self::sample_rate(&mut bits)?;
            sbr = Sbr::Present { sample_rate: extended, parametric_stereo, hierarchical: true };
            object_type_of_core = object_type(&mut bits)?;
            if object_type_of_core == ER_BSAC {
                self::channels(&mut bits)?;
            }
        }
        // The types whose configuration goes on as GASpecificConfig (§4.4.1) and that a decoder of AAC may know.
        if !matches!(object_type_of_core, 1..=4 | 6 | 7 | 17 | 19..=23) {
            return Err(DropReason::Malformed);
        }
        let short_frames = bits.flag().ok_or(DropReason::TooShort)?;
        if bits.flag().ok_or(DropReason::TooShort)? {
            bits.bits(14).ok_or(DropReason::TooShort)?; // coreCoderDelay
        }
        let extension_flag = bits.flag().ok_or(DropReason::TooShort)?;
        // What follows for other types, for a program config element and for the extension flag is of unknown length
        // here; the announcement below is made for low complexity and found only there.
        let plain = object_type_of_core == LOW_COMPLEXITY && channels != 0 && !extension_flag;
        if plain && sbr == Sbr::Unsaid {
            sbr = announced_extension(&mut bits).unwrap_or(Sbr::Unsaid);
        }
        let frame_samples = if short_frames { 960 } else { 1_024 };
        Ok(AudioSpecificConfig { object_type: object_type_of_core, sample_rate, channels, frame_samples, sbr })
    }

    /// The body of an AAC sequence header. `None` for what has no such form: an object type above 30, a rate out of
    /// range, channels without a configuration of their own, or a frame length other than 1,024 and 960.
    pub fn write(&self) -> Option<Vec<u8>> {
        let channels = match self.channels {
            channels @ 0..=6 => u32::from(channels),
            8 => 7,
            7 => 11,
            _ => return None,
        };
        let object_type = u32::from(self.object_type);
        if !(1..u32::from(ESCAPE)).contains(&object_type) || !matches!(self.frame_samples, 960 | 1_024) {
            return None;
        }
        let mut bits = BitWriter::default();
        let hierarchical = match self.sbr {
            Sbr::Present { sample_rate, parametric_stereo, hierarchical: true } => {
                let outer = if parametric_stereo { PARAMETRIC_STEREO } else { SPECTRAL_BAND_REPLICATION };
                Some((u32::from(outer), sample_rate))
            }
            _ => None,
        };
        bits.bits(5, hierarchical.map_or(object_type, |(outer, _)| outer));
        write_sample_rate(&mut bits, self.sample_rate)?;
        bits.bits(4, channels);
        if let Some((_, sample_rate)) = hierarchical {
            write_sample_rate(&mut bits, sample_rate)?;
            bits.bits(5, object_type);
        }
        bits.bits(3, if self.frame_samples == 960 { 0b100 } else { 0 });
        match self.sbr {
            Sbr::Present { sample_rate, parametric_stereo, hierarchical: false } => {
                bits.bits(11, SYNC_SBR);
                bits.bits(5, u32::from(SPECTRAL_BAND_REPLICATION));
                bits.bits(1, 1);
                write_sample_rate(&mut bits, sample_rate)?;
                if parametric_stereo {
                    bits.bits(11, SYNC_PS);
                    bits.bits(1, 1);
                }
            }
            Sbr::Absent => {
                bits.bits(11, SYNC_SBR);
                bits.bits(5, u32::from(SPECTRAL_BAND_REPLICATION));
                bits.bits(1, 0);
            }
            _ => {}
        }
        Some(bits.finish())
    }
}

fn object_type(bits: &mut BitReader) -> Result<u8, DropReason> {
    match bits.bits(5).ok_or(DropReason::TooShort)? as u8 {
        ESCAPE => Ok(32 + bits.bits(6).ok_or(DropReason::TooShort)? as u8),
        object_type => Ok(object_type),
    }
}

fn sample_rate(bits: &mut BitReader) -> Result<u32, DropReason> {
    let index = bits.bits(4).ok_or(DropReason::TooShort)?;
    let rate = match index {
        RATE_ESCAPE => bits.bits(24).ok_or(DropReason::TooShort)?,
        index => SAMPLE_RATES.get(index as usize).copied().ok_or(DropReason::Malformed)?,
    };
    if (SAMPLE_RATE_MIN..=SAMPLE_RATE_MAX).contains(&rate) { Ok(rate) } else { Err(DropReason::Malformed) }
}

fn write_sample_rate(bits: &mut BitWriter, rate: u32) -> Option<()> {
    if !(SAMPLE_RATE_MIN..=SAMPLE_RATE_MAX).contains(&rate) {
        return None;
    }
    match SAMPLE_RATES.iter().position(|listed| *listed == rate) {
        Some(index) => bits.bits(4, index as u32),
        None => {
            bits.bits(4, RATE_ESCAPE);
            bits.bits(24, rate);
        }
    }
    Some(())
}

/// ISO/IEC 14496-3 table 1.19 with its amendments: 7 stands for eight channels, 11 for seven, 12 and 14 for eight.
fn channels(bits: &mut BitReader) -> Result<u8, DropReason> {
    match bits.bits(4).ok_or(DropReason::TooShort)? as u8 {
        channels @ 0..=6 => Ok(channels),
        7 | 12 | 14 => Ok(8),
        11 => Ok(7),
        _ => Err(DropReason::Malformed),
    }
}

/// What stands behind a complete configuration, if it is the announcement of an extension (§1.6.2.1, "backward
/// compatible" signalling). Anything else there is padding, and so is an announcement that is cut off or names no rate:
/// what a decoder needs came before it.
fn announced_extension(bits: &mut BitReader) -> Option<Sbr> {
    if bits.bits(11)? != SYNC_SBR || bits.bits(5)? != u32::from(SPECTRAL_BAND_REPLICATION) {
        return None;
    }
    if !bits.flag()? {
        return Some(Sbr::Absent);
    }
    let sample_rate = sample_rate(bits).ok()?;
    let parametric_stereo = bits.bits(11) == Some(SYNC_PS) && bits.flag() == Some(true);
    Some(Sbr::Present { sample_rate, parametric_stereo, hierarchical: false })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<AudioSpecificConfig, DropReason> {
        AudioSpecificConfig::parse(bytes)
    }

    #[test]
    fn low_complexity_is_two_bytes() {
        let stereo = AudioSpecificConfig::low_complexity(44_100, 2);
        assert_eq!(parse(&[0x12, 0x10]), Ok(stereo));
        assert_eq!(stereo.write(), Some(vec![0x12, 0x10]));
        assert_eq!(parse(&[0x11, 0x88]), Ok(AudioSpecificConfig::low_complexity(48_000, 1)));
        assert_eq!(parse(&[0x14, 0x08]), Ok(AudioSpecificConfig::low_complexity(16_000, 1)), "as phones send it");
    }

    /// ffmpeg 5.1 appends the announcement that there is no replication: sync 0x2b7, type 5, flag 0.
    #[test]
    fn the_config_of_ffmpeg_says_that_nothing_is_replicated() {
        let config = AudioSpecificConfig { sbr: Sbr::Absent, ..AudioSpecificConfig::low_complexity(44_100, 2) };
        assert_eq!(parse(&[0x12, 0x10, 0x56, 0xe5, 0x00]), Ok(config));
        assert_eq!(config.write(), Some(vec![0x12, 0x10, 0x56, 0xe5, 0x00]));
    }

    /// Type 5, 24 kHz, stereo, then 48 kHz and type 2: HE-AAC as encoders signal it in FLV.
    #[test]
    fn replication_said_by_the_type_is_read() {
        let config = parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((config.object_type, config.sample_rate, config.output_sample_rate()), (2, 24_000, 48_000));
        let sbr = Sbr::Present { sample_rate: 48_000, parametric_stereo: false, hierarchical: true };
        assert_eq!((config.sbr, config.output_channels()), (sbr, 2));
        assert_eq!(config.write(), Some(vec![0x2b, 0x11, 0x88, 0x00]));
    }

    /// Type 29, 22.05 kHz, mono, then 44.1 kHz and type 2: HE-AAC v2.
    #[test]
    fn parametric_stereo_makes_two_channels_of_one() {
        let config = parse(&[0xeb, 0x8a, 0x08, 0x00]).unwrap();
        assert_eq!((config.channels, config.output_channels(), config.output_sample_rate()), (1, 2, 44_100));
        assert_eq!(config.write(), Some(vec![0xeb, 0x8a, 0x08, 0x00]));
    }

    /// Low complexity, 24 kHz, mono, then 0x2b7, type 5, flag, 48 kHz, and 0x548 with its flag.
    #[test]
    fn replication_announced_behind_the_config_is_read() {
        let with = |parametric_stereo| AudioSpecificConfig {
            sbr: Sbr::Present { sample_rate: 48_000, parametric_stereo, hierarchical: false },
            ..AudioSpecificConfig::low_complexity(24_000, 1)
        };
        assert_eq!(parse(&[0x13, 0x08, 0x56, 0xe5, 0x98]), Ok(with(false)));
        assert_eq!(parse(&[0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80]), Ok(with(true)));
        assert_eq!(with(true).write(), Some(vec![0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80]));
        assert_eq!(parse(&[0x13, 0x08, 0x56, 0xe5, 0x80]).map(|c| c.output_sample_rate()), Ok(96_000));
        assert_eq!(parse(&[0x13, 0x08, 0x00, 0x00]).map(|c| c.sbr), Ok(Sbr::Unsaid), "padding");
    }

    #[test]
    fn an_escaped_rate_lies_within_the_table() {
        let escaped = |rate: u32| {
            let mut bits = BitWriter::default();
            [(5, 2), (4, 15), (24, rate), (4, 2), (3, 0)]
                .into_iter()
                .for_each(|(count, value)| bits.bits(count, value));
            parse(&bits.finish()).map(|config| config.sample_rate)
        };
        for rate in [SAMPLE_RATE_MIN, 37_800, SAMPLE_RATE_MAX] {
            assert_eq!(escaped(rate), Ok(rate));
        }
        for rate in [0, SAMPLE_RATE_MIN - 1, SAMPLE_RATE_MAX + 1, 0xff_ffff] {
            assert_eq!(escaped(rate), Err(DropReason::Malformed), "{rate}");
        }
    }

    #[test]
    fn reserved_values_are_malformed() {
        let config = |object_type, rate_index, channels| {
            let mut bits = BitWriter::default();
            [(5, object_type), (4, rate_index), (4, channels), (3, 0)].into_iter().for_each(|(c, v)| bits.bits(c, v));
            parse(&bits.finish())
        };
        assert!(config(2, 12, 2).is_ok());
        assert_eq!(config(2, 13, 2), Err(DropReason::Malformed), "rate");
        assert_eq!(config(2, 14, 2), Err(DropReason::Malformed), "rate");
        for channels in [8, 9, 10, 13, 15] {
            assert_eq!(config(2, 4, channels), Err(DropReason::Malformed), "{channels}");
        }
        for object_type in [0, 8, 12, 30] {
            assert_eq!(config(object_type, 4, 2), Err(DropReason::Malformed), "{object_type}");
        }
        assert_eq!([7, 11, 12, 14].map(|c| config(2, 4, c).unwrap().channels), [8, 7, 8, 8]);
        assert_eq!(config(2, 4, 0).map(|c| c.channels), Ok(0), "a program config element");
    }

    #[test]
    fn frames_of_960_samples_are_told_from_1024() {
        assert_eq!(parse(&[0x12, 0x14]).map(|c| c.frame_samples), Ok(960));
        assert_eq!(parse(&[0x12, 0x14]).unwrap().write(), Some(vec![0x12, 0x14]));
    }

    #[test]
    fn every_prefix_is_too_short_or_says_less() {
        let whole = [0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80];
        for len in 0..whole.len() {
            let read = parse(&whole[..len]);
            match len {
                0 | 1 => assert_eq!(read, Err(DropReason::TooShort), "{len}"),
                2..=4 => assert_eq!(read.map(|config| config.sbr), Ok(Sbr::Unsaid), "{len}"),
                _ => assert_eq!(read.map(|config| config.output_channels()), Ok(1), "{len}"),
            }
        }
    }

    #[test]
    fn what_has_no_form_is_not_written() {
        let config = AudioSpecificConfig::low_complexity(48_000, 2);
        for bad in [
            AudioSpecificConfig { object_type: 31, ..config },
            AudioSpecificConfig { sample_rate: SAMPLE_RATE_MAX + 1, ..config },
            AudioSpecificConfig { channels: 9, ..config },
            AudioSpecificConfig { frame_samples: 512, ..config },
        ] {
            assert_eq!(bad.write(), None);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_written_config_reads_back(rate in SAMPLE_RATE_MIN..=SAMPLE_RATE_MAX, index in 0usize..14, channels in 1u8..=8,
                                       short: bool, how in 0..4, parametric_stereo: bool) {
            let sample_rate = SAMPLE_RATES.get(index).copied().unwrap_or(rate);
            let sbr = match how {
                0 => Sbr::Unsaid,
                1 => Sbr::Absent,
                _ => Sbr::Present { sample_rate: rate, parametric_stereo, hierarchical: how == 2 },
            };
            let frame_samples = if short { 960 } else { 1_024 };
            let config = AudioSpecificConfig { sample_rate, channels, frame_samples, object_type: LOW_COMPLEXITY, sbr };
            prop_assert_eq!(parse(&config.write().unwrap()), Ok(config));
        }
    }
}
