//! A request to the API: who asks, for what, with what. It cannot be had without being judged, so no handler can be reached
//! by somebody who may not.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{Api, Operator};
use crate::{
    auth::url::Query,
    code::{Code, Fault},
    dialect::whip::bearer,
    fields::{Fields, read_object},
    hub::Hub,
    name::{RoomName, is_user_id, strict_decimal},
    rest::{Peer, Refused},
};

/// Entries of a page if nothing is said.
const PAGE_DEFAULT: usize = 100;

/// A request of an app's own server, which showed the app's secret.
pub(super) struct Call {
    pub api: Api,
    pub app: u32,
    room: Option<RoomName>,
    user: Option<String>,
    relay: Option<String>,
    pub query: Query,
    pub body: Map<String, Value>,
}

/// A request of the operator, who showed the admin key.
pub(super) struct AdminCall {
    pub api: Api,
    /// The app of the path, if there is one.
    pub app: Option<u32>,
    pub body: Map<String, Value>,
}

impl Call {
    pub fn hub(&self) -> &Hub {
        &self.api.0.hub
    }

    /// The room of the path.
    pub fn room(&self) -> Result<&RoomName, Fault> {
        self.room.as_ref().ok_or_else(|| Code::NotFound.into())
    }

    /// The user of the path.
    pub fn user(&self) -> Result<&str, Fault> {
        self.user.as_deref().ok_or_else(|| Code::NotFound.into())
    }

    /// The relay of the path.
    pub fn relay(&self) -> Result<&str, Fault> {
        self.relay.as_deref().ok_or_else(|| Code::NotFound.into())
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.body)
    }

    /// One page of a sorted list: what comes behind `after`, `limit` of it, and where the next page begins.
    pub fn page<T>(&self, list: Vec<T>, name: impl Fn(&T) -> String) -> Result<(Vec<T>, Option<String>), Fault> {
        let max = self.api.0.config.page_max;
        let limit = match self.query.value("limit") {
            None => PAGE_DEFAULT.min(max),
            Some(text) => strict_decimal(text)
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| (1..=max).contains(limit))
                .ok_or_else(|| Fault::field("limit", &format!("a number from 1 to {max}")))?,
        };
        let after = self.query.value("after");
        let mut page: Vec<T> = list
            .into_iter()
            .filter(|one| after.is_none_or(|after| name(one).as_str() > after))
            .take(limit + 1)
            .collect();
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(&name);
        Ok((page, next))
    }
}

impl FromRequest<Api> for Call {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Call, Refused> {
        let (mut parts, body) = request.into_parts();
        let Ok(peer) = Peer::from_request_parts(&mut parts, api).await;
        let params = path_params(&mut parts, api).await?;
        let param = |name: &str| params.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        // What is no number is no app, and is refused like one that is not known.
        let app = param("sdkAppID").and_then(|text| app_id(&text)).unwrap_or(0);
        match parts.extensions.get::<Operator>() {
            Some(Operator) if api.0.hub.apps().iter().any(|known| known.sdk_app_id == app) => {}
            Some(Operator) => return Err(Code::UnknownApp.into()),
            None => api.0.hub.authorise_owner(peer.remote, app, bearer(&parts.headers).as_deref())?,
        }

        let room = param("roomID").map(|text| {
            RoomName::from_text(&text).ok_or_else(|| Fault::field("roomID", "a number or 1 to 64 bytes of text"))
        });
        let user = param("userID");
        if user.as_deref().is_some_and(|user| !is_user_id(user)) {
            return Err(Fault::field("userID", "1 to 128 bytes without control characters").into());
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let body = read_body(body, api.0.config.body_bytes).await?;
        Ok(Call { api: api.clone(), app, room: room.transpose()?, user, relay: param("relayID"), query, body })
    }
}

impl FromRequest<Api> for AdminCall {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<AdminCall, Refused> {
        let (mut parts, body) = request.into_parts();
        let shown = bearer(&parts.headers).unwrap_or_default();
        let expected = api.0.config.admin_key.as_deref().filter(|key| !key.is_empty());
        // Digests have one length, so that not even the key's length shows.
        let same = sha256(&shown).ct_eq(&sha256(expected.unwrap_or_default()));
        let is_operator = parts.extensions.get::<Operator>().is_some();
        if !is_operator && (!bool::from(same) || expected.is_none()) {
            return Err(Code::OwnerRefused.into());
        }
        let params = path_params(&mut parts, api).await?;
        let app = params
            .iter()
            .find(|(name, _)| name == "sdkAppID")
            .map(|(_, value)| app_id(value).ok_or_else(|| Fault::field("sdkAppID", "a number from 1 to 4294967295")));
        let body = read_body(body, api.0.config.body_bytes).await?;
        Ok(AdminCall { api: api.clone(), app: app.transpose()?, body })
    }
}

async fn path_params(parts: &mut axum::http::request::Parts, api: &Api) -> Result<Vec<(String, String)>, Refused> {
    let params = RawPathParams::from_request_parts(parts, api).await.map_err(|_| Refused::from(Code::NotFound))?;
    Ok(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn app_id(text: &str) -> Option<u32> {
    strict_decimal(text).and_then(|id| u32::try_from(id).ok()).filter(|id| *id != 0)
}

/// No body is an empty object.
async fn read_body(body: axum::body::Body, bytes_max: usize) -> Result<Map<String, Value>, Code> {
    let bytes = to_bytes(body, bytes_max).await.map_err(|_| Code::MessageTooBig)?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    std::str::from_utf8(&bytes).ok().and_then(read_object).ok_or(Code::BadMessage)
}

fn sha256(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}
