//! `roomcast import config.js`: the settings of the vendor's sample server (RTMPRoom) in our words.
//!
//! The file is a program; what is read of it is the object that it exports, as far as its values are plain: texts, numbers,
//! objects, lists, and texts put together with `+`. Nothing is run.

use std::fmt::Write as _;

use toml::Value;

/// Levels of nesting that are read.
const DEPTH_MAX: usize = 16;

/// Why a file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("there is no object in it: it should have `module.exports = {{ … }}`, or `const NAME = {{ … }}`")]
    NoObject,
    #[error("line {0}: the object cannot be read from here on")]
    Unreadable(usize),
    #[error("it names no sdkAppID: the vendor's file has it under `im`")]
    NoApp,
    #[error("sdkAppID {0:?} is no number from 1 to 4294967295")]
    BadApp(String),
}

/// One plain value, by its path: `live.bizid`.
type Found = Vec<(String, String)>;

/// Writes our configuration from a `config.js`.
///
/// # Errors
/// See [`ImportError`].
pub fn import(js: &str) -> Result<String, ImportError> {
    let found = read(js)?;
    let value = |names: &[&str]| {
        let of = |name: &&str| found.iter().find(|(path, text)| path == name && !text.is_empty());
        names.iter().find_map(of).map(|(_, text)| text.as_str())
    };
    let app = value(&["im.sdkAppID", "sdkAppID", "live.sdkAppID"]).ok_or(ImportError::NoApp)?;
    let app: u32 = app.parse().ok().filter(|app| *app != 0).ok_or_else(|| ImportError::BadApp(app.to_owned()))?;

    let mut out =
        String::from("# Written by `roomcast import` from a config.js. `roomcast config` shows every setting.\n\n");
    let _ = writeln!(out, "[[app]]\nsdk_app_id = {app}");
    for (name, from) in [
        ("bizid", ["live.bizid", "bizid"]),
        ("push_key", ["live.pushSecretKey", "pushSecretKey"]),
        // What the vendor's callbacks are signed with.
        ("callback_key", ["live.APIKey", "APIKey"]),
        ("private_key", ["im.privateKey", "privateKey"]),
    ] {
        if let Some(text) = value(&from) {
            let _ = writeln!(out, "{name} = {}", Value::String(text.to_owned()));
        }
    }
    if value(&["im.privateKey", "privateKey"]).is_none() {
        out.push_str("# There was no privateKey: put the key that signs userSig into `keys` (version 1) or `secret` (version 2).\n");
    }

    out.push_str("\n[weapp]\n");
    let seconds = |names: &[&str]| value(names).and_then(|text| text.parse::<u64>().ok());
    for (name, from) in [
        ("double_room_members", "double_room.maxMembers"),
        ("multi_room_members", "multi_room.maxMembers"),
        ("live_room_members", "live_room.maxMembers"),
        ("audiences_max", "live_room.maxAudiencesLen"),
    ] {
        if let Some(number) = seconds(&[from]) {
            let _ = writeln!(out, "{name} = {number}");
        }
    }
    // The three lists had times of their own; one is enough, and the longest disturbs nobody.
    let longest = |key: &str| {
        let of = |list: &str| seconds(&[&format!("{list}.{key}")]);
        ["double_room", "multi_room", "live_room"].into_iter().filter_map(of).max()
    };
    if let Some(number) = longest("heartBeatTimeout") {
        let _ = writeln!(out, "heartbeat_timeout_seconds = {number}");
    }
    if let Some(number) = longest("maxIdleDuration") {
        let _ = writeln!(out, "idle_seconds = {number}");
    }
    if let Some(number) = seconds(&["live.validTime"]) {
        let _ = writeln!(out, "url_hours = {}", number.div_ceil(3600).max(1));
    }

    let taken = [
        "sdkAppID",
        "bizid",
        "pushSecretKey",
        "APIKey",
        "privateKey",
        "maxMembers",
        "maxAudiencesLen",
        "heartBeatTimeout",
        "maxIdleDuration",
        "validTime",
    ];
    let rest: Vec<&str> = found
        .iter()
        .map(|(path, _)| path.as_str())
        .filter(|path| !taken.contains(&path.rsplit('.').next().unwrap_or_default()))
        .collect();
    if !rest.is_empty() {
        let _ = writeln!(out, "\n# Not needed here: {}.", rest.join(", "));
    }
    Ok(out)
}

