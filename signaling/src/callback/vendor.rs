//! Callbacks in the form that receivers of the vendor's live streaming know: `event_type` 1 when a stream begins and 0 when it
//! ends, signed in the body by `t` and `sign`. Nothing else has such a form.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::{
    hub::{Fact, Notice, PushOrigin},
    name::{StreamName, StreamPath},
};

/// How long a callback may be taken for true, in seconds.
const VALID_S: u64 = 600;
/// `errcode` of an end: the client closed it. Why a stream ended is not told apart here.
const CLIENT_CLOSED: u32 = 1;

/// The streams that are being published, by full name: what their end has to repeat of their beginning.
#[derive(Default)]
pub struct Publications(Mutex<HashMap<String, Begun>>);

#[derive(Clone)]
struct Begun {
    sequence: u64,
    unix_ms: u64,
    origin: Option<PushOrigin>,
}

impl Publications {
    /// The body for this notice, without `t` and `sign`; `None` for what is no beginning or end of a stream. `number`: of this
    /// notice, never used twice.
    pub fn body(&self, number: u64, notice: &Notice) -> Option<Value> {
        let path = |user: &str, stream: StreamName| {
            let (sdk_app_id, room) = (notice.sdk_app_id, notice.room.clone());
            StreamPath { sdk_app_id, room, user: user.to_owned(), stream }.to_string()
        };
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, name, of) = match &notice.fact {
            Fact::PublishStarted { user, stream, origin } => {
                let name = path(user, stream.stream);
                let of = Begun { sequence: number, unix_ms: notice.unix_ms, origin: origin.clone() };
                begun.insert(name.clone(), of.clone());
                (1, name, of)
            }
            Fact::PublishStopped { user, stream } => {
                let name = path(user, *stream);
                let of = begun.remove(&name)?;
                (0, name, of)
            }
            _ => return None,
        };
        let origin = of.origin.as_ref();
        let mut body = json!({
            "event_type": kind,
            "stream_id": name,
            "channel_id": name,
            "appid": notice.sdk_app_id,
            "app": origin.map_or("", |from| &from.host),
            "appname": origin.map_or("live", |from| &from.app),
            "event_time": notice.unix_ms / 1000,
            "sequence": of.sequence.to_string(),
            "node": origin.and_then(|from| from.node).map(|ip| ip.to_string()).unwrap_or_default(),
            "user_ip": origin.map(|from| from.ip.to_string()).unwrap_or_default(),
            // Without the tickets that a push's query has in it.
            "stream_param": origin.map_or("", |from| &from.param),
            "errcode": if kind == 1 { 0 } else { CLIENT_CLOSED },
            "errmsg": if kind == 1 { "ok" } else { "closed" },
            "width": 0,
            "height": 0,
        });
        if kind == 0 {
            // Text, as receivers expect it.
            body["push_duration"] = notice.unix_ms.saturating_sub(of.unix_ms).to_string().into();
        }
        Some(body)
    }
}

/// The body with its signature: MD5 of the key and the time, in hex.
pub fn signed(mut body: Value, key: &str, unix_s: u64) -> Vec<u8> {
    let t = unix_s + VALID_S;
    body["t"] = t.into();
    body["sign"] = sign(key, t).into();
    body.to_string().into_bytes()
}

fn sign(key: &str, t: u64) -> String {
    let digest = Md5::new().chain_update(key).chain_update(t.to_string()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{message::StreamInfo, name::RoomName};

    fn notice(unix_ms: u64, fact: Fact) -> Notice {
        Notice { sdk_app_id: 7, room: RoomName::Number(5), unix_ms, fact }
    }

    #[test]
    fn the_signature_is_that_of_the_vendors_receivers() {
        assert_eq!(sign("apikey00", 1_544_000_600), "fb1e4d8e31fc18baf2e85a0d482e8136");
        let body: Value = serde_json::from_slice(&signed(json!({}), "apikey00", 1_544_000_000)).unwrap();
        assert_eq!((&body["t"], &body["sign"]), (&json!(1_544_000_600), &json!("fb1e4d8e31fc18baf2e85a0d482e8136")));
    }

    #[test]
    fn an_end_repeats_the_sequence_of_its_beginning_and_says_how_long_it_was() {
        let publications = Publications::default();
        let stream = StreamInfo { stream: StreamName::Main, audio: None, video: None, b_frames: false, waiting: false };
        let origin = PushOrigin {
            ip: [203, 0, 113, 9].into(),
            host: "push.example.com".into(),
            node: Some([192, 0, 2, 7].into()),
            app: "push".into(),
            param: "userid=phone&txTime=7FFFFFFF".into(),
        };
        let started = Fact::PublishStarted { user: "phone".into(), stream, origin: Some(origin) };
        let stopped = Fact::PublishStopped { user: "phone".into(), stream: StreamName::Main };
        assert_eq!(publications.body(3, &notice(9, stopped.clone())), None, "it never began");
        let begin = publications.body(4, &notice(10_000, started)).unwrap();
        let end = publications.body(9, &notice(12_500, stopped)).unwrap();
        for (body, kind, errcode) in [(&begin, 1, 0), (&end, 0, 1)] {
            assert_eq!(body["event_type"], kind);
            assert_eq!(body["errcode"], errcode);
            assert_eq!((&body["stream_id"], &body["channel_id"]), (&json!("7_5_phone_main"), &json!("7_5_phone_main")));
            assert_eq!(body["sequence"], "4");
            assert_eq!((&body["app"], &body["appname"]), (&json!("push.example.com"), &json!("push")));
            assert_eq!((&body["user_ip"], &body["node"]), (&json!("203.0.113.9"), &json!("192.0.2.7")));
            assert_eq!(body["stream_param"], "userid=phone&txTime=7FFFFFFF");
        }
        assert_eq!(end["push_duration"], "2500");
        assert_eq!(publications.body(10, &notice(13_000, Fact::RoomDissolved)), None);
    }
}
