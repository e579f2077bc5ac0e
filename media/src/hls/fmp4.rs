//! Fragmented MP4 (ISO/IEC 14496-12, CMAF): the initialization segment and the fragments. The boxes are the crate's; which
//! ones, and in what order, is decided here.
//!
//! The crate's own segment muxer is used for the initialization segment only: it derives decoding times from durations, so
//! that a gap cannot be said, and it remembers every fragment that it ever made.

use std::num::NonZeroU32;

use bytes::Bytes;
use shiguredo_mp4::{
    Decode, Encode, FixedPointNumber, SampleFlags, TrackKind, Uint,
    boxes::{
        AudioSampleEntryFields, Av01Box, Av1cBox, Avc1Box, AvccBox, DopsBox, EsdsBox, Hvc1Box, HvccBox, MfhdBox,
        MoofBox, Mp4aBox, OpusBox, SampleEntry, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample,
        VisualSampleEntryFields, Vp08Box, Vp09Box, VpccBox,
    },
    codec_string,
    descriptors::{DecoderConfigDescriptor, DecoderSpecificInfo, EsDescriptor, SlConfigDescriptor},
    mux,
};

use crate::codec::{
    Codec,
    aac::AudioSpecificConfig,
    h264::{self, AvcConfig},
    h265::{self, HevcConfig},
};

/// Video is timed in this many units per second.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Opus is timed so, whatever was recorded (Encapsulation of Opus in ISO Base Media File Format §4.3.2).
const OPUS_RATE_HZ: u32 = 48_000;

/// Size and name of the box around the media of a fragment.
const MDAT_HEADER_BYTES: usize = 8;

/// How the video of a stream is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoConfig {
    pub codec: Codec,
    /// The decoder configuration record.
    pub record: Bytes,
    pub width: u32,
    pub height: u32,
    entry: SampleEntry,
}

/// How the audio of a stream is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// The AudioSpecificConfig, or the identification header of Opus.
    pub config: Bytes,
    pub opus: bool,
    /// Of the core: audio is timed in this many units per second.
    pub rate_hz: u32,
    /// Units that an access unit of AAC lasts; packets of Opus say it themselves.
    pub frame_samples: u32,
    entry: SampleEntry,
}

/// One sample of a fragment.
#[derive(Clone, Debug)]
pub struct Sample {
    pub duration: u32,
    pub key: bool,
    /// Presentation minus decoding time.
    pub composition: i32,
    pub data: Bytes,
}

/// The samples of one track in a fragment, one after the other.
#[derive(Debug)]
pub struct Run<'a> {
    /// Tracks are numbered from one, video before audio.
    pub track_id: u32,
    /// Decoding time of the first.
    pub at: u64,
    pub samples: &'a [Sample],
}

impl VideoConfig {
    /// Reads the record of H.264 or H.265; `None` if it, or the SPS in it, cannot be read, and for other codecs, whose records do
    /// not say enough.
    pub fn new(codec: Codec, record: &[u8]) -> Option<VideoConfig> {
        let (entry, (width, height)) = match codec {
            Codec::H264 => avc_entry(record)?,
            Codec::H265 => hevc_entry(record)?,
            _ => return None,
        };
        Some(VideoConfig { codec, record: Bytes::copy_from_slice(record), width, height, entry })
    }

    /// Reads the record of VP8, VP9 or AV1, whose pictures have this size; `None` if it cannot be read, and for other codecs.
    pub fn sized(codec: Codec, record: &[u8], (width, height): (u32, u32)) -> Option<VideoConfig> {
        let (visual, unknown_boxes) = (visual(width, height)?, Vec::new());
        let entry = match codec {
            Codec::Vp8 => SampleEntry::Vp08(Vp08Box { visual, vpcc_box: vpcc_box(record)?, unknown_boxes }),
            Codec::Vp9 => SampleEntry::Vp09(Vp09Box { visual, vpcc_box: vpcc_box(record)?, unknown_boxes }),
            Codec::Av1 => {
                let (av1c_box, _) = Av1cBox::decode(&boxed(b"av1C", record)?).ok()?;
                SampleEntry::Av01(Av01Box { visual, av1c_box, unknown_boxes })
            }
            _ => return None,
        };
        Some(VideoConfig { codec, record: Bytes::copy_from_slice(record), width, height, entry })
    }
}

/// What is in records of FLV as a box of MP4: behind its length and its name.
fn boxed(name: &[u8; 4], record: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(8 + record.len()).ok()?.to_be_bytes();
    Some([&length[..], name, record].concat())
}

fn vpcc_box(record: &[u8]) -> Option<VpccBox> {
    Some(VpccBox::decode(&boxed(b"vpcC", record)?).ok()?.0)
}

