//! Holds the code to the floors of `docs/design.md`: a file imports from lower floors and from its own folder, never from
//! a neighbour on its own floor; only two folders and one file may say `unsafe`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The floors of `media/src`, lowest first. An entry is a folder or a file without `.rs`; the longest entry that fits a
/// path counts, so that a file of a folder can stand on a floor of its own.
const MEDIA_FLOORS: &[&[&str]] = &[
    &["units", "ids", "drop_reason"],
    &["codec"],
    &["rtmp"],
    &["rtp", "flv", "config"],
    // The coin of the bridge, which the door of the crate hands out too.
    &["bridge/tag"],
    // What players get, which the door hands out.
    &["inlet", "outlet"],
    // The words of the door: whoever answers a command speaks them.
    &["command"],
    &["forward", "buf", "sdp"],
    &["bridge", "sfu", "transport", "io"],
    &["record", "hls"],
    &["driver"],
    &["control"],
    &["lib"],
];

/// What of `media` signaling may name: the door. Everything else in that crate is none of its business.
const MEDIA_DOOR: &[&str] = &[
    "command",
    "ids",
    "codec",
    "Command",
    "Event",
    "Refusal",
    "Reply",
    "Kind",
    "MemberId",
    "RoomId",
    "StreamId",
    "TrackId",
    "TransportId",
];

/// The only folders whose code may be `unsafe`, and the file that calls the one C library without a binding that is enough.
const UNSAFE_PLACES: &[&str] = &["media/src/io/", "media/src/buf/", "media/src/bridge/fdk_decoder.rs"];

