//! Samples of any rate to 48 kHz, the only rate that Opus over RTP counts in (RFC 7587 §4.1).

use rubato::{Fft, FixedSync, Resampler, WindowFunction, audioadapter_buffers::direct::InterleavedSlice};

use super::aac_codec::AudioError;

/// The rate that comes out.
pub const OUTPUT_RATE_HZ: u32 = 48_000;

/// Blocks per second: 10 ms each, or a little more where the ratio asks for it. Longer blocks cut closer to the edge of the
/// band; shorter ones delay less (half a block).
const BLOCKS_PER_SECOND: usize = 100;

/// Resamples interleaved samples of 16 bits to 48 kHz; hands them on as they are if they have that rate already.
pub struct To48k {
    channels: usize,
    fft: Option<Fft<f32>>,
    /// Interleaved samples that do not fill a block yet.
    waiting: Vec<f32>,
    block: Vec<f32>,
}

impl To48k {
    /// # Errors
    /// [`AudioError::Setup`] for a rate of zero.
    pub fn new(rate_hz: u32, channels: usize) -> Result<Self, AudioError> {
        let mut resampler = To48k { channels, fft: None, waiting: Vec::new(), block: Vec::new() };
        if rate_hz != OUTPUT_RATE_HZ {
            let rate = rate_hz as usize;
            let fft = Fft::new_custom(
                rate,
                OUTPUT_RATE_HZ as usize,
                (rate / BLOCKS_PER_SECOND).max(1),
                1,
                channels,
                WindowFunction::BlackmanHarris2,
                FixedSync::Both,
            )
            .map_err(|_| AudioError::Setup)?;
            resampler.block = vec![0.0; fft.output_frames_max() * channels];
            resampler.fft = Some(fft);
        }
        Ok(resampler)
    }

    /// By how many samples of 48 kHz the output lags behind the input.
    pub fn delay_samples(&self) -> i64 {
        self.fft.as_ref().map_or(0, |fft| fft.output_delay() as i64)
    }

    /// Appends to `output` what whole blocks give.
    pub fn push(&mut self, input: &[i16], output: &mut Vec<i16>) {
        let Some(fft) = &mut self.fft else {
            return output.extend_from_slice(input);
        };
        self.waiting.extend(input.iter().map(|s| f32::from(*s)));
        let mut used = 0;
        loop {
            let frames = fft.input_frames_next();
            let Some(block_in) = self.waiting.get(used..used + frames * self.channels) else { break };
            used += block_in.len();
            let frames_out = self.block.len() / self.channels;
            let written = InterleavedSlice::new(block_in, self.channels, frames).ok().and_then(|source| {
                let mut sink = InterleavedSlice::new_mut(&mut self.block, self.channels, frames_out).ok()?;
                Some(fft.process_into_buffer(&source, &mut sink, None).ok()?.1)
            });
            // The slices were cut to what the resampler asked for, so nothing can be refused.
            let samples = written.unwrap_or(0) * self.channels;
            // A cast from float to integer saturates.
            output.extend(self.block[..samples].iter().map(|s| s.round() as i16));
        }
        self.waiting.drain(..used);
    }

    /// Forgets what was put in, as at a break in the stream.
    pub fn reset(&mut self) {
        self.waiting.clear();
        if let Some(fft) = &mut self.fft {
            fft.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aac_rate_gives_its_tone_at_48_khz_after_the_stated_delay() {
        for rate in
            [7_350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000]
        {
            for channels in [1, 2] {
                let mut resampler = To48k::new(rate, channels).unwrap();
                let tone =
                    |n: usize, rate: u32| (n as f64 * 500.0 * std::f64::consts::TAU / f64::from(rate)).sin() * 10_000.0;
                let mut output = Vec::new();
                let input: Vec<i16> = (0..rate as usize).flat_map(|n| vec![tone(n, rate) as i16; channels]).collect();
                input.chunks(1024 * channels).for_each(|chunk| resampler.push(chunk, &mut output));
                let frames = output.len() / channels;
                assert!((46_000..=48_000).contains(&frames), "{rate} Hz: {frames}");
                let delay = resampler.delay_samples() as usize;
                for n in 2_000..frames {
                    let error = f64::from(output[n * channels]) - tone(n - delay, 48_000);
                    // Half an input sample is lost where the block's length is odd.
                    let tolerance = 150.0 + 16_000_000.0 / f64::from(rate);
                    assert!(error.abs() < tolerance, "{rate} Hz, {channels} channels, sample {n}: off by {error}");
                }
            }
        }
    }
}
