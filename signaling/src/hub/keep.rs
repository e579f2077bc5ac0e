//! Keeping what outlives a restart: what rooms tell goes into the store, and comes back from it at start.

use std::sync::{Arc, Mutex};

use media::MemberId;
use tracing::{error, warn};

use super::{Cell, Hub, Inner, carry::reply_text, line::Line, notice::Fact};
use crate::{
    code::{Code, Fault},
    message::{Event, Message, OkBody},
    room::{Output, RoomRecord},
    store::{Change, HistoryLine, RoomKey, Store},
};

impl Hub {
    /// Brings the rooms of this store back, and keeps in it what happens from now on. To be called once, before anybody
    /// enters.
    pub fn keep_in(&self, store: &Store) {
        self.restore(store);
        let hub = Arc::downgrade(&self.0);
        let kept = store.clone();
        self.listen(move |notice| {
            let key: RoomKey = (notice.sdk_app_id, notice.room.clone());
            let change = match &notice.fact {
                Fact::RecordChanged(record) => Change::PutRoom(key, json(record)),
                Fact::RoomDissolved => Change::RemoveRoom(key),
                Fact::MessageSent(message) => {
                    let keep = hub.upgrade().map_or(0, |hub| hub.history_messages(notice.sdk_app_id));
                    if keep == 0 {
                        return;
                    }
                    let line = HistoryLine { number: message.id, json: json(message) };
                    Change::AddLine { room: key, line, keep }
                }
                _ => return,
            };
            // Whoever acknowledges it waits for the store; nothing is waited for under a room's lock.
            drop(kept.submit(vec![change]));
        });
        // A second call would keep everything twice; the first store stays.
        let _ = self.0.store.set(store.clone());
    }

    /// Waits until everything that happened so far is durable. Without a store, nothing has to be.
    pub(crate) async fn settled(&self) -> Result<(), Fault> {
        let Some(pending) = self.0.store.get().map(|store| store.submit(Vec::new())) else { return Ok(()) };
        pending.durable().await
    }

    fn restore(&self, store: &Store) {
        let facts = store.read().clone();
        for ((app, room), record) in facts.rooms {
            let Ok(record) = serde_json::from_str::<RoomRecord>(&record) else {
                error!(code = Code::StoreDamaged.number(), app, %room, "the record of a room cannot be read");
                continue;
            };
            let lines = facts.history.get(&(app, room.clone())).map_or(&[][..], Vec::as_slice);
            let history: Vec<Message> = lines.iter().filter_map(|line| serde_json::from_str(&line.json).ok()).collect();
            if let Err(fault) = self.restore_room(app, &room, record, history) {
                warn!(code = fault.code.number(), app, %room, "a room of the store is not served");
            }
        }
    }
}

/// The answer to a request that waits until what it says is durable.
pub(super) struct Held {
    to: MemberId,
    id: u64,
    result: Result<OkBody, Fault>,
    /// He is gone since then: his line, which ends with the answer, and why.
    parting: Option<(Line, Option<Code>)>,
}

impl Inner {
    /// Takes the answers out of these outputs that say something durable, if there is anything durable in them.
    pub(super) fn hold_back(&self, cell: &mut Cell, outputs: &mut Vec<Output>) -> Vec<Held> {
        let durable = |output: &Output| match output {
            Output::RecordChanged | Output::Dissolved => true,
            Output::Broadcast { event: Event::Message(_), .. } => self.history_messages(cell.key.0) > 0,
            _ => false,
        };
        if self.store.get().is_none() || !outputs.iter().any(durable) {
            return Vec::new();
        }
        let mut held: Vec<Held> = Vec::new();
        for output in std::mem::take(outputs) {
            match output {
                Output::Reply { to, id, result } if result.is_ok() => held.push(Held { to, id, result, parting: None }),
                Output::Gone { member, code } if held.iter().any(|held| held.to == member) => {
                    // Who goes in the same turn hears his answer, and nothing else any more.
                    let Some(line) = self.take_line(cell, member) else { continue };
                    if let Some(last) = held.iter_mut().rfind(|held| held.to == member) {
                        last.parting = Some((line, code));
                    }
                }
                output => outputs.push(output),
            }
        }
        held
    }

    /// Sends the answers when everything up to here is durable.
    pub(super) fn release(self: &Arc<Self>, cell: &Arc<Mutex<Cell>>, held: Vec<Held>) {
        let Some(store) = self.store.get().filter(|_| !held.is_empty()) else { return };
        let pending = store.submit(Vec::new());
        let (hub, cell) = (self.clone(), cell.clone());
        tokio::spawn(async move {
            let written = pending.durable().await;
            hub.with_cell(&cell, |_, out| {
                for Held { to, id, result, parting } in held {
                    let result = written.clone().and(result);
                    let Some((mut line, code)) = parting else {
                        out.push(Output::Reply { to, id, result });
                        continue;
                    };
                    // Whether it can still be said changes nothing.
                    let _ = line.send(reply_text(id, result), &hub.config.limits);
                    if let Some(code) = code {
                        line.close(&code.into());
                    }
                }
            });
        });
    }
}

fn json<T: serde::Serialize>(record: &T) -> String {
    serde_json::to_string(record).expect("records have text keys and no failing parts")
}
