//! One secured path to one remote endpoint: ICE-lite, DTLS, SRTP, transport-wide feedback. Knows no room.

pub mod dtls;
pub mod ice;
pub mod srtp;
pub mod stun;
pub mod twcc;
