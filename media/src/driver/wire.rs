//! What an RTMP connection runs over: TCP, or something on top of it.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// Bytes that the kernel may hold unsent. Larger hides from us how far behind a player is; smaller wakes tasks more often while
/// a newcomer's first burst is sent.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// Has the kernel take no more than a little from us before it has sent it. Otherwise a slow player is behind by megabytes
/// before we know.
pub fn bound_unsent(socket: &TcpStream) {
    // Where that cannot be had it goes without.
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// A stream of bytes both ways.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// The socket, if bytes go into it as they are: then others may write to it as well.
    fn socket(&self) -> Option<Arc<TcpStream>> {
        None
    }

    /// The address by which the client came, if it is known.
    fn local(&self) -> Option<IpAddr>;
}

/// TCP and nothing else.
#[derive(Debug)]
pub struct Plain(pub Arc<TcpStream>);

impl Wire for Plain {
    fn socket(&self) -> Option<Arc<TcpStream>> {
        Some(self.0.clone())
    }

    fn local(&self) -> Option<IpAddr> {
        Some(self.0.local_addr().ok()?.ip().to_canonical())
    }
}

impl Wire for TlsStream<TcpStream> {
    fn local(&self) -> Option<IpAddr> {
        Some(self.get_ref().0.local_addr().ok()?.ip().to_canonical())
    }
}

#[cfg(test)]
impl Wire for tokio::io::DuplexStream {
    fn local(&self) -> Option<IpAddr> {
        None
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write))
    }
}
