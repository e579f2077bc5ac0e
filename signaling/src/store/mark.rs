//! The mark: how many commits were acknowledged, in a small file beside the store.
//!
//! The store's own checksums notice a damaged page. What they cannot notice is a store that is whole and *old*: one bit of
//! its header says which of two commits is the newest, and a backup put back over the wrong file is whole as well. The mark
//! is written after each commit and before its acknowledgement, so a store with fewer commits than the mark has lost
//! something that was promised.
//!
//! Two slots are written in turn, each with a checksum: a crash in the middle of writing one leaves the other, which is
//! one commit behind, and that is allowed.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use aws_lc_rs::digest::{SHA256, digest};

/// Number (little endian) and the first bytes of its SHA-256.
const SLOT_BYTES: usize = 16;
/// Far enough apart that one torn sector does not take both.
const SLOT_DISTANCE: u64 = 4096;

/// The open file.
#[derive(Debug)]
pub struct Mark(File);

impl Mark {
    /// Makes a mark that says 0, durably.
    pub fn create(path: &Path) -> io::Result<Mark> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mark = Mark(file);
        for slot in 0..2 {
            mark.0.write_all_at(&encode(0), slot * SLOT_DISTANCE)?;
        }
        mark.0.sync_all()?;
        Ok(mark)
    }

    pub fn open(path: &Path) -> io::Result<Mark> {
        Ok(Mark(OpenOptions::new().read(true).write(true).open(path)?))
    }

    /// The greatest number of a whole slot; `None` if neither is whole.
    pub fn read(&self) -> io::Result<Option<u64>> {
        let mut greatest = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            match self.0.read_exact_at(&mut bytes, slot * SLOT_DISTANCE) {
                Ok(()) => greatest = greatest.max(decode(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
        }
        Ok(greatest)
    }

    /// Raises the mark, durably.
    pub fn write(&self, commits: u64) -> io::Result<()> {
        self.0.write_all_at(&encode(commits), (commits % 2) * SLOT_DISTANCE)?;
        self.0.sync_data()
    }
}

fn encode(commits: u64) -> [u8; SLOT_BYTES] {
    let number = commits.to_le_bytes();
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&number);
    slot[8..].copy_from_slice(&digest(&SHA256, &number).as_ref()[..8]);
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<u64> {
    let number: [u8; 8] = slot[..8].try_into().ok()?;
    (encode(u64::from_le_bytes(number)) == *slot).then(|| u64::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greater_of_two_whole_slots_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mark");
        let mark = Mark::create(&path).unwrap();
        for commits in [1, 2, 3] {
            mark.write(commits).unwrap();
        }
        assert_eq!(Mark::open(&path).unwrap().read().unwrap(), Some(3));
        // Slot 1 holds 3: torn, the one before it counts.
        mark.0.write_all_at(b"x", SLOT_DISTANCE).unwrap();
        assert_eq!(mark.read().unwrap(), Some(2));
        mark.0.write_all_at(b"x", 0).unwrap();
        assert_eq!(mark.read().unwrap(), None);
    }
}
