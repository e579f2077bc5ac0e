//! Relays to and from other RTMP servers.

use axum::{
    http::Method,
    routing::{MethodRouter, delete, get, post},
};
use serde_json::json;

use super::{
    Answer, Api,
    call::Call,
    openapi::{Field, Kind, Operation, optional, required},
};
use crate::{code::Fault, name::USER_ID_BYTES_MAX, relay::Direction, rest::Refused};

type Answered = Result<Answer, Refused>;

/// Bytes of a URL, and of a stream's full name.
const TEXT_BYTES_MAX: usize = 2_048;

const BODY: &[Field] = &[
    required("direction", Kind::Text, "`push`: a stream goes there; `pull`: one comes from there"),
    required("url", Kind::Text, "`rtmp://host[:port]/app/name[?query]`, or `rtmps`; the query is never shown again"),
    optional(
        "stream",
        Kind::Text,
        "of `push`: the stream's full name, `{sdkAppID}_{roomID}_{userID}_{main or aux}`, or its older one",
    ),
    optional("roomID", Kind::Room, "of `pull`: the room into which it comes"),
    optional("userID", Kind::Text, "of `pull`: the member as whom it comes"),
];

pub(super) fn operations() -> Vec<(Operation, MethodRouter<Api>)> {
    const RELAYS: &str = "/apps/{sdkAppID}/relays";
    const RELAY: &str = "/apps/{sdkAppID}/relays/{relayID}";
    let of = Operation::new;
    vec![
        (of(Method::GET, RELAYS, "list relays, with their state and bytes"), get(list)),
        (
            Operation {
                body: BODY,
                success: 201,
                ..of(Method::POST, RELAYS, "carry a stream to or from another server")
            },
            post(start),
        ),
        (of(Method::GET, RELAY, "one relay"), get(one)),
        (Operation { success: 204, ..of(Method::DELETE, RELAY, "end a relay") }, delete(stop)),
    ]
}

async fn list(call: Call) -> Answered {
    Ok(Answer::Ok(json!({ "relays": call.api.relays().list(call.app) })))
}

async fn start(call: Call) -> Answered {
    let fields = call.fields();
    let url = fields.text("url", TEXT_BYTES_MAX)?;
    let direction = match fields.text("direction", 8)? {
        "push" => Direction::Push { stream: fields.text("stream", TEXT_BYTES_MAX)?.to_owned() },
        "pull" => {
            Direction::Pull { room: fields.room("roomID")?, user: fields.text("userID", USER_ID_BYTES_MAX)?.to_owned() }
        }
        _ => return Err(Fault::field("direction", "push or pull").into()),
    };
    let relay = call.api.relays().start(call.app, direction, url).await?;
    Ok(Answer::Created(json!(relay)))
}

async fn one(call: Call) -> Answered {
    Ok(Answer::Ok(json!(call.api.relays().get(call.app, call.relay()?)?)))
}

async fn stop(call: Call) -> Answered {
    call.api.relays().stop(call.app, call.relay()?).await?;
    Ok(Answer::Done)
}
