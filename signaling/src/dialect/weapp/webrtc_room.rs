//! The room list of the vendor's `webrtc-room` demos: `/webrtc/weapp/webrtc_room`. It asks for no token and hands out
//! tickets, so it answers only while the demo is on.

use std::time::Instant;

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    Weapp,
    board::{Kind, Newcomer},
    call::{Call, Why, Words, answer, count, preflight, room, text, user},
    rooms::{random_text, unix_ms},
    utils::{demo_app, user_sig},
};
use crate::{
    auth::{
        authorise::Privilege,
        issue::{TicketVersion, issue_private_map_key},
    },
    code::Code,
    config::AppConfig,
    name::RoomName,
};

/// How long a privateMapKey lasts, in seconds.
const KEY_LIFE_S: u64 = 24 * 3600;

pub async fn handle(State(weapp): State<Weapp>, Path(command): Path<String>, call: Call) -> Response {
    if call.preflight {
        return preflight();
    }
    let result = demo_app(&weapp).and_then(|app| {
        let body = call.body.as_ref().map_err(Clone::clone)?;
        self::command(&weapp, &app, &command, body, &call)
    });
    answer(Words::Webrtc, result)
}

fn command(
    weapp: &Weapp,
    app: &AppConfig,
    command: &str,
    body: &Map<String, Value>,
    call: &Call,
) -> Result<Value, Why> {
    let id = app.sdk_app_id;
    match command {
        "get_login_info" => {
            let user = match body.get("userID") {
                None | Some(Value::Null) => random_text("user"),
                Some(Value::String(empty)) if empty.is_empty() => random_text("user"),
                Some(_) => strict_user(body)?.to_owned(),
            };
            let user_sig = user_sig(app, &user)?;
            Ok(json!({ "sdkAppID": id, "accountType": "0", "userID": user, "userSig": user_sig }))
        }
        "get_room_list" => {
            let (index, count) = (count(body, "index")?, count(body, "count")?);
            let rooms = weapp.list(id, Kind::Webrtc, index, count, &call.urls).into_iter().map(|room| {
                let members: Vec<_> = room.pushers.iter().map(|one| member(&one.json())).collect();
                let mut json = room.json();
                json["roomID"] = number(&room.room);
                json["members"] = members.into();
                json
            });
            Ok(json!({ "rooms": rooms.collect::<Vec<_>>() }))
        }
        "create_room" => {
            let user = strict_user(body)?;
            let info = text(body, "roomInfo")?;
            let room = weapp.create_room(id, Kind::Webrtc, room(body)?, info, user)?;
            enter(weapp, id, &room, user, body)?;
            Ok(json!({
                "roomID": number(&room),
                "roomInfo": info,
                "userID": user,
                "privateMapKey": key(app, user, &room)?,
            }))
        }
        "enter_room" => {
            let user = strict_user(body)?;
            let room = room(body)?.ok_or(Why::Missing("roomID"))?;
            if !weapp.board().contains(&(id, room.clone())) {
                return Err(Why::NoRoom);
            }
            enter(weapp, id, &room, user, body)?;
            Ok(json!({ "roomID": number(&room), "userID": user, "privateMapKey": key(app, user, &room)? }))
        }
        "quit_room" => {
            let (user, room) = (strict_user(body)?, room(body)?.ok_or(Why::Missing("roomID"))?);
            weapp.delete_pusher(&(id, room), user, user)?;
            Ok(json!({}))
        }
        "heartbeat" => {
            let (user, room) = (strict_user(body)?, room(body)?.ok_or(Why::Missing("roomID"))?);
            match weapp.board().beat(&(id, room), user, Instant::now()) {
                true => Ok(json!({})),
                false => Err(Why::NotMember),
            }
        }
        "get_room_members" => {
            let room = room(body)?.ok_or(Why::Missing("roomID"))?;
            let room = weapp.room_answer(&(id, room), &call.urls).ok_or(Why::NoRoom)?;
            let members: Vec<_> = room.pushers.iter().map(|one| member(&one.json())).collect();
            Ok(json!({ "members": members }))
        }
        "report" => Ok(json!({})),
        _ => Err(Why::NoSuchCommand),
    }
}

fn enter(weapp: &Weapp, app: u32, room: &RoomName, user: &str, body: &Map<String, Value>) -> Result<(), Why> {
    let name = text(body, "nickName").unwrap_or(user).to_owned();
    let who = Newcomer { user: user.to_owned(), name, ..Newcomer::default() };
    weapp.enter(&(app, room.clone()), Kind::Webrtc, "", who, "")
}

/// A letter, and then 3 to 23 letters, digits or `_`.
fn strict_user(body: &Map<String, Value>) -> Result<&str, Why> {
    let user = user(body)?;
    let fits = (4..=24).contains(&user.len())
        && user.starts_with(|c: char| c.is_ascii_alphabetic())
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { Ok(user) } else { Err(Why::BadUser) }
}

fn key(app: &AppConfig, user: &str, room: &RoomName) -> Result<String, Why> {
    let now_s = unix_ms() / 1000;
    let version = TicketVersion::of(app).ok_or(Why::NoRoom)?;
    issue_private_map_key(app, version, user, room, Privilege::ALL, now_s, KEY_LIFE_S)
        .map_err(|_| Why::Other(Code::NotFound.into()))
}

fn member(pusher: &Value) -> Value {
    json!({ "userID": pusher["userID"], "nickName": pusher["userName"] })
}

/// Clients compute with it.
fn number(room: &RoomName) -> Value {
    match room {
        RoomName::Number(number) => (*number).into(),
        RoomName::Text(text) => text.clone().into(),
    }
}
