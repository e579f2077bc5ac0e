//! `POST /sign`: tickets for an app's own server, or for a demo that has none. Whoever knows the app's secret could sign them
//! himself; this spares him the code.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};

use super::{Peer, Refused, unix_s};
use crate::{
    auth::{
        authorise::Privilege,
        issue::{TicketVersion, issue_private_map_key, issue_user_sig},
    },
    code::{Code, Fault},
    dialect::whip::bearer,
    fields::{Fields, read_object},
    hub::Hub,
    name::{RoomName, USER_ID_BYTES_MAX, is_user_id},
};

/// Bytes of a request. Real ones have 100 to 300.
const BODY_BYTES_MAX: usize = 4 << 10;
/// How long a ticket is good if nothing is said, in seconds: what the vendor's generators advise for tickets that are asked
/// for at every join.
const LIFE_S: u64 = 300;

pub(super) fn routes() -> Router<Hub> {
    Router::new().route("/sign", post(sign)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Tickets for one user, with a privateMapKey if a room was named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedTicket {
    #[serde(rename = "sdkAppID")]
    pub sdk_app_id: u32,
    #[serde(rename = "userID")]
    pub user: String,
    #[serde(rename = "userSig")]
    pub user_sig: String,
    #[serde(rename = "roomID", default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    #[serde(rename = "privateMapKey", default, skip_serializing_if = "Option::is_none")]
    pub private_map_key: Option<String>,
    /// The last second in which they are good, in Unix time.
    #[serde(rename = "expiresAt")]
    pub expires_at_s: u64,
}

async fn sign(
    State(hub): State<Hub>,
    peer: Peer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let body = body.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::MessageTooBig,
        _ => Code::BadMessage,
    })?;
    let map = std::str::from_utf8(&body).ok().and_then(read_object).ok_or(Code::BadMessage)?;
    let fields = Fields(&map);
    let sdk_app_id = fields.number("sdkAppID", u32::MAX.into())? as u32;
    // Who does not know the secret learns nothing else of what he sent.
    hub.authorise_owner(peer.remote, sdk_app_id, bearer(&headers).as_deref())?;

    let user = fields.text("userID", USER_ID_BYTES_MAX)?;
    if !is_user_id(user) {
        return Err(Fault::field("userID", "without control characters").into());
    }
    let room = map.get("roomID").is_some_and(|room| !room.is_null()).then(|| fields.room("roomID")).transpose()?;
    let life_max_s = hub.config().limits.ticket_life_max.as_secs();
    let life_s = fields.optional_number("expire", life_max_s)?.unwrap_or(LIFE_S);
    let privilege =
        fields.optional_number("privilege", u32::MAX.into())?.map_or(Privilege::ALL, |bits| Privilege(bits as u32));
    let version = match fields.optional_number("version", 2)? {
        Some(1) => Some(TicketVersion::V1),
        Some(2) => Some(TicketVersion::V2),
        Some(_) => return Err(Fault::field("version", "1 or 2").into()),
        None => None,
    };

    let apps = hub.apps();
    let app = apps.iter().find(|app| app.sdk_app_id == sdk_app_id).ok_or(Code::OwnerRefused)?;
    let version = version.or_else(|| TicketVersion::of(app)).ok_or(Code::NotFound)?;
    let now_s = unix_s();
    let no_key = |_| Fault::field("version", "one that the app has a key for");
    let user_sig = issue_user_sig(app, version, user, now_s, life_s).map_err(no_key)?;
    let key = |room| issue_private_map_key(app, version, user, room, privilege, now_s, life_s).map_err(no_key);
    let private_map_key = room.as_ref().map(key).transpose()?;
    let ticket = SignedTicket {
        sdk_app_id,
        user: user.to_owned(),
        user_sig,
        room,
        private_map_key,
        expires_at_s: now_s.saturating_add(life_s),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(ticket)).into_response())
}
