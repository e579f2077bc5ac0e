//! One WebSocket of `/signal`.
//!
//! A reading half turns messages into requests, a writing half empties the member's queue. The writer ends the connection
//! when it has said the last word, when a write takes too long, or when it is told to cut it; the reader when the client is
//! gone, silent for too long, or breaks the rules. Whoever ends first ends the other.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};
use tracing::debug;

use crate::{
    code::{Code, Fault},
    dialect::native,
    frames::{Measured, TooBig},
    hub::{Hub, Seat, reply_text},
    link::{Link, Outbound, Outgoing, numbered},
    request::Request,
};

/// A write that takes longer means that the client does not read.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long the last words may take when we end the connection, and then the client's to arrive: a socket closed with
/// unread bytes in it would take ours back.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

type WebSocket = WebSocketStream<Measured<TokioIo<Upgraded>>>;

/// Serves one WebSocket to its end.
pub async fn serve(upgraded: Upgraded, hub: Hub, remote: Option<IpAddr>, reached_at: Option<IpAddr>) {
    let limits = &hub.config().limits;
    let bytes_max = Arc::new(AtomicUsize::new(limits.message_bytes_before_enter));
    let most = Some(limits.message_bytes.max(limits.message_bytes_before_enter));
    let config = WebSocketConfig::default().max_message_size(most).max_frame_size(most);
    let socket = Measured::new(TokioIo::new(upgraded), bytes_max.clone());
    let socket = WebSocket::from_raw_socket(socket, Role::Server, Some(config)).await;
    let (sink, mut stream) = socket.split();
    let (link, outbound) = Link::new();
    let abort = outbound.abort();
    let mut writer = tokio::spawn(write(sink, outbound));
    let (seat, heard_at) = (None, Instant::now());
    let mut reader = Reader { hub, link, seat, remote, reached_at, bucket: Bucket::new(), heard_at, bytes_max };
    tokio::select! {
        end = reader.run(&mut stream) => {
            let code = end.code();
            reader.leave(end);
            // The room's clone of the link went with the member, and ours goes with the reader: the writer comes to its end.
            drop(reader);
            if timeout(FAREWELL_MAX, &mut writer).await.is_err() {
                writer.abort();
            }
            if code == Some(Code::MessageTooBig) {
                // The library reads no further, so the rest of the message cannot be drained; the client gets the time to
                // read why.
                sleep(FAREWELL_MAX).await;
            }
        }
        // The last word is said, or cannot be.
        _ = &mut writer => drop(reader),
        _ = abort.notified() => return writer.abort(),
    }
    let drain = async { while let Some(Ok(_)) = stream.next().await {} };
    // However it ends: nothing is expected from the client any more.
    let _ = timeout(FAREWELL_MAX, drain).await;
}

/// How the reading half came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection broke; its client may come back on another.
    Lost,
    /// The client closed it with the word that WebSocket has for that, as browsers do with the page.
    Closed,
    /// We close it, and say why.
    Refused(Code),
}

impl End {
    fn code(self) -> Option<Code> {
        match self {
            End::Refused(code) => Some(code),
            End::Lost | End::Closed => None,
        }
    }
}

struct Reader {
    hub: Hub,
    link: Link,
    seat: Option<Seat>,
    remote: Option<IpAddr>,
    reached_at: Option<IpAddr>,
    bucket: Bucket,
    /// When the last message came.
    heard_at: Instant,
    /// Bytes that the next message may have.
    bytes_max: Arc<AtomicUsize>,
}

