//! AAC by Fraunhofer's FDK (crate `fdk-aac`): LC, HE and HE v2 in, LC out.

use fdk_aac::enc::{AudioObjectType, BitRate, ChannelMode, Encoder, EncoderParams, Transport};

use super::{
    aac_codec::{AAC_FRAME_SAMPLES, ACCESS_UNIT_BYTES_MAX, AacDecoder, AacEncoder, AudioError, PcmFormat},
    fdk_decoder::Handle,
};

/// Samples of the longest decoded access unit: 2,048 (HE-AAC) of two channels.
const DECODED_SAMPLES_MAX: usize = 2 * 2_048;

/// No access unit: a channel element that ends in its first byte.
const UNREADABLE: &[u8] = &[0];

/// An FDK decoder of raw access units.
pub struct FdkDecoder {
    decoder: Handle,
    pcm: Vec<i16>,
}

impl FdkDecoder {
    /// # Errors
    /// [`AudioError::BadConfig`] if the FDK does not take the AudioSpecificConfig.
    pub fn new(config: &[u8]) -> Result<Self, AudioError> {
        Ok(FdkDecoder { decoder: Handle::new(config, 2)?, pcm: vec![0; DECODED_SAMPLES_MAX] })
    }
}

impl AacDecoder for FdkDecoder {
    fn decode(&mut self, access_unit: &[u8], pcm: &mut Vec<i16>) -> Result<PcmFormat, AudioError> {
        if access_unit.is_empty() || access_unit.len() > ACCESS_UNIT_BYTES_MAX {
            return Err(AudioError::Corrupt);
        }
        let is_first = self.decoder.last().frames == 0;
        self.decoder.fill(access_unit)?;
        // The decoder conceals what it cannot read: it says so with an error, and gives samples all the same.
        match self.decoder.decode(&mut self.pcm) {
            Err(_) if is_first => Err(AudioError::Corrupt),
            _ => self.take(pcm),
        }
    }

    fn conceal(&mut self, pcm: &mut Vec<i16>) -> Result<PcmFormat, AudioError> {
        // Nothing has been decoded yet, so there is nothing to go on from.
        if self.decoder.last().frames == 0 {
            return Err(AudioError::Corrupt);
        }
        self.decoder.fill(UNREADABLE)?;
        let _ = self.decoder.decode(&mut self.pcm);
        self.take(pcm)
    }
}

impl FdkDecoder {
    /// Hands out what was decoded last.
    fn take(&self, pcm: &mut Vec<i16>) -> Result<PcmFormat, AudioError> {
        let last = self.decoder.last();
        let (rate_hz, channels) = (u32::try_from(last.rate_hz), usize::try_from(last.channels));
        match (rate_hz, channels) {
            (Ok(rate_hz @ 7_350..=96_000), Ok(channels @ 1..=2)) => {
                let decoded = self.pcm.get(..last.frames * channels).ok_or(AudioError::Corrupt)?;
                pcm.extend_from_slice(decoded);
                Ok(PcmFormat { rate_hz, channels, delay_samples: last.delay_samples })
            }
            _ => Err(AudioError::Corrupt),
        }
    }
}

/// An FDK encoder of AAC-LC, 48 kHz stereo.
pub struct FdkEncoder {
    encoder: Encoder,
    config: Vec<u8>,
    delay_samples: u32,
    output: Vec<u8>,
}

impl FdkEncoder {
    /// # Errors
    /// [`AudioError::Setup`] if the FDK does not take the bitrate.
    pub fn new(bitrate_bps: u32) -> Result<Self, AudioError> {
        let encoder = Encoder::new(EncoderParams {
            bit_rate: BitRate::Cbr(bitrate_bps),
            sample_rate: 48_000,
            transport: Transport::Raw,
            channels: ChannelMode::Stereo,
            audio_object_type: AudioObjectType::Mpeg4LowComplexity,
        })
        .map_err(|_| AudioError::Setup)?;
        let info = encoder.info().map_err(|_| AudioError::Setup)?;
        let config = info.confBuf.get(..info.confSize as usize).ok_or(AudioError::Setup)?.to_vec();
        if info.frameLength as usize != AAC_FRAME_SAMPLES || config.len() < 2 {
            return Err(AudioError::Setup);
        }
        let output = vec![0; (info.maxOutBufBytes as usize).max(ACCESS_UNIT_BYTES_MAX)];
        Ok(FdkEncoder { encoder, config, delay_samples: info.nDelay, output })
    }
}

impl AacEncoder for FdkEncoder {
    fn encode(&mut self, pcm: &[i16], access_unit: &mut Vec<u8>) -> Result<(), AudioError> {
        let done = self.encoder.encode(pcm, &mut self.output).map_err(|_| AudioError::Setup)?;
        if done.input_consumed != pcm.len() {
            return Err(AudioError::Setup);
        }
        access_unit.extend_from_slice(self.output.get(..done.output_size).unwrap_or_default());
        Ok(())
    }

    fn delay_samples(&self) -> u32 {
        self.delay_samples
    }

    fn config(&self) -> &[u8] {
        &self.config
    }
}
