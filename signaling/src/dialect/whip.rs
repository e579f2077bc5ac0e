//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): an offer by POST, the answer in its response, and a session URL that ends
//! it by DELETE.
//!
//! | | `/whip/{roomID}/{userID}` | `/whep/{roomID}/{userID}` |
//! |---|---|---|
//! | POST `application/sdp` | the user enters the room and publishes | a stream of the room is played |
//! | DELETE on the session | he leaves | it ends |
//! | PATCH on the session | trickled candidates are taken (204), ICE is restarted (200) | the same |

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};

use crate::{
    code::{Code, Fault},
    hub::{Hub, PublishOffer, SessionKind, Trickle, Trickled},
    name::{RoomName, is_user_id},
    rest::{Peer, Refused},
};

const SDP: &str = "application/sdp";
const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The routes of both.
pub fn routes(sdp_bytes: usize) -> Router<Hub> {
    Router::new()
        .route("/whip/{room}/{user}", any(whip))
        .route("/whep/{room}/{user}", any(whep))
        .route("/whip/{room}/{user}/{session}", any(whip_session))
        .route("/whep/{room}/{user}/{session}", any(whep_session))
        .layer(DefaultBodyLimit::max(sdp_bytes))
}

/// What every handler reads of a request.
type Request = (State<Hub>, Peer, Method, RawQuery, HeaderMap);

async fn whip(
    request: Request,
    Path((room, user)): Path<(String, String)>,
    body: Result<Bytes, BodyRejection>,
) -> Response {
    endpoint(SessionKind::Whip, request, room, user, body).await
}

async fn whep(
    request: Request,
    Path((room, user)): Path<(String, String)>,
    body: Result<Bytes, BodyRejection>,
) -> Response {
    endpoint(SessionKind::Whep, request, room, user, body).await
}

async fn whip_session(
    request: Request,
    Path((_, _, session)): Path<(String, String, String)>,
    body: Result<Bytes, BodyRejection>,
) -> Response {
    resource(SessionKind::Whip, request, &session, body).await
}

async fn whep_session(
    request: Request,
    Path((_, _, session)): Path<(String, String, String)>,
    body: Result<Bytes, BodyRejection>,
) -> Response {
    resource(SessionKind::Whep, request, &session, body).await
}

type BodyRejection = axum::extract::rejection::BytesRejection;

async fn endpoint(
    kind: SessionKind,
    (State(hub), peer, method, RawQuery(query), headers): Request,
    room: String,
    user: String,
    body: Result<Bytes, BodyRejection>,
) -> Response {
    match method {
        Method::POST => {}
        // RFC 9725 §4.2: "WHIP endpoints SHOULD advertise … Accept-Post" in the response to OPTIONS.
        Method::OPTIONS => {
            return (StatusCode::NO_CONTENT, [(header::ALLOW, "OPTIONS, POST"), (ACCEPT_POST, SDP)]).into_response();
        }
        _ => return not_allowed("OPTIONS, POST"),
    }
    let opened = async {
        let room_name = RoomName::from_text(&room).ok_or_else(|| Fault::field("roomID", "a room's name"))?;
        if !is_user_id(&user) {
            return Err(Fault::field("userID", "1 to 128 bytes without control characters"));
        }
        let offer = PublishOffer {
            room: room_name,
            user: user.clone(),
            query: query.unwrap_or_default(),
            user_sig: bearer(&headers),
            sdp: text(&headers, SDP, body)?,
            remote: peer.remote,
            reached_at: peer.reached_at,
        };
        match kind {
            SessionKind::Whip => hub.open_publish(offer).await,
            SessionKind::Whep => hub.open_play(offer).await,
        }
    };
    match opened.await {
        Ok(session) => {
            let verb = if kind == SessionKind::Whip { "whip" } else { "whep" };
            let location = format!("/{verb}/{}/{}/{}", percent_encode(&room), percent_encode(&user), session.name);
            let headers =
                [(header::CONTENT_TYPE, SDP.to_owned()), (header::LOCATION, location), (header::ETAG, session.tag)];
            (StatusCode::CREATED, headers, session.sdp).into_response()
        }
        Err(fault) => Refused(fault).into_response(),
    }
}

async fn resource(
    kind: SessionKind,
    (State(hub), peer, method, _, headers): Request,
    session: &str,
    body: Result<Bytes, BodyRejection>,
) -> Response {
    const ALLOW: &str = "DELETE, OPTIONS, PATCH";
    let result = match method {
        Method::DELETE => {
            hub.close_session(kind, session).map(|()| StatusCode::OK.into_response()).map_err(Fault::from)
        }
        Method::PATCH => patch(&hub, kind, session, &headers, body, &peer).await,
        Method::OPTIONS => {
            let headers = [(header::ALLOW, ALLOW), (ACCEPT_PATCH, SDP_FRAGMENT)];
            return (StatusCode::NO_CONTENT, headers).into_response();
        }
        _ => return not_allowed(ALLOW),
    };
    result.unwrap_or_else(|fault| Refused(fault).into_response())
}

async fn patch(
    hub: &Hub,
    kind: SessionKind,
    session: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BodyRejection>,
    peer: &Peer,
) -> Result<Response, Fault> {
    let fragment = text(headers, SDP_FRAGMENT, body)?;
    // RFC 9725 §4.3.3: "If-Match: *" asks for an ICE restart. A tag that is no text is none of ours.
    let about = match headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default()) {
        None => Trickle::Any,
        Some("*") => Trickle::Restart,
        Some(tag) => Trickle::Tag(tag),
    };
    Ok(match hub.trickle(kind, session, about, &fragment, peer.reached_at).await? {
        Trickled::Taken => StatusCode::NO_CONTENT.into_response(),
        Trickled::Restarted { fragment, tag } => {
            ([(header::CONTENT_TYPE, SDP_FRAGMENT.to_owned()), (header::ETAG, tag)], fragment).into_response()
        }
    })
}

const ACCEPT_POST: header::HeaderName = header::HeaderName::from_static("accept-post");
const ACCEPT_PATCH: header::HeaderName = header::HeaderName::from_static("accept-patch");

fn not_allowed(allow: &'static str) -> Response {
    let mut response = Refused(Code::MethodNotAllowed.into()).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The ticket of `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, ticket) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| ticket.trim().to_owned())
}

fn text(headers: &HeaderMap, media_type: &str, body: Result<Bytes, BodyRejection>) -> Result<String, Fault> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    if !given.eq_ignore_ascii_case(media_type) {
        return Err(Fault::with(Code::WrongMediaType, format!("the body must be {media_type}")));
    }
    let body = body.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Fault::from(Code::MessageTooBig),
        _ => Fault::from(Code::BadMessage),
    })?;
    match String::from_utf8(body.into()) {
        Ok(text) if !text.is_empty() || media_type == SDP_FRAGMENT => Ok(text),
        _ => Err(Code::BadSdp.into()),
    }
}

/// A path segment that decodes to `text`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
