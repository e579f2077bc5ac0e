//! RTP and RTCP: bytes to fields and back (RFC 3550, 4585, 5104, 4588, 8285). No memory of the past.

pub mod ext;
pub mod feedback;
pub mod packet;
pub mod rtcp;
pub mod rtx;
