//! The file behind the store: redb, read whole at start and written in batches.
//!
//! Every commit is in two phases: the pages are durable before the header points at them. So a crash never leaves a header
//! that points at a torn commit, and a header that does so all the same is damage, which redb then reports instead of
//! falling back to an older commit.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    StoreError,
    mark::Mark,
    record::{AppRecord, Change, Facts, HistoryLine, RelayRecord, RoomKey},
};
use crate::name::RoomName;

/// The store's file in its folder.
pub const STORE_FILE: &str = "store.redb";
/// The mark beside it, see [`super::mark`].
pub const MARK_FILE: &str = "store.mark";
/// How the tables are to be read. A server refuses a file of a newer form than it knows.
const FORMAT: u64 = 1;
/// Memory that redb may use for pages. The facts are in memory anyway, so it is for writing only.
const CACHE_BYTES: usize = 8 << 20;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const APPS: TableDefinition<u32, &[u8]> = TableDefinition::new("apps");
const RELAYS: TableDefinition<u64, &[u8]> = TableDefinition::new("relays");
const ROOMS: TableDefinition<(u32, &str), &str> = TableDefinition::new("rooms");
const HISTORY: TableDefinition<(u32, &str, u64), &[u8]> = TableDefinition::new("history");

/// In [`META`]: see [`Facts::last_relay`]. Not there before the first relay.
const LAST_RELAY: &str = "last_relay";

/// Why a change may not be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{0}")]
    NotWritten(String),
    /// The change is in the file and true, but a loss of it would not be noticed.
    #[error("{MARK_FILE}: {0}")]
    NotMarked(io::Error),
}

/// The open file.
pub struct StoreFile {
    database: Database,
    mark: Mark,
    /// Commits so far.
    commits: u64,
}

impl StoreFile {
    /// Opens the store of this folder, or makes one, checks every page and reads all facts.
    ///
    /// # Errors
    /// Damage, another process, a newer format, or what the system says.
    pub fn open(folder: &Path) -> Result<(StoreFile, Facts), StoreError> {
        let path = folder.join(STORE_FILE);
        let mark_path = folder.join(MARK_FILE);
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| StoreError::Io { path, source }
        };
        match (exists(&path)?, exists(&mark_path)?) {
            (false, false) => create(folder).map_err(io_error(&path))?,
            // Deleting the store alone is how somebody begins anew by hand.
            (false, true) => {
                fs::remove_file(&mark_path).map_err(io_error(&mark_path))?;
                create(folder).map_err(io_error(&path))?;
            }
            (true, _) => {}
        }
        let damaged = |why: String| StoreError::Damaged { path: path.clone(), why };
        let mark = match Mark::open(&mark_path) {
            Ok(mark) => mark,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(format!("{MARK_FILE} is missing beside it")));
            }
            Err(source) => return Err(StoreError::Io { path: mark_path, source }),
        };
        let promised = mark.read().map_err(io_error(&mark_path))?;
        let promised = promised.ok_or_else(|| damaged(format!("{MARK_FILE} beside it cannot be read")))?;

        // redb takes a file without content for a new one.
        if fs::metadata(&path).map_err(io_error(&path))?.len() == 0 {
            return Err(damaged("it is empty".to_owned()));
        }
        // A damaged file may break an invariant of redb, which then panics: that is damage as well.
        let opened = catch_unwind(AssertUnwindSafe(|| open_checked(&path)));
        let (database, facts, commits) = match opened {
            Ok(result) => result?,
            Err(_) => return Err(damaged("its structure is broken".to_owned())),
        };
        if commits < promised {
            return Err(damaged(format!("{} acknowledged changes are not in it", promised - commits)));
        }
        Ok((StoreFile { database, mark, commits }, facts))
    }

    /// Writes the changes as one, durably: when this returns, no crash undoes them.
    pub fn write(&mut self, changes: &[Change]) -> Result<(), WriteError> {
        let commits = self.commits + 1;
        self.commit(changes, commits).map_err(|error| WriteError::NotWritten(error.to_string()))?;
        self.commits = commits;
        self.mark.write(commits).map_err(WriteError::NotMarked)
    }

    /// How many commits the file has.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    fn commit(&self, changes: &[Change], commits: u64) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        {
            let mut meta = transaction.open_table(META)?;
            let mut apps = transaction.open_table(APPS)?;
            let mut relays = transaction.open_table(RELAYS)?;
            let mut rooms = transaction.open_table(ROOMS)?;
            let mut history = transaction.open_table(HISTORY)?;
            for change in changes {
                match change {
                    Change::PutApp(app) => drop(apps.insert(app.sdk_app_id, &json(app)[..])?),
                    Change::RemoveApp(id) => drop(apps.remove(id)?),
                    Change::PutRelay(number, relay) => {
                        relays.insert(number, &json(relay)[..])?;
                        let last = meta.get(LAST_RELAY)?.map_or(0, |last| last.value());
                        meta.insert(LAST_RELAY, last.max(*number))?;
                    }
                    Change::RemoveRelay(number) => drop(relays.remove(number)?),
                    Change::PutRoom((app, room), record) => {
                        rooms.insert((*app, &room.to_string()[..]), &record[..])?;
                    }
                    Change::RemoveRoom((app, room)) => {
                        let room = &room.to_string()[..];
                        rooms.remove((*app, room))?;
                        history.retain_in((*app, room, 0)..=(*app, room, u64::MAX), |_, _| false)?;
                    }
                    Change::AddLine { room: (app, room), line, keep } => {
                        let room = &room.to_string()[..];
                        history.insert((*app, room, line.number), &json(line)[..])?;
                        let all = (*app, room, 0)..=(*app, room, u64::MAX);
                        // The entry and the iterator are gone before anything is removed: they hold on to pages.
                        let too_old = {
                            let entry = history.range(all)?.rev().nth(*keep).transpose()?;
                            entry.map(|(key, _)| key.value().2)
                        };
                        if let Some(last) = too_old {
                            history.retain_in((*app, room, 0)..=(*app, room, last), |_, _| false)?;
                        }
                    }
                }
            }
            meta.insert("commits", commits)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(|source| StoreError::Io { path: path.to_owned(), source })
}

