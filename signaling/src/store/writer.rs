//! The one thread that writes.

use std::{
    mem,
    sync::{Arc, PoisonError, RwLock},
    thread,
};

use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::{
    file::{StoreFile, WriteError},
    record::{Change, Facts},
};
use crate::code::Code;

/// Requests that go into one commit. More of them make a commit longer, and with it the wait of the first.
const BATCH_REQUESTS_MAX: usize = 1024;

/// Changes that belong together, and who waits for them.
pub(super) struct Request {
    pub changes: Vec<Change>,
    pub done: oneshot::Sender<Result<(), Code>>,
}

/// Starts the thread. It ends, and closes the file, when the last sender is gone.
pub(super) fn spawn(file: Option<StoreFile>, facts: Arc<RwLock<Facts>>, requests: mpsc::UnboundedReceiver<Request>) {
    thread::Builder::new()
        .name("store".into())
        .spawn(move || run(file, &facts, requests))
        .expect("a process that starts can have one more thread");
}

fn run(mut file: Option<StoreFile>, facts: &RwLock<Facts>, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut batch = Vec::new();
    // One waits; whatever came while the last batch was written goes with it.
    while requests.blocking_recv_many(&mut batch, BATCH_REQUESTS_MAX) > 0 {
        let mut changes = Vec::new();
        let mut waiting = Vec::new();
        for request in mem::take(&mut batch) {
            changes.extend(request.changes);
            waiting.push(request.done);
        }
        let written = file.as_mut().map_or(Ok(()), |file| file.write(&changes));
        if !matches!(written, Err(WriteError::NotWritten(_))) {
            let mut facts = facts.write().unwrap_or_else(PoisonError::into_inner);
            changes.into_iter().for_each(|change| facts.apply(change));
        }
        let result = written.map_err(|why| {
            error!(code = Code::StoreUnavailable.number(), %why, "the store cannot be written");
            Code::StoreUnavailable
        });
        for done in waiting {
            // Who went away meanwhile does not need to know.
            let _ = done.send(result);
        }
    }
}
