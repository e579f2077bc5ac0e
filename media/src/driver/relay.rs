//! One attempt to carry a stream to another RTMP server, or from one. Who tries again, and where an address may lead, is for
//! signaling to say.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    command::{RelayCounts, RelayTarget},
    flv::{Tag, TagKind},
    inlet::Inlet,
    outlet::Player,
    rtmp::{
        client::{ClientEvent, ClientSession, Purpose},
        message::MediaKind,
        url::RtmpUrl,
    },
    units::time::Time,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
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

/// Carries what a stream's player gets there, until one side ends it. The text says why it ended.
pub async fn push(target: RelayTarget, mut player: Player, counts: Arc<RelayCounts>) -> String {
    let outcome = async {
        let mut link = Link::open(target, Purpose::Publish, counts).await?;
        while !link.started {
            link.read().await?;
        }
        loop {
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
    outcome.await.unwrap_or_else(|why: String| why)
}

/// Carries a stream from there into an inlet, until one side ends it.
pub async fn pull(target: RelayTarget, mut inlet: Inlet, counts: Arc<RelayCounts>) -> String {
    let outcome = async {
        let mut link = Link::open(target, Purpose::Play, counts).await?;
        loop {
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
                return Err("the other server sends nothing".to_owned());
            }
        }
    };
    outcome.await.unwrap_or_else(|why: String| why)
}

struct Link {
    stream: TcpStream,
    session: ClientSession,
    counts: Arc<RelayCounts>,
    began: Instant,
    heard: Instant,
    started: bool,
    /// Read and not yet understood.
    input: Vec<u8>,
}

impl Link {
    async fn open(target: RelayTarget, purpose: Purpose, counts: Arc<RelayCounts>) -> Result<Link, String> {
        let RelayTarget { addr, host, app, name } = target;
        let stream = connect(addr).await?;
        let url = RtmpUrl { host, port: addr.port(), app, name };
        let session = ClientSession::new(Time::ZERO, url, purpose);
        let now = Instant::now();
        let mut link = Link { stream, session, counts, began: now, heard: now, started: false, input: Vec::new() };
        link.flush().await?;
        Ok(link)
    }

    async fn flush(&mut self) -> Result<(), String> {
        let output = self.session.take_output();
        self.write(&output).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match timeout(WRITE_TIMEOUT, self.stream.write_all(bytes)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("the other server reads too slowly".to_owned()),
        }
    }

    /// The next tag, if one comes within a moment. May be dropped at any await but those of a write, which then ends the
    /// connection with what was half written; so callers only ever drop it for good, or while it waits for bytes.
    async fn read(&mut self) -> Result<Option<Tag>, String> {
        loop {
            let mut data = &self.input[..];
            let event = self.session.handle_input(&mut data).map_err(|error| error.to_string())?;
            let taken = self.input.len() - data.len();
            self.input.drain(..taken);
            let output = self.session.take_output();
            if !output.is_empty() {
                self.write(&output).await?;
            }
            match event {
                Some(ClientEvent::Media(media)) => return Ok(Some(Tag::from(media))),
                Some(ClientEvent::Started) => {
                    (self.started, self.heard) = (true, Instant::now());
                    self.counts.running.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Some(ClientEvent::Refused { code, description }) => {
                    return Err(words("the other server refused", &format!("{code} {description}")));
                }
                Some(ClientEvent::Ended { code }) => return Err(words("the other server ended the stream", &code)),
                None => {}
            }
            let now = Time::from_micros(self.began.elapsed().as_micros() as u64);
            self.session.handle_timeout(now).map_err(|error| error.to_string())?;
            self.input.reserve(READ_BYTES);
            match timeout(TICK, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(0)) => return Err("the other server closed the connection".to_owned()),
                Ok(Ok(read)) => drop(self.counts.bytes_in.fetch_add(read as u64, Ordering::Relaxed)),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) if self.started => return Ok(None),
                Err(_) => {}
            }
        }
    }

    async fn send(&mut self, tag: &Tag) -> Result<(), String> {
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
    async fn close(&mut self, why: &str) -> Result<String, String> {
        self.session.close();
        self.flush().await?;
        let _ = self.stream.shutdown().await;
        Ok(why.to_owned())
    }
}

async fn connect(addr: SocketAddr) -> Result<TcpStream, String> {
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(connected) => connected.map_err(|error| format!("connecting: {error}"))?,
        Err(_) => return Err("connecting took too long".to_owned()),
    };
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The other server's words behind ours, short and without characters that could draw on a terminal.
fn words(ours: &str, theirs: &str) -> String {
    let theirs: String = theirs.chars().take(WORDS_MAX).flat_map(char::escape_debug).collect();
    format!("{ours}: {theirs}")
}
