//! A bounded one-way ring of plaintext packets in or out of a room: the only other door of a room beside its transports.
//!
//! A pipe carries RTP packets and, for the clock, RTCP sender reports, exactly as they would be on the wire before
//! encryption. Slots travel: the writer takes an empty one, fills it and hands it over; the reader gives it back. Nothing
//! is allocated once the pipe is warm, and neither side ever waits for the other: a full pipe refuses, the writer counts.
//!
//! Between two shards, and from a bridge, a pipe is a [`relay`]: what is written becomes known to the reader once for a whole batch
//! ([`PipeWriter::announce`]), and the reader's wish for a key frame wakes the writer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crossbeam_queue::ArrayQueue;

use super::slot::Slot;
use crate::ids::Kind;

type Wake = Box<dyn Fn() + Send + Sync>;

struct Shared {
    full: ArrayQueue<(Kind, Slot)>,
    empty: ArrayQueue<Slot>,
    /// Tells the reader that there is something.
    wake: Wake,
    /// Whether each packet is announced on its own.
    eager: bool,
    /// Tells the writer that a key frame is wanted.
    wake_writer: Wake,
    /// Packets were written since the last announcement.
    unannounced: AtomicBool,
    key_wanted: AtomicBool,
    /// Who asks for a key frame gets one.
    makes_keys: AtomicBool,
    /// Somebody on the reader's side listens.
    sound_wanted: AtomicBool,
    /// What was kept before the pipe was made is in it.
    caught_up: AtomicBool,
    closed: AtomicBool,
}

/// The end that packets go into. Clones write into the same pipe.
#[derive(Clone)]
pub struct PipeWriter(Arc<Shared>);

/// The end that packets come out of. Dropping it closes the pipe.
pub struct PipeReader(Arc<Shared>);

/// Asks the writer's side of a pipe for key frames, on behalf of its reader.
#[derive(Clone)]
pub struct KeyWish(Arc<Shared>);

/// Makes a pipe for at most `capacity` packets. `wake` is called after each packet that was put in and when the writer
/// closes; it must be cheap and must not block.
pub fn pipe(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> (PipeWriter, PipeReader) {
    make(capacity, true, Box::new(wake), Box::new(|| {}))
}

/// Makes a pipe into a shard, whose writer says when he has written enough to wake it. `wake_reader` is called by [`PipeWriter::announce`] and when the writer closes,
/// `wake_writer` with the first wish for a key frame since the writer last looked.
pub fn relay(
    capacity: usize,
    wake_reader: impl Fn() + Send + Sync + 'static,
    wake_writer: impl Fn() + Send + Sync + 'static,
) -> (PipeWriter, PipeReader) {
    make(capacity, false, Box::new(wake_reader), Box::new(wake_writer))
}

/// Memory that a pipe for `capacity` packets of at most `packet_bytes` bytes comes to hold: full and empty places, and a
/// slot for each packet.
pub const fn pipe_bytes(capacity: usize, packet_bytes: usize) -> usize {
    // A place is the queue's own number beside what it holds.
    let place = size_of::<(Kind, Slot)>() + size_of::<Slot>() + 2 * size_of::<usize>();
    capacity * (place + packet_bytes)
}

fn make(capacity: usize, eager: bool, wake: Wake, wake_writer: Wake) -> (PipeWriter, PipeReader) {
    let shared = Arc::new(Shared {
        full: ArrayQueue::new(capacity),
        empty: ArrayQueue::new(capacity),
        wake,
        eager,
        wake_writer,
        unannounced: AtomicBool::new(false),
        key_wanted: AtomicBool::new(false),
        makes_keys: AtomicBool::new(false),
        sound_wanted: AtomicBool::new(false),
        caught_up: AtomicBool::new(false),
        closed: AtomicBool::new(false),
    });
    (PipeWriter(shared.clone()), PipeReader(shared))
}

impl PipeWriter {
    /// Puts a copy of `packet` in; false if the pipe is full, closed, or the packet longer than a slot.
    pub fn write(&self, kind: Kind, packet: &[u8]) -> bool {
        // A full pipe costs its writer no copy.
        if self.is_closed() || self.0.full.is_full() {
            return false;
        }
        let mut slot = self.0.empty.pop().unwrap_or_default();
        if !slot.fill(packet) {
            let _ = self.0.empty.push(slot);
            return false;
        }
        match self.0.full.push((kind, slot)) {
            Ok(()) if self.0.eager => (self.0.wake)(),
            Ok(()) => self.0.unannounced.store(true, Ordering::Relaxed),
            Err((_, slot)) => {
                let _ = self.0.empty.push(slot);
                return false;
            }
        }
        true
    }

    /// Wakes the reader of a [`relay`] if anything was written since this was last called: once for a whole batch.
    pub fn announce(&self) {
        // Only the writer touches this flag, and there is one at a time.
        if self.0.unannounced.load(Ordering::Relaxed) {
            self.0.unannounced.store(false, Ordering::Relaxed);
            (self.0.wake)();
        }
    }

    /// Says that what was kept from before the pipe was made is in it; what comes now is live.
    pub fn set_caught_up(&self) {
        self.0.caught_up.store(true, Ordering::Release);
        self.0.unannounced.store(true, Ordering::Relaxed);
    }

    /// Whether the reader asked for a key frame since this was last called.
    pub fn take_key_wanted(&self) -> bool {
        self.0.key_wanted.load(Ordering::Relaxed) && self.0.key_wanted.swap(false, Ordering::AcqRel)
    }

    /// Says whether asking for a key frame is of any use now. At first it is not said to be.
    pub fn set_makes_keys(&self, makes: bool) {
        // Looked at first, as it is said again and again.
        if self.0.makes_keys.load(Ordering::Relaxed) != makes {
            self.0.makes_keys.store(makes, Ordering::Relaxed);
        }
    }

    /// Whether anybody listens at the other end: sound that would have to be made for nobody need not be. At first nobody does.
    pub fn is_sound_wanted(&self) -> bool {
        self.0.sound_wanted.load(Ordering::Relaxed)
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
        self.0.want_key();
    }

    /// Tells the writer whether anybody listens.
    pub fn set_sound_wanted(&self, wanted: bool) {
        // Looked at first: the flag is said again in each turn, and a write would take the writer's cache line from it.
        if self.0.sound_wanted.load(Ordering::Relaxed) != wanted {
            self.0.sound_wanted.store(wanted, Ordering::Relaxed);
        }
    }

    /// A way to ask for key frames that outlives nothing and closes nothing.
    pub fn key_wish(&self) -> KeyWish {
        KeyWish(self.0.clone())
    }

    /// Whether all that was kept from before the pipe was made has been written. Look before reading.
    pub fn is_caught_up(&self) -> bool {
        self.0.caught_up.load(Ordering::Acquire)
    }

    /// Whether the writer closed (packets may still be waiting).
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }
}

