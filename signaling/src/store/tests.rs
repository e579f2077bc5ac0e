//! What the store promises, against real files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    file::{MARK_FILE, STORE_FILE, paths},
    *,
};
use crate::name::RoomName;

const APP: u32 = 1_400_000_001;

#[tokio::test]
async fn every_kind_of_fact_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for change in some_of_everything() {
        store.write(change).await.unwrap();
    }
    let before = store.read().clone();
    close(store, folder.path());
    let after = Store::open(folder.path()).unwrap().read().clone();
    assert_eq!(before, after);
    assert_eq!(after.rooms[&room("lobby")], "{\"reason\":\"spam\"}");
    assert_eq!(after.history[&room("lobby")].iter().map(|line| line.number).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(after.apps[&7].secret, "s");
    assert_eq!(after.relays[&3].url, "rtmp://h/a/b?k=SECRET");
    assert!(!format!("{after:?}").contains("SECRET"));
}

#[tokio::test]
async fn what_was_undone_stays_undone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let undo = [Change::RemoveRoom(room("lobby")), Change::RemoveApp(7), Change::RemoveRelay(3)];
    store.write_all(some_of_everything().into_iter().chain(undo).collect()).await.unwrap();
    // A number is not given away twice, whatever became of the relay that had it.
    let nothing = Facts { last_relay: 3, ..Facts::default() };
    assert_eq!(*store.read(), nothing);
    close(store, folder.path());
    assert_eq!(*Store::open(folder.path()).unwrap().read(), nothing);
}

#[tokio::test]
async fn the_end_of_one_room_leaves_its_neighbours_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for name in ["a", "aa", "a b", "b"] {
        store.write(Change::PutRoom(room(name), "{}".into())).await.unwrap();
        let line = HistoryLine { number: 1, json: "{}".into() };
        store.write(Change::AddLine { room: room(name), line, keep: 9 }).await.unwrap();
    }
    store.write(Change::RemoveRoom(room("a"))).await.unwrap();
    let before = store.read().clone();
    assert_eq!((before.rooms.len(), before.history.len()), (3, 3));
    close(store, folder.path());
    assert_eq!(*Store::open(folder.path()).unwrap().read(), before);
}

#[tokio::test]
async fn a_thousand_at_once_cost_few_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let writes = (0..1000).map(|i| {
        let store = store.clone();
        tokio::spawn(async move { store.write(Change::PutRoom(room(&format!("r{i}")), String::from("{}"))).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    assert_eq!(store.read().rooms.len(), 1000);
    close(store, folder.path());
    let (file, facts) = StoreFile::open(folder.path()).unwrap();
    assert_eq!(facts.rooms.len(), 1000);
    assert!(file.commits() < 100, "{} commits", file.commits());
}

#[tokio::test]
async fn ten_thousand_rooms_are_ready_within_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let facts = format!("{{\"metadata\":\"{}\"}}", "m".repeat(200));
    let changes = (0..10_000).map(|i| Change::PutRoom(room(&format!("room-{i}")), facts.clone())).collect();
    store.write_all(changes).await.unwrap();
    close(store, folder.path());
    let start = Instant::now();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.read().rooms.len(), 10_000);
    eprintln!("10,000 rooms are ready after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_flipped_byte_is_noticed_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let expected = filled(folder.path()).await;
    let whole = fs::read(folder.path().join(STORE_FILE)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let (mut noticed, mut harmless, mut served) = (0, 0, Vec::new());
    // Every bit of the byte that says which commit counts, some of the header, and the rest in steps that are no multiple
    // of a page.
    let god_byte = (0..8).map(|bit| (9, 1 << bit));
    let header = (0..320).step_by(5).map(|at| (at, 1 << (at % 8)));
    let rest = (320..whole.len()).step_by((whole.len() / 80) | 1).map(|at| (at, 0x55));
    for (at, mask) in god_byte.chain(header).chain(rest) {
        let mut bytes = whole.clone();
        bytes[at] ^= mask;
        copy_with(folder.path(), copy.path(), &bytes);
        match Store::open(copy.path()) {
            Err(error) => {
                assert!(matches!(error.code(), Code::StoreDamaged | Code::StoreFormat), "{at}: {error}");
                noticed += 1;
            }
            Ok(store) if *store.read() == expected => harmless += 1,
            Ok(_) => served.push(at),
        }
    }
    assert!(served.is_empty(), "wrong facts are served after a flip at {served:?}");
    assert!(noticed > 20, "{noticed} noticed, {harmless} harmless");
    eprintln!("{noticed} flips noticed, {harmless} harmless");
}

#[tokio::test]
async fn a_flipped_byte_of_a_fact_is_noticed_by_code_and_advice() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let path = folder.path().join(STORE_FILE);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).rposition(|w| w == b"spam").expect("the record is in the file");
    // Older pages may hold the same text; all of them are flipped.
    for start in (0..=at).filter(|start| bytes[*start..].starts_with(b"spam")).collect::<Vec<_>>() {
        bytes[start] = b'S';
    }
    fs::write(&path, bytes).unwrap();
    let error = Store::open(folder.path()).expect_err("noticed");
    assert_eq!(error.code(), Code::StoreDamaged);
    let text = error.to_string();
    assert!(text.starts_with("75000: ") && text.contains(STORE_FILE) && text.contains("backup"), "{text}");
}

#[tokio::test]
async fn a_truncated_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let whole = fs::read(folder.path().join(STORE_FILE)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let lengths = [0, 1, 100, 511, 512, 4096, 5000, whole.len() / 2, whole.len() - 4096, whole.len() - 1];
    for len in lengths {
        copy_with(folder.path(), copy.path(), &whole[..len]);
        let error = Store::open(copy.path()).expect_err(&format!("{len} bytes of {}", whole.len()));
        assert_eq!(error.code(), Code::StoreDamaged, "{len}: {error}");
    }
}

#[tokio::test]
async fn an_older_copy_of_the_store_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.write(Change::PutRoom(room("a"), String::from("{}"))).await.unwrap();
    close(store, folder.path());
    let older = fs::read(folder.path().join(STORE_FILE)).unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.write(Change::PutRoom(room("b"), String::from("{}"))).await.unwrap();
    close(store, folder.path());
    fs::write(folder.path().join(STORE_FILE), older).unwrap();
    let text = Store::open(folder.path()).expect_err("noticed").to_string();
    assert!(text.contains("1 acknowledged changes are not in it"), "{text}");
}

