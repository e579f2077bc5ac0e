//! A command to a room service, and its refusal in the words of the service that was asked. The HTTP status is always 200:
//! clients read `code`.

use std::net::IpAddr;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{
    Weapp,
    login::{BadToken, Login, Style},
    urls::Urls,
};
use crate::{
    auth::url::{Query, percent_decode},
    code::Fault,
    config::ReachedAt,
    fields::read_object,
    name::{RoomName, USER_ID_BYTES_MAX, is_user_id},
    rest::Peer,
};

/// Bytes of a text whose meaning is the client's own: a name, an avatar's URL, a push URL.
const TEXT_BYTES_MAX: usize = 4096;

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// The body is no JSON object.
    BadBody,
    NoSuchCommand,
    /// A field is missing, or of no use.
    Missing(&'static str),
    BadOperation,
    InfoTooLong,
    BadUser,
    NoRoom,
    NotOwner,
    NotMember,
    Token(BadToken),
    /// The userSig is refused; see the fault.
    Ticket(Fault),
    /// He speaks for another user.
    NotYou,
    Exists(RoomName),
    Full,
    AudienceFull,
    BadMerge,
    Other(Fault),
}

impl From<Fault> for Why {
    fn from(fault: Fault) -> Why {
        Why::Other(fault)
    }
}

/// Whose words a refusal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    RtmpRoom,
    Mlvb,
    Webrtc,
}

impl From<Style> for Words {
    fn from(style: Style) -> Words {
        match style {
            Style::RtmpRoom => Words::RtmpRoom,
            Style::Mlvb => Words::Mlvb,
        }
    }
}

impl Why {
    /// The code in the words of RTMPRoom, MLVB and the list service.
    fn codes(&self) -> (i64, i64, i64) {
        match self {
            Why::BadBody => (1, 200_101, 2),
            Why::NoSuchCommand => (-1, 200_100, -1),
            Why::Missing("sdkAppID" | "userSig" | "accountType") => (7, 201_001, 2),
            Why::Missing("userID") => (1, 201_002, 2),
            Why::Missing("roomID") => (1, 201_004, 2),
            Why::Missing("cnt" | "index") => (1, 201_005, 2),
            Why::Missing("mergeParams") => (1, 201_006, 2),
            Why::Missing("operation" | "fieldName") => (1, 201_007, 2),
            Why::Missing("value") => (1, 201_009, 2),
            Why::Missing("pushURL") => (1, 203_008, 2),
            Why::Missing(_) => (1, 201_000, 2),
            Why::BadOperation => (1, 201_008, 2),
            Why::InfoTooLong => (10, 203_009, 11),
            Why::BadUser => (1, 201_002, 7),
            Why::NoRoom => (3, 203_001, 3),
            Why::NotOwner => (3, 203_003, 3),
            Why::NotMember => (5, 203_010, 5),
            Why::Token(_) => (7, 202_000, 7),
            Why::Ticket(_) => (7, 202_001, 7),
            Why::NotYou => (7, 201_003, 7),
            Why::Exists(_) => (11, 203_002, 11),
            Why::Full => (5001, 203_007, 5001),
            Why::AudienceFull => (1, 205_001, 5001),
            Why::BadMerge => (10, 207_002, 2),
            Why::Other(_) => (-1, 207_000, -1),
        }
    }

    fn message(&self) -> String {
        match self {
            Why::BadBody => "the body is not one JSON object".into(),
            Why::NoSuchCommand => "there is no such command here".into(),
            Why::Missing(field) => format!("parameters are missing or of no use: {field}"),
            Why::BadOperation => "operation must be set, inc or dec".into(),
            Why::InfoTooLong => "roomInfo is too long".into(),
            Why::BadUser => "the userID must be a letter and then 3 to 23 letters, digits or _".into(),
            Why::NoRoom => "there is no such room".into(),
            Why::NotOwner => "only the room's owner may do that".into(),
            Why::NotMember => "this user is not in the room".into(),
            Why::Token(bad) => format!("not authorised, {}: {}", *bad as u8, bad.text()),
            Why::Ticket(fault) | Why::Other(fault) => {
                format!("{}: {}; {}", fault.code.number(), fault.message, fault.code.advice())
            }
            Why::NotYou => "the userID is not that of the token".into(),
            Why::Exists(_) => "the room exists already".into(),
            Why::Full => "the room is full".into(),
            Why::AudienceFull => "the list of viewers is full".into(),
            Why::BadMerge => "mergeParams is not JSON".into(),
        }
    }

