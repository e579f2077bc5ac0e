//! RTMP over sockets: one task for each connection, around a [`ServerSession`] that knows nothing of them.
//!
//! A publisher's tags go into the inlet of [`Command::OpenIngest`], which does its work then and there; meanwhile nothing is read,
//! and so TCP stops a publisher who is too fast. A player's socket is written to by its stream, see [`Seat`]; under TLS its own task does that. Nothing but what
//! did not fit into the socket is buffered.

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Buf;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Sleep, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::{
    command::{Command, Event, NO_CODEC_CODE, PlayGrant, StreamUrl},
    config::MediaConfig,
    driver::{
        direct::{DirectEnd, Seat},
        wire::{Plain, Wire},
    },
    flv::{Carried, Tag},
    inlet::Inlet,
    outlet::{Form, Player},
    rtmp::{
        RtmpError,
        chunk::ChunkRun,
        server::{HANDSHAKE_TIMEOUT, RefusalKind, ServerEvent, ServerSession},
        url::StreamPath,
    },
    units::time::Time,
};

/// How long somebody may think about a publish or a play.
const DECISION_TIMEOUT: Duration = Duration::from_secs(5);
/// One write may take this long: half a second of media as a rule. A peer that is slower is of no use to itself.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// After the last byte of ours, the peer may go on sending for this long, so that the kernel does not answer with a reset that
/// would overtake our last words.
const LINGER: Duration = Duration::from_secs(1);
/// And this much.
const LINGER_BYTES_MAX: usize = 256 << 10;
/// Pause after a failed accept: out of file descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Read buffer until a publish is granted, and of players: small, as thousands may be half open.
const READ_BYTES: usize = 2 << 10;
/// Read buffer of publishers.
const PUBLISHER_READ_BYTES: usize = 32 << 10;
/// Characters of a name in a log line.
const SHOWN_CHARS_MAX: usize = 128;

/// Accepts connections until it is dropped, which ends them all. More than `config.rtmp_connections_max` at once are closed
/// as they come.
pub async fn serve(
    listener: TcpListener,
    config: MediaConfig,
    commands: mpsc::Sender<Command>,
    events: mpsc::Sender<Event>,
) {
    let permits = Arc::new(Semaphore::new(config.rtmp_connections_max));
    let mut tasks = JoinSet::new();
    let mut full = false;
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "RTMP cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            // Once for each time that the limit is reached, not for each connection.
            if !std::mem::replace(&mut full, true) {
                warn!(limit = config.rtmp_connections_max, "RTMP connections are at their limit; new ones are closed");
            }
            continue;
        };
        full = false;
        // Without it the small audio messages wait for acknowledgements of the ones before.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%remote, %error, "RTMP connection lost at once");
            continue;
        }
        let (commands, events, tls) = (commands.clone(), events.clone(), config.rtmp_tls.clone());
        tasks.spawn(async move {
            let accepted = Instant::now();
            match open_tls(&stream, tls).await {
                Ok(None) => serve_connection(Plain(Arc::new(stream)), remote, accepted, commands, events).await,
                // In a box, so that connections without TLS do not take the place of those with it.
                Ok(Some(acceptor)) => {
                    Box::pin(serve_tls(acceptor, stream, remote, accepted, commands, events)).await;
                }
                Err(reason) => debug!(%remote, reason, "RTMP connection ends"),
            }
            drop(permit);
        });
    }
}

/// The first byte of a TLS handshake; that of RTMP is its version.
const TLS_HANDSHAKE: u8 = 22;

fn left_of_handshake(accepted: Instant) -> Duration {
    HANDSHAKE_TIMEOUT.saturating_sub(accepted.elapsed())
}

/// Whether the client begins with TLS, and what it is served with then.
async fn open_tls(stream: &TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<Option<TlsAcceptor>, &'static str> {
    let Some(tls) = tls else { return Ok(None) };
    let mut first = [0];
    match timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(1)) => Ok((first[0] == TLS_HANDSHAKE).then(|| TlsAcceptor::from(tls))),
        Ok(_) => Err("closed before its first byte"),
        Err(_) => Err("not a byte"),
    }
}

async fn serve_tls(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    remote: SocketAddr,
    accepted: Instant,
    commands: mpsc::Sender<Command>,
    events: mpsc::Sender<Event>,
) {
    match timeout(left_of_handshake(accepted), acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve_connection(stream, remote, accepted, commands, events).await,
        Ok(Err(error)) => debug!(%remote, %error, "RTMPS: the TLS handshake failed"),
        Err(_) => debug!(%remote, "RTMPS: the TLS handshake took too long"),
    }
}

