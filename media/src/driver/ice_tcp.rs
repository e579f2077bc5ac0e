//! Media over TCP for networks that let nothing else through (RFC 6544, passive side): packets framed by a 16-bit length
//! (RFC 4571), handed to the shard of the same port as if they were datagrams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tracing::debug;

use super::mailbox::{Mailbox, ShardCommand};
use crate::buf::slot::SLOT_BYTES;

/// Connections at once on one shard.
const CONNECTIONS_MAX: usize = 4096;
/// A connection on which nothing comes for this long is closed. ICE sends a check every few seconds.
const IDLE_MAX: Duration = Duration::from_secs(35);
/// Packets that may wait for a slow connection. More are dropped, as a full router queue would.
const QUEUE_PACKETS_MAX: usize = 512;

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Accepts connections for one shard until the listener fails or the shard has ended.
pub async fn serve(listener: TcpListener, mailbox: Mailbox) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "an ICE-TCP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let mailbox = mailbox.clone();
        tokio::spawn(async move {
            let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
            let result = carry(stream, connection, &mailbox).await;
            debug!(connection, ?result, "ICE-TCP connection over");
            mailbox.send(ShardCommand::TcpClosed { connection });
            drop(permit);
        });
    }
}

async fn carry(stream: TcpStream, connection: u64, mailbox: &Mailbox) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // A listener of both families sees IPv4 as mapped into IPv6.
    let mut remote = stream.peer_addr()?;
    remote.set_ip(remote.ip().to_canonical());
    let local_ip = stream.local_addr()?.ip().to_canonical();
    let (mut reader, mut writer) = stream.into_split();
    let (sender, mut queue) = mpsc::channel::<Bytes>(QUEUE_PACKETS_MAX);
    mailbox.send(ShardCommand::TcpOpened { connection, sender });
    let write = async move {
        while let Some(framed) = queue.recv().await {
            writer.write_all(&framed).await?;
        }
        Ok(())
    };
    let read = async move {
        loop {
            let len = usize::from(timeout(IDLE_MAX, reader.read_u16()).await??);
            if len > SLOT_BYTES {
                return Err(std::io::Error::other("a packet longer than a slot"));
            }
            let mut packet = vec![0; len];
            timeout(IDLE_MAX, reader.read_exact(&mut packet)).await??;
            let packet = Bytes::from(packet);
            mailbox.try_send(ShardCommand::TcpPacket { connection, remote, local_ip, packet });
        }
    };
    tokio::select! { result = write => result, result = read => result }
}