#[tokio::test]
async fn a_missing_mark_is_noticed_and_a_missing_store_is_a_new_beginning() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let [store, mark] = paths(folder.path());
    let kept = fs::read(&mark).unwrap();
    fs::remove_file(&mark).unwrap();
    assert_eq!(Store::open(folder.path()).expect_err("noticed").code(), Code::StoreDamaged);
    fs::write(&mark, kept).unwrap();
    drop(Store::open(folder.path()).expect("the mark is back"));
    fs::remove_file(&store).unwrap();
    wait_until_closed(folder.path());
    assert_eq!(*Store::open(folder.path()).unwrap().read(), Facts::default());
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(folder.path()).unwrap();
    assert_eq!(Store::open(folder.path()).expect_err("refused").code(), Code::StoreInUse);
}

#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::open(folder.path()).unwrap();
    for path in paths(folder.path()) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
}

fn room(name: &str) -> RoomKey {
    (APP, RoomName::from_text(name).unwrap())
}

fn some_of_everything() -> Vec<Change> {
    let lobby = || room("lobby");
    let mut changes = vec![
        Change::PutApp(AppRecord { sdk_app_id: 7, secret: "s".into(), ..AppRecord::default() }),
        Change::PutRoom(lobby(), "{\"reason\":\"spam\"}".into()),
        Change::PutRelay(
            3,
            RelayRecord { sdk_app_id: 7, url: "rtmp://h/a/b?k=SECRET".into(), ..RelayRecord::default() },
        ),
    ];
    changes.extend((1..=5).map(|number| {
        let line = HistoryLine { number, json: format!("{{\"n\":{number}}}") };
        Change::AddLine { room: lobby(), line, keep: 3 }
    }));
    changes
}

async fn filled(folder: &Path) -> Facts {
    let store = Store::open(folder).unwrap();
    for change in some_of_everything() {
        store.write(change).await.unwrap();
    }
    let facts = store.read().clone();
    close(store, folder);
    facts
}

fn copy_with(from: &Path, to: &Path, store: &[u8]) {
    wait_until_closed(to);
    fs::write(to.join(STORE_FILE), store).unwrap();
    fs::copy(from.join(MARK_FILE), to.join(MARK_FILE)).unwrap();
}

fn close(store: Store, folder: &Path) {
    drop(store);
    wait_until_closed(folder);
}

/// The thread that writes closes the file a moment after the last handle is gone.
fn wait_until_closed(folder: &Path) {
    let path: PathBuf = folder.join(STORE_FILE);
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Ok(file) = fs::File::open(&path) {
        if file.try_lock().is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "the file stays open");
        std::thread::yield_now();
    }
}
