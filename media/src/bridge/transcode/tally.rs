//! How much is transcoded, for `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What the transcoders of all streams do, by direction.
#[derive(Debug, Default)]
pub struct TranscodeCounts {
    /// AAC of RTMP publishers to Opus.
    pub to_opus: Arc<DirectionCounts>,
    /// Opus of WebRTC publishers to AAC.
    pub to_aac: Arc<DirectionCounts>,
}

/// What the transcoders of one direction do.
#[derive(Debug, Default)]
pub struct DirectionCounts {
    running: AtomicU64,
    made: AtomicU64,
}

impl DirectionCounts {
    /// Transcoders at work now.
    pub fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Opus packets or AAC access units made since the start.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

/// One stream's share of the counts; what runs stops counting when this is dropped.
#[derive(Debug)]
pub struct Tally {
    counts: Arc<DirectionCounts>,
    running: bool,
    made: u64,
}

impl Tally {
    pub fn new(counts: Arc<DirectionCounts>) -> Tally {
        Tally { counts, running: false, made: 0 }
    }

    /// Notes whether the stream's transcoder runs, and how much the stream's transcoders made so far.
    pub fn note(&mut self, running: bool, made: u64) {
        match (self.running, running) {
            (false, true) => drop(self.counts.running.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.counts.running.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.running = running;
        if made > self.made {
            self.counts.made.fetch_add(made - self.made, Ordering::Relaxed);
            self.made = made;
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.note(false, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_add_up_and_those_that_end_run_no_more() {
        let counts = TranscodeCounts::default();
        let mut streams = [Tally::new(counts.to_opus.clone()), Tally::new(counts.to_opus.clone())];
        streams[0].note(true, 3);
        streams[0].note(true, 5);
        streams[1].note(true, 1);
        assert_eq!((counts.to_opus.running(), counts.to_opus.made(), counts.to_aac.running()), (2, 6, 0));
        streams[1].note(false, 1);
        assert_eq!((counts.to_opus.running(), counts.to_opus.made()), (1, 6));
        drop(streams);
        assert_eq!((counts.to_opus.running(), counts.to_opus.made()), (0, 6));
    }
}
