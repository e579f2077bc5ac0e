//! What passes the door of this crate: commands from signaling, events to it.
//!
//! Both directions are bounded channels. A test of signaling holds the other end; there is nothing to mock.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Instant,
};

use rustls::ClientConfig;
use tokio::sync::oneshot;

use crate::{
    codec::Codec,
    ids::{Kind, RoomId, StreamId, TransportId},
    inlet::Inlet,
    outlet::Player,
};

/// Where the answer to a command goes. A dropped receiver is not an error.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What signaling asks of media.
pub enum Command {
    /// A publisher offers. Answers with our description; creates the transport, or renegotiates the given one. A stream that
    /// has another publisher is taken over from him and goes on for all who receive it.
    Publish {
        room: RoomId,
        /// `None` makes a new transport.
        transport: Option<TransportId>,
        /// The client's SDP offer.
        offer: String,
        /// Which m-line belongs to which stream. An m-line that is not named here goes to the first stream of the list
        /// of its kind still free if `mids` are empty strings (WHIP, where there is one stream).
        tracks: Vec<PublishTrack>,
        /// The address by which the requester reached our signaling; its candidate is put first.
        reached_at: Option<IpAddr>,
        reply: Reply<PublishAnswer>,
    },
    /// Makes or changes what a *down* transport carries, and offers it to the client.
    Subscribe {
        room: RoomId,
        transport: Option<TransportId>,
        /// Everything that is wanted from now on, not a difference. The place in the list goes into bits 16 to 23 of the SSRCs:
        /// sound has 1, the picture of the first stream 2, pictures of others 7. A stream that does not exist takes a place
        /// and is left out.
        wanted: Vec<Wanted>,
        reached_at: Option<IpAddr>,
        /// Offers new ICE credentials, and the addresses that we have now (RFC 8445 §9).
        restart_ice: bool,
        reply: Reply<SubscribeOffer>,
    },
    /// The client's answer to the newest offer of [`Command::Subscribe`].
    SubscribeAnswer { transport: TransportId, answer: String, reply: Reply<()> },
    /// The client offers to receive (WHEP): fills its receiving m-lines with the wanted streams, in order.
    Play { room: RoomId, offer: String, wanted: Vec<Wanted>, reached_at: Option<IpAddr>, reply: Reply<PlayAnswer> },
    /// New ICE credentials for a transport whose client offered (WHIP, WHEP). `fragment` holds the client's; the answer is
    /// ours, and the addresses that we have now, as another fragment (RFC 8840 §9). Media goes on by the old path meanwhile.
    RestartIce { transport: TransportId, fragment: String, reached_at: Option<IpAddr>, reply: Reply<String> },
    /// Ends a transport and every track on it. Its streams end without an event.
    CloseTransport { transport: TransportId },
    /// Ends a stream whatever it came by; an RTMP publisher is disconnected.
    CloseStream { stream: StreamId },
    /// Cuts whoever publishes a stream; the stream itself stays, with all who receive it, until it is closed or somebody
    /// publishes it again.
    HoldStream { stream: StreamId },
    /// Stops or resumes forwarding of one track at its source.
    SetMuted { stream: StreamId, kind: Kind, muted: bool },
    /// Ends everything in a room.
    CloseRoom { room: RoomId },
    /// Opens a stream that is fed with FLV tags: by an RTMP connection, or from inside the process (the built-in test
    /// stream). Dropping the inlet ends the stream; a closed inlet says that somebody else ended it. A stream that exists
    /// gets this publisher in the place of the one it has, whatever that one came by, and goes on for all who receive it.
    OpenIngest { room: RoomId, stream: StreamId, reply: Reply<Inlet> },
    /// Carries a stream to another RTMP server or from one, once; answers when and why that ended, or that it could not begin.
    /// Dropping the receiver ends it.
    Relay { way: RelayWay, target: RelayTarget, counts: Arc<RelayCounts>, reply: Reply<RelayEnd> },
    /// Attaches an RTMP or FLV player to a stream: metadata, sequence headers and the kept group of pictures come first, then
    /// what is live, until the stream is over. Dropping it detaches the player.
    Attach { stream: StreamId, reply: Reply<Player> },
}