impl KeyWish {
    pub fn want_key(&self) {
        self.0.want_key();
    }

    /// Whether the writer says that it makes key frames when it is asked.
    pub fn is_heard(&self) -> bool {
        self.0.makes_keys.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn want_key(&self) {
        if !self.key_wanted.swap(true, Ordering::AcqRel) {
            (self.wake_writer)();
        }
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

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

    #[test]
    fn a_relay_wakes_its_reader_once_for_a_batch_and_its_writer_once_for_a_wish() {
        let counts: [Arc<AtomicUsize>; 2] = Default::default();
        let [reads, wishes] = counts.clone();
        let (writer, reader) = relay(
            8,
            move || {
                reads.fetch_add(1, Ordering::Relaxed);
            },
            move || {
                wishes.fetch_add(1, Ordering::Relaxed);
            },
        );
        let woken = || counts.each_ref().map(|n| n.load(Ordering::Relaxed));
        writer.announce();
        assert_eq!(woken(), [0, 0], "nothing was written");
        for packet in [b"1", b"2", b"3"] {
            assert!(writer.write(Kind::Video, packet));
        }
        writer.announce();
        writer.announce();
        assert_eq!(woken(), [1, 0]);
        let wish = reader.key_wish();
        (0..40).for_each(|_| wish.want_key());
        reader.want_key();
        assert_eq!(woken(), [1, 1]);
        assert!(writer.take_key_wanted());
        assert!(!writer.take_key_wanted());
        assert!(!wish.is_heard());
        writer.set_makes_keys(true);
        assert!(wish.is_heard());
        assert!(!reader.is_caught_up());
        writer.set_caught_up();
        writer.announce();
        assert!(reader.is_caught_up());
        writer.close();
        assert_eq!(woken(), [3, 1]);
    }

    #[test]
    fn a_pipe_between_threads_loses_nothing_that_it_took_and_keeps_the_order() {
        let (writer, reader) = relay(64, || (), || ());
        let written = std::thread::spawn(move || {
            let mut taken = Vec::new();
            for number in 0..20_000u32 {
                if writer.write(Kind::Video, &number.to_be_bytes()) {
                    taken.push(number);
                }
            }
            writer.close();
            taken
        });
        let mut read = Vec::new();
        loop {
            let closed = reader.is_closed();
            while let Some((_, slot)) = reader.read() {
                read.push(u32::from_be_bytes(slot.data().try_into().unwrap()));
                reader.recycle(slot);
            }
            if closed {
                break;
            }
        }
        assert_eq!(read, written.join().unwrap());
    }
}