/// Makes an empty store. The file gets its name when it is whole, and after the mark: whoever finds the file finds both.
fn create(folder: &Path) -> io::Result<()> {
    let part = folder.join(format!("{STORE_FILE}.part"));
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make(&part).map_err(|error| match error {
        redb::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })?;
    fs::File::open(&part)?.sync_all()?;
    Mark::create(&folder.join(MARK_FILE))?;
    fs::rename(&part, folder.join(STORE_FILE))?;
    fs::File::open(folder)?.sync_all()
}

fn make(path: &Path) -> Result<(), redb::Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let database = Builder::new().set_cache_size(CACHE_BYTES).create_file(file)?;
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("commits", 0)?;
    }
    transaction.commit()?;
    Ok(())
}

fn open_checked(path: &Path) -> Result<(Database, Facts, u64), StoreError> {
    let damaged = |why: String| StoreError::Damaged { path: path.to_owned(), why };
    let opened = Builder::new().set_cache_size(CACHE_BYTES).open(path);
    let mut database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Io { path: path.to_owned(), source }
        }
        other => damaged(other.to_string()),
    })?;
    // Opening trusts a file that was closed in order; this reads every page and compares its checksum.
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => return Err(damaged("its index was damaged".to_owned())),
        Err(error) => return Err(damaged(error.to_string())),
    }
    let read = || -> Result<(Facts, u64, u64), ReadError> {
        let transaction = database.begin_read().map_err(redb::Error::from)?;
        let meta = transaction.open_table(META).map_err(redb::Error::from)?;
        let number = |name: &str| -> Result<u64, ReadError> {
            let value = meta.get(name).map_err(redb::Error::from)?;
            Ok(value.ok_or(ReadError::Missing)?.value())
        };
        let (format, commits) = (number("format")?, number("commits")?);
        let mut facts = if format == FORMAT { read_facts(&transaction)? } else { Facts::default() };
        facts.last_relay = meta.get(LAST_RELAY).map_err(redb::Error::from)?.map_or(0, |last| last.value());
        Ok((facts, format, commits))
    };
    let (facts, format, commits) = read().map_err(|error| damaged(error.to_string()))?;
    match format {
        FORMAT => Ok((database, facts, commits)),
        found => Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT }),
    }
}

/// Why a fact could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error("a fact is missing that every store has")]
    Missing,
    #[error("a fact cannot be read")]
    Unreadable,
}

fn read_facts(transaction: &redb::ReadTransaction) -> Result<Facts, ReadError> {
    let mut facts = Facts::default();
    // Tables are made by the first change; a store without changes has none.
    macro_rules! each {
        ($table:expr, |$key:ident, $value:ident| $body:expr) => {
            match transaction.open_table($table) {
                Ok(table) => {
                    for entry in table.iter().map_err(redb::Error::from)? {
                        let (key, value) = entry.map_err(redb::Error::from)?;
                        let ($key, $value) = (key.value(), value.value());
                        $body;
                    }
                }
                Err(redb::TableError::TableDoesNotExist(_)) => {}
                Err(error) => return Err(redb::Error::from(error).into()),
            }
        };
    }
    each!(APPS, |id, value| facts.apps.insert(id, from_json::<AppRecord>(value)?));
    each!(RELAYS, |number, value| facts.relays.insert(number, from_json::<RelayRecord>(value)?));
    each!(ROOMS, |key, value| facts.rooms.insert(room_key(key)?, value.to_owned()));
    each!(HISTORY, |key, value| {
        let lines = facts.history.entry(room_key((key.0, key.1))?).or_default();
        lines.push(from_json::<HistoryLine>(value)?)
    });
    Ok(facts)
}

fn room_key((app, room): (u32, &str)) -> Result<RoomKey, ReadError> {
    Ok((app, RoomName::from_text(room).ok_or(ReadError::Unreadable)?))
}

fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have text keys and no failing parts")
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|_| ReadError::Unreadable)
}

/// Both files of a folder's store, for messages and tests.
pub fn paths(folder: &Path) -> [PathBuf; 2] {
    [folder.join(STORE_FILE), folder.join(MARK_FILE)]
}
