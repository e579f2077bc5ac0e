//! Where a publisher's tags go in, whatever takes them on the other side.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use crate::bridge::tag::Tag;

/// In the place of a publisher's number: the stream is over.
pub const OVER: u64 = u64::MAX;

/// What stands behind an [`Inlet`]: takes tags of one publisher at a time, whom it knows by number.
pub trait Intake: Send + Sync {
    /// Takes a tag, and does with it what is to be done. False if it is not wanted from this publisher, or not any more.
    fn push(&self, publisher: u64, tag: Tag) -> bool;

    /// A publisher has brought what he has, for this moment.
    fn announce(&self);

    /// Of this publisher nothing more comes.
    fn leave(&self, publisher: u64);
}

/// Where a publisher's tags go in. Dropping it ends his part.
pub struct Inlet {
    intake: Arc<dyn Intake>,
    publisher: u64,
    present: watch::Receiver<u64>,
}

impl Inlet {
    /// `publisher`: his number; `present`: the number of him who publishes, [`OVER`] at the end of the stream.
    pub fn new(intake: Arc<dyn Intake>, publisher: u64, present: watch::Receiver<u64>) -> Inlet {
        Inlet { intake, publisher, present }
    }

    /// Takes a tag in. False if it was not wanted: the stream is over, the room is gone, or somebody else publishes.
    pub fn push(&self, tag: Tag) -> bool {
        self.intake.push(self.publisher, tag)
    }

    /// Has the room look at what was taken in since this was last called.
    pub fn announce(&self) {
        self.intake.announce();
    }

    /// Whether nothing more is wanted.
    pub fn is_closed(&self) -> bool {
        self.publisher == OVER || *self.present.borrow() != self.publisher
    }

    /// Ready once nothing more is wanted.
    pub async fn closed(&mut self) {
        if self.publisher != OVER {
            // An error means that the stream is gone altogether.
            let _ = self.present.wait_for(|present| *present != self.publisher).await;
        }
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.intake.leave(self.publisher);
    }
}
