//! Datagrams of DTLS that wait until the media of a turn has left: a signature takes as long as a hundred packets.

use std::collections::VecDeque;

use crate::{drop_reason::DropReason, transport::Path};

/// Datagrams handled in one turn. The dearest takes 0.13 ms (`benches/handshake.rs`), so that a storm of joins delays packets
/// by about half a millisecond; more would finish it sooner by as much as packets wait longer.
pub const PER_TURN: usize = 4;
/// Datagrams that may wait; what comes on top is lost, and repeated by its sender. A second's work, and 6 MB at most.
pub const WAITING_MAX: usize = 4096;

/// What waits, in the order of its arrival.
#[derive(Default)]
pub struct Handshakes(VecDeque<(Path, Box<[u8]>)>);

impl Handshakes {
    /// # Errors
    /// [`DropReason::HandshakesFull`] if [`WAITING_MAX`] are waiting.
    pub fn push(&mut self, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        if self.0.len() >= WAITING_MAX {
            return Err(DropReason::HandshakesFull);
        }
        self.0.push_back((path, datagram.into()));
        Ok(())
    }

    pub fn pop(&mut self) -> Option<(Path, Box<[u8]>)> {
        self.0.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Via;

    #[test]
    fn as_many_wait_as_may_and_no_more() {
        let path =
            Path { remote: "192.0.2.2:5".parse().unwrap(), local_ip: "192.0.2.1".parse().unwrap(), via: Via::Udp };
        let mut handshakes = Handshakes::default();
        for n in 0..WAITING_MAX {
            assert_eq!(handshakes.push(path, &(n as u16).to_be_bytes()), Ok(()));
        }
        assert_eq!(handshakes.push(path, b"over"), Err(DropReason::HandshakesFull));
        assert_eq!(handshakes.pop().map(|(_, datagram)| datagram), Some([0, 0].into()), "in the order of arrival");
        assert_eq!(handshakes.push(path, b"again"), Ok(()));
    }
}
