//! One attempt to carry a stream to another RTMP server, or from one. Who tries again, and where an address may lead, is for
//! signaling to say.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::dial::{Dialled, dial};
use crate::{
    command::{RelayCounts, RelayEnd, RelayTarget, RelayWhy},
    flv::{Tag, TagKind},
    inlet::Inlet,
    outlet::Player,
    rtmp::{
        RtmpError,
        client::{ClientEvent, ClientSession, Purpose},
        message::MediaKind,
        url::RtmpUrl,
    },
    units::time::Time,
};

/// One write may take this long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A server from which we pull, and that sends nothing for this long, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often a connection looks at the time.
const TICK: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 32 << 10;
/// Characters of the other server's words that are passed on.
const WORDS_MAX: usize = 128;
/// AMF0 string `@setDataFrame`: what publishers put before `onMetaData`, so that servers keep it.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// Carries what a stream's player gets there, until one side ends it.
pub async fn push(target: RelayTarget, mut player: Player, counts: Arc<RelayCounts>) -> RelayEnd {
    let outcome = async {
        let mut link = Link::open(target, Purpose::Publish, counts).await?;
        while !link.started {
            link.flush().await?;
            link.read().await?;
        }
        loop {
            link.flush().await?;
            tokio::select! {
                read = link.read() => read.map(drop)?,
                given = player.next() => match given {
                    Some(given) => {
                        for tag in given.tags() {
                            link.send(&tag).await?;
                        }
                    }
                    None => return link.close("the stream is over").await,
                },
            }
        }
    };
    outcome.await.unwrap_or_else(|end: RelayEnd| end)
}

/// Carries a stream from there into an inlet, until one side ends it.
pub async fn pull(target: RelayTarget, mut inlet: Inlet, counts: Arc<RelayCounts>) -> RelayEnd {
    let outcome = async {
        let mut link = Link::open(target, Purpose::Play, counts).await?;
        loop {
            link.flush().await?;
            tokio::select! {
                read = link.read() => if let Some(tag) = read? {
                    link.heard = Instant::now();
                    if !inlet.push(tag) {
                        return link.close("the stream was ended here").await;
                    }
                    inlet.announce();
                },
                () = inlet.closed() => return link.close("the stream was ended here").await,
            }
            if link.started && link.heard.elapsed() > SILENCE_MAX {
                return Err(RelayEnd::new(RelayWhy::TimedOut, "the other server sends nothing"));
            }
        }
    };
    outcome.await.unwrap_or_else(|end: RelayEnd| end)
}

struct Link {
    stream: Box<dyn Dialled>,
    session: ClientSession,
    counts: Arc<RelayCounts>,
    began: Instant,
    heard: Instant,
    started: bool,
    /// Read and not yet understood.
    input: Vec<u8>,
    /// Said by the session and not yet sent.
    output: Vec<u8>,
}

impl Link {
    async fn open(target: RelayTarget, purpose: Purpose, counts: Arc<RelayCounts>) -> Result<Link, RelayEnd> {
        let RelayTarget { addr, host, tls, app, name } = target;
        let is_tls = tls.is_some();
        let stream = dial(addr, &host, tls).await?;
        let url = RtmpUrl { tls: is_tls, host, port: addr.port(), app, name };
        let session = ClientSession::new(Time::ZERO, url, purpose);
        let now = Instant::now();
        Ok(Link {
            stream,
            session,
            counts,
            began: now,
            heard: now,
            started: false,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    /// Sends what the session has to say.
    async fn flush(&mut self) -> Result<(), RelayEnd> {
        self.output.append(&mut self.session.take_output());
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        self.write(&output).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), RelayEnd> {
        let written = async {
            self.stream.write_all(bytes).await?;
            // TLS may have taken bytes that the socket has not.
            self.stream.flush().await
        };
        match timeout(WRITE_TIMEOUT, written).await {
            Ok(written) => written.map_err(broken),
            Err(_) => Err(RelayEnd::new(RelayWhy::TimedOut, "the other server reads too slowly")),
        }
    }

    /// The next tag, if one comes within a moment and the session has nothing to say meanwhile. Nothing is lost if it is
    /// dropped while it waits.
    async fn read(&mut self) -> Result<Option<Tag>, RelayEnd> {
        loop {
            let mut data = &self.input[..];
            let event = self.session.handle_input(&mut data).map_err(|error| not_rtmp(&error))?;
            let taken = self.input.len() - data.len();
            self.input.drain(..taken);
            self.output.append(&mut self.session.take_output());
            match event {
                Some(ClientEvent::Media(media)) => return Ok(Some(Tag::from(media))),
                Some(ClientEvent::Started) => {
                    (self.started, self.heard) = (true, Instant::now());
                    self.counts.running.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Some(ClientEvent::Refused { code, description }) => {
                    let said = format!("{code} {description}");
                    return Err(RelayEnd::new(RelayWhy::Refused, words("the other server refused", &said)));
                }
                Some(ClientEvent::Ended { code }) => {
                    return Err(RelayEnd::new(RelayWhy::Ended, words("the other server ended the stream", &code)));
                }
                None if !self.output.is_empty() => return Ok(None),
                None => {}
            }
            let now = Time::from_micros(self.began.elapsed().as_micros() as u64);
            self.session.handle_timeout(now).map_err(|error| not_rtmp(&error))?;
            self.input.reserve(READ_BYTES);
            match timeout(TICK, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(0)) => return Err(closed()),
                Ok(Ok(read)) => drop(self.counts.bytes_in.fetch_add(read as u64, Ordering::Relaxed)),
                Ok(Err(error)) => return Err(broken(error)),
                Err(_) if self.started => return Ok(None),
                Err(_) => {}
            }
        }
    }

    async fn send(&mut self, tag: &Tag) -> Result<(), RelayEnd> {
        let (kind, payload) = match tag.kind {
            TagKind::Audio => (MediaKind::Audio, tag.payload.clone()),
            TagKind::Video => (MediaKind::Video, tag.payload.clone()),
            TagKind::Script => (MediaKind::Data, [SET_DATA_FRAME, &tag.payload].concat().into()),
        };
        let message = crate::rtmp::chunk::write_media(self.session.stream_id(), kind, tag.timestamp_ms, &payload);
        self.counts.bytes_out.fetch_add(message.len() as u64, Ordering::Relaxed);
        self.write(&message).await
    }

    /// Says goodbye.
    async fn close(&mut self, why: &str) -> Result<RelayEnd, RelayEnd> {
        self.session.close();
        self.flush().await?;
        let _ = self.stream.shutdown().await;
        Ok(RelayEnd::new(RelayWhy::Over, why))
    }
}

fn closed() -> RelayEnd {
    RelayEnd::new(RelayWhy::Unreachable, "the other server closed the connection")
}

fn broken(error: io::Error) -> RelayEnd {
    match error.kind() {
        // Over TLS: without a goodbye of its own, which few servers say.
        io::ErrorKind::UnexpectedEof => closed(),
        _ => RelayEnd::new(RelayWhy::Unreachable, error.to_string()),
    }
}

fn not_rtmp(error: &RtmpError) -> RelayEnd {
    let why = if matches!(error, RtmpError::Timeout(_)) { RelayWhy::TimedOut } else { RelayWhy::Protocol };
    RelayEnd::new(why, error.to_string())
}

/// The other server's words behind ours, short and without characters that could draw on a terminal.
fn words(ours: &str, theirs: &str) -> String {
    let theirs: String = theirs.chars().take(WORDS_MAX).flat_map(char::escape_debug).collect();
    format!("{ours}: {theirs}")
}
