//! What outlives a restart: apps added at run time; relays; of rooms their records (owner, lock, metadata, bans) and their history.
//!
//! [`Store::write`] returns when its change is durable: a crash in the next instant does not undo it, and whoever
//! acknowledges something waits for that first. One thread writes; what comes while it writes goes into the next commit
//! together, so that a thousand at once cost a few commits and not a thousand.
//!
//! Everything is in memory as well, and is read there: [`Store::read`]. The file is read at start, every page of it is
//! checked, and a file that is damaged or lacks something acknowledged is refused with a code rather than served.

pub mod file;
mod mark;
pub mod record;
mod writer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::sync::{mpsc, oneshot};

pub use self::record::{AppRecord, Change, Facts, HistoryLine, RelayRecord, RoomKey};
use self::{file::StoreFile, writer::Request};
use crate::{
    code::{Code, Fault},
    config::AppConfig,
};

/// Why a store cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{code}: {path} is damaged: {why}\n  {advice}", code = Code::StoreDamaged.number(),
            advice = Code::StoreDamaged.advice())]
    Damaged { path: PathBuf, why: String },
    #[error("{code}: {path} is used by another roomcast\n  {advice}", code = Code::StoreInUse.number(),
            advice = Code::StoreInUse.advice())]
    InUse { path: PathBuf },
    #[error("{code}: {path} has format {found}, and this roomcast reads {known}\n  {advice}",
            code = Code::StoreFormat.number(), advice = Code::StoreFormat.advice())]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error("{code}: {path}: {source}\n  {advice}", code = Code::StoreUnavailable.number(),
            advice = Code::StoreUnavailable.advice())]
    Io { path: PathBuf, source: io::Error },
}

impl StoreError {
    pub fn code(&self) -> Code {
        match self {
            StoreError::Damaged { .. } => Code::StoreDamaged,
            StoreError::InUse { .. } => Code::StoreInUse,
            StoreError::Newer { .. } => Code::StoreFormat,
            StoreError::Io { .. } => Code::StoreUnavailable,
        }
    }
}

/// Changes on their way into the file.
#[must_use]
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<(), Code>>);

impl Pending {
    /// Waits until no crash undoes them.
    ///
    /// # Errors
    /// See [`Store::write`].
    pub async fn durable(self) -> Result<(), Fault> {
        self.0.await.unwrap_or(Err(Code::StoreUnavailable)).map_err(Fault::from)
    }
}

/// The store. Clones are the same store; the file is closed when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    facts: Arc<RwLock<Facts>>,
    /// Without a bound of its own: each change comes from a request that waits for it, and those are bounded where they
    /// come in; waiting here would hold up a room.
    writer: mpsc::UnboundedSender<Request>,
}

impl Store {
    /// Opens the store in this folder, or makes one. Reads and checks all of it, and blocks meanwhile.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let (file, facts) = StoreFile::open(folder)?;
        Ok(Store::start(Some(file), facts))
    }

    /// A store without a file: for a hub that nobody wants to restart, and for tests.
    pub fn in_memory() -> Store {
        Store::start(None, Facts::default())
    }

    fn start(file: Option<StoreFile>, facts: Facts) -> Store {
        let facts = Arc::new(RwLock::new(facts));
        let (writer, requests) = mpsc::unbounded_channel();
        writer::spawn(file, facts.clone(), requests);
        Store { facts, writer }
    }

    /// What is true. Held for as short as possible: changes wait for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something true. When it returns it is durable, and readers see it.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: the file could not be written (disk full, for one). Whether the change is in the file
    /// is not certain then; what [`Store::read`] shows is served on.
    pub async fn write(&self, change: Change) -> Result<(), Fault> {
        self.write_all(vec![change]).await
    }

    /// Makes several things true at once, or none of them.
    pub async fn write_all(&self, changes: Vec<Change>) -> Result<(), Fault> {
        self.submit(changes).durable().await
    }

    /// Hands changes to the writer without waiting; they are written in the order in which they are handed over. Whoever
    /// acknowledges them waits for [`Pending::durable`] first.
    pub fn submit(&self, changes: Vec<Change>) -> Pending {
        let (done, written) = oneshot::channel();
        // A writer that is gone drops what it is sent, which is what the waiting end sees.
        let _ = self.writer.send(Request { changes, done });
        Pending(written)
    }
}

/// An app that was added by request, as it is kept in this folder; none if there is no such app, or no store.
///
/// # Errors
/// [`Code::StoreInUse`] while a server runs in the folder: ask it instead.
pub fn app_added_by_request(folder: &Path, sdk_app_id: u32) -> Result<Option<AppConfig>, StoreError> {
    if !folder.join(file::STORE_FILE).exists() {
        return Ok(None);
    }
    let (_, facts) = StoreFile::open(folder)?;
    Ok(facts.apps.get(&sdk_app_id).map(AppRecord::to_config))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
