//! SDP text to types and back, and what two sides agree on (RFC 8866, 8829, 3264). No socket, no key.

pub mod negotiate;
pub mod parse;
pub mod write;
