//! `jsonvideoapp`: where the vendor's `webrtc-room` component shows its tickets and gets the signature of a `room://` address.
//! Only the vendor's network can serve such addresses; ours are RTMP. The `RspBody` is our own: the component that we ship
//! reads `PushUrl` and `PlayUrl` from it.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Call, Im};
use crate::{
    code::Code,
    name::{RoomName, is_user_id},
};

/// The port that an `rtmp://` URL need not name.
const RTMP_PORT: u16 = 1935;

pub(super) async fn handle(State(im): State<Im>, call: Call) -> Response {
    if call.preflight {
        return StatusCode::NO_CONTENT.into_response();
    }
    Json(answer(&im, &call)).into_response()
}

fn answer(im: &Im, call: &Call) -> Value {
    let refused = |code: u32, text: &str| json!({ "RspHead": { "ErrorCode": code, "ErrorInfo": text } });
    let Some(body) = &call.body else { return refused(82, "the body is not one JSON object") };
    let value = |name| call.query.value(name).unwrap_or_default();
    let app = value("sdkappid").parse().unwrap_or(0);
    let (user, sig) = (value("identifier"), value("usersig"));
    let field = |head: &str, name: &str| body.get(head).and_then(|head| head.get(name)).cloned();
    let room = field("ReqHead", "GroupId").and_then(|room| match room {
        Value::Number(number) => number.as_u64().and_then(RoomName::from_number),
        Value::String(text) => RoomName::from_text(&text),
        _ => None,
    });
    let Some(room) = room.filter(|_| is_user_id(user)) else { return refused(82, "GroupId or identifier is missing") };
    let key = field("ReqBody", "PrivMapEncrypt").and_then(|key| key.as_str().map(str::to_owned));
    let key = key.filter(|key| !key.is_empty());
    match im.hub().authorise_entry(call.peer.remote, app, user, sig, &room, key.as_deref()) {
        Ok(()) => {}
        Err(code @ (Code::PrivateMapKeyMissing | Code::PrivateMapKeyExpired)) => {
            let number = if code == Code::PrivateMapKeyMissing { 80 } else { 86 };
            return refused(number, code.message());
        }
        Err(code @ (Code::PrivateMapKeyInvalid | Code::PrivilegeMissing | Code::PrivateMapKeyUsed)) => {
            return refused(87, code.message());
        }
        // Of the userSig later clients look outside of RspHead.
        Err(code) => return json!({ "ErrorCode": code.number(), "ErrorInfo": code.message() }),
    }
    let name = match call.host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => &call.host,
    };
    let port = im.hub().config().rtmp_port.filter(|port| *port != RTMP_PORT);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let key = key.map(|key| format!("&privatemapkey={key}")).unwrap_or_default();
    json!({
        "RspHead": { "ErrorCode": 0, "ErrorInfo": "" },
        "RspBody": {
            "RoomId": room,
            "UserId": user,
            "PushUrl": format!("rtmp://{name}{port}/push/{room}?sdkappid={app}&userid={user}&usersig={sig}{key}"),
            "PlayUrl": format!("rtmp://{name}{port}/live/{app}_{room}_{{userID}}_main"),
        },
    })
}
