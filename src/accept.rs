//! Accepts HTTP and HTTPS connections, each a task, and lets them end in order.
//!
//! hyper is driven here rather than by `axum::serve`, because the limits of this file are not to be had there: a
//! bounded number of connections, a deadline for the head of a request and for the TLS handshake.

mod http2;

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use media::driver::wire::bound_unsent;
use signaling::config::ReachedAt;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::{shutdown::Stopping, tls::ALPN_HTTP2};

/// What a client is told whose request took too long to begin; hyper would hang up without a word.
const HEAD_TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// How long a farewell may take.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes; a larger one is answered with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A client that takes nothing for this long is let go.
const WRITE_STALL_MAX: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection (no file descriptors left): trying at once would only burn the processor.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// What all listeners share.
#[derive(Clone)]
pub struct Front {
    pub app: Router,
    pub stopping: Stopping,
    /// One permit for every open connection, also for those that became WebSockets, and for every request over HTTP/2.
    pub places: Arc<Semaphore>,
    /// Requests under way at once over one HTTP/2 connection.
    pub streams_max: u32,
    /// Longest time for the head of a request, also the longest idle time of a kept connection.
    pub head_timeout: Duration,
}

impl Front {
    /// Accepts until the stop begins.
    pub async fn serve(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stopping.started() => return,
            };
            match accepted {
                Ok((stream, remote)) => match self.places.clone().try_acquire_owned() {
                    Ok(place) => {
                        tokio::spawn(self.clone().connection(stream, remote, tls.clone(), place));
                    }
                    // Closing at once is the cheapest answer, and the client's log shows it.
                    Err(_) => debug!(%remote, "connection refused: http.connections_max reached"),
                },
                Err(error) if is_about_one_connection(&error) => debug!(%error, "a connection broke before its time"),
                Err(error) => {
                    warn!(%error, "connections cannot be accepted");
                    sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }

    async fn connection(
        self,
        stream: TcpStream,
        remote: SocketAddr,
        tls: Option<TlsAcceptor>,
        place: OwnedSemaphorePermit,
    ) {
        let Ok(local) = stream.local_addr() else { return };
        // An IPv6 socket shows IPv4 clients as ::ffff:a.b.c.d.
        let (remote, local) = (canonical(remote), canonical(local));
        // Signaling messages and media tags are small and must not wait for one another.
        let _ = stream.set_nodelay(true);
        bound_unsent(&stream);
        match tls {
            None => {
                let exchange = self.exchange(Placed::new(stream, place), remote, ReachedAt::plain(local.ip()), true);
                // In a box, and a task of its own for what comes of it: an endless answer needs none of hyper's memory.
                if let Some((Placed { stream, place, .. }, head, take)) = Box::pin(exchange).await
                    && let Some(take) = take.take()
                {
                    tokio::spawn(take(Handed { socket: Arc::new(stream), head, place }));
                }
            }
            Some(acceptor) => match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let reached_at = ReachedAt::secure(local.ip());
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
                    let stream = Placed::new(stream, place);
                    match is_http2 {
                        true => Box::pin(http2::serve(self, stream, remote, reached_at)).await,
                        false => drop(Box::pin(self.exchange(stream, remote, reached_at, false)).await),
                    }
                }
                Ok(Err(error)) => debug!(%remote, %error, "TLS handshake failed"),
                Err(_) => debug!(%remote, "TLS handshake took too long"),
            },
        }
    }

    /// Serves requests until one of the sides ends it, or an answer takes the connection over, which is possible if
    /// `can_hand_over`: then the connection is given back, with the head of that answer.
    async fn exchange<S>(
        self,
        stream: S,
        remote: SocketAddr,
        reached_at: ReachedAt,
        can_hand_over: bool,
    ) -> Option<(S, Vec<u8>, HandOver)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let app = TowerToHyperService::new(self.app);
        let (handing, mut handed) = mpsc::channel(1);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(remote));
            request.extensions_mut().insert(reached_at);
            if can_hand_over {
                request.extensions_mut().insert(CanHandOver);
            }
            let (answer, handing) = (hyper::service::Service::call(&app, request), handing.clone());
            async move {
                let mut answer = answer.await?;
                if let Some(take) = answer.extensions_mut().remove::<HandOver>() {
                    // hyper waits for an answer that never comes, and writes nothing meanwhile.
                    let _ = handing.send((head_of(&answer), take)).await;
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = connection;
        let result = tokio::select! {
            result = &mut connection => result,
            Some((head, take)) = handed.recv() => {
                return connection.into_parts().map(|parts| (parts.io.into_inner(), head, take));
            }
            () = self.stopping.started() => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        if result.as_ref().is_err_and(hyper::Error::is_timeout)
            && let Some(parts) = connection.into_parts()
            && !parts.read_buf.is_empty()
        {
            // A part of a head came; a kept connection that was merely idle expects no word.
            let mut stream = parts.io.into_inner();
            let farewell = async {
                stream.write_all(HEAD_TOO_SLOW).await?;
                stream.shutdown().await
            };
            let _ = timeout(FAREWELL_MAX, farewell).await;
        }
        if let Err(error) = result {
            debug!(%remote, %error, "HTTP connection ended");
        }
        None
    }
}

/// An extension of requests: their connection may be handed over.
#[derive(Clone, Copy, Debug)]
pub struct CanHandOver;

/// An extension of answers without end: their body is not hyper's affair. Once the head of the answer is made, the connection
/// is given to this. Only for requests with [`CanHandOver`]. A client that has sent another request before loses the answer
/// that it has not read.
#[derive(Clone)]
pub struct HandOver(Arc<Mutex<Option<TakeOver>>>);

type TakeOver = Box<dyn FnOnce(Handed) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl HandOver {
    pub fn new(take: impl FnOnce(Handed) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static) -> HandOver {
        HandOver(Arc::new(Mutex::new(Some(Box::new(take)))))
    }

    fn take(self) -> Option<TakeOver> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection that was handed over.
pub struct Handed {
    pub socket: Arc<TcpStream>,
    /// Of the answer, and still to be sent. The body after it ends with the connection.
    pub head: Vec<u8>,
    /// Its place among the open connections.
    pub place: OwnedSemaphorePermit,
}

/// The head of an answer whose body ends with the connection (RFC 9112 §6.3).
fn head_of<B>(answer: &hyper::Response<B>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers().iter().filter(|(name, _)| **name != hyper::header::CONTENT_LENGTH) {
        head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A stream with its place among the open connections, and with a limit on how long a write may make no progress.
///
/// The place is given back when the stream is dropped, whoever has it by then: an upgraded connection is no longer
/// hyper's. The limit ends a player or a WebSocket whose client has stopped reading, which the kernel alone would keep
/// for a quarter of an hour.
struct Placed<S> {
    stream: S,
    place: OwnedSemaphorePermit,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Placed<S> {
    fn new(stream: S, place: OwnedSemaphorePermit) -> Self {
        Placed { stream, place, stalled: None }
    }

    /// Passes on what a write came to, and watches how long it waits.
    fn watch<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
