//! System calls on sockets. With `buf` the only place where `unsafe` is allowed.

mod control;
pub mod gather;
mod name;
pub mod recv_batch;
pub mod send_batch;
pub mod udp;
