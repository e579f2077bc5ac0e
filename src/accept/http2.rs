//! HTTP/2 (RFC 9113), for clients that choose it in the TLS handshake: browsers, and Apple's players, which play low-latency HLS
//! over nothing else.
//!
//! One connection carries many requests, so what is counted by connections elsewhere is counted by requests here: each takes a
//! place of its own beside that of its connection. WebSockets stay with HTTP/1.1: CONNECT for them (RFC 8441) is not offered, and
//! browsers open another connection.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::ConnectInfo,
    http::{HeaderValue, header},
    response::Response,
};
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
    server::conn::http2,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use signaling::{
    code::{Code, Fault},
    config::ReachedAt,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use super::{Front, HEAD_BYTES_MAX, WRITE_STALL_MAX};
use crate::http::flv::refusal;

/// Bytes of requests' bodies that a client may send ahead of whoever reads them, per request and in all. Nobody sends us large ones.
const WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes of one answer that wait for the client.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Requests that a client begins and takes back before they are looked at. With more at once it is sent away: whoever wants nothing
/// but work to be begun ("rapid reset", CVE-2023-44487) does that.
const RESETS_MAX: usize = 20;
/// Requests per second that a client takes back before they are answered. Players who seek or leave take back one or two.
const GIVEN_UP_MAX: usize = 100;
/// Requests that we refuse since the client keeps to no rule, as with more at once than it may have. With more it is sent away.
const REFUSALS_MAX: usize = 100;
/// How often it is looked what becomes of a connection.
const TICK: Duration = Duration::from_secs(1);

/// Serves requests until one of the sides ends it. `stream` holds the connection's place.
pub(super) async fn serve<S>(front: Front, stream: S, remote: SocketAddr, reached_at: ReachedAt)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity =
        Arc::new(Activity(Mutex::new(State { at: Instant::now(), under_way: 0, held_back: 0, given_up: 0 })));
    let (app, places) = (TowerToHyperService::new(front.app), front.places);
    let service = service_fn(|mut request: Request<Incoming>| {
        // Taken before anything is done for the request.
        let place = places.clone().try_acquire_owned();
        let under_way = UnderWay::begin(&activity);
        request.extensions_mut().insert(ConnectInfo(remote));
        request.extensions_mut().insert(reached_at);
        name_host(&mut request);
        let answer = place.map(|place| (app.call(request), place));
        async move {
            let (answer, place) = match answer {
                Ok((answer, place)) => (answer.await?, Some(place)),
                Err(_) => (busy(), None),
            };
            Ok::<_, Infallible>(answer.map(|body| Counted { body, under_way: under_way.answered(), _place: place }))
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(front.streams_max)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(REFUSALS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_leaving = false;
    loop {
        let now = tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    debug!(%remote, %error, "HTTP/2 connection ended");
                }
                return;
            }
            now = tick.tick() => now.into_std(),
            () = front.stopping.started(), if !is_leaving => {
                connection.as_mut().graceful_shutdown();
                is_leaving = true;
                continue;
            }
        };
        match activity.judge(now, front.head_timeout) {
            Verdict::Fine => {}
            Verdict::Idle if !is_leaving => {
                connection.as_mut().graceful_shutdown();
                is_leaving = true;
            }
            verdict => {
                debug!(%remote, ?verdict, "HTTP/2 connection closed");
                return;
            }
        }
    }
}

/// HTTP/2 names the host beside the headers (RFC 9113 §8.3.1: what is there goes before the header); the rest of the server
/// looks for it among them.
fn name_host(request: &mut Request<Incoming>) {
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn busy() -> Response {
    refusal(Fault::with(Code::MediaLimit, "limit reached: http.connections_max"))
}

/// What the requests of one connection are doing.
struct Activity(Mutex<State>);

struct State {
    /// When anything last came of any of them.
    at: Instant,
    under_way: usize,
    /// Answers of which the client has not taken what it was given.
    held_back: usize,
    /// Since the last look.
    given_up: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Nothing was asked for too long.
    Idle,
    /// Answers wait, and the client takes nothing of any.
    Stalled,
    /// It takes back what it asks.
    Restless,
}

impl Activity {
    fn judge(&self, now: Instant, idle_max: Duration) -> Verdict {
        let mut state = self.lock();
        let quiet = now.saturating_duration_since(state.at);
        match state.given_up {
            given_up if given_up > GIVEN_UP_MAX => return Verdict::Restless,
            _ => state.given_up = 0,
        }
        match (state.under_way, state.held_back) {
            (0, _) if quiet >= idle_max => Verdict::Idle,
            (_, 1..) if quiet >= WRITE_STALL_MAX => Verdict::Stalled,
            _ => Verdict::Fine,
        }
    }

    /// Something comes of a request.
    fn touch(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        state.at = Instant::now();
        change(&mut state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything that may panic, so a poisoned state is a usable one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, until its answer is sent or nobody wants it any more.
struct UnderWay {
    activity: Arc<Activity>,
    is_answered: bool,
    is_held_back: bool,
}

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> UnderWay {
        activity.touch(|state| state.under_way += 1);
        UnderWay { activity: activity.clone(), is_answered: false, is_held_back: false }
    }

    /// The head of the answer is made. Of its body nothing is asked until the client takes something.
    fn answered(mut self) -> UnderWay {
        self.is_answered = true;
        self.give(true);
        self
    }

    /// The client was given something, or took it and is asked for more.
    fn give(&mut self, is_held_back: bool) {
        let was = std::mem::replace(&mut self.is_held_back, is_held_back);
        self.activity.touch(|state| state.held_back = state.held_back + usize::from(is_held_back) - usize::from(was));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let UnderWay { is_answered, is_held_back, .. } = *self;
        self.activity.touch(|state| {
            state.under_way -= 1;
            state.held_back -= usize::from(is_held_back);
            state.given_up += usize::from(!is_answered);
        });
    }
}

/// The body of an answer, with its request's place. hyper asks it for more when the client has taken what came before.
struct Counted {
    body: Body,
    under_way: UnderWay,
    _place: Option<OwnedSemaphorePermit>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.under_way.give(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(8);

    fn activity() -> Arc<Activity> {
        Arc::new(Activity(Mutex::new(State { at: Instant::now(), under_way: 0, held_back: 0, given_up: 0 })))
    }

    #[test]
    fn a_connection_is_idle_while_nothing_is_asked_and_stalled_while_nothing_is_taken() {
        let activity = activity();
        let judge = |after: Duration| activity.judge(Instant::now() + after, IDLE_MAX);
        assert_eq!((judge(Duration::ZERO), judge(IDLE_MAX)), (Verdict::Fine, Verdict::Idle));
        let asked = UnderWay::begin(&activity);
        assert_eq!(judge(10 * IDLE_MAX), Verdict::Fine, "an answer may take its time");
        let mut held = asked.answered();
        assert_eq!(judge(WRITE_STALL_MAX), Verdict::Stalled, "nothing of it is taken");
        held.give(true);
        held.give(true);
        assert_eq!((judge(WRITE_STALL_MAX / 2), judge(WRITE_STALL_MAX)), (Verdict::Fine, Verdict::Stalled));
        held.give(false);
        assert_eq!(judge(10 * WRITE_STALL_MAX), Verdict::Fine, "it has taken all there is");
        held.give(true);
        drop(held);
        assert_eq!((judge(IDLE_MAX / 2), judge(IDLE_MAX)), (Verdict::Fine, Verdict::Idle));
    }

    #[test]
    fn requests_that_are_taken_back_are_counted_by_the_second_and_answered_ones_are_not() {
        let activity = activity();
        let judge = || activity.judge(Instant::now(), IDLE_MAX);
        (0..10 * GIVEN_UP_MAX).for_each(|_| drop(UnderWay::begin(&activity).answered()));
        for _ in 0..2 {
            (0..GIVEN_UP_MAX).for_each(|_| drop(UnderWay::begin(&activity)));
            assert_eq!(judge(), Verdict::Fine, "so many are allowed in each second");
        }
        (0..=GIVEN_UP_MAX).for_each(|_| drop(UnderWay::begin(&activity)));
        assert_eq!(judge(), Verdict::Restless);
    }
}