fn avc_entry(record: &[u8]) -> Option<(SampleEntry, (u32, u32))> {
    let config = AvcConfig::parse(record).ok()?;
    let sps = h264::Sps::parse(config.sps().next()?).ok()?;
    let extended = !matches!(config.profile, 66 | 77 | 88);
    let avcc_box = AvccBox {
        avc_profile_indication: config.profile,
        profile_compatibility: config.compatibility,
        avc_level_indication: config.level,
        length_size_minus_one: Uint::new(config.length_size.saturating_sub(1)),
        sps_list: config.sps().map(<[u8]>::to_vec).collect(),
        pps_list: config.pps().map(<[u8]>::to_vec).collect(),
        chroma_format: extended.then(|| Uint::new(sps.chroma_format)),
        bit_depth_luma_minus8: extended.then(|| Uint::new(sps.bit_depth_luma.saturating_sub(8))),
        bit_depth_chroma_minus8: extended.then(|| Uint::new(sps.bit_depth_chroma.saturating_sub(8))),
        sps_ext_list: Vec::new(),
    };
    let visual = visual(sps.width, sps.height)?;
    Some((SampleEntry::Avc1(Avc1Box { visual, avcc_box, unknown_boxes: Vec::new() }), (sps.width, sps.height)))
}

fn hevc_entry(record: &[u8]) -> Option<(SampleEntry, (u32, u32))> {
    let config = HevcConfig::parse(record)?;
    let sps = config.sets.iter().find(|set| h265::kind(set) == h265::SPS)?;
    let sps = h265::Sps::parse(sps).ok()?;
    let (hvcc_box, _) = HvccBox::decode(&boxed(b"hvcC", record)?).ok()?;
    let visual = visual(sps.width, sps.height)?;
    Some((SampleEntry::Hvc1(Hvc1Box { visual, hvcc_box, unknown_boxes: Vec::new() }), (sps.width, sps.height)))
}

fn visual(width: u32, height: u32) -> Option<VisualSampleEntryFields> {
    Some(VisualSampleEntryFields {
        data_reference_index: VisualSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
        width: u16::try_from(width).ok()?,
        height: u16::try_from(height).ok()?,
        horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
        vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
        frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
        compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
        depth: VisualSampleEntryFields::DEFAULT_DEPTH,
    })
}

/// Where the identification header of Opus has its fields (RFC 7845 §5.1), and how long it is at least.
const OPUS_HEAD_FIELDS_AT: usize = 9;

impl AudioConfig {
    /// Reads the identification header of Opus; one that cannot be read means two channels and nothing else.
    pub fn of_opus(head: &[u8]) -> AudioConfig {
        let fields = head.get(OPUS_HEAD_FIELDS_AT..).and_then(<[u8]>::first_chunk::<9>);
        let &[channels, p0, p1, r0, r1, r2, r3, g0, g1] = fields.unwrap_or(&[2, 0, 0, 0x80, 0xbb, 0, 0, 0, 0]);
        let audio = AudioSampleEntryFields {
            data_reference_index: AudioSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
            channelcount: u16::from(channels.max(1)),
            samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
            samplerate: FixedPointNumber::new(OPUS_RATE_HZ as u16, 0),
        };
        let dops_box = DopsBox {
            output_channel_count: channels.max(1),
            pre_skip: u16::from_le_bytes([p0, p1]),
            input_sample_rate: u32::from_le_bytes([r0, r1, r2, r3]),
            output_gain: i16::from_le_bytes([g0, g1]),
        };
        AudioConfig {
            config: Bytes::copy_from_slice(head),
            opus: true,
            rate_hz: OPUS_RATE_HZ,
            frame_samples: 0,
            entry: SampleEntry::Opus(OpusBox { audio, dops_box, unknown_boxes: Vec::new() }),
        }
    }

    /// Reads the configuration of AAC; `None` if it cannot be read.
    pub fn new(config: &[u8]) -> Option<AudioConfig> {
        let parsed = AudioSpecificConfig::parse(config).ok()?;
        let audio = AudioSampleEntryFields {
            data_reference_index: AudioSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
            channelcount: u16::from(parsed.output_channels().max(1)),
            samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
            // 16 bits; a rate beyond them is in the configuration only.
            samplerate: FixedPointNumber::new(u16::try_from(parsed.sample_rate).unwrap_or(0), 0),
        };
        let es = EsDescriptor {
            es_id: EsDescriptor::MIN_ES_ID,
            stream_priority: EsDescriptor::LOWEST_STREAM_PRIORITY,
            depends_on_es_id: None,
            url_string: None,
            ocr_es_id: None,
            dec_config_descr: DecoderConfigDescriptor {
                object_type_indication: DecoderConfigDescriptor::OBJECT_TYPE_INDICATION_AUDIO_ISO_IEC_14496_3,
                stream_type: DecoderConfigDescriptor::STREAM_TYPE_AUDIO,
                up_stream: DecoderConfigDescriptor::UP_STREAM_FALSE,
                buffer_size_db: Uint::new(0),
                max_bitrate: 0,
                avg_bitrate: 0,
                dec_specific_info: Some(DecoderSpecificInfo { payload: config.to_vec() }),
            },
            sl_config_descr: SlConfigDescriptor,
        };
        let entry = SampleEntry::Mp4a(Mp4aBox { audio, esds_box: EsdsBox { es }, unknown_boxes: Vec::new() });
        Some(AudioConfig {
            config: Bytes::copy_from_slice(config),
            opus: false,
            rate_hz: parsed.sample_rate,
            frame_samples: u32::from(parsed.frame_samples),
            entry,
        })
    }
}

