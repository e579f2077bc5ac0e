//! Everything of signaling that is reached over HTTP: the WebSocket, WHIP, WHEP, and tickets for the demo and for owners.

mod sign;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, FromRequestParts, RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::upgrade::OnUpgrade;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::handshake::server::create_response;

use crate::{
    auth::{
        authorise::Privilege,
        issue::{TicketVersion, issue_private_map_key, issue_user_sig},
        url::Query,
    },
    code::{Code, Fault},
    config::ReachedAt,
    connection,
    dialect::{cloud, im, weapp, whip},
    hub::Hub,
    name::{RoomName, is_user_id},
};

/// How long the demo's tickets last.
const DEMO_TICKET_LIFE_S: u64 = 24 * 3600;
/// The demo's room, if none is named.
const DEMO_ROOM: RoomName = RoomName::Number(1001);

/// `/signal`, `/whip/…`, `/whep/…`, `/sign` and `/demo/ticket`.
///
/// Serve it with connect info (`into_make_service_with_connect_info::<SocketAddr>`, or a [`ConnectInfo`] among the request's
/// extensions), so that limits per address work; and put [`ReachedAt`] there where it is known.
pub fn router(hub: Hub) -> Router {
    let sdp_bytes = hub.config().limits.sdp_bytes;
    Router::new()
        .route("/demo/ticket", get(demo_ticket))
        .merge(whip::routes(sdp_bytes))
        .merge(weapp::routes(&hub))
        .merge(im::routes(&hub))
        .layer(middleware::from_fn_with_state(hub.clone(), cross_origin))
        .route("/signal", get(signal))
        .merge(sign::routes())
        .merge(cloud::routes(&hub))
        .with_state(hub)
}

/// A refusal over HTTP: `{"code":…,"message":…,"advice":…}` with the code's status.
pub struct Refused(pub Fault);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused(fault)
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Refused {
        Refused(code.into())
    }
}

pub use sign::SignedTicket;
pub(crate) use sign::issue_ticket;

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(self.0.body())).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1: a 401 names the scheme.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Who is at the other end, and by which of our addresses he came.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub remote: Option<IpAddr>,
    pub reached_at: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        let remote = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let told = parts.extensions.get::<ReachedAt>().map(|at| at.ip);
        Ok(Peer { remote, reached_at: told.or_else(|| host_address(&parts.headers)) })
    }
}

/// The address in `Host`, if it is one.
fn host_address(headers: &HeaderMap) -> Option<IpAddr> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if name.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    name.parse().ok()
}

/// Upgrades by hand what the framework could do, since only so the connection can be measured; see [`crate::frames`].
async fn signal(State(hub): State<Hub>, peer: Peer, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if allowed_origin(&hub, &parts.headers) == Origin::Refused {
        return Refused(Code::OriginRefused.into()).into_response();
    }
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        let upgrade = [(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")];
        return (StatusCode::UPGRADE_REQUIRED, upgrade, "this is for WebSockets\n").into_response();
    };
    let response = match create_response(&Request::from_parts(parts, ())) {
        Ok(response) => response.map(|()| Body::empty()),
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let guard = match hub.count_connection(peer.remote) {
        Ok(guard) => guard,
        Err(code) => return Refused(code.into()).into_response(),
    };
    tokio::spawn(async move {
        // It fails if the client is gone before it has read the answer.
        if let Ok(upgraded) = upgrade.await {
            connection::serve(upgraded, hub, peer.remote, peer.reached_at).await;
        }
        drop(guard);
    });
    response
}

/// What a page's origin may do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// No page, or any page.
    Any,
    Listed(HeaderValue),
    Refused,
}

fn allowed_origin(hub: &Hub, headers: &HeaderMap) -> Origin {
    let listed = &hub.config().origins;
    match headers.get(header::ORIGIN) {
        _ if listed.is_empty() => Origin::Any,
        None => Origin::Any,
        Some(origin) if listed.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(origin.as_bytes())) => {
            Origin::Listed(origin.clone())
        }
        Some(_) => Origin::Refused,
    }
}

/// Lets pages of the allowed origins read answers. There are no cookies here and credentials are never allowed, so a page
/// can do nothing with it but what its own ticket allows.
async fn cross_origin(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    const EXPOSED: &str = "Location, ETag, Link, Accept-Post, Accept-Patch";
    let origin = allowed_origin(&hub, request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let allow = match origin {
        Origin::Any => HeaderValue::from_static("*"),
        Origin::Listed(origin) => origin,
        Origin::Refused => return response,
    };
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "DELETE, GET, OPTIONS, PATCH, POST");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match");
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    set(header::VARY, "Origin");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allow);
    response
}

/// Tickets for the demo page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemoTicket {
    #[serde(rename = "sdkAppID")]
    pub sdk_app_id: u32,
    #[serde(rename = "userID")]
    pub user: String,
    #[serde(rename = "userSig")]
    pub user_sig: String,
    #[serde(rename = "roomID")]
    pub room: RoomName,
    #[serde(rename = "privateMapKey")]
    pub private_map_key: String,
    /// For the lines that the page offers to copy.
    #[serde(rename = "rtmpPort", default, skip_serializing_if = "Option::is_none")]
    pub rtmp_port: Option<u16>,
}

async fn demo_ticket(State(hub): State<Hub>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let apps = hub.apps();
    let app = apps.first().filter(|_| hub.config().demo).ok_or(Refused(Code::NotFound.into()))?;
    let query = Query::parse(&query.unwrap_or_default());
    let room = match query.value("roomid") {
        Some(text) => RoomName::from_text(text).ok_or_else(|| Refused(Fault::field("roomID", "a room's name")))?,
        None => DEMO_ROOM,
    };
    let user = query.value("userid").filter(|user| is_user_id(user));
    let user = user.ok_or_else(|| Refused(Fault::field("userID", "1 to 128 bytes without control characters")))?;
    let now_s = unix_s();
    // An app that can only verify hands out nothing.
    let version = TicketVersion::of(app).ok_or(Refused(Code::NotFound.into()))?;
    let issued = issue_user_sig(app, version, user, now_s, DEMO_TICKET_LIFE_S).and_then(|user_sig| {
        let key = issue_private_map_key(app, version, user, &room, Privilege::ALL, now_s, DEMO_TICKET_LIFE_S)?;
        Ok((user_sig, key))
    });
    let (user_sig, private_map_key) = issued.map_err(|_| Refused(Code::NotFound.into()))?;
    let ticket = DemoTicket {
        sdk_app_id: app.sdk_app_id,
        user: user.to_owned(),
        user_sig,
        room,
        private_map_key,
        rtmp_port: hub.config().rtmp_port,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(ticket)).into_response())
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_gives_an_address_only_if_it_is_one() {
        let of = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            host_address(&headers).map(|ip| ip.to_string())
        };
        assert_eq!(of("192.0.2.1:8080").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("localhost:8080").as_deref(), Some("127.0.0.1"));
        assert_eq!(of("[::1]:8080").as_deref(), Some("::1"));
        assert_eq!(of("[::1]").as_deref(), Some("::1"));
        assert_eq!(of("example.com:8080"), None);
    }
}
