//! The forwarding core of roomcast: transports, rooms of tracks, and the bridge between RTP and RTMP.
//!
//! The door of the crate is small on purpose: [`Command`]s go in, [`Event`]s come out, both over bounded channels.
//! Media knows rooms, streams and transports by number only; names, tickets and JSON live in `signaling`.

pub mod bridge;
pub mod buf;
pub mod codec;
pub mod command;
pub mod config;
pub mod control;
pub mod driver;
pub mod drop_reason;
pub mod flv;
pub mod forward;
pub mod hls;
pub mod ids;
pub mod inlet;
pub mod io;
pub mod outlet;
pub mod rtmp;
pub mod rtp;
pub mod sdp;
pub mod sfu;
pub mod transport;
pub mod units;

pub use command::{Command, Event, Refusal, Reply};
pub use ids::{Kind, MemberId, RoomId, StreamId, TrackId, TransportId};
