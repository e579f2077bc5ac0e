//! One datagram's worth of memory.

/// Longest datagram that is taken from the network, and longest packet that a ring holds. An Ethernet MTU; what is longer
/// was not made for the public internet and is refused.
pub const SLOT_BYTES: usize = 1500;

/// A fixed buffer and how much of it is filled. Slots are swapped, not copied: between the receive batch, the ring of an
/// up track and back.
pub struct Slot {
    len: u16,
    bytes: Box<[u8; SLOT_BYTES]>,
}

impl Slot {
    pub fn new() -> Self {
        Slot { len: 0, bytes: vec![0u8; SLOT_BYTES].into_boxed_slice().try_into().expect("the length is the array's") }
    }

    /// A slot that holds a copy of `data`, or `None` if it is too long.
    pub fn copy_of(data: &[u8]) -> Option<Self> {
        let mut slot = Slot::new();
        slot.fill(data).then_some(slot)
    }

    /// Replaces the contents; false, and nothing changed, if `data` is too long.
    pub fn fill(&mut self, data: &[u8]) -> bool {
        if data.len() > SLOT_BYTES {
            return false;
        }
        self.bytes[..data.len()].copy_from_slice(data);
        self.len = data.len() as u16;
        true
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// # Panics
    /// If `len` is more than [`SLOT_BYTES`].
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= SLOT_BYTES, "a slot holds {SLOT_BYTES} bytes");
        self.len = len as u16;
    }

    pub fn data(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        &mut self.bytes[..len]
    }

    /// The whole buffer, for a reader of the network to fill.
    pub fn space_mut(&mut self) -> &mut [u8; SLOT_BYTES] {
        &mut self.bytes
    }
}

impl Default for Slot {
    fn default() -> Self {
        Slot::new()
    }
}
