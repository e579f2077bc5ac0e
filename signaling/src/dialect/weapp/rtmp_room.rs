//! RTMPRoom: `/weapp/double_room`, `/weapp/multi_room` and `/weapp/live_room`, as the vendor's Node and Java servers answered
//! them. Commands of `mlvb-live-room` come by the same paths; who logged in like one of its clients is answered in its words.

use std::time::Instant;

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    Weapp,
    board::{FieldChange, Key, Kind, Newcomer},
    call::{Asked, Call, Why, Words, answer, preflight},
    login::Style,
    mlvb,
    rooms::{custom_text, random_text},
};
use crate::{
    code::Code,
    config::{AppConfig, PrivateMapKeyPolicy},
};

type Answered = Result<Value, Why>;

/// The path's second part.
fn kind_of(list: &str) -> Option<Kind> {
    match list {
        "double_room" => Some(Kind::Double),
        "multi_room" => Some(Kind::Multi),
        "live_room" => Some(Kind::Live),
        _ => None,
    }
}

pub async fn handle(State(weapp): State<Weapp>, Path((list, command)): Path<(String, String)>, call: Call) -> Response {
    if call.preflight {
        return preflight();
    }
    let Some(kind) = kind_of(&list) else { return answer(Words::RtmpRoom, Err(Why::NoSuchCommand)) };
    if command == "login" {
        let style = match call.query.value("platform") {
            Some(_) if kind == Kind::Live => Style::Mlvb,
            _ => Style::RtmpRoom,
        };
        return answer(style.into(), login(&weapp, style, &call));
    }
    let checked = weapp.logins().check(call.query.value("userid"), call.query.value("token"), Instant::now());
    let login = match checked {
        Ok(login) => login,
        Err(bad) => return answer(Words::RtmpRoom, Err(Why::Token(bad))),
    };
    let words = login.style.into();
    let result = call.body.and_then(|body| {
        let asked = Asked { weapp: &weapp, login, body, urls: &call.urls };
        match asked.login.style {
            Style::Mlvb => mlvb::command(&asked, &command),
            Style::RtmpRoom => self::command(&asked, kind, &command),
        }
    });
    answer(words, result)
}

fn login(weapp: &Weapp, style: Style, call: &Call) -> Answered {
    let value = |name, field| call.query.value(name).ok_or(Why::Missing(field));
    let app = value("sdkappid", "sdkAppID")?.parse().map_err(|_| Why::Ticket(Code::UnknownApp.into()))?;
    let user = value("userid", "userID")?;
    let user_sig = value("usersig", "userSig")?;
    let account_type = match (call.query.value("accounttype"), style) {
        (Some(account_type), _) => account_type,
        (None, Style::Mlvb) => "0",
        (None, Style::RtmpRoom) => return Err(Why::Missing("accountType")),
    };
    let judged = weapp.hub().authorise_user(call.remote, app, user, user_sig);
    judged.map_err(|code| Why::Ticket(code.into()))?;
    let apps = weapp.hub().apps();
    let wants_key = |one: &AppConfig| one.sdk_app_id == app && one.private_map_key == PrivateMapKeyPolicy::Required;
    if apps.iter().any(wants_key) {
        // Clients of these services have no such key to show.
        return Err(Why::Ticket(Code::PrivateMapKeyMissing.into()));
    }
    let max = weapp.config().logins;
    let token = weapp.logins().add(app, user, account_type, style, max, Instant::now());
    let token = token.ok_or_else(|| Why::Other(Code::MediaLimit.into()))?;
    let mut reply = json!({ "token": token, "userID": user });
    if style == Style::Mlvb {
        reply["timestamp"] = super::rooms::unix_ms().into();
    }
    Ok(reply)
}

fn command(asked: &Asked<'_>, kind: Kind, command: &str) -> Answered {
    match command {
        "logout" => {
            asked.weapp.logins().remove(&asked.login);
            Ok(json!({}))
        }
        "get_push_url" => {
            let user = asked.user()?;
            let room = asked.optional_room()?;
            let url = asked.weapp.push_url(asked.login.app, kind, room, user, asked.urls)?;
            Ok(json!({ "pushURL": url }))
        }
        "get_room_list" => {
            let (count, index) = (asked.count("cnt")?, asked.count("index")?);
            let rooms = asked.weapp.list(asked.login.app, kind, index, count, asked.urls);
            let rooms = rooms.iter().map(|room| match kind {
                Kind::Live => room.with_audiences(room.json(), false),
                _ => room.json(),
            });
            Ok(json!({ "rooms": rooms.collect::<Vec<_>>() }))
        }
        "get_pushers" => {
            let room = asked.weapp.room_answer(&key(asked)?, asked.urls).ok_or(Why::NoRoom)?;
            Ok(room.json())
        }
        "create_room" => {
            let (user, info) = (asked.user()?, asked.text("roomInfo")?);
            let room = asked.weapp.create_room(asked.login.app, kind, asked.optional_room()?, info, user)?;
            Ok(json!({ "roomID": room.to_string() }))
        }
        "destroy_room" => {
            let key = key(asked)?;
            asked.weapp.destroy_room(&key, asked.user()?)?;
            Ok(json!({}))
        }
        "add_pusher" => add_pusher(asked, kind),
        "delete_pusher" => {
            let key = key(asked)?;
            asked.weapp.delete_pusher(&key, &asked.login.user, super::call::user(&asked.body)?)?;
            Ok(json!({}))
        }
        "pusher_heartbeat" => {
            let key = key(asked)?;
            let user = asked.user()?;
            beat(asked, &key, user)?;
            Ok(json!({}))
        }
        command if kind == Kind::Live => live_command(asked, command),
        _ => Err(Why::NoSuchCommand),
    }
}

