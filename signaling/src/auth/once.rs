//! privateMapKeys that were used, where an app lets each be used once.

use std::collections::BTreeSet;

use crate::code::Code;

/// What makes a privateMapKey this one: its expiry, and the SHA-256 of what is signed. Not of the signature: one text has
/// many good ECDSA signatures, and whoever holds one can make another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId {
    /// Unix seconds. First, so that a set of them is ordered by it.
    pub expires_at_s: u64,
    pub signed: [u8; 32],
}

/// The keys used and not expired yet.
#[derive(Debug, Default)]
pub struct SpentKeys(BTreeSet<KeyId>);

impl SpentKeys {
    /// Uses a key up.
    ///
    /// # Errors
    /// It was used before; or `max` keys are remembered, which refuses rather than forgets.
    pub fn spend(&mut self, now_s: u64, key: KeyId, max: usize) -> Result<(), Code> {
        while self.0.first().is_some_and(|first| first.expires_at_s < now_s) {
            self.0.pop_first();
        }
        if self.0.contains(&key) {
            return Err(Code::PrivateMapKeyUsed);
        }
        if self.0.len() >= max {
            return Err(Code::MediaLimit);
        }
        self.0.insert(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8, expires_at_s: u64) -> KeyId {
        KeyId { expires_at_s, signed: [n; 32] }
    }

    #[test]
    fn a_key_is_used_once() {
        let mut spent = SpentKeys::default();
        assert_eq!(spent.spend(100, key(1, 200), 10), Ok(()));
        assert_eq!(spent.spend(200, key(1, 200), 10), Err(Code::PrivateMapKeyUsed));
        assert_eq!(spent.spend(200, key(2, 200), 10), Ok(()));
    }

    #[test]
    fn a_full_memory_refuses_until_a_key_expires() {
        let mut spent = SpentKeys::default();
        for n in 0..10 {
            assert_eq!(spent.spend(100, key(n, 200 + u64::from(n)), 10), Ok(()), "{n}");
        }
        assert_eq!(spent.spend(200, key(10, 300), 10), Err(Code::MediaLimit), "the first is still good");
        assert_eq!(spent.spend(201, key(10, 300), 10), Ok(()));
        assert_eq!(spent.0.len(), 10);
    }
}
