//! `/live/{stream}.flv`: a stream as an endless FLV file, over HTTP or, where the client asks for it, over WebSocket.
//!
//! Any page may play from here, unless `signaling.origins` names those that may: a player in a page of another site is
//! the usual case, and what it may play is decided by the ticket in the URL, never by a cookie.

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin};

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
    command::Playing,
    driver::direct::Seat,
    outlet::{Form, Player},
};
use signaling::code::{Code, Fault};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Sleep, sleep_until},
};

use super::{Face, hls};
use crate::{
    accept::{CanHandOver, HandOver, Handed},
    metrics::FlvPlayer,
};

/// Where streams stand.
const FOLDER: &str = "/live/";
/// What is read at once of whatever a player sends, which nobody wants to know.
const IGNORED_BYTES: usize = 256;
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
    let player = attach(&face.commands, grant.stream).await?;
    let over = grant.until.map(|until| Box::pin(sleep_until(until.into())));
    let viewer = Viewer { player, over, face: face.clone(), counted: (face.metrics.flv.admit(), grant.watch.begin()) };
    if !wants_websocket {
        if request.extensions().get::<CanHandOver>().is_some() {
            let mut answer = STREAMING_HEADERS.into_response();
            answer.extensions_mut().insert(HandOver::new(move |handed| Box::pin(viewer.sit(handed))));
            return Ok(answer);
        }
        return Ok((STREAMING_HEADERS, Body::from_stream(viewer.into_stream())).into_response());
    }
    let (mut parts, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => Ok(upgrade
            .max_message_size(PLAYER_MESSAGE_BYTES_MAX)
            .max_frame_size(PLAYER_MESSAGE_BYTES_MAX)
            .on_upgrade(|socket| viewer.feed(socket))),
        Err(rejection) => Ok(rejection.into_response()),
    }
}

pub(super) async fn attach(commands: &mpsc::Sender<Command>, stream: StreamId) -> Result<Player, Fault> {
    let (reply, answer) = oneshot::channel();
    let gone = || Fault::from(Code::ShuttingDown);
    commands.send(Command::Attach { stream, reply }).await.map_err(|_| gone())?;
    Ok(answer.await.map_err(|_| gone())??)
}

/// One player on its way through a stream.
struct Viewer {
    player: Player,
    /// Ready when his ticket is over.
    over: Option<Pin<Box<Sleep>>>,
    face: Face,
    counted: (FlvPlayer, Playing),
}

impl Viewer {
    /// The next piece of the file; `None` when the stream or the ticket is over, or the server stops. Nothing is lost if the future is
    /// dropped before it is ready.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            piece = self.player.next_bytes(Form::Flv) => piece,
            () = self.face.stopping.started() => None,
            () = over(&mut self.over) => None,
        }
    }

    /// Takes a connection that is nobody else's any more. The stream writes into its socket by itself; this waits where that is
    /// full, and watches for the end.
    async fn sit(self, handed: Handed) {
        let Viewer { player, over: mut ticket, face, counted } = self;
        let Handed { socket, head, place } = handed;
        let seat = Seat::new(player, Form::Flv, socket.clone(), head);
        let mut is_called = true;
        let ended = async {
            loop {
                tokio::select! {
                    more = seat.drain(), if is_called => match more {
                        Ok(true) => is_called = false,
                        Ok(false) | Err(_) => return,
                    },
                    () = seat.called(), if !is_called => is_called = true,
                    // A player that is done says so, or is gone.
                    left = left(&socket) => return left,
                }
            }
        };
        tokio::select! {
            () = ended => {}
            () = face.stopping.started() => {}
            () = over(&mut ticket) => {}
        }
        drop((seat, place, counted));
    }

    fn into_stream(self) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send {
        futures_util::stream::unfold(self, |mut viewer| async move {
            let piece = viewer.next().await?;
            Some((Ok(piece), viewer))
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

/// Ready when the other side has closed the connection; what it sends before is thrown away.
async fn left(socket: &TcpStream) {
    let mut ignored = [0; IGNORED_BYTES];
    while socket.readable().await.is_ok() {
        match socket.try_read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The headers of a file without end.
const STREAMING_HEADERS: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "video/x-flv"), (header::CACHE_CONTROL, "no-store")];

pub(crate) fn refusal(fault: Fault) -> Response {
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
