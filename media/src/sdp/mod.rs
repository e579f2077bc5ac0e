//! SDP text to types and back, and what two sides agree on (RFC 8866, 8829, 3264). No socket, no key.
//!
//! Three conversations are known here: a publisher offers and we answer ([`answer_publish`]); we offer to a subscriber and
//! it answers ([`DownSession`]); a player offers to receive and we answer ([`answer_play`]). In all of them we are
//! ICE-lite and the DTLS server, everything is in one BUNDLE, and an m-line carries one codec and its retransmissions.
//! The other end of the first and the last, for the load tool and for tests, is in [`client`].

pub mod client;
pub mod description;
pub mod down;
pub mod error;
mod format;
pub mod fragment;
pub mod negotiate;
pub mod parse;
pub mod play;
pub mod publish;
pub mod write;

pub use down::DownSession;
pub use error::SdpError;
pub use negotiate::{
    Candidate, DownMedia, DownWanted, Feedback, Format, LocalSide, PlayNegotiated, Policy, PublishNegotiated,
    RemoteSide, UpMedia,
};
pub use play::answer_play;
pub use publish::answer_publish;

#[cfg(test)]
mod tests;