/// Serves one connection to its end; RTMPS gives its TLS stream. `accepted`: when the connection came.
pub async fn serve_connection<S>(
    stream: S,
    remote: SocketAddr,
    accepted: Instant,
    commands: mpsc::Sender<Command>,
    events: mpsc::Sender<Event>,
) where
    S: Wire,
{
    let mut connection = Connection::new(stream, remote, accepted, commands, events);
    let end = connection.run().await;
    debug!(%remote, reason = %end, "RTMP connection ends");
    if matches!(end, End::Told) {
        connection.linger().await;
    }
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum End {
    /// We said why to the client.
    #[error("closed by the server")]
    Told,
    #[error("closed by the client")]
    Peer,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Session(#[from] RtmpError),
    #[error("the client takes no data")]
    Stalled,
}

impl From<DirectEnd> for End {
    fn from(end: DirectEnd) -> End {
        match end {
            DirectEnd::Io(error) => End::Io(error),
            DirectEnd::Stalled => End::Stalled,
        }
    }
}

struct Connection<S> {
    stream: S,
    remote: SocketAddr,
    origin: Instant,
    session: ServerSession,
    /// Bytes read and not yet understood are `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: ChunkRun,
    /// While the connection plays, and its stream writes to the socket.
    seat: Option<Arc<Seat>>,
    /// Set to `timer_at`, and only touched when that changes.
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Time>,
    commands: mpsc::Sender<Command>,
    events: mpsc::Sender<Event>,
}

impl<S: Wire> Connection<S> {
    fn new(
        stream: S,
        remote: SocketAddr,
        accepted: Instant,
        commands: mpsc::Sender<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Connection {
            stream,
            remote,
            origin: accepted,
            session: ServerSession::new(Time::ZERO),
            input: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            output: ChunkRun::default(),
            seat: None,
            timer: Box::pin(sleep(Duration::ZERO)),
            timer_at: None,
            commands,
            events,
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    async fn run(&mut self) -> End {
        loop {
            let stream = match self.next_event().await {
                Ok(ServerEvent::PublishRequested(path)) => self.publish(path).await,
                Ok(ServerEvent::PlayRequested(path)) => self.play(path).await,
                Ok(ServerEvent::Media(_) | ServerEvent::StreamClosed) => Ok(()),
                Err(end) => return end,
            };
            if let Err(end) = stream {
                return end;
            }
        }
    }

    /// What the client says next; also sends what the session has to say, and keeps its time. May be dropped at any await:
    /// all that is half done is in `self`.
    async fn next_event(&mut self) -> Result<ServerEvent, End> {
        loop {
            if let Some(event) = self.take_event()? {
                return Ok(event);
            }
            self.more_input().await?;
        }
    }

    /// What is understood of what was read.
    fn take_event(&mut self) -> Result<Option<ServerEvent>, End> {
        let now = self.now();
        let mut data = &self.input[self.start..self.end];
        let event = self.session.handle_input(now, &mut data);
        self.start = self.end - data.len();
        Ok(event?)
    }

    /// Waits until something may have come, with all that was read understood. As [`next_event`](Self::next_event) otherwise.
    async fn more_input(&mut self) -> Result<(), End> {
        self.flush().await?;
        if self.session.is_closing() {
            return Err(End::Told);
        }
        self.set_timer();
        tokio::select! {
            read = self.stream.read(&mut self.input) => {
                (self.start, self.end) = (0, read?);
                if self.end == 0 {
                    return Err(End::Peer);
                }
            }
            () = self.timer.as_mut(), if self.timer_at.is_some() => {
                self.timer_at = None;
                let now = self.now();
                self.session.handle_timeout(now)?;
            }
        }
        Ok(())
    }

    fn set_timer(&mut self) {
        let due = self.session.next_timeout();
        if due != self.timer_at {
            self.timer_at = due;
            if let Some(due) = due {
                self.timer.as_mut().reset((self.origin + due.since(Time::ZERO)).into());
            }
        }
    }

    /// Sends what is waiting, the session's words last.
    async fn flush(&mut self) -> Result<(), End> {
        if let Some(seat) = &self.seat {
            seat.set_paused(self.session.is_paused());
            seat.say(self.session.take_output());
            return Ok(());
        }
        self.output.push_bytes(self.session.take_output().into());
        if !self.output.has_remaining() {
            return Ok(());
        }
        let written = timeout(WRITE_TIMEOUT, self.stream.write_all_buf(&mut self.output)).await;
        Ok(written.map_err(|_| End::Stalled)??)
    }

    /// From the request to the end of the stream. An error ends the connection.
    async fn publish(&mut self, path: StreamPath) -> Result<(), End> {
        let url = self.url(&path);
        let asked = ask(&self.events, |reply| Event::PushRequested { url, reply }).await;
        let grant = match asked {
            Some(Ok(grant)) => grant,
            Some(Err(refusal)) => return self.refuse(&path, Some(refusal.code), &refusal.text),
            None => return self.refuse(&path, None, "the server did not answer in time"),
        };
        let opened = ask(&self.commands, |reply| Command::OpenIngest { room: grant.room, stream: grant.stream, reply });
        let inlet = match opened.await {
            Some(Ok(inlet)) => inlet,
            other => {
                // Whoever granted it counts on the stream being there, or on being told that it is not.
                let _ = self.events.send(Event::StreamEnded { stream: grant.stream }).await;
                let text = other.and_then(Result::err).map_or_else(no_answer, |refusal| refusal.to_string());
                return self.refuse(&path, None, &text);
            }
        };
        info!(remote = %self.remote, path = %Shown(&path), stream = %grant.stream, "RTMP publish begins");
        let began = Instant::now();
        self.session.accept_publish(self.now());
        self.grow_input();
        let ended = self.receive_tags(&path, inlet).await;
        let reason = ended.as_ref().err().map_or_else(|| "unpublished".to_owned(), End::to_string);
        info!(remote = %self.remote, path = %Shown(&path), stream = %grant.stream, seconds = began.elapsed().as_secs(), %reason,
            "RTMP publish ends");
        ended
    }

    async fn receive_tags(&mut self, path: &StreamPath, mut inlet: Inlet) -> Result<(), End> {
        let mut last_ms = 0;
        let mut carried = Carried::default();
        loop {
            while let Some(event) = self.take_event()? {
                match event {
                    ServerEvent::Media(media) => {
                        last_ms = media.timestamp_ms;
                        let tag = Tag::from(media);
                        if let Some(sent) = carried.refuses(&tag) {
                            // Waiting for him to come back with the same would help nobody.
                            inlet.push(Tag::end(last_ms));
                            let text = format!("{sent} cannot go into a room; send H.264 and AAC");
                            return self.refuse(path, Some(NO_CODEC_CODE), &text);
                        }
                        if !inlet.push(tag) {
                            return self.end_stream().await;
                        }
                    }
                    ServerEvent::StreamClosed => {
                        inlet.push(Tag::end(last_ms));
                        return Ok(());
                    }
                    ServerEvent::PublishRequested(_) | ServerEvent::PlayRequested(_) => {}
                }
            }
            // What came at once leaves at once.
            inlet.announce();
            tokio::select! {
                more = self.more_input() => more?,
                () = inlet.closed() => return self.end_stream().await,
            }
        }
    }

    /// As [`publish`](Self::publish).
    async fn play(&mut self, path: StreamPath) -> Result<(), End> {
        let url = self.url(&path);
        let asked = ask(&self.events, |reply| Event::PlayRequested { url, reply }).await;
        let PlayGrant { stream, until, watch } = match asked {
            Some(Ok(grant)) => grant,
            Some(Err(refusal)) => return self.refuse(&path, Some(refusal.code), &refusal.text),
            None => return self.refuse(&path, None, &no_answer()),
        };
        let attached = ask(&self.commands, |reply| Command::Attach { stream, reply }).await;
        let player = match attached {
            Some(Ok(player)) => player,
            Some(Err(refusal)) => return self.refuse(&path, None, &refusal.to_string()),
            None => return self.refuse(&path, None, &no_answer()),
        };
        debug!(remote = %self.remote, path = %Shown(&path), %stream, "RTMP play begins");
        let _playing = watch.begin();
        self.session.accept_play(self.now());
        let ended = match self.stream.socket() {
            Some(socket) => {
                // The words that introduce the stream go before its first tag.
                let words = self.session.take_output();
                let seat = Arc::new(Seat::new(player, Form::Rtmp, socket, words));
                self.seat = Some(seat.clone());
                let ended = self.sit(&seat, until).await;
                self.seat = None;
                ended
            }
            None => self.send_pieces(player, until).await,
        };
        debug!(remote = %self.remote, path = %Shown(&path), %stream, "RTMP play ends");
        ended
    }

    /// Up to the end of the stream, or of the player's rights. The stream writes; this reads, and waits where the socket is
    /// full. Input waits then, too: its answers could not be sent.
    async fn sit(&mut self, seat: &Seat, until: Option<Instant>) -> Result<(), End> {
        let mut over = std::pin::pin!(over(until));
        let mut is_called = true;
        loop {
            tokio::select! {
                more = seat.drain(), if is_called => match more? {
                    true => is_called = false,
                    false => return self.end_stream().await,
                },
                () = seat.called(), if !is_called => is_called = true,
                event = self.next_event(), if !is_called => {
                    if let ServerEvent::StreamClosed = event? {
                        seat.end();
                        seat.drain().await?;
                        return Ok(());
                    }
                }
                () = &mut over => return self.end_stream().await,
            }
        }
    }

    /// As [`sit`](Self::sit), where nobody else can write.
    async fn send_pieces(&mut self, mut player: Player, until: Option<Instant>) -> Result<(), End> {
        self.flush().await?;
        let mut over = std::pin::pin!(over(until));
        loop {
            tokio::select! {
                event = self.next_event() => {
                    if let ServerEvent::StreamClosed = event? {
                        return Ok(());
                    }
                }
                piece = player.next_bytes(Form::Rtmp) => {
                    let Some(piece) = piece else { return self.end_stream().await };
                    self.output.push_bytes(piece);
                    self.flush().await?;
                }
                () = &mut over => return self.end_stream().await,
            }
            player.set_paused(self.session.is_paused());
        }
    }

    /// The stream was ended by somebody else: says so and ends the connection.
    async fn end_stream(&mut self) -> Result<(), End> {
        self.session.end_stream();
        if let Some(seat) = self.seat.take() {
            seat.end();
            seat.say(self.session.take_output());
            seat.drain().await?;
        }
        self.flush().await?;
        Err(End::Told)
    }

    /// The next [`next_event`](Self::next_event) sends it and ends the connection.
    fn refuse(&mut self, path: &StreamPath, code: Option<u32>, text: &str) -> Result<(), End> {
        info!(remote = %self.remote, path = %Shown(path), code, text, "RTMP request refused");
        let description = code.map_or_else(|| text.to_owned(), |code| format!("{code}: {text}"));
        self.session.refuse(refusal_kind(code), &description);
        Ok(())
    }

    fn url(&self, path: &StreamPath) -> StreamUrl {
        let StreamPath { app, name, query, host } = path.clone();
        StreamUrl { app, name, query, remote: self.remote, host, local: self.stream.local() }
    }

    /// Room for a publisher's bytes; what is unread stays.
    fn grow_input(&mut self) {
        if self.input.len() < PUBLISHER_READ_BYTES {
            self.input.resize(PUBLISHER_READ_BYTES, 0);
        }
    }

    /// Lets the last words arrive: says that no more comes, and reads for a moment what still does.
    async fn linger(&mut self) {
        let drain = async {
            self.stream.shutdown().await?;
            let mut left = LINGER_BYTES_MAX;
            loop {
                match self.stream.read(&mut self.input).await? {
                    0 => return Ok::<(), std::io::Error>(()),
                    read => match left.checked_sub(read) {
                        Some(rest) => left = rest,
                        None => return Ok(()),
                    },
                }
            }
        };
        // Neither an error nor the end of patience changes what happens next: the socket is closed.
        let _ = timeout(LINGER, drain).await;
    }
}

/// Sends a question and waits for the answer; `None` if there is none in time. An answer that was given is never lost, as
/// whoever gave it acts on it.
async fn ask<M, T>(channel: &mpsc::Sender<M>, question: impl FnOnce(oneshot::Sender<T>) -> M) -> Option<T> {
    let (reply, mut answer) = oneshot::channel();
    let asked = async {
        channel.send(question(reply)).await.ok()?;
        (&mut answer).await.ok()
    };
    if let Ok(answered) = timeout(DECISION_TIMEOUT, asked).await {
        return answered;
    }
    answer.close();
    answer.try_recv().ok()
}

fn no_answer() -> String {
    "the server did not answer in time".to_owned()
}

/// Codes of tickets are the vendor's 70000s and our 71000s; everything else is about the name or a limit.
fn refusal_kind(code: Option<u32>) -> RefusalKind {
    match code {
        Some(70_000..=71_999) => RefusalKind::Unauthorized,
        Some(NO_CODEC_CODE) => RefusalKind::Codec,
        _ => RefusalKind::BadName,
    }
}

/// Ready when somebody's rights are.
async fn over(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// A path in a log line: without its query, short, and without characters that could draw on a terminal.
struct Shown<'a>(&'a StreamPath);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.app.chars().chain(['/']).chain(self.0.name.chars());
        path.take(SHOWN_CHARS_MAX).try_for_each(|c| write!(f, "{}", c.escape_debug()))
    }
}

#[cfg(test)]
#[path = "rtmp_tests.rs"]
mod tests;