/// One way between us and another RTMP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayWay {
    /// A stream of ours goes there.
    Push { stream: StreamId },
    /// A stream of theirs comes in, as this one.
    Pull { room: RoomId, stream: StreamId },
}

/// The other server, and what the stream is called there.
#[derive(Clone)]
pub struct RelayTarget {
    /// Where to connect to.
    pub addr: SocketAddr,
    /// As the URL named it; over TLS also whom the certificate has to be for.
    pub host: String,
    /// Whom to believe that he is that host. `None`: RTMP without TLS.
    pub tls: Option<Arc<ClientConfig>>,
    pub app: String,
    /// With its query, which may carry secrets.
    pub name: String,
}

/// How one attempt of a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayEnd {
    pub why: RelayWhy,
    /// For people. Holds no secret of ours; what the other server said is short and harmless in a terminal.
    pub words: String,
}

impl RelayEnd {
    pub fn new(why: RelayWhy, words: impl Into<String>) -> RelayEnd {
        RelayEnd { why, words: words.into() }
    }
}

/// Kinds of ends, for those who act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayWhy {
    /// Our side ended it: the stream is over, or is no more wanted.
    Over,
    /// No connection came about, or the one that was there broke.
    Unreachable,
    /// The other server did not connect, answer, read or send in time.
    TimedOut,
    /// Its certificate is not to be believed: of an unknown issuer, expired, damaged.
    Certificate,
    /// Its certificate is for somebody else.
    CertificateName,
    /// What it speaks is not TLS, or not RTMP.
    Protocol,
    /// It said no.
    Refused,
    /// It ended the stream.
    Ended,
}

/// What a relay has carried, in all its attempts.
#[derive(Debug, Default)]
pub struct RelayCounts {
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    /// The other server said yes, and media flows.
    pub running: AtomicBool,
}

/// One m-line of a publisher's offer, and the stream that it feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTrack {
    /// The `a=mid` value; empty matches any m-line that no other entry names.
    pub mid: String,
    pub stream: StreamId,
}

/// One stream that a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub stream: StreamId,
    pub audio: bool,
    pub video: bool,
}

/// The answer to a publisher.
#[derive(Clone, Debug)]
pub struct PublishAnswer {
    pub transport: TransportId,
    /// The SDP answer.
    pub answer: String,
    /// What each stream carries now.
    pub tracks: Vec<NegotiatedTrack>,
}

/// The offer to a subscriber.
#[derive(Clone, Debug)]
pub struct SubscribeOffer {
    pub transport: TransportId,
    /// The SDP offer.
    pub offer: String,
    /// Which m-line carries what. M-lines out of use are not listed.
    pub tracks: Vec<NegotiatedTrack>,
}

/// The answer to a player that offered.
#[derive(Clone, Debug)]
pub struct PlayAnswer {
    pub transport: TransportId,
    /// The SDP answer.
    pub answer: String,
    pub tracks: Vec<NegotiatedTrack>,
}

/// One m-line in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedTrack {
    pub mid: String,
    pub stream: StreamId,
    pub kind: Kind,
    pub codec: Codec,
}

/// What media tells signaling.
pub enum Event {
    /// DTLS is up: media can flow.
    TransportConnected { transport: TransportId },
    /// A transport ended by itself: consent lost, DTLS failed or closed by the peer. It is gone; no command is needed. What
    /// it published is held: it stays until [`Command::CloseStream`], or until somebody publishes it again.
    TransportClosed { transport: TransportId, reason: CloseReason },
    /// What an RTMP (or ingest) stream carries became known, or changed.
    StreamTracks { stream: StreamId, audio: Option<Codec>, video: Option<Codec> },
    /// The pictures of an RTMP (or ingest) stream come in another order than they are shown: WebRTC gets some of them only.
    BFrames { stream: StreamId },
    /// The publisher of an RTMP (or ingest) stream is gone without a word. The stream is held.
    StreamLost { stream: StreamId },
    /// Who speaks in a room from now on, the loudest first; nobody if empty. At most one in 300 ms, and only when the streams or
    /// their order changed.
    Speakers { room: RoomId, speakers: Vec<Speaker> },
    /// An RTMP (or ingest) stream ended by itself.
    StreamEnded { stream: StreamId },
    /// Somebody wants to publish by RTMP. The connection waits for the reply (5 s at most).
    PushRequested { url: StreamUrl, reply: oneshot::Sender<Result<PushGrant, UrlRefusal>> },
    /// Somebody wants to play by RTMP.
    PlayRequested { url: StreamUrl, reply: oneshot::Sender<Result<PlayGrant, UrlRefusal>> },
}

