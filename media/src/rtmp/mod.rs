//! RTMP as bytes in, events and bytes out: handshake, chunks, AMF0, sessions. No socket, no clock, no media format.

pub mod amf0;
pub mod chunk;
pub mod client;
pub mod handshake;
pub mod message;
pub mod server;
