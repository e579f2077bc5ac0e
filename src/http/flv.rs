//! `/live/{stream}.flv`: a stream as an endless FLV file, over HTTP or, where the client asks for it, over WebSocket.
//!
//! Any page may play from here, unless `signaling.origins` names those that may: a player in a page of another site is
//! the usual case, and what it may play is decided by the ticket in the URL, never by a cookie.

use std::{convert::Infallible, net::SocketAddr, pin::Pin};

use axum::{
    Json,
    body::Body,
    extract::{
        ConnectInfo, FromRequestParts, Request, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use media::{
    Command, StreamId,
    bridge::tag::{Tag, TagKind},
    flv,
};
use signaling::code::{Code, Fault};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Sleep, sleep_until},
};

use super::{Face, hls};
use crate::metrics::FlvPlayer;

/// Where streams stand.
const FOLDER: &str = "/live/";
/// Tags that wait are joined into one piece up to about this size: fewer system calls when a group of pictures is sent
/// at once; larger would only add memory.
const PIECE_BYTES: usize = 64 * 1024;
/// Most metadata and sequence headers to wait through before the file header is written all the same.
const HEADER_TAGS_MAX: usize = 8;
/// Largest message that a WebSocket player may send; it has nothing to say.
const PLAYER_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// How long browsers may remember that a page of another site may play, in seconds.
const PREFLIGHT_SECONDS: &str = "86400";

/// GET plays, HEAD says whether GET would, OPTIONS answers a browser's question before.
pub async fn live(
    State(face): State<Face>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let cors = cors_headers(&face.origins, request.headers());
    let answer = match *request.method() {
        Method::GET | Method::HEAD => play(face, remote, request).await.unwrap_or_else(refusal),
        Method::OPTIONS => (StatusCode::NO_CONTENT, preflight()).into_response(),
        _ => ([(header::ALLOW, "GET, HEAD, OPTIONS")], refusal(Code::MethodNotAllowed.into())).into_response(),
    };
    (cors, answer).into_response()
}

async fn play(face: Face, remote: SocketAddr, request: Request) -> Result<Response, Fault> {
    // As it stands in the URL: signaling decodes it, and must not be given it decoded already.
    let file = request.uri().path().strip_prefix(FOLDER).unwrap_or_default();
    if let Some(name) = file.strip_suffix(".m3u8") {
        let (name, query) = (name.to_owned(), request.uri().query().unwrap_or_default().to_owned());
        return hls::begin(face, remote, &name, &query).await;
    }
    let name = file.strip_suffix(".flv").ok_or(Code::NotFound)?;
    let query = request.uri().query().unwrap_or_default();
    let grant = face.hub.authorise_play(name, query, Some(remote.ip())).inspect_err(|_| face.metrics.flv.refuse())?;
    if request.method() == Method::HEAD {
        return Ok(STREAMING_HEADERS.into_response());
    }
    let wants_websocket = request.headers().contains_key(header::UPGRADE);
    let tags = attach(&face.commands, grant.stream).await?;
    let over = grant.until.map(|until| Box::pin(sleep_until(until.into())));
    let player = Player { tags, over, face: face.clone(), _counted: face.metrics.flv.admit(), first: Some(Vec::new()) };
    if !wants_websocket {
        return Ok((STREAMING_HEADERS, Body::from_stream(player.into_stream())).into_response());
    }
    let (mut parts, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => Ok(upgrade
            .max_message_size(PLAYER_MESSAGE_BYTES_MAX)
            .max_frame_size(PLAYER_MESSAGE_BYTES_MAX)
            .on_upgrade(|socket| player.feed(socket))),
        Err(rejection) => Ok(rejection.into_response()),
    }
}

pub(super) async fn attach(commands: &mpsc::Sender<Command>, stream: StreamId) -> Result<mpsc::Receiver<Tag>, Fault> {
    let (reply, answer) = oneshot::channel();
    let gone = || Fault::from(Code::ShuttingDown);
    commands.send(Command::Attach { stream, reply }).await.map_err(|_| gone())?;
    Ok(answer.await.map_err(|_| gone())??)
}

/// One player on its way through a stream.
struct Player {
    tags: mpsc::Receiver<Tag>,
    /// Ready when his ticket is over.
    over: Option<Pin<Box<Sleep>>>,
    face: Face,
    _counted: FlvPlayer,
    /// What came before the file header could be written; `None` once it is.
    first: Option<Vec<Tag>>,
}

impl Player {
    /// The next piece of the file; `None` when the stream or the ticket is over, or the server stops. Nothing is lost if the future is
    /// dropped before it is ready.
    async fn next(&mut self) -> Option<Bytes> {
        let mut piece = Vec::new();
        loop {
            let tag = tokio::select! {
                tag = self.tags.recv() => tag?,
                () = self.face.stopping.started() => return None,
                () = over(&mut self.over) => return None,
            };
            let Some(mut first) = self.first.take() else {
                flv::write_tag(&tag, &mut piece);
                break;
            };
            let complete = !tag.header;
            first.push(tag);
            if complete || first.len() == HEADER_TAGS_MAX {
                begin(&mut piece, &first);
                break;
            }
            self.first = Some(first);
        }
        while piece.len() < PIECE_BYTES {
            let Ok(tag) = self.tags.try_recv() else { break };
            flv::write_tag(&tag, &mut piece);
        }
        Some(piece.into())
    }

    fn into_stream(self) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send {
        futures_util::stream::unfold(self, |mut player| async move {
            let piece = player.next().await?;
            Some((Ok(piece), player))
        })
    }

    /// Each message is a piece of the file.
    async fn feed(mut self, mut socket: WebSocket) {
        loop {
            tokio::select! {
                piece = self.next() => {
                    let Some(piece) = piece else { break };
                    if socket.send(Message::Binary(piece)).await.is_err() {
                        return;
                    }
                }
                // Reading answers pings, and notices that the player has gone.
                message = socket.recv() => if !matches!(message, Some(Ok(_))) { return },
            }
        }
        let _ = socket.send(Message::Close(None)).await;
    }
}

async fn over(ticket: &mut Option<Pin<Box<Sleep>>>) {
    match ticket {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

/// Writes the file header and the first tags.
///
/// The header says whether there is sound and picture, and players in pages believe it: one that is promised sound
/// shows no picture before it came. So it waits for the first tags, which are metadata and the sequence headers of what
/// the stream has.
fn begin(piece: &mut Vec<u8>, first: &[Tag]) {
    let announced = |name: &[u8]| {
        let metadata = first.iter().filter(|tag| tag.kind == TagKind::Script);
        metadata.into_iter().any(|tag| tag.payload.windows(name.len()).any(|window| window == name))
    };
    let has = |kind, name| announced(name) || first.iter().any(|tag| tag.kind == kind);
    let (audio, video) = (has(TagKind::Audio, b"audiocodecid"), has(TagKind::Video, b"videocodecid"));
    piece.extend_from_slice(&flv::file_header(audio, video));
    first.iter().for_each(|tag| flv::write_tag(tag, piece));
}

/// The headers of a file without end.
const STREAMING_HEADERS: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "video/x-flv"), (header::CACHE_CONTROL, "no-store")];

pub(super) fn refusal(fault: Fault) -> Response {
    let status = StatusCode::from_u16(fault.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CACHE_CONTROL, "no-store")], Json(fault.body())).into_response()
}

pub(super) fn preflight() -> [(HeaderName, &'static str); 3] {
    [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "range"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ]
}

pub(super) fn cors_headers(origins: &[String], request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if origins.is_empty() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return headers;
    }
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = request.get(header::ORIGIN)
        && origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    headers
}
