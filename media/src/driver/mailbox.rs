//! What control asks of a shard, and how it wakes it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use bytes::Bytes;
use mio::Waker;
use tokio::sync::mpsc;

use crate::{
    buf::pipe::{PipeReader, PipeWriter},
    codec::Codec,
    command::{CloseReason, Speaker},
    ids::{Kind, RoomId, StreamId, TrackId, TransportId},
    rtp::ext::ExtIds,
    transport::{Fingerprint, IceCredentials, TransportParams},
};

/// Commands that may wait for a shard. One that falls this far behind stalls control, not memory.
const MAILBOX_MAX: usize = 4096;

/// What control asks of a shard.
pub enum ShardCommand {
    AddTransport {
        id: TransportId,
        room: RoomId,
        params: TransportParams,
    },
    /// The other side's half, once its answer is there.
    SetRemote {
        id: TransportId,
        credentials: IceCredentials,
        fingerprint: Fingerprint,
    },
    /// New ICE credentials of ours.
    RestartIce {
        id: TransportId,
        credentials: IceCredentials,
    },
    RemoveTransport {
        id: TransportId,
    },
    /// Everything that a publisher's transport carries from now on.
    SetUps {
        id: TransportId,
        ext: ExtIds,
        ups: Vec<UpSetup>,
    },
    /// Everything that a subscriber's transport carries from now on.
    SetDowns {
        id: TransportId,
        downs: Vec<DownSetup>,
    },
    /// A stream from the bridge: Opus and H.264 by pipe. One that exists goes on with this source.
    AddPipeStream {
        room: RoomId,
        stream: StreamId,
        pipe: PipeReader,
    },
    /// Cuts the transport that publishes a stream; the stream stays, with all who receive it.
    HoldStream {
        room: RoomId,
        stream: StreamId,
    },
    /// Whether the publisher of a track that is copied here can be asked for key frames is not what it was.
    SetCopySource {
        room: RoomId,
        track: TrackId,
        can_ask: bool,
    },
    /// Removes a stream, whatever it came by. Its transport stays.
    RemoveStream {
        room: RoomId,
        stream: StreamId,
    },
    /// Copies a stream into a pipe.
    Tap {
        room: RoomId,
        stream: StreamId,
        pipe: PipeWriter,
    },
    /// A copy of a track of another shard, fed by a pipe from there.
    AddCopy {
        room: RoomId,
        track: TrackId,
        codec: Codec,
        /// Whether its publisher can be asked for key frames. If not, newcomers start with what was kept.
        can_ask: bool,
        pipe: PipeReader,
    },
    /// Removes such a copy and whoever watches it here.
    RemoveCopy {
        room: RoomId,
        track: TrackId,
    },
    /// Feeds a copy of a track on another shard, from now on.
    Relay {
        room: RoomId,
        track: TrackId,
        pipe: PipeWriter,
    },
    SetMuted {
        room: RoomId,
        track: TrackId,
        muted: bool,
    },
    CloseRoom {
        room: RoomId,
    },
    /// An ICE-TCP connection opened; what is to be sent on it goes into `sender`.
    TcpOpened {
        connection: u64,
        sender: mpsc::Sender<Bytes>,
    },
    /// One framed packet came on it.
    TcpPacket {
        connection: u64,
        remote: SocketAddr,
        local_ip: IpAddr,
        packet: Bytes,
    },
    TcpClosed {
        connection: u64,
    },
    Stop,
}

/// One up track as negotiated.
#[derive(Clone, Debug)]
pub struct UpSetup {
    pub track: TrackId,
    pub mid: String,
    pub codec: Codec,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    pub nack: bool,
}

/// One down track as negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownSetup {
    pub track: TrackId,
    pub ssrc: u32,
    pub payload_type: u8,
    pub rtx: Option<(u8, u32)>,
    /// The id of the extension with the transport-wide sequence number, if the subscriber reports on it.
    pub transport_cc: Option<u8>,
    /// The id of the extension that says how long pictures are to be held, if the subscriber knows it.
    pub playout_delay: Option<u8>,
}

/// What a shard tells control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardEvent {
    Connected {
        id: TransportId,
    },
    /// The transport is gone from the shard.
    Closed {
        id: TransportId,
        reason: CloseReason,
    },
    /// A broken invariant made the shard discard a room with everything in it.
    RoomDiscarded {
        room: RoomId,
    },
    /// Who speaks from now on, the loudest first.
    Speakers {
        room: RoomId,
        speakers: Vec<Speaker>,
    },
}

/// Wakes a shard, by one system call at most between two of its turns. Cheap to clone.
#[derive(Clone)]
pub struct Bell(Arc<BellOf>);

struct BellOf {
    rung: AtomicBool,
    waker: Waker,
}

impl Bell {
    pub fn new(waker: Waker) -> Self {
        Bell(Arc::new(BellOf { rung: AtomicBool::new(false), waker }))
    }

    /// Has the shard look at its mailbox and its pipes. Call it after there is something to be seen.
    pub fn ring(&self) -> io::Result<()> {
        if self.0.rung.swap(true, Ordering::AcqRel) { Ok(()) } else { self.0.waker.wake() }
    }

    /// The shard is about to look: whatever comes from here on rings anew.
    pub fn hush(&self) {
        self.0.rung.swap(false, Ordering::AcqRel);
    }
}

/// The end that commands go into. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    sender: SyncSender<ShardCommand>,
    bell: Bell,
}

impl Mailbox {
    /// Makes a mailbox whose reader is woken by `bell`.
    pub fn new(bell: Bell) -> (Self, Receiver<ShardCommand>) {
        let (sender, receiver) = sync_channel(MAILBOX_MAX);
        (Mailbox { sender, bell }, receiver)
    }

    /// Hands a command over. False if the shard has ended.
    pub fn send(&self, command: ShardCommand) -> bool {
        self.sender.send(command).is_ok() && self.bell.ring().is_ok()
    }

    /// Hands a packet over, or drops it if the shard is that far behind.
    pub fn try_send(&self, command: ShardCommand) -> bool {
        self.sender.try_send(command).is_ok() && self.bell.ring().is_ok()
    }

    pub fn bell(&self) -> &Bell {
        &self.bell
    }
}

/// Both tracks of a stream.
pub fn tracks_of(stream: StreamId) -> [TrackId; 2] {
    [TrackId { stream, kind: Kind::Audio }, TrackId { stream, kind: Kind::Video }]
}
