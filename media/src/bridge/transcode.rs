//! AAC to Opus and Opus to AAC, once per stream however many listen.
//!
//! Positions are samples at 48 kHz on the server's time line ([`position_of_us`]). Each direction counts the samples that it
//! was given and accounts for what codecs and resampler delay, so that what leaves with a position is what was heard there.

mod aac_to_opus;
mod opus_to_aac;
#[cfg(all(test, feature = "aac-fdk"))]
mod quality_tests;
mod tally;
#[cfg(all(test, feature = "aac-fdk"))]
mod tests;

pub use aac_to_opus::AacToOpus;
pub use opus_to_aac::OpusToAac;
pub use tally::{DirectionCounts, Tally, TranscodeCounts};

/// Samples per channel of the Opus packets that are made: 20 ms, as browsers make them.
pub const OPUS_FRAME_SAMPLES: usize = 960;

/// Samples at 48 kHz of a time on our line.
pub fn position_of_us(us: i64) -> i64 {
    us * 6 / 125
}

/// The time on our line, in microseconds, of a position.
pub fn us_of_position(position: i64) -> i64 {
    position * 125 / 6
}
