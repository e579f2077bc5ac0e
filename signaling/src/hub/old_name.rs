//! The vendor's older names of live streams, from before 2020: `{bizid}_` and the MD5 of `{roomID}_{userID}_{main or aux}` in
//! hex. Nothing can be read from such a name, so who asks for one is given the stream whose name makes it.

use dashmap::DashMap;
use md5::{Digest, Md5};
use media::StreamId;

use super::{Inner, url::sdk_app_id};
use crate::{
    auth::url::Query,
    code::{Code, Fault},
    name::{RoomName, StreamName, StreamPath, is_user_id},
};

/// An MD5 in hex, as names have it: small letters.
const HEX_CHARS: usize = 32;

/// The streams that are there, by app and MD5.
#[derive(Default)]
pub(super) struct OldNames(DashMap<(u32, String), (StreamPath, StreamId)>);

impl OldNames {
    pub(super) fn insert(&self, path: &StreamPath, stream: StreamId) {
        self.0.insert((path.sdk_app_id, hash_of(path)), (path.clone(), stream));
    }

    /// Two pairs of room and user can make the same name; only the entry of this stream goes.
    pub(super) fn remove(&self, path: &StreamPath, stream: StreamId) {
        self.0.remove_if(&(path.sdk_app_id, hash_of(path)), |_, (_, id)| *id == stream);
    }
}

impl Inner {
    /// Which stream an older name means. Without such a stream the path leads nowhere, and serves for judging who asks: where
    /// the app wants a ticket, streams that exist and streams that do not are refused alike. `None`: it is no such name, or
    /// no app has this bizid.
    pub(super) fn old_name(&self, name: &str) -> Option<(StreamPath, Option<StreamId>)> {
        let (bizid, hash) = split(name)?;
        let apps = self.apps();
        let mut nowhere = None;
        for app in apps.iter().filter(|app| app.bizid() == bizid) {
            let key = (app.sdk_app_id, hash.to_owned());
            if let Some(entry) = self.old_names.0.get(&key) {
                return Some((entry.0.clone(), Some(entry.1)));
            }
            nowhere.get_or_insert(app.sdk_app_id);
        }
        let (room, user) = (RoomName::from_text(hash)?, String::new());
        Some((StreamPath { sdk_app_id: nowhere?, room, user, stream: StreamName::Main }, None))
    }

    /// Where a push to an older name goes: what `roomid`, `userid` and `stream` of its query say, if they make that name.
    /// `None`: it is no such name.
    pub(super) fn old_push(&self, name: &str, query: &Query) -> Option<Result<StreamPath, Fault>> {
        let (bizid, hash) = split(name)?;
        let apps = self.apps();
        let mut named = apps.iter().filter(|app| app.bizid() == bizid).map(|app| app.sdk_app_id);
        let named = match query.value("sdkappid") {
            Some(_) => named.find(|id| sdk_app_id(query, None) == Ok(*id)),
            None => named.next(),
        };
        Some(named.ok_or_else(|| Code::UnknownApp.into()).and_then(|app| path_of(app, hash, query)))
    }
}

fn path_of(sdk_app_id: u32, hash: &str, query: &Query) -> Result<StreamPath, Fault> {
    let room = query.value("roomid").and_then(RoomName::from_text);
    let room = room.ok_or_else(|| {
        Fault::field("roomid", "in the query, as a room's name: it cannot be read from this stream's")
    })?;
    let user = query.value("userid").filter(|user| is_user_id(user));
    let user = user.ok_or_else(|| Fault::field("userid", "a userID in the query"))?.to_owned();
    let stream = query.value("stream").map_or(Some(StreamName::Main), StreamName::from_text);
    let stream = stream.ok_or_else(|| Fault::field("stream", "main or aux"))?;
    let path = StreamPath { sdk_app_id, room, user, stream };
    match hash_of(&path) == hash {
        true => Ok(path),
        false => Err(Fault::with(Code::NotFound, "the stream's name is not that of this roomid, userid and stream")),
    }
}

/// Bizid and MD5.
fn split(name: &str) -> Option<(&str, &str)> {
    let (bizid, hash) = name.rsplit_once('_')?;
    let is_hash = hash.len() == HEX_CHARS && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hash && !bizid.is_empty()).then_some((bizid, hash))
}

fn hash_of(path: &StreamPath) -> String {
    let digest = Md5::digest(format!("{}_{}_{}", path.room, path.user, path.stream));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_md5_of_room_user_and_stream() {
        // `printf %s 10001_alice_main | md5sum`; the app's number has no part in it.
        for (name, hash) in [
            ("7_10001_alice_main", "dc55e56030c21f8471e668eff3d4dd58"),
            ("8_10001_alice_aux", "e36b70c9ab72aab9d9f0a4c48d593da2"),
            ("7_lobby_李雷_main", "3a4744648f5376916c1a461504b3e1d8"),
        ] {
            assert_eq!(hash_of(&StreamPath::parse(name, None).unwrap()), hash, "{name}");
        }
    }

    #[test]
    fn only_an_md5_in_small_letters_behind_something_is_an_older_name() {
        let hash = "dc55e56030c21f8471e668eff3d4dd58";
        assert_eq!(split(&format!("8888_{hash}")), Some(("8888", hash)));
        assert_eq!(split(&format!("a_b_{hash}")), Some(("a_b", hash)));
        let (upper, short, letter) = (hash.to_uppercase(), &hash[1..], hash.replace('d', "g"));
        for bad in
            [hash.to_owned(), format!("_{hash}"), format!("8_{upper}"), format!("8_{short}"), format!("8_{letter}")]
        {
            assert_eq!(split(&bad), None, "{bad}");
        }
    }
}
