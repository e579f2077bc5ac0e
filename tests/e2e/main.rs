//! The whole server over real sockets on loopback: what needs sockets, the wall clock, or both crates.

mod callbacks;
mod clients;
mod durable;
mod faces;
mod hls;
mod hls_codecs;
mod hostile;
mod house;
mod http;
mod http2;
mod load;
mod moving;
mod old_name;
mod old_wire;
mod open;
mod program;
mod refusals;
mod relay;
mod relay_kept;
mod relay_tls;
mod rtmp_hostile;
mod rtmps;
mod server;
mod shards;
mod streams;
mod takeover;