fn add_pusher(asked: &Asked<'_>, kind: Kind) -> Answered {
    let key = key(asked)?;
    let who = Newcomer {
        user: asked.user()?.to_owned(),
        name: asked.text("userName")?.to_owned(),
        avatar: asked.text("userAvatar")?.to_owned(),
        push_name: None,
    };
    let push_url = asked.text("pushURL")?;
    let info = asked.text("roomInfo").unwrap_or_default();
    asked.weapp.enter(&key, kind, info, who, push_url)?;
    Ok(json!({ "roomID": key.1.to_string() }))
}

/// A sign of life. Whose stream is here is in the room, whether or not he said so.
pub(super) fn beat(asked: &Asked<'_>, key: &Key, user: &str) -> Result<(), Why> {
    let known = asked.weapp.board().beat(key, user, Instant::now());
    if known || asked.weapp.publishers(key).iter().any(|one| one == user) { Ok(()) } else { Err(Why::NotMember) }
}

/// What only live rooms have. The MLVB live room has the same.
pub(super) fn live_command(asked: &Asked<'_>, command: &str) -> Answered {
    match command {
        "merge_stream" => {
            let _ = (asked.room()?, asked.user()?);
            let merge = asked.body.get("mergeParams").ok_or(Why::Missing("mergeParams"))?;
            match merge {
                Value::Object(_) => {}
                Value::String(text) if serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()) => {}
                _ => return Err(Why::BadMerge),
            }
            Ok(json!({ "result": merge_result() }))
        }
        "get_custom_info" => {
            let key = key(asked)?;
            let custom = asked.weapp.board().get(&key).map(|room| room.custom.clone()).ok_or(Why::NoRoom)?;
            let custom = custom_text(&custom);
            // The Java server called it customInfo.
            Ok(json!({ "custom": custom, "customInfo": custom }))
        }
        "set_custom_field" => {
            let key = key(asked)?;
            let field = asked.text("fieldName")?.to_owned();
            let value = asked.body.get("value").filter(|value| !value.is_null());
            let change = match asked.text("operation")? {
                "set" => FieldChange::Set(value.cloned().ok_or(Why::Missing("value"))?),
                "inc" => FieldChange::Inc,
                "dec" => FieldChange::Dec,
                _ => return Err(Why::BadOperation),
            };
            if !asked.weapp.board().contains(&key) {
                return Err(Why::NoRoom);
            }
            let custom = asked.weapp.board().change_field(&key, &field, change);
            let custom = custom.ok_or_else(|| Why::Other(Code::MediaLimit.into()))?;
            Ok(json!({ "custom": custom_text(&custom) }))
        }
        "add_audience" => {
            let (key, user) = (key(asked)?, asked.user()?);
            let info = asked.body.get("userInfo").cloned().unwrap_or_else(|| "".into());
            let max = asked.weapp.config().audiences;
            match asked.weapp.board().watch(&key, user, info, max) {
                Some(true) => Ok(json!({})),
                Some(false) => Err(Why::AudienceFull),
                None => Err(Why::NoRoom),
            }
        }
        "delete_audience" => {
            let key = key(asked)?;
            asked.weapp.board().unwatch(&key, asked.user()?);
            Ok(json!({}))
        }
        "get_audiences" => {
            let key = key(asked)?;
            let board = asked.weapp.board();
            let (count, list) = match board.get(&key) {
                None => (0, Vec::new()),
                Some(room) => {
                    let list = room.audiences.iter().map(|(user, info)| json!({ "userID": user, "userInfo": info }));
                    (room.audience_count, list.collect())
                }
            };
            Ok(json!({ "audienceCount": count, "audiences": list }))
        }
        _ => Err(Why::NoSuchCommand),
    }
}

/// What clients expect of the vendor's mixer. The call is taken, so that they go on; what it does not do it says.
pub(super) fn merge_result() -> Value {
    json!({
        "code": 0,
        "message": "accepted, but this server does not mix pictures: mixedPlayURL shows the creator's own stream",
        "timestamp": super::rooms::unix_ms() / 1000,
    })
}

pub(super) fn key(asked: &Asked<'_>) -> Result<Key, Why> {
    Ok((asked.login.app, asked.room()?))
}

/// A user's name for who has none.
pub(super) fn random_user() -> String {
    random_text("user")
}
