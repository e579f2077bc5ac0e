//! One protocol's packets to another's, by way of frames on one clock per publisher. No socket, no thread.

pub mod aac_codec;
#[cfg(feature = "aac-fdk")]
mod aac_fdk;
pub mod assemble;
#[cfg(all(test, feature = "aac-fdk"))]
mod chain_tests;
pub mod clock;
pub mod drift;
#[cfg(test)]
pub(crate) mod enhanced_tests;
#[cfg(feature = "aac-fdk")]
mod fdk_decoder;
#[cfg(all(test, feature = "aac-fdk"))]
pub(crate) mod fixture;
pub mod hold;
pub mod packetize;
#[cfg(feature = "reencode")]
pub mod reencode;
pub mod resample;
pub mod room_to_flv;
pub mod rtmp_to_room;
pub mod tag;
pub mod transcode;
