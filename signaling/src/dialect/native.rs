//! Our own wire: the JSON of `/signal`, see `PROTOCOL.md`.

use crate::{
    code::{Code, Fault},
    config::Limits,
    fields::{Fields, read_object},
    request::Request,
};

/// A message of a client, as far as it could be read.
#[derive(Debug)]
pub struct Message {
    /// Repeated in the answer.
    pub id: u64,
    /// What is asked, or why that cannot be said.
    pub request: Result<Request, Fault>,
}

/// The greatest id: what a JavaScript number holds exactly.
const ID_MAX: u64 = (1 << 53) - 1;

/// Reads one message. An error means that it has no id to answer to, and ends the connection.
pub fn read(text: &str, limits: &Limits) -> Result<Message, Fault> {
    let map = read_object(text).ok_or(Code::BadMessage)?;
    let id = Fields(&map).number("id", ID_MAX).map_err(|fault| Fault { code: Code::BadMessage, ..fault })?;
    Ok(Message { id, request: Request::read(&map, limits) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> Code {
        match read(text, &Limits::default()) {
            Ok(message) => message.request.expect_err("refused").code,
            Err(fault) => fault.code,
        }
    }

    #[test]
    fn what_has_no_id_ends_the_connection_and_what_has_one_is_answered() {
        for text in ["null", "{}", r#"{"id":"1","type":"leave"}"#, r#"{"id":-1,"type":"leave"}"#, r#"{"id":1.5}"#] {
            assert_eq!(read(text, &Limits::default()).unwrap_err().code, Code::BadMessage, "{text}");
        }
        assert_eq!(code_of(r#"{"id":1,"type":"dance"}"#), Code::UnknownRequest);
        assert_eq!(code_of(r#"{"id":1}"#), Code::BadField);
        assert_eq!(code_of(r#"{"id":1,"type":5}"#), Code::BadField);
    }

    #[test]
    fn unknown_fields_are_ignored_and_known_ones_are_strict() {
        let limits = Limits::default();
        let message = read(r#"{"id":1,"type":"unpublish","stream":"main","later":{"x":[1]}}"#, &limits).unwrap();
        assert!(message.request.is_ok());
        for (text, field) in [
            (r#"{"id":1,"type":"unpublish","stream":1}"#, "stream"),
            (r#"{"id":1,"type":"publish","tracks":[{"mid":"0","stream":"main"}]}"#, "sdp"),
            (r#"{"id":1,"type":"publish","sdp":"v=0","tracks":[]}"#, "tracks"),
            (r#"{"id":1,"type":"publish","sdp":"v=0","tracks":[{"mid":0,"stream":"main"}]}"#, "mid"),
            (r#"{"id":1,"type":"subscribe","streams":[{"userID":"a","stream":"main","audio":1}]}"#, "audio"),
            (r#"{"id":1,"type":"answer","version":"1","sdp":"v=0"}"#, "version"),
            (r#"{"id":1,"type":"mute","stream":"main","kind":"smell","muted":true}"#, "kind"),
            (r#"{"id":1,"type":"enter","sdkAppID":"7","userID":"a","userSig":"x","roomID":1}"#, "sdkAppID"),
            (r#"{"id":1,"type":"enter","sdkAppID":7,"userID":"a\n","userSig":"x","roomID":1}"#, "userID"),
            (r#"{"id":1,"type":"enter","sdkAppID":7,"userID":"a","userSig":"x","roomID":0}"#, "roomID"),
            (r#"{"id":1,"type":"enter","sdkAppID":7,"userID":"a","userSig":"x","roomID":1,"role":"king"}"#, "role"),
        ] {
            let fault = read(text, &limits).unwrap().request.unwrap_err();
            assert_eq!((fault.code, fault.field), (Code::BadField, Some(field)), "{text}");
        }
    }

    #[test]
    fn a_description_of_128_kib_is_read_and_a_byte_more_is_not() {
        let limits = Limits::default();
        let of = |len: usize| {
            let text = format!(r#"{{"id":1,"type":"answer","version":1,"sdp":"{}"}}"#, "x".repeat(len));
            read(&text, &limits).unwrap().request.is_ok()
        };
        assert!(of(limits.sdp_bytes) && !of(limits.sdp_bytes + 1));
    }

    #[test]
    fn a_publish_names_8_tracks_and_not_one_more() {
        let limits = Limits::default();
        let of = |tracks: usize| {
            let tracks: Vec<String> = (0..tracks).map(|mid| format!(r#"{{"mid":"{mid}","stream":"main"}}"#)).collect();
            let text = format!(r#"{{"id":1,"type":"publish","sdp":"v=0","tracks":[{}]}}"#, tracks.join(","));
            read(&text, &limits).unwrap().request
        };
        assert!(of(limits.tracks_per_publish).is_ok());
        assert_eq!(of(limits.tracks_per_publish + 1).unwrap_err().field, Some("tracks"));
    }
}
