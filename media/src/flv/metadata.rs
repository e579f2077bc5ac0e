//! `onMetaData`: what a player may show before the first frame. Nothing decodes by it.

use bytes::Bytes;

use super::body::{video_codec_id, video_codec_of_id};
use crate::{
    codec::Codec,
    rtmp::amf0::{self, AmfError, Value},
};

/// The fields that players look at. `None` is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Pixels.
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Frames per second.
    pub framerate: Option<f64>,
    /// The codec of the video, if there is one.
    pub video: Option<Codec>,
    /// AAC audio is there.
    pub has_audio: bool,
    /// Samples per second.
    pub audio_sample_rate: Option<u32>,
    /// More than one channel.
    pub stereo: bool,
    /// Who wrote the stream.
    pub encoder: String,
}

/// FLV's number for the codec.
const AUDIO_CODEC_AAC: f64 = 10.0;

impl Metadata {
    /// The body of a script tag.
    pub fn to_bytes(&self) -> Bytes {
        // Zero says "live": there is no end to seek to.
        let mut members: Vec<(String, Value)> = vec![("duration".into(), Value::Number(0.0))];
        let mut number = |name: &str, value: Option<f64>| {
            members.extend(value.map(|value| (name.to_owned(), Value::Number(value))));
        };
        number("width", self.width.map(f64::from));
        number("height", self.height.map(f64::from));
        number("framerate", self.framerate);
        number("videocodecid", self.video.map(video_codec_id));
        number("audiocodecid", self.has_audio.then_some(AUDIO_CODEC_AAC));
        number("audiosamplerate", self.audio_sample_rate.map(f64::from));
        number("audiosamplesize", self.has_audio.then_some(16.0));
        members.push(("hasVideo".into(), Value::Boolean(self.video.is_some())));
        members.push(("hasAudio".into(), Value::Boolean(self.has_audio)));
        if self.has_audio {
            members.push(("stereo".into(), Value::Boolean(self.stereo)));
        }
        if !self.encoder.is_empty() {
            members.push(("encoder".into(), Value::string(&self.encoder)));
        }
        let mut out = Vec::with_capacity(256);
        amf0::write_all(&[Value::string("onMetaData"), Value::EcmaArray(members)], &mut out);
        out.into()
    }

    /// Reads the body of a script tag; fields that are missing or of another type are `None`. `Ok(None)` if it is not
    /// `onMetaData`.
    pub fn parse(body: &[u8]) -> Result<Option<Metadata>, AmfError> {
        let values = amf0::read_all(body)?;
        let [Value::String(name), fields, ..] = &values[..] else { return Ok(None) };
        if name != "onMetaData" {
            return Ok(None);
        }
        let number = |name| fields.member(name).and_then(Value::as_number);
        let whole = |name| number(name).filter(|n| (1.0..=f64::from(u32::MAX)).contains(n)).map(|n| n as u32);
        let flag = |name| fields.member(name).and_then(Value::as_bool);
        Ok(Some(Metadata {
            width: whole("width"),
            height: whole("height"),
            framerate: number("framerate").filter(|rate| rate.is_finite() && *rate > 0.0),
            video: number("videocodecid").and_then(video_codec_of_id),
            has_audio: flag("hasAudio").unwrap_or(fields.member("audiocodecid").is_some()),
            audio_sample_rate: whole("audiosamplerate"),
            stereo: flag("stereo").unwrap_or(false),
            encoder: fields.member("encoder").and_then(Value::as_str).unwrap_or("").to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let metadata = Metadata {
            width: Some(360),
            height: Some(640),
            framerate: Some(15.0),
            video: Some(Codec::Av1),
            has_audio: true,
            audio_sample_rate: Some(48_000),
            stereo: true,
            encoder: "roomcast".into(),
        };
        assert_eq!(Metadata::parse(&metadata.to_bytes()), Ok(Some(metadata)));
        assert_eq!(Metadata::parse(&Metadata::default().to_bytes()), Ok(Some(Metadata::default())));
    }

    #[test]
    fn numbers_out_of_range_are_left_out() {
        let fields = [("width", f64::NAN), ("height", -1.0), ("audiosamplerate", 1e20), ("framerate", f64::INFINITY)];
        let members = fields.map(|(name, value)| (name.to_owned(), Value::Number(value))).to_vec();
        let mut body = Vec::new();
        amf0::write_all(&[Value::string("onMetaData"), Value::Object(members)], &mut body);
        assert_eq!(Metadata::parse(&body), Ok(Some(Metadata::default())));
    }

    #[test]
    fn other_scripts_are_none() {
        let mut body = Vec::new();
        amf0::write_all(&[Value::string("onCuePoint"), Value::Null], &mut body);
        assert_eq!(Metadata::parse(&body), Ok(None));
        assert_eq!(Metadata::parse(&[]), Ok(None));
    }
}