#[test]
fn media_imports_only_from_lower_floors() {
    let root = repository();
    let mut broken = Vec::new();
    for file in rust_files(&root.join("media/src")) {
        let inside = relative(&file, &root.join("media/src"));
        let name = inside.trim_end_matches(".rs").trim_end_matches("/mod");
        // The root lists its modules and opens the door; it may see everything.
        if name == "lib" {
            continue;
        }
        let Some(own) = entry_of(name) else {
            broken.push(format!("media/src/{inside}: stands on no floor; give it one in tests/e2e/house.rs"));
            continue;
        };
        for import in imports(&read(&file), "crate", module_path(&inside)) {
            // `use super::*` of the tests at a file's end means the file, and reads as the folder around it.
            let around = name.strip_prefix(&import).is_some_and(|rest| rest.starts_with('/'));
            let Some(other) = entry_of(&import).filter(|_| !around) else { continue };
            if other.floor > own.floor || (other.floor == own.floor && other.entry != own.entry) {
                broken
                    .push(format!("media/src/{inside} (floor {}) imports {import} (floor {})", own.floor, other.floor));
            }
        }
    }
    assert!(broken.is_empty(), "{} imports against the floors:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn signaling_reaches_media_only_through_its_door() {
    let root = repository();
    let mut broken = Vec::new();
    for file in rust_files(&root.join("signaling/src")) {
        for import in imports(&read(&file), "media", Vec::new()) {
            let first = import.split('/').next().unwrap_or_default();
            if !MEDIA_DOOR.contains(&first) && import != "bridge/tag/Tag" {
                broken.push(format!("{}: media::{}", relative(&file, &root), import.replace('/', "::")));
            }
        }
    }
    assert!(broken.is_empty(), "not through the door:\n{}", broken.join("\n"));
}

#[test]
fn lower_crates_do_not_know_higher_ones() {
    let root = repository();
    let mut broken = Vec::new();
    for (folder, higher) in [("media/src", &["signaling", "roomcast"][..]), ("signaling/src", &["roomcast"])] {
        for file in rust_files(&root.join(folder)) {
            let code = without_comments_and_strings(&read(&file));
            for name in higher {
                if words(&code).any(|word| word == *name) && code.contains(&format!("{name}::")) {
                    broken.push(format!("{} names {name}", relative(&file, &root)));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_io_buf_and_the_audio_decoder_are_unsafe() {
    let root = repository();
    let mut broken = Vec::new();
    // Tests may count allocations, which takes an allocator, which is unsafe.
    for folder in ["media/src", "signaling/src", "src"] {
        for file in rust_files(&root.join(folder)) {
            let name = relative(&file, &root);
            let allowed = UNSAFE_PLACES.iter().any(|place| name.starts_with(place));
            let code = without_comments_and_strings(&read(&file));
            if !allowed && words(&code).any(|word| word == "unsafe") {
                broken.push(name);
            }
        }
    }
    assert!(broken.is_empty(), "unsafe outside {}: {}", UNSAFE_PLACES.join(", "), broken.join(", "));
}

#[test]
fn use_lines_are_read_as_the_compiler_reads_them() {
    let code = "
        use crate::{a::b, c::{d, e::F}}; // use crate::no;
        pub(crate) use crate::g::*;
        let x = \"crate::text\"; crate::h::call(); super::super::i::j();
        use super::k; use other::l;
    ";
    let found = imports(code, "crate", vec!["m".to_owned(), "n".to_owned()]);
    let expected = ["a/b", "c/d", "c/e/F", "g", "h/call", "i/j", "m/k"];
    assert_eq!(found, expected.map(str::to_owned).into());
}

struct Entry {
    floor: usize,
    entry: &'static str,
}

fn entry_of(path: &str) -> Option<Entry> {
    let fits = |entry: &str| path == entry || path.strip_prefix(entry).is_some_and(|rest| rest.starts_with('/'));
    let entries = MEDIA_FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, entries)| entries.iter().map(move |entry| Entry { floor, entry }));
    entries.filter(|one| fits(one.entry)).max_by_key(|one| one.entry.len())
}

/// Every path that begins with `start::`, and for a crate of our own also with `super::`, as `a/b/c`. `module` is where
/// the file stands in its crate.
fn imports(source: &str, start: &str, module: Vec<String>) -> BTreeSet<String> {
    let code = without_comments_and_strings(source);
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(&format!("{start}::")) {
        let whole_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if whole_word {
            expand(&code[at + start.len() + 2..], String::new(), &mut found);
        }
    }
    for (at, _) in code.match_indices("super::") {
        if module.is_empty() || code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let mut rest = &code[at..];
        let mut place = module.clone();
        while let Some(shorter) = rest.strip_prefix("super::") {
            place.pop();
            rest = shorter;
        }
        expand(rest, place.join("/"), &mut found);
    }
    found
}

/// Reads one `a::{b, c::d}` tree and returns what stands behind it.
fn expand<'a>(text: &'a str, prefix: String, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(rest, prefix.clone(), found).trim_start();
            match rest.strip_prefix(',') {
                Some(after) if !after.trim_start().starts_with('}') => rest = after,
                Some(after) => return after.trim_start().strip_prefix('}').unwrap_or(""),
                None => return rest.strip_prefix('}').unwrap_or(""),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = match (prefix.as_str(), word) {
        (_, "" | "self") => prefix,
        ("", _) => word.to_owned(),
        _ => format!("{prefix}/{word}"),
    };
    if let Some(deeper) = rest.strip_prefix("::") {
        return expand(deeper, path, found);
    }
    if !path.is_empty() {
        found.insert(path);
    }
    let rest = rest.strip_prefix('*').unwrap_or(rest).trim_start();
    match rest.strip_prefix("as ") {
        Some(alias) => alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => rest,
    }
}

fn module_path(file: &str) -> Vec<String> {
    file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned).collect()
}

/// Comments, strings and character literals become blanks. Good for what rustfmt leaves; no parser of Rust.
fn without_comments_and_strings(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((opening, closing)) = raw_string(rest) {
            opening + rest[opening..].find(&closing).map_or(rest.len() - opening, |end| end + closing.len())
        } else if c == '"' {
            string_end(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find("'").map_or(1, |end| end + 2)
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skipped..];
    }
    out
}

/// Length of `r##"` at the start of the text, and what closes it.
fn raw_string(text: &str) -> Option<(usize, String)> {
    let hashes = text.strip_prefix('r')?.bytes().take_while(|byte| *byte == b'#').count();
    text[1 + hashes..].starts_with('"').then(|| (hashes + 2, format!("\"{}", "#".repeat(hashes))))
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(file: &Path, root: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{} has no Rust files", folder.display());
    files
}
