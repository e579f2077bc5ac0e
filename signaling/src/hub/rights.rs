//! The end of what a ticket allows, on time.
//!
//! The regular tick looks a little ahead and has somebody wait for what ends before its next turn; so a member who leaves
//! early leaves no timer behind, however long his ticket was good.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use super::{Cell, Inner, TICK, unix_ms};

/// How far ahead an end is waited for. More than a tick, so that a late tick misses none.
const AHEAD: Duration = Duration::from_secs(2 * TICK.as_secs());

impl Inner {
    /// Sees to it that rights which end at `until`, if that is soon, end then. To be called for what is new; the tick does it
    /// for the rest.
    pub(super) fn watch_rights(self: &Arc<Self>, cell: &Arc<Mutex<Cell>>, until: Option<Instant>) {
        let Some(until) = until.filter(|until| until.saturating_duration_since(Instant::now()) <= AHEAD) else {
            return;
        };
        let (hub, cell) = (Arc::downgrade(self), Arc::downgrade(cell));
        tokio::spawn(async move {
            sleep_until(until.into()).await;
            let (Some(hub), Some(cell)) = (hub.upgrade(), cell.upgrade()) else { return };
            let next_end = hub.with_cell(&cell, |cell, out| {
                cell.room.end_rights(Instant::now(), out);
                cell.room.next_rights_end()
            });
            hub.watch_rights(&cell, next_end);
        });
    }
}

/// Unix seconds on the clock that does not jump. `None` beyond what it can say.
pub(super) fn instant_of(unix_s: u64) -> Option<Instant> {
    let left_ms = unix_s.saturating_mul(1000).saturating_sub(unix_ms());
    Instant::now().checked_add(Duration::from_millis(left_ms))
}