impl Reader {
    /// Reads until the connection ends.
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> End {
        let hub = self.hub.clone();
        let config = hub.config();
        let mut deadline = Instant::now() + config.limits.enter_within;
        loop {
            let message = match timeout_at(deadline, stream.next()).await {
                Err(_) if self.seat.is_some() => return End::Refused(Code::HeartbeatTimeout),
                Err(_) => return End::Refused(Code::EnterTimeout),
                Ok(None) => return End::Lost,
                // Too long, not UTF-8, or no WebSocket any more: the library knows which and answers what it can.
                Ok(Some(Err(error))) => return broken(error),
                Ok(Some(Ok(message))) => message,
            };
            self.heard_at = Instant::now();
            let was_seated = self.seat.is_some();
            match message {
                Message::Text(text) => {
                    self.bucket.take(config.limits.messages_per_second, config.limits.messages_burst).await;
                    if let Err(fault) = self.handle(&text).await {
                        return End::Refused(fault.code);
                    }
                    let bytes_max = match self.seat {
                        Some(_) => config.limits.message_bytes,
                        None => config.limits.message_bytes_before_enter,
                    };
                    self.bytes_max.store(bytes_max, Ordering::Relaxed);
                }
                Message::Binary(_) => return End::Refused(Code::BadMessage),
                Message::Close(_) => return End::Closed,
                // A frame of no message comes only when one is asked for.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
            match (was_seated, self.seat.is_some()) {
                (_, true) => deadline = Instant::now() + config.dead_after,
                (true, false) => deadline = Instant::now() + config.limits.enter_within,
                // Until he enters, nothing that a client sends gives him more time.
                (false, false) => {}
            }
        }
    }

    /// An error ends the connection.
    async fn handle(&mut self, text: &str) -> Result<(), Fault> {
        let native::Message { id, request } = native::read(text, &self.hub.config().limits)?;
        let refused = match (request, &self.seat) {
            (Ok(Request::Enter(enter)), None) => {
                match self.hub.enter(id, enter, &self.link, self.remote, self.reached_at).await {
                    Ok(seat) => {
                        self.seat = Some(seat);
                        return Ok(());
                    }
                    Err(fault) => fault,
                }
            }
            (Ok(Request::Resume(resume)), None) => match self.hub.resume(id, &resume, &self.link, self.remote) {
                Ok(seat) => {
                    self.seat = Some(seat);
                    return Ok(());
                }
                Err(fault) => fault,
            },
            (Ok(request), Some(seat)) => {
                let leaves = matches!(request, Request::Leave(_));
                self.hub.request(seat, id, request);
                if leaves {
                    self.seat = None;
                }
                return Ok(());
            }
            (Err(fault), Some(seat)) => {
                self.hub.refuse(seat, id, fault);
                return Ok(());
            }
            (Ok(_), None) => Code::NotEntered.into(),
            (Err(fault), None) => fault,
        };
        self.link.send(reply_text(id, Err(refused))).map_err(|_| Code::TooSlow.into())
    }

    /// Ends the membership, if there is one, or lets it wait for another connection.
    fn leave(&mut self, end: End) {
        match (self.seat.take(), end) {
            (Some(seat), End::Lost) => self.hub.lose(&seat, self.heard_at.into_std()),
            // The room closes the link with the code.
            (Some(seat), end) => self.hub.disconnect(&seat, end.code()),
            (None, End::Refused(code)) => self.link.close(&code.into()),
            (None, End::Lost | End::Closed) => {}
        }
    }
}

impl Drop for Reader {
    /// The server may drop the connection's future at any point; the member must not stay behind for ever.
    fn drop(&mut self) {
        self.leave(End::Lost);
    }
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut outbound: Outbound) {
    while let Some(outgoing) = outbound.next().await {
        let written = match outgoing {
            Outgoing::Text(text) => write_one(&mut sink, Message::Text(text)).await,
            Outgoing::Numbered(seq, text) => write_one(&mut sink, Message::text(numbered(seq, &text))).await,
            Outgoing::Replay(missed) => {
                let mut written = true;
                for (seq, text) in missed {
                    written = written && write_one(&mut sink, Message::text(numbered(seq, &text))).await;
                }
                written
            }
            Outgoing::Close { code, reason } => {
                write_one(&mut sink, Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
                    .await;
                return;
            }
        };
        if !written {
            return;
        }
    }
}

/// Whether it was written in time.
async fn write_one(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> bool {
    matches!(timeout(WRITE_MAX, sink.send(message)).await, Ok(Ok(())))
}

/// What a failed read means.
fn broken(error: tungstenite::Error) -> End {
    debug!(%error, "signaling connection broken");
    match error {
        tungstenite::Error::Capacity(_) => End::Refused(Code::MessageTooBig),
        tungstenite::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<TooBig>()) => {
            End::Refused(Code::MessageTooBig)
        }
        tungstenite::Error::Utf8(_) => End::Refused(Code::BadMessage),
        _ => End::Lost,
    }
}

/// Lets messages through at a steady rate with some at once. Who sends faster is read later, so that TCP slows him down.
pub(crate) struct Bucket {
    tokens: f64,
    filled_at: Instant,
    started: bool,
}

impl Bucket {
    pub(crate) fn new() -> Bucket {
        Bucket { tokens: 0.0, filled_at: Instant::now(), started: false }
    }

    pub(crate) async fn take(&mut self, per_second: u32, burst: u32) {
        let wait = self.wait(Instant::now(), per_second, burst);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// How long the next message has to wait.
    fn wait(&mut self, now: Instant, per_second: u32, burst: u32) -> Duration {
        let (rate, burst) = (f64::from(per_second.max(1)), f64::from(burst.max(1)));
        let gained = now.duration_since(self.filled_at).as_secs_f64() * rate;
        self.tokens = if self.started { (self.tokens + gained).min(burst) } else { burst } - 1.0;
        (self.filled_at, self.started) = (now, true);
        Duration::from_secs_f64((-self.tokens).max(0.0) / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_messages_pass_at_once_and_then_twenty_a_second() {
        let (mut bucket, start) = (Bucket::new(), Instant::now());
        let mut waits = (0..61).map(|_| bucket.wait(start, 20, 60)).collect::<Vec<_>>();
        assert_eq!(waits.pop(), Some(Duration::from_millis(50)), "the 61st waits for one token");
        assert!(waits.iter().all(Duration::is_zero));
        assert!(bucket.wait(start + Duration::from_millis(100), 20, 60).is_zero());
    }
}
