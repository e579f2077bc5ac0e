//! Publishes by RTMP.

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use media::{
    flv::{Tag, TagKind},
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
    time::{sleep_until, timeout},
};

use super::{LoadError, publish::Sent, source::Source};

/// Longest that one message may take into the socket: the server does not read any more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection that is being set up looks at the time.
const SETUP_TICK: Duration = Duration::from_secs(1);

/// Publishes for `duration` from the server's consent on, or until `stopped`.
pub async fn publish(
    sent: &Sent,
    url: RtmpUrl,
    mut source: Source,
    duration: Duration,
    stopped: impl Future<Output = ()>,
) -> Result<(), LoadError> {
    let failed = |error: std::io::Error| LoadError::new(format!("{url:?}: {error}"));
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let began = Instant::now();
    let mut session = ClientSession::new(Time::ZERO, url.clone(), Purpose::Publish);
    let mut buffer = vec![0; 4096];
    // The handshake and the commands, until the server has said yes.
    while sent.ready.get().is_none() {
        let output = session.take_output();
        stream.write_all(&output).await.map_err(failed)?;
        match timeout(SETUP_TICK, stream.read(&mut buffer)).await {
            Ok(read) => take(sent, &mut session, &buffer, read.map_err(failed)?)?,
            Err(_) => {
                let now = Time::from_micros(began.elapsed().as_micros() as u64);
                session.handle_timeout(now).map_err(|error| LoadError::new(error.to_string()))?;
            }
        }
    }
    let output = session.take_output();
    stream.write_all(&output).await.map_err(failed)?;
    for tag in source.headers() {
        send(sent, &session, &mut stream, &tag).await?;
    }
    let mut stopped = pin!(stopped);
    let start = tokio::time::Instant::now();
    let mut next = source.next_due();
    while start.elapsed() < duration {
        tokio::select! {
            () = sleep_until(start + Duration::from_millis(next.at_ms)) => {
                send(sent, &session, &mut stream, &next.stamped()).await?;
                next = source.next_due();
            }
            () = &mut stopped => break,
            read = stream.read(&mut buffer) => {
                take(sent, &mut session, &buffer, read.map_err(failed)?)?;
                let output = session.take_output();
                stream.write_all(&output).await.map_err(failed)?;
            }
        }
    }
    session.close();
    stream.write_all(&session.take_output()).await.map_err(failed)?;
    stream.shutdown().await.map_err(failed)
}

fn take(sent: &Sent, session: &mut ClientSession, buffer: &[u8], read: usize) -> Result<(), LoadError> {
    if read == 0 {
        return Err(LoadError::new("the server closed the connection"));
    }
    let mut data = buffer.get(..read).unwrap_or_default();
    while let Some(event) = session.handle_input(&mut data).map_err(|error| LoadError::new(error.to_string()))? {
        match event {
            ClientEvent::Started => sent.ready.set(Some(Instant::now())),
            ClientEvent::Media(_) => {}
            ClientEvent::Refused { code, description } => {
                return Err(LoadError::new(format!("the server refused: {code} {description}")));
            }
            ClientEvent::Ended { code } => return Err(LoadError::new(format!("the server ended the stream: {code}"))),
        }
    }
    Ok(())
}

async fn send(sent: &Sent, session: &ClientSession, stream: &mut TcpStream, tag: &Tag) -> Result<(), LoadError> {
    let message = chunks(session.stream_id(), tag);
    match timeout(WRITE_TIMEOUT, stream.write_all(&message)).await {
        Ok(Ok(())) => {
            sent.packet(tag.payload.len());
            Ok(())
        }
        Ok(Err(error)) => Err(LoadError::new(format!("sending: {error}"))),
        Err(_) => Err(LoadError::new("the server reads too slowly")),
    }
}

/// AMF0 string `@setDataFrame`: what publishers put before `onMetaData`, so that servers keep it.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

fn chunks(stream_id: u32, tag: &Tag) -> Bytes {
    let (kind, payload) = match tag.kind {
        TagKind::Audio => (MediaKind::Audio, tag.payload.clone()),
        TagKind::Video => (MediaKind::Video, tag.payload.clone()),
        TagKind::Script => (MediaKind::Data, [SET_DATA_FRAME, &tag.payload].concat().into()),
    };
    media::rtmp::chunk::write_media(stream_id, kind, tag.timestamp_ms, &payload)
}