/// One who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    pub stream: StreamId,
    /// Decibels below overload, smoothed: 0 is as loud as can be.
    pub dbov: u8,
}

/// What an RTMP client asked for: `rtmp://host/{app}/{name}?{query}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamUrl {
    pub app: String,
    /// The stream name, without its query.
    pub name: String,
    /// The query of the name, of the app or of `tcUrl`, in this order of preference; without `?`, not decoded.
    pub query: String,
    pub remote: SocketAddr,
    /// What the client calls this server, and the address by which it came; as far as that is known.
    pub host: String,
    pub local: Option<IpAddr>,
}

/// Leave to publish into a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushGrant {
    pub room: RoomId,
    pub stream: StreamId,
}

/// Leave to play a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayGrant {
    pub stream: StreamId,
    /// When the player has to go, if he has to.
    pub until: Option<Instant>,
    /// Who wants to know when he begins, and when he is gone.
    pub watch: PlayWatch,
}

/// Somebody who wants to know when a player begins and ends; or nobody.
#[derive(Clone)]
pub struct PlayWatch(Option<Arc<dyn Fn(bool) + Send + Sync>>);

impl PlayWatch {
    pub fn nobody() -> PlayWatch {
        PlayWatch(None)
    }

    /// `told` is called with true when the player begins and with false when it is gone. It must not wait.
    pub fn new(told: impl Fn(bool) + Send + Sync + 'static) -> PlayWatch {
        PlayWatch(Some(Arc::new(told)))
    }

    /// The player begins; it is gone when what this returns is dropped.
    pub fn begin(self) -> Playing {
        if let Some(told) = &self.0 {
            told(true);
        }
        Playing(self)
    }
}

impl fmt::Debug for PlayWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlayWatch").field(&self.0.is_some()).finish()
    }
}

/// What a grant allows does not depend on who watches.
impl PartialEq for PlayWatch {
    fn eq(&self, _: &PlayWatch) -> bool {
        true
    }
}

impl Eq for PlayWatch {}

/// A player, as long as it is there.
#[derive(Debug)]
pub struct Playing(PlayWatch);

impl Drop for Playing {
    fn drop(&mut self) {
        if let Some(told) = &self.0.0 {
            told(false);
        }
    }
}

/// The code of `signaling/src/code.rs` for a publisher of whose codecs none is carried: what RTMP carries is seen here first.
pub const NO_CODEC_CODE: u32 = 74_001;

/// Why a push or a play was refused, in words that the client's log will show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRefusal {
    /// A code of `signaling/src/code.rs`.
    pub code: u32,
    pub text: String,
}

/// Why a transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// No authenticated sign of life for 30 s (RFC 7675).
    ConsentExpired,
    /// Never came up within 30 s.
    ConnectTimeout,
    /// The DTLS handshake failed, or the certificate is not the one of the SDP (RFC 5763 §5).
    DtlsFailed,
    /// The peer closed DTLS.
    ClosedByPeer,
    /// A broken invariant of ours; the room was discarded.
    Internal,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client's description cannot be read or used; the text says where.
    #[error("the session description cannot be used: {0}")]
    BadSdp(String),
    /// No codec in common.
    #[error("no common codec for {0}")]
    NoCodec(Kind),
    #[error("no such room, stream or transport")]
    NotFound,
    /// A named limit was reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    #[error("the server is shutting down")]
    ShuttingDown,
}
