//! A bounded one-way ring of plaintext packets in or out of a room: the only other door of a room beside its transports.
//!
//! A pipe carries RTP packets and, for the clock, RTCP sender reports, exactly as they would be on the wire before
//! encryption. Slots travel: the writer takes an empty one, fills it and hands it over; the reader gives it back. Nothing
//! is allocated once the pipe is warm, and neither side ever waits for the other: a full pipe refuses, the writer counts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crossbeam_queue::ArrayQueue;

use super::slot::Slot;
use crate::ids::Kind;

struct Shared {
    full: ArrayQueue<(Kind, Slot)>,
    empty: ArrayQueue<Slot>,
    wake: Box<dyn Fn() + Send + Sync>,
    key_wanted: AtomicBool,
    closed: AtomicBool,
}

/// The end that packets go into. Clones write into the same pipe.
#[derive(Clone)]
pub struct PipeWriter(Arc<Shared>);

/// The end that packets come out of. Dropping it closes the pipe.
pub struct PipeReader(Arc<Shared>);

/// Makes a pipe for at most `capacity` packets. `wake` is called after each packet that was put in and when the writer
/// closes; it must be cheap and must not block.
pub fn pipe(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> (PipeWriter, PipeReader) {
    let shared = Arc::new(Shared {
        full: ArrayQueue::new(capacity),
        empty: ArrayQueue::new(capacity),
        wake: Box::new(wake),
        key_wanted: AtomicBool::new(false),
        closed: AtomicBool::new(false),
    });
    (PipeWriter(shared.clone()), PipeReader(shared))
}

impl PipeWriter {
    /// Puts a copy of `packet` in; false if the pipe is full, closed, or the packet longer than a slot.
    pub fn write(&self, kind: Kind, packet: &[u8]) -> bool {
        if self.is_closed() {
            return false;
        }
        let mut slot = self.0.empty.pop().unwrap_or_default();
        if !slot.fill(packet) {
            let _ = self.0.empty.push(slot);
            return false;
        }
        match self.0.full.push((kind, slot)) {
            Ok(()) => {
                (self.0.wake)();
                true
            }
            Err((_, slot)) => {
                let _ = self.0.empty.push(slot);
                false
            }
        }
    }

    /// Whether the reader asked for a key frame since this was last called.
    pub fn take_key_wanted(&self) -> bool {
        self.0.key_wanted.load(Ordering::Relaxed) && self.0.key_wanted.swap(false, Ordering::Relaxed)
    }

    /// Says that nothing more will come. What is in the pipe can still be read.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        (self.0.wake)();
    }

    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }
}

impl PipeReader {
    /// The next packet, if there is one. Give the slot back with [`recycle`](Self::recycle).
    pub fn read(&self) -> Option<(Kind, Slot)> {
        self.0.full.pop()
    }

    pub fn recycle(&self, slot: Slot) {
        let _ = self.0.empty.push(slot);
    }

    /// Asks the writer's side for a key frame.
    pub fn want_key(&self) {
        self.0.key_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether the writer closed (packets may still be waiting).
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_refuses_and_a_read_makes_room() {
        let (writer, reader) = pipe(2, || ());
        assert!(writer.write(Kind::Audio, b"1"));
        assert!(writer.write(Kind::Video, b"2"));
        assert!(!writer.write(Kind::Audio, b"3"));
        let (kind, slot) = reader.read().unwrap();
        assert_eq!((kind, slot.data()), (Kind::Audio, &b"1"[..]));
        reader.recycle(slot);
        assert!(writer.write(Kind::Audio, b"4"));
    }

    #[test]
    fn dropping_the_reader_closes_the_pipe() {
        let (writer, reader) = pipe(2, || ());
        drop(reader);
        assert!(!writer.write(Kind::Audio, b"1"));
    }
}
