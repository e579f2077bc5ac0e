//! The outside wires: each turns what its clients send into the requests of [`crate::request`] or the sessions of
//! [`crate::hub`], and the answers back. Nothing is decided here.

pub mod cloud;
pub mod im;
pub mod native;
pub mod trtc;
pub mod weapp;
pub mod whip;
