//! Who gets which packet. Knows no socket, no key and no clock of its own.

pub mod down_track;
pub mod keyframe;
pub mod nack;
mod padding;
pub mod room;
pub mod seq_map;
pub mod speaker;
pub mod up_index;
pub mod up_track;
