//! Threads, tasks and clocks: the only callers of `io`, and where everything that is sans-IO is driven from.

pub mod by_destination;
mod dial;
pub mod direct;
pub mod egress;
pub mod feed;
mod handshakes;
pub mod ice_tcp;
pub mod ingest;
mod line;
pub mod mailbox;
pub mod relay;
mod roaming;
pub mod rtmp;
pub mod shard;
pub mod timers;
pub mod wire;
pub mod workers;