/// Every plain value of the exported object.
fn read(js: &str) -> Result<Found, ImportError> {
    let mut reader = Reader { text: js, at: 0, found: Vec::new() };
    reader.seek_object()?;
    reader.object("", 0)?;
    Ok(reader.found)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    found: Found,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn unreadable(&self) -> ImportError {
        ImportError::Unreadable(self.text[..self.at].matches('\n').count() + 1)
    }

    /// Goes to the first `= {` outside of comments.
    fn seek_object(&mut self) -> Result<(), ImportError> {
        while let Some(first) = self.next_char() {
            if first == '=' && self.peek() == Some('{') {
                return Ok(());
            }
            if matches!(first, '\'' | '"' | '`') {
                self.at -= 1;
                self.quoted()?;
            }
        }
        Err(ImportError::NoObject)
    }

    /// The next character that is no blank and in no comment.
    fn peek(&mut self) -> Option<char> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            let rest = self.rest();
            let skip = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                return rest.chars().next();
            };
            self.at += skip;
        }
    }

    fn next_char(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += if is_there { wanted.len_utf8() } else { 0 };
        is_there
    }

    fn object(&mut self, path: &str, depth: usize) -> Result<(), ImportError> {
        if depth > DEPTH_MAX || !self.take('{') {
            return Err(self.unreadable());
        }
        loop {
            if self.take('}') {
                return Ok(());
            }
            let name = match self.peek() {
                Some('\'' | '"') => self.quoted()?,
                _ => self.word(),
            };
            if name.is_empty() || !self.take(':') {
                return Err(self.unreadable());
            }
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            self.value(&path, depth)?;
            self.take(',');
        }
    }

    fn value(&mut self, path: &str, depth: usize) -> Result<(), ImportError> {
        if self.peek() == Some('{') {
            return self.object(path, depth + 1);
        }
        let mut text = String::new();
        let mut is_plain = true;
        loop {
            match self.peek() {
                None => return Err(self.unreadable()),
                Some(',' | '}') => break,
                Some('+') => self.at += 1,
                Some('\'' | '"' | '`') => text.push_str(&self.quoted()?),
                Some(_) => {
                    let word = self.word();
                    if word.is_empty() {
                        // A call, a list, an expression: its end is found, its value is not.
                        is_plain = false;
                        self.skip()?;
                    } else {
                        is_plain &= word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                        text.push_str(&word);
                    }
                }
            }
        }
        if is_plain {
            self.found.push((path.to_owned(), text));
        }
        Ok(())
    }

    /// Skips one character, or what its bracket encloses.
    fn skip(&mut self) -> Result<(), ImportError> {
        let mut open = 0;
        loop {
            match self.peek().ok_or_else(|| self.unreadable())? {
                '\'' | '"' | '`' => drop(self.quoted()?),
                one => {
                    self.at += one.len_utf8();
                    match one {
                        '(' | '[' | '{' => open += 1,
                        ')' | ']' | '}' => open -= 1,
                        _ => {}
                    }
                }
            }
            if open <= 0 {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> String {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
        let rest = self.rest();
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += len;
        rest[..len].to_owned()
    }

    fn quoted(&mut self) -> Result<String, ImportError> {
        let quote = self.next_char().ok_or_else(|| self.unreadable())?;
        let mut text = String::new();
        loop {
            let one = self.rest().chars().next().ok_or_else(|| self.unreadable())?;
            self.at += one.len_utf8();
            match one {
                _ if one == quote => return Ok(text),
                '\\' => {
                    let escaped = self.rest().chars().next().ok_or_else(|| self.unreadable())?;
                    self.at += escaped.len_utf8();
                    match escaped {
                        'n' => text.push('\n'),
                        'r' => text.push('\r'),
                        't' => text.push('\t'),
                        // A line that goes on in the next.
                        '\n' => {}
                        other => text.push(other),
                    }
                }
                '\n' if quote != '`' => {
                    self.at -= 1;
                    return Err(self.unreadable());
                }
                other => text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{config::Config, data::DataFolder};

    /// Laid out as the vendor's file is; the values are made up.
    const FILE: &str = r#"
// what the server listens on = { not this
const CONF = {
  port: process.env.PORT || '5757',
  rootPathname: '',
  /* appId: 'wx' */
  live: {
    appID: 1250000000, bizid: 8888,
    pushSecretKey: 'push"key',
    APIKey: "apikey00",
    validTime: 604800 /* seconds */,
    playHost: '8888.liveplay.myqcloud.com',
  },
  im: {
    sdkAppID: 1400000002,
    accountType: '28307', administrator: 'admin',
    privateKey: '-----BEGIN PRIVATE KEY-----\r\n' +
      'PEM\r\n' +
      '-----END PRIVATE KEY-----\r\n',
  },
  hosts: ['a', { b: 1 }], at: path.join(__dirname, 'x'),
  multi_room: { maxMembers: 6, heartBeatTimeout: 20, maxIdleDuration: 30, creatorCanDestroyRoom: false },
  live_room: { maxMembers: 4, heartBeatTimeout: 25, maxAudiencesLen: 50 }
}
module.exports = CONF
"#;

    #[test]
    fn what_is_written_is_a_configuration_that_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let keys = DataFolder::open(&folder.path().join("data")).unwrap().demo_keys().unwrap();
        let pem = keys.private_key_pem.expose();
        let js =
            FILE.replace("'PEM\\r\\n' +", "").replace("'-----BEGIN PRIVATE KEY-----\\r\\n' +", &format!("`{pem}` +"));
        let js = js.replace("'-----END PRIVATE KEY-----\\r\\n'", "''");
        let toml = import(&js).unwrap();
        let file = folder.path().join("roomcast.toml");
        fs::write(&file, &toml).unwrap();
        let config = Config::load(Some(&file), [], &[]).unwrap_or_else(|error| panic!("{error}\n{toml}"));
        let signaling = config.signaling(None).unwrap();
        let app = &signaling.apps[0];
        assert_eq!((app.sdk_app_id, app.bizid.as_deref()), (1_400_000_002, Some("8888")));
        assert_eq!((app.push_key.as_deref(), app.callback_key.as_deref()), (Some("push\"key"), Some("apikey00")));
        assert_eq!(app.v1_keys_pem.len(), 1);
        let rooms = &signaling.room_service;
        assert_eq!((rooms.multi_members, rooms.live_members, rooms.double_members), (6, 4, 2));
        assert_eq!((rooms.audiences, rooms.heartbeat_within.as_secs(), rooms.idle_within.as_secs()), (50, 25, 30));
        assert_eq!(rooms.url_life.as_secs(), 604_800);
        assert!(toml.contains("# Not needed here:") && toml.contains("im.administrator"), "{toml}");
    }

    #[test]
    fn a_key_in_several_lines_is_one_text() {
        let found = read(FILE).unwrap();
        let key = found.iter().find(|(path, _)| path == "im.privateKey").unwrap();
        assert_eq!(key.1, "-----BEGIN PRIVATE KEY-----\r\nPEM\r\n-----END PRIVATE KEY-----\r\n");
        assert!(found.iter().all(|(path, _)| path != "at" && path != "port"), "{found:?}");
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_its_line() {
        assert_eq!(import("").unwrap_err(), ImportError::NoObject);
        assert_eq!(import("exports.x = 5").unwrap_err(), ImportError::NoObject);
        assert_eq!(import("module.exports = {}").unwrap_err(), ImportError::NoApp);
        assert_eq!(import("x = {\n a: 'b\n}").unwrap_err(), ImportError::Unreadable(2));
        assert_eq!(import("x = {\n a b }").unwrap_err(), ImportError::Unreadable(2));
        assert_eq!(import("x = { im: { sdkAppID: 'abc' } }").unwrap_err(), ImportError::BadApp("abc".into()));
        assert!(import(&format!("x = {}", "{a:".repeat(1000))).is_err());
    }
}
