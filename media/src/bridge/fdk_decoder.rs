//! The FDK's AAC decoder, with the one parameter that `fdk_aac::dec` does not let set.

use std::ptr::NonNull;

use fdk_aac_sys as sys;

use super::aac_codec::AudioError;

/// A lost access unit gets the spectrum of the one before it with other signs (`aacdecoder_lib.h`, `CONCEAL_NOISE`).
const CONCEAL_BY_NOISE: i32 = 1;

/// One decoder of raw access units.
#[derive(Debug)]
pub struct Handle(NonNull<sys::AAC_DECODER_INSTANCE>);

// SAFETY: an instance has no ties to the thread that made it, and is used through `&mut` alone.
unsafe impl Send for Handle {}

/// What was decoded last.
#[derive(Clone, Copy, Debug)]
pub struct Decoded {
    /// Per channel; 0 before anything was decoded.
    pub frames: usize,
    pub rate_hz: i32,
    pub channels: i32,
    /// By how many samples the output lags behind the input.
    pub delay_samples: u32,
}

impl Handle {
    /// A decoder of the stream that `config` (an AudioSpecificConfig) describes; more than `channels_max` channels are mixed
    /// down.
    ///
    /// The FDK's limiter is switched off: it looks 15 ms ahead, by which sound would come later than anywhere else, and takes a
    /// fifth of the time of decoding, for the sake of overloads of which other decoders make nothing either.
    ///
    /// What is lost is made up from what came before it alone. The FDK's own choice, to look at what comes behind it as well, gives
    /// all sound an access unit later: 21 ms at 48 kHz, 64 at 16.
    ///
    /// # Errors
    /// [`AudioError::BadConfig`] if the FDK does not take the configuration, [`AudioError::Setup`] if it takes nothing at all.
    pub fn new(config: &[u8], channels_max: i32) -> Result<Self, AudioError> {
        // SAFETY: plain values; the answer is an instance of ours, or null.
        let instance = unsafe { sys::aacDecoder_Open(sys::TRANSPORT_TYPE_TT_MP4_RAW, 1) };
        let handle = Handle(NonNull::new(instance).ok_or(AudioError::Setup)?);
        // Before the configuration, so that they count from the first access unit on.
        handle.set(sys::AACDEC_PARAM_AAC_PCM_MAX_OUTPUT_CHANNELS, channels_max)?;
        handle.set(sys::AACDEC_PARAM_AAC_PCM_LIMITER_ENABLE, 0)?;
        handle.set(sys::AACDEC_PARAM_AAC_CONCEAL_METHOD, CONCEAL_BY_NOISE)?;
        let (mut data, len) = (config.as_ptr().cast_mut(), config.len() as u32);
        // SAFETY: the pointer and the length are those of one slice, which the FDK reads and does not keep.
        let outcome = unsafe { sys::aacDecoder_ConfigRaw(handle.0.as_ptr(), &mut data, &len) };
        done(outcome, AudioError::BadConfig)?;
        Ok(handle)
    }

    fn set(&self, parameter: sys::AACDEC_PARAM, value: i32) -> Result<(), AudioError> {
        // SAFETY: the instance lives, the rest are plain values.
        done(unsafe { sys::aacDecoder_SetParam(self.0.as_ptr(), parameter, value) }, AudioError::Setup)
    }

    /// Takes the bytes of one access unit for [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`AudioError::Corrupt`] if they are more than the FDK's buffer holds.
    pub fn fill(&mut self, access_unit: &[u8]) -> Result<(), AudioError> {
        let (mut data, len) = (access_unit.as_ptr().cast_mut(), access_unit.len() as u32);
        let mut left = len;
        // SAFETY: the pointer and the length are those of one slice, of which the FDK makes a copy.
        done(unsafe { sys::aacDecoder_Fill(self.0.as_ptr(), &mut data, &len, &mut left) }, AudioError::Corrupt)
    }

    /// Decodes what was filled in to the beginning of `pcm`, interleaved.
    ///
    /// # Errors
    /// [`AudioError::Corrupt`] if it could not be read; `pcm` may have sound all the same, that was made up.
    pub fn decode(&mut self, pcm: &mut [i16]) -> Result<(), AudioError> {
        let len = i32::try_from(pcm.len()).unwrap_or(i32::MAX);
        // SAFETY: the FDK writes no more than the length that it is given.
        done(unsafe { sys::aacDecoder_DecodeFrame(self.0.as_ptr(), pcm.as_mut_ptr(), len, 0) }, AudioError::Corrupt)
    }

    pub fn last(&self) -> Decoded {
        // SAFETY: the answer points into the instance, which nobody changes meanwhile, and is never null.
        let info = unsafe { &*sys::aacDecoder_GetStreamInfo(self.0.as_ptr()) };
        Decoded {
            frames: usize::try_from(info.frameSize).unwrap_or(0),
            rate_hz: info.sampleRate,
            channels: info.numChannels,
            delay_samples: info.outputDelay,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: nobody else has the instance.
        unsafe { sys::aacDecoder_Close(self.0.as_ptr()) }
    }
}

fn done(outcome: sys::AAC_DECODER_ERROR, error: AudioError) -> Result<(), AudioError> {
    if outcome == sys::AAC_DECODER_ERROR_AAC_DEC_OK { Ok(()) } else { Err(error) }
}
