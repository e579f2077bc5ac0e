//! One player over TCP: RTMP or HTTP-FLV.

use std::time::{Duration, Instant};

use media::{
    flv::{Tag, TagKind, TagReader},
    rtmp::{
        client::{ClientEvent, ClientSession, Purpose},
        message::MediaKind,
        url::RtmpUrl,
    },
    units::time::Time,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use super::{
    LoadError,
    board::Seat,
    http::{self, Url},
    stamp,
};

/// Bytes read in one go; what a player gets in a tenth of a second.
const READ_BYTES: usize = 64 * 1024;
/// How often a player that gets nothing looks at the time.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Plays by RTMP until told to stop.
pub async fn play_rtmp(seat: &Seat, url: RtmpUrl, mut stopped: watch::Receiver<bool>) -> Result<(), LoadError> {
    tokio::select! {
        outcome = receive_rtmp(seat, url) => outcome,
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
    }
}

/// Plays by HTTP-FLV until told to stop.
pub async fn play_flv(
    seat: &Seat,
    url: &Url,
    token: Option<&str>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    tokio::select! {
        outcome = receive_flv(seat, url, token) => outcome,
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
    }
}

async fn receive_rtmp(seat: &Seat, url: RtmpUrl) -> Result<(), LoadError> {
    let failed = |error: std::io::Error| LoadError::new(format!("{url:?}: {error}"));
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let began = Instant::now();
    let now = || Time::from_micros(began.elapsed().as_micros() as u64);
    let mut session = ClientSession::new(now(), url.clone(), Purpose::Play);
    let mut buffer = vec![0; READ_BYTES];
    let mut first = FirstPicture::default();
    loop {
        let output = session.take_output();
        if !output.is_empty() {
            stream.write_all(&output).await.map_err(failed)?;
        }
        let read = match timeout(IDLE_TICK, stream.read(&mut buffer)).await {
            Ok(read) => read.map_err(failed)?,
            Err(_) => {
                session.handle_timeout(now()).map_err(|error| LoadError::new(error.to_string()))?;
                if seat.is_overdue() {
                    return Err(LoadError::new("connected, but no media came"));
                }
                continue;
            }
        };
        if read == 0 {
            return Err(LoadError::new("the server closed the connection"));
        }
        let mut data = buffer.get(..read).unwrap_or_default();
        while let Some(event) = session.handle_input(&mut data).map_err(|error| LoadError::new(error.to_string()))? {
            match event {
                ClientEvent::Started => {}
                ClientEvent::Media(media) => {
                    let kind = match media.kind {
                        MediaKind::Audio => TagKind::Audio,
                        MediaKind::Video => TagKind::Video,
                        MediaKind::Data => TagKind::Script,
                    };
                    first.take(seat, &Tag::new(kind, media.timestamp_ms, media.payload));
                }
                ClientEvent::Refused { code, description } => {
                    return Err(LoadError::new(format!("the server refused: {code} {description}")));
                }
                ClientEvent::Ended { code } => {
                    return Err(LoadError::new(format!("the server ended the stream: {code}")));
                }
            }
        }
    }
}

async fn receive_flv(seat: &Seat, url: &Url, token: Option<&str>) -> Result<(), LoadError> {
    let mut answer = http::request(hyper::Method::GET, url, token, None).await?;
    if !answer.status.is_success() {
        let status = answer.status;
        let text: String = answer.text().await?.chars().take(300).collect();
        return Err(LoadError::new(format!("the server refused with {status}: {}", text.trim())));
    }
    let mut reader = TagReader::new();
    let mut first = FirstPicture::default();
    loop {
        let piece = match timeout(IDLE_TICK, answer.next()).await {
            Ok(piece) => piece.ok_or_else(|| LoadError::new("the server ended the stream"))??,
            Err(_) if seat.is_overdue() => return Err(LoadError::new("connected, but no media came")),
            Err(_) => continue,
        };
        let mut data = &piece[..];
        while let Some(tag) = reader.read(&mut data).map_err(|error| LoadError::new(error.to_string()))? {
            first.take(seat, &tag);
        }
    }
}

/// Watches for the first picture, or the first sound of a stream that says it has no video.
#[derive(Default)]
struct FirstPicture {
    seen: bool,
    has_video: bool,
    sounds: u32,
}

/// For so long after the start, what comes may come from the group of pictures that the server keeps for newcomers.
const KEPT_TIME: Duration = Duration::from_millis(500);
/// Sound without any sign of video after this many messages (half a second of AAC) is a stream of sound alone.
const SOUNDS_WITHOUT_VIDEO: u32 = 25;

impl FirstPicture {
    fn take(&mut self, seat: &Seat, tag: &Tag) {
        seat.join();
        seat.packet(tag.payload.len());
        match tag.kind {
            TagKind::Video => {
                self.has_video = true;
                if tag.key && !tag.header {
                    self.see(seat);
                }
                // What a server kept for newcomers is not late, it was meant to be old.
                if let Some(sent_us) = stamp::read(&tag.payload).filter(|_| seat.began().elapsed() > KEPT_TIME) {
                    seat.delay(sent_us, stamp::unix_us());
                }
            }
            TagKind::Audio if !self.has_video && !tag.header => {
                self.sounds += 1;
                if self.sounds >= SOUNDS_WITHOUT_VIDEO {
                    self.see(seat);
                }
            }
            _ => {}
        }
    }

    fn see(&mut self, seat: &Seat) {
        if !std::mem::replace(&mut self.seen, true) {
            seat.first_frame(seat.began(), Duration::ZERO);
        }
    }
}