    pub fn body(&self, words: Words) -> Value {
        let (rtmp_room, mlvb, webrtc) = self.codes();
        let code = match words {
            Words::RtmpRoom => rtmp_room,
            Words::Mlvb => mlvb,
            Words::Webrtc => webrtc,
        };
        let mut body = json!({ "code": code, "message": self.message() });
        if let Why::Exists(room) = self {
            body["roomID"] = room.to_string().into();
        }
        body
    }
}

/// What came, before anybody looked who sent it.
pub struct Call {
    pub query: Query,
    pub body: Result<Map<String, Value>, Why>,
    pub urls: Urls,
    pub remote: Option<IpAddr>,
    /// A browser asks whether it may ask.
    pub preflight: bool,
}

impl FromRequest<Weapp> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, weapp: &Weapp) -> Result<Call, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let Ok(peer) = <Peer as axum::extract::FromRequestParts<Weapp>>::from_request_parts(&mut parts, weapp).await;
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        let reached_at = parts.extensions.get::<ReachedAt>().copied();
        let urls = Urls::new(weapp.hub(), &parts.headers, authority, reached_at);
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let preflight = parts.method == Method::OPTIONS;
        let form = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form = form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let bytes = Bytes::from_request(Request::from_parts(parts, body), weapp).await;
        let body = bytes.map_err(|_| Why::BadBody).and_then(|bytes| read_body(&bytes, form));
        Ok(Call { query, body, urls, remote: peer.remote, preflight })
    }
}

/// No body is an empty object: the phone libraries log in like that.
fn read_body(bytes: &[u8], form: bool) -> Result<Map<String, Value>, Why> {
    let text = std::str::from_utf8(bytes).map_err(|_| Why::BadBody)?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    if form && !text.trim_start().starts_with('{') {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('=')).take(64);
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        return Ok(pairs.map(|(name, value)| (decode(name), Value::String(decode(value)))).collect());
    }
    read_object(text).ok_or(Why::BadBody)
}

/// A command of somebody who is logged in.
pub struct Asked<'a> {
    pub weapp: &'a Weapp,
    pub login: Login,
    pub body: Map<String, Value>,
    pub urls: &'a Urls,
}

impl Asked<'_> {
    /// Text of the client's own meaning; it must be there, and may be empty.
    pub fn text(&self, field: &'static str) -> Result<&str, Why> {
        text(&self.body, field)
    }

    pub fn room(&self) -> Result<RoomName, Why> {
        self.optional_room()?.ok_or(Why::Missing("roomID"))
    }

    /// The room, which some clients leave out and others leave empty.
    pub fn optional_room(&self) -> Result<Option<RoomName>, Why> {
        room(&self.body)
    }

    /// The user of the body, who must be who is logged in.
    pub fn user(&self) -> Result<&str, Why> {
        let user = user(&self.body)?;
        if user == self.login.user { Ok(user) } else { Err(Why::NotYou) }
    }

    /// A count, as a number or as decimal text.
    pub fn count(&self, field: &'static str) -> Result<usize, Why> {
        count(&self.body, field)
    }
}

pub fn text<'a>(body: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, Why> {
    match body.get(field) {
        Some(Value::String(text)) if text.len() <= TEXT_BYTES_MAX => Ok(text),
        _ => Err(Why::Missing(field)),
    }
}

pub fn room(body: &Map<String, Value>) -> Result<Option<RoomName>, Why> {
    match body.get("roomID") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => RoomName::from_text(text).map(Some).ok_or(Why::Missing("roomID")),
        Some(Value::Number(number)) => {
            number.as_u64().and_then(RoomName::from_number).map(Some).ok_or(Why::Missing("roomID"))
        }
        Some(_) => Err(Why::Missing("roomID")),
    }
}

pub fn user(body: &Map<String, Value>) -> Result<&str, Why> {
    let user = text(body, "userID")?;
    if user.len() <= USER_ID_BYTES_MAX && is_user_id(user) { Ok(user) } else { Err(Why::Missing("userID")) }
}

pub fn count(body: &Map<String, Value>, field: &'static str) -> Result<usize, Why> {
    let number = match body.get(field) {
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
        None => None,
    };
    number.and_then(|number| usize::try_from(number).ok()).ok_or(Why::Missing(field))
}

/// What goes out: an object with `code` 0 added to it, or the refusal.
pub fn answer(words: Words, result: Result<Value, Why>) -> Response {
    let body = match result {
        Ok(mut body) => {
            if let Some(body) = body.as_object_mut() {
                body.entry("code").or_insert_with(|| 0.into());
                body.entry("message").or_insert_with(|| "ok".into());
            }
            body
        }
        Err(why) => why.body(words),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// To a browser that asks whether it may ask; the headers come from the layer around.
pub fn preflight() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
