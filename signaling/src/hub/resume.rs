//! Members who lose their connection and come back.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, Weak, atomic::Ordering},
    time::Instant,
};

use media::MemberId;
use tracing::info;

use super::{Cell, Comeback, Hub, Inner, Seat, reply_text, session::random_name};
use crate::{
    code::{Code, Fault},
    link::Link,
    message::{Entered, LeaveReason, OkBody, ResumeOffer, Resumed},
    request::Resume,
};

impl Hub {
    /// A WebSocket broke without a word. Its member stays for the grace time, with all his media, and the others notice
    /// nothing unless he does not come back. `heard_at`: when he was heard last; also with the grace time he does not stay
    /// longer than somebody who is silent.
    pub fn lose(&self, seat: &Seat, heard_at: Instant) {
        let config = &self.0.config;
        let silent_for = heard_at.elapsed();
        let grace = config.resume_within.min(config.dead_after.saturating_sub(silent_for));
        let waits = self.0.with_seat(seat, |cell, out| {
            if grace.is_zero() || self.0.closing.load(Ordering::Relaxed) {
                cell.room.leave(seat.member, LeaveReason::Disconnected, None, out);
                return false;
            }
            if let Some(line) = cell.lines.get_mut(&seat.member) {
                line.cut();
            }
            cell.room.lost(seat.member, Instant::now() + grace);
            info!(app = cell.key.0, room = %cell.key.1, member = %seat.member, "connection lost");
            true
        });
        if waits == Some(true) {
            let (hub, cell) = (Arc::downgrade(&self.0), Arc::downgrade(&seat.cell));
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                if let (Some(hub), Some(cell)) = (hub.upgrade(), cell.upgrade()) {
                    hub.with_cell(&cell, |cell, out| cell.room.tick(Instant::now(), out));
                }
            });
        }
    }

    /// Gives a member another connection. The answer and everything that he missed are in its queue before anything new. A
    /// connection of his that still stands is closed.
    ///
    /// # Errors
    /// [`Code::ResumeRefused`] if there is no such member any more, or too much was missed; he may enter anew.
    pub fn resume(&self, id: u64, resume: &Resume, link: &Link, remote: Option<IpAddr>) -> Result<Seat, Fault> {
        if self.0.closing.load(Ordering::Relaxed) {
            return Err(Code::ShuttingDown.into());
        }
        self.0.may_try(remote)?;
        let found = self.0.resumable.get(&resume.token).map(|back| (back.cell.upgrade(), back.member));
        // No guess is counted: nobody finds 128 random bits, and after a restart all of an office's members come with tokens
        // that are not known any more.
        let Some((Some(cell), member)) = found else { return Err(Code::ResumeRefused.into()) };
        let generation = self.0.with_cell(&cell, |cell, out| {
            let line = cell.lines.get_mut(&member).ok_or(Code::ResumeRefused)?;
            let missed = line.after(resume.seq).ok_or(Code::ResumeRefused)?;
            let resumed = Resumed { last_request: line.last_request, replayed: missed.len() as u64 };
            line.take_over(link.clone(), &Code::Resumed.into());
            let generation = line.generation;
            cell.room.came_back(member);
            let answer = reply_text(id, Ok(OkBody::Resumed(resumed)));
            if line.replay(answer, missed).is_err() {
                cell.room.leave(member, LeaveReason::Disconnected, Some(Code::TooSlow), out);
                return Err(Fault::from(Code::TooSlow));
            }
            cell.room.tell_speakers(member, out);
            info!(app = cell.key.0, room = %cell.key.1, %member, "connection resumed");
            Ok(generation)
        })?;
        Ok(Seat { cell, member, generation, remote })
    }
}

impl Inner {
    /// Draws the token by which a member may come back, and tells him in the answer to `enter`.
    pub(super) fn offer_resume(
        &self,
        cell: &Weak<Mutex<Cell>>,
        member: MemberId,
        entered: &mut Entered,
    ) -> Option<String> {
        if self.config.resume_within.is_zero() {
            return None;
        }
        let token = random_name();
        self.resumable.insert(token.clone(), Comeback { cell: cell.clone(), member });
        let resume_seconds = u32::try_from(self.config.resume_within.as_secs()).unwrap_or(u32::MAX);
        entered.resume = Some(ResumeOffer { resume_token: token.clone(), resume_seconds });
        Some(token)
    }
}
