//! Datagrams of DTLS that wait until the media of a turn has left: a signature takes as long as a hundred packets.

use std::collections::VecDeque;

use crate::{drop_reason::DropReason, transport::Path};

/// What waits, in the order of its arrival.
pub struct Handshakes {
    waiting: VecDeque<(Path, Box<[u8]>)>,
    waiting_max: usize,
}

impl Handshakes {
    pub fn new(waiting_max: usize) -> Self {
        Handshakes { waiting: VecDeque::new(), waiting_max }
    }

    /// # Errors
    /// [`DropReason::HandshakesFull`] if as many wait as may.
    pub fn push(&mut self, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        if self.waiting.len() >= self.waiting_max {
            return Err(DropReason::HandshakesFull);
        }
        self.waiting.push_back((path, datagram.into()));
        Ok(())
    }

    pub fn pop(&mut self) -> Option<(Path, Box<[u8]>)> {
        self.waiting.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
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
        let mut handshakes = Handshakes::new(300);
        for n in 0..300 {
            assert_eq!(handshakes.push(path, &(n as u16).to_be_bytes()), Ok(()));
        }
        assert_eq!(handshakes.push(path, b"over"), Err(DropReason::HandshakesFull));
        assert_eq!(handshakes.pop().map(|(_, datagram)| datagram), Some([0, 0].into()), "in the order of arrival");
        assert_eq!(handshakes.push(path, b"again"), Ok(()));
    }
}
