//! System calls on sockets. With `buf` the only place where `unsafe` is allowed.

pub mod gather;
pub mod recv_batch;
pub mod send_batch;
pub mod udp;
