//! Where bytes rest: slots, batches of them, rings by sequence number, pipes in and out of a room. With `io` the only place
//! where `unsafe` is allowed; nothing here knows what the bytes mean.

pub mod pipe;
pub mod ring;
pub mod slot;
