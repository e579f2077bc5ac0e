//! AAC as the bridge needs it, whoever implements it: access units to samples and back.
//!
//! The implementation is Fraunhofer's (feature `aac-fdk`). Without the feature every constructor answers
//! [`AudioError::NoAacCodec`] and streams go on without the audio that would have to be transcoded.

use thiserror::Error;

/// Longest access unit that is decoded. The AAC bit reservoir allows 6,144 bits per channel (ISO/IEC 14496-3 §4.5.3.2), so
/// this is eight channels.
pub const ACCESS_UNIT_BYTES_MAX: usize = 6_144;

/// Longest AudioSpecificConfig that is read; real ones have 2 to 7 bytes, a program config element may add some dozens.
pub const CONFIG_BYTES_MAX: usize = 64;

/// Samples per channel of an access unit of AAC-LC.
pub const AAC_FRAME_SAMPLES: usize = 1024;

/// Why audio cannot be transcoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AudioError {
    #[error("this build has no AAC codec")]
    NoAacCodec,
    #[error("the AAC configuration is not supported")]
    BadConfig,
    #[error("the codec could not be set up")]
    Setup,
    #[error("the audio cannot be decoded")]
    Corrupt,
}

/// What a decoder's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    pub rate_hz: u32,
    /// 1 or 2; surround sound is mixed down.
    pub channels: usize,
    /// By how many samples the decoder's output lags behind the timestamps of its input.
    pub delay_samples: u32,
}

/// Decodes one stream of raw access units.
pub trait AacDecoder: Send {
    /// Appends the interleaved samples of one access unit to `pcm`; of one that cannot be read, what [`conceal`](Self::conceal)
    /// would.
    ///
    /// # Errors
    /// [`AudioError::Corrupt`]; nothing is appended and the next access unit may be tried.
    fn decode(&mut self, access_unit: &[u8], pcm: &mut Vec<i16>) -> Result<PcmFormat, AudioError>;

    /// Appends what may have stood in an access unit that is lost, made up from those before it; fades out if more are.
    ///
    /// # Errors
    /// [`AudioError::Corrupt`] if nothing was decoded before; nothing is appended.
    fn conceal(&mut self, pcm: &mut Vec<i16>) -> Result<PcmFormat, AudioError>;
}

/// Encodes AAC-LC, 48 kHz stereo.
pub trait AacEncoder: Send {
    /// Encodes exactly [`AAC_FRAME_SAMPLES`] interleaved stereo samples; appends the access unit that is ready, if one is.
    ///
    /// # Errors
    /// [`AudioError::Setup`] if the codec refuses to work.
    fn encode(&mut self, pcm: &[i16], access_unit: &mut Vec<u8>) -> Result<(), AudioError>;

    /// By how many samples access units lag behind what was put in.
    fn delay_samples(&self) -> u32;

    /// The AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
    fn config(&self) -> &[u8];
}

/// A decoder for the stream that `config` (an AudioSpecificConfig) describes.
///
/// # Errors
/// [`AudioError::BadConfig`] for a configuration that cannot be decoded, [`AudioError::NoAacCodec`] in a build without one.
pub fn aac_decoder(config: &[u8]) -> Result<Box<dyn AacDecoder>, AudioError> {
    if config.len() < 2 || config.len() > CONFIG_BYTES_MAX {
        return Err(AudioError::BadConfig);
    }
    #[cfg(feature = "aac-fdk")]
    return Ok(Box::new(super::aac_fdk::FdkDecoder::new(config)?));
    #[cfg(not(feature = "aac-fdk"))]
    Err(AudioError::NoAacCodec)
}

/// An encoder of about `bitrate_bps`.
///
/// # Errors
/// [`AudioError::Setup`] if the codec refuses the bitrate, [`AudioError::NoAacCodec`] in a build without one.
#[cfg_attr(not(feature = "aac-fdk"), allow(unused_variables))]
pub fn aac_encoder(bitrate_bps: u32) -> Result<Box<dyn AacEncoder>, AudioError> {
    #[cfg(feature = "aac-fdk")]
    return Ok(Box::new(super::aac_fdk::FdkEncoder::new(bitrate_bps)?));
    #[cfg(not(feature = "aac-fdk"))]
    Err(AudioError::NoAacCodec)
}
