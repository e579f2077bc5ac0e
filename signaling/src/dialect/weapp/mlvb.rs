//! The MLVB live room: `/weapp/live_room` in the words of `mlvb-live-room` and of the MLVB phone libraries. Its clients say
//! `platform` when they log in.

use serde_json::{Value, json};

use super::{
    board::{Kind, Newcomer},
    call::{Asked, Why, user},
    rooms::unix_ms,
    rtmp_room::{beat, key, live_command, merge_result},
    urls::name_of,
};

type Answered = Result<Value, Why>;

pub(super) fn command(asked: &Asked<'_>, command: &str) -> Answered {
    let mut reply = self::plain(asked, command)?;
    // Clients take it for the server's clock.
    reply["timestamp"] = unix_ms().into();
    Ok(reply)
}

fn plain(asked: &Asked<'_>, command: &str) -> Answered {
    let (weapp, app) = (asked.weapp, asked.login.app);
    match command {
        "logout" => {
            weapp.logins().remove(&asked.login);
            Ok(json!({}))
        }
        "get_anchor_url" => {
            let user = asked.user()?;
            let url = weapp.push_url(app, Kind::Live, asked.optional_room()?, user, asked.urls)?;
            let accelerate = asked.urls.play(weapp, app, name_of(&url));
            Ok(json!({ "pushURL": url, "accelerateURL": accelerate }))
        }
        "get_room_list" => {
            let (count, index) = (asked.count("cnt")?, asked.count("index")?);
            let rooms = weapp.list(app, Kind::Live, index, count, asked.urls);
            let rooms = rooms.iter().map(|room| {
                let mut json = room.with_audiences(room.json(), true);
                json["roomName"] = room.name.clone().into();
                json
            });
            Ok(json!({ "rooms": rooms.collect::<Vec<_>>() }))
        }
        "get_anchors" => {
            let room = weapp.room_answer(&key(asked)?, asked.urls).ok_or(Why::NoRoom)?;
            let mut json = room.json();
            json["roomStatusCode"] = room.status_code().into();
            Ok(json)
        }
        "create_room" => create_room(asked),
        "destroy_room" => {
            let key = key(asked)?;
            weapp.destroy_room(&key, asked.user()?)?;
            Ok(json!({}))
        }
        "add_anchor" => {
            let key = key(asked)?;
            let push_url = asked.text("pushURL")?;
            weapp.enter(&key, Kind::Live, asked.text("roomInfo").unwrap_or_default(), newcomer(asked)?, push_url)?;
            Ok(json!({ "roomID": key.1.to_string() }))
        }
        "delete_anchor" => {
            let key = key(asked)?;
            weapp.delete_pusher(&key, &asked.login.user, user(&asked.body)?)?;
            Ok(json!({}))
        }
        "anchor_heartbeat" => {
            let key = key(asked)?;
            beat(asked, &key, asked.user()?)?;
            let known = asked.body.get("roomStatusCode").and_then(Value::as_u64);
            let room = weapp.room_answer(&key, asked.urls).ok_or(Why::NoRoom)?;
            // Who knows the present state needs no list.
            if known == Some(room.status_code().into()) {
                return Ok(json!({ "roomStatusCode": room.status_code() }));
            }
            let mut json = room.json();
            json["roomStatusCode"] = room.status_code().into();
            Ok(json)
        }
        "merge_stream" => {
            live_command(asked, command)?;
            Ok(json!({ "merge_code": 0, "merge_msg": merge_result()["message"].clone() }))
        }
        "get_custom_Info" => live_command(asked, "get_custom_info"),
        command => live_command(asked, command),
    }
}

/// The mini-program names the room and comes later; phones come with it.
fn create_room(asked: &Asked<'_>) -> Answered {
    let user = asked.user()?;
    let info = asked.text("roomInfo").or_else(|_| asked.text("roomName"));
    let info = info.map_err(|_| Why::Missing("roomInfo"))?;
    let room = asked.weapp.create_room(asked.login.app, Kind::Live, asked.optional_room()?, info, user)?;
    let key = (asked.login.app, room);
    if let Ok(name) = asked.text("roomName") {
        asked.weapp.board().rename(&key, name);
    }
    if let Ok(push_url) = asked.text("pushURL") {
        asked.weapp.enter(&key, Kind::Live, info, newcomer(asked)?, push_url)?;
    }
    Ok(json!({ "roomID": key.1.to_string() }))
}

fn newcomer(asked: &Asked<'_>) -> Result<Newcomer, Why> {
    Ok(Newcomer {
        user: asked.user()?.to_owned(),
        name: asked.text("userName").unwrap_or_default().to_owned(),
        avatar: asked.text("userAvatar").unwrap_or_default().to_owned(),
        push_name: None,
    })
}