/// The initialization segment, and the `CODECS` of the playlist (RFC 6381); `None` if there is no track, or the crate does
/// not take one.
pub fn init_segment(video: Option<&VideoConfig>, audio: Option<&AudioConfig>) -> Option<(Bytes, String)> {
    let mut samples = Vec::new();
    let mut codecs = Vec::new();
    let tracks = [
        (TrackKind::Video, VIDEO_TIMESCALE, video.map(|video| &video.entry)),
        (TrackKind::Audio, audio.map_or(1, |audio| audio.rate_hz), audio.map(|audio| &audio.entry)),
    ];
    for (track_kind, timescale, entry) in tracks {
        let Some(entry) = entry else { continue };
        codecs.push(codec_string::from_sample_entry(entry).ok()?);
        samples.push(mux::Sample {
            track_kind,
            sample_entry: Some(entry.clone()),
            keyframe: true,
            timescale: NonZeroU32::new(timescale)?,
            duration: 1,
            composition_time_offset: None,
            data_offset: samples.len() as u64,
            data_size: 1,
        });
    }
    let mut muxer = mux::Fmp4SegmentMuxer::new().ok()?;
    // What the tracks are is learned from samples; this fragment is thrown away.
    muxer.create_media_segment_metadata(&samples).ok()?;
    Some((muxer.init_segment_bytes().ok()?.into(), codecs.join(",")))
}

/// A fragment: `moof` and `mdat`; empty if there is no sample.
pub fn fragment(sequence: u32, runs: &[Run<'_>]) -> Bytes {
    let runs: Vec<&Run> = runs.iter().filter(|run| !run.samples.is_empty()).collect();
    if runs.is_empty() {
        return Bytes::new();
    }
    // Where the media begins depends on the length of `moof`, which does not depend on where the media begins.
    let moof_len = moof(sequence, &runs, 0).len();
    let mut bytes = moof(sequence, &runs, moof_len + MDAT_HEADER_BYTES);
    let media: usize = runs.iter().flat_map(|run| run.samples).map(|sample| sample.data.len()).sum();
    bytes.reserve_exact(MDAT_HEADER_BYTES + media);
    bytes.extend_from_slice(&((MDAT_HEADER_BYTES + media) as u32).to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    runs.iter().flat_map(|run| run.samples).for_each(|sample| bytes.extend_from_slice(&sample.data));
    bytes.into()
}

fn moof(sequence: u32, runs: &[&Run<'_>], media_at: usize) -> Vec<u8> {
    let mut data_offset = media_at;
    let mut traf_boxes = Vec::with_capacity(runs.len());
    for run in runs {
        let composed = run.samples.iter().any(|sample| sample.composition != 0);
        let samples = run.samples.iter().map(|sample| TrunSample {
            duration: Some(sample.duration),
            size: Some(sample.data.len() as u32),
            flags: Some(match sample.key {
                true => SampleFlags::from_fields(0, 2, 0, 0, 0, false, 0),
                false => SampleFlags::from_fields(0, 1, 0, 0, 0, true, 0),
            }),
            composition_time_offset: composed.then_some(i64::from(sample.composition)),
        });
        traf_boxes.push(TrafBox {
            tfhd_box: TfhdBox {
                track_id: run.track_id,
                base_data_offset: None,
                sample_description_index: None,
                default_sample_duration: None,
                default_sample_size: None,
                default_sample_flags: None,
                duration_is_empty: false,
                default_base_is_moof: true,
            },
            tfdt_box: Some(TfdtBox { version: 1, base_media_decode_time: run.at }),
            trun_boxes: vec![TrunBox {
                data_offset: Some(data_offset as i32),
                first_sample_flags: None,
                samples: samples.collect(),
            }],
            unknown_boxes: Vec::new(),
        });
        data_offset += run.samples.iter().map(|sample| sample.data.len()).sum::<usize>();
    }
    let moof = MoofBox { mfhd_box: MfhdBox { sequence_number: sequence }, traf_boxes, unknown_boxes: Vec::new() };
    // Every field has the range of its box, so nothing can be refused.
    moof.encode_to_vec().unwrap_or_default()
}
