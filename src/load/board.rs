//! What all clients of a run write into, and the entry of each. Everything is on one thread: plain cells.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use super::{LoadError, histogram::Histogram};

/// A client that has no media this long after it began has failed; so has the run if none gets any.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Reasons of failure that are kept; more would be the same again.
const REASONS_MAX: usize = 5;

/// Counters only ever grow.
pub struct Board {
    pub packets: Cell<u64>,
    pub bytes: Cell<u64>,
    /// By the sequence numbers, how many packets there should be in all, and how many of these came.
    pub expected: Cell<u64>,
    pub received: Cell<u64>,
    /// Packets that came behind one with a higher number.
    pub reordered: Cell<u64>,
    /// Packets that were opened and checked, and those of them that could not be.
    pub verified: Cell<u64>,
    pub broken: Cell<u64>,
    pub joins: RefCell<Histogram>,
    pub first_frames: RefCell<Histogram>,
    pub delays: RefCell<Histogram>,
    /// Clients that came in, ever.
    pub joined: Cell<usize>,
    /// Clients that have ended, before or after they came in, and those that had come in.
    pub ended: Cell<usize>,
    pub ended_joined: Cell<usize>,
    /// Clients that ended by an error.
    pub failed: Cell<usize>,
    /// Streams of which the first picture was whole.
    pub pictured: Cell<usize>,
    reasons: RefCell<Vec<String>>,
}

/// One client's entry.
pub struct Seat {
    board: Rc<Board>,
    began: Instant,
    joined: Cell<bool>,
}

impl Board {
    pub fn new() -> Rc<Board> {
        Rc::new(Board {
            packets: Cell::new(0),
            bytes: Cell::new(0),
            expected: Cell::new(0),
            received: Cell::new(0),
            reordered: Cell::new(0),
            verified: Cell::new(0),
            broken: Cell::new(0),
            joins: RefCell::new(Histogram::new()),
            first_frames: RefCell::new(Histogram::new()),
            delays: RefCell::new(Histogram::new()),
            joined: Cell::new(0),
            ended: Cell::new(0),
            ended_joined: Cell::new(0),
            failed: Cell::new(0),
            pictured: Cell::new(0),
            reasons: RefCell::new(Vec::new()),
        })
    }

    /// Clients that are in.
    pub fn present(&self) -> usize {
        self.joined.get() - self.ended_joined.get()
    }

    /// Packets that should have come and did not.
    pub fn lost(&self) -> u64 {
        self.expected.get().saturating_sub(self.received.get())
    }

    /// The first reasons of failure, each once.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons.borrow().clone()
    }
}

impl Seat {
    /// A client that begins now.
    pub fn new(board: Rc<Board>) -> Rc<Seat> {
        Rc::new(Seat { board, began: Instant::now(), joined: Cell::new(false) })
    }

    /// The client is in, if it was not yet.
    pub fn join(&self) {
        self.join_before(Duration::ZERO);
    }

    /// The client was in so long ago already, if it was not before.
    pub fn join_before(&self, ago: Duration) {
        if !self.joined.replace(true) {
            self.board.joins.borrow_mut().add(self.began.elapsed().saturating_sub(ago).as_micros() as u64);
            add(&self.board.joined, 1);
        }
    }

    /// Counts one packet or message.
    pub fn packet(&self, bytes: usize) {
        add(&self.board.packets, 1);
        add(&self.board.bytes, bytes as u64);
    }

    /// The first picture (or sound) of a stream that was asked for at `since` is whole, and was so long ago already.
    pub fn first_frame(&self, since: Instant, ago: Duration) {
        self.board.first_frames.borrow_mut().add(since.elapsed().saturating_sub(ago).as_micros() as u64);
        add(&self.board.pictured, 1);
    }

    /// Adds to the account of sequence numbers.
    pub fn sequence(&self, expected: u64, received: u64, reordered: bool) {
        add(&self.board.expected, expected);
        add(&self.board.received, received);
        add(&self.board.reordered, u64::from(reordered));
    }

    /// A packet was opened, or could not be.
    pub fn verified(&self, good: bool) {
        add(if good { &self.board.verified } else { &self.board.broken }, 1);
    }

    /// Something that was sent at `sent_us` came in at `now_us`, both Unix time.
    pub fn delay(&self, sent_us: u64, now_us: u64) {
        // What came before it was sent is of another machine, whose clock is another.
        if now_us >= sent_us {
            self.board.delays.borrow_mut().add(now_us - sent_us);
        }
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    pub fn is_waiting(&self) -> bool {
        !self.joined.get()
    }

    /// The client waited long enough.
    pub fn is_overdue(&self) -> bool {
        !self.joined.get() && self.began.elapsed() > JOIN_TIMEOUT
    }

    /// The client is gone.
    pub fn end(&self, outcome: Result<(), LoadError>) {
        add(&self.board.ended, 1);
        if self.joined.get() {
            add(&self.board.ended_joined, 1);
        }
        if let Err(LoadError(reason)) = outcome {
            add(&self.board.failed, 1);
            let mut reasons = self.board.reasons.borrow_mut();
            if reasons.len() < REASONS_MAX && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
}

fn add<T: Copy + std::ops::Add<Output = T>>(counter: &Cell<T>, amount: T) {
    counter.set(counter.get() + amount);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_counts_once_where_once_is_meant() {
        let board = Board::new();
        let (one, two) = (Seat::new(board.clone()), Seat::new(board.clone()));
        one.join();
        one.join();
        assert_eq!((board.joined.get(), board.present()), (1, 1));
        two.end(Err(LoadError::new("no")));
        Seat::new(board.clone()).end(Err(LoadError::new("no")));
        one.end(Ok(()));
        assert_eq!((board.ended.get(), board.failed.get(), board.present()), (3, 2, 0));
        assert_eq!(board.reasons(), ["no"]);
    }

    #[test]
    fn what_arrives_before_it_was_sent_is_no_delay() {
        let board = Board::new();
        let seat = Seat::new(board.clone());
        seat.delay(1_000, 999);
        assert_eq!(board.delays.borrow().percentile_ms(50.0), None);
        seat.delay(1_000, 1_190);
        assert_eq!(board.delays.borrow().percentile_ms(50.0), Some(0.2));
    }
}
