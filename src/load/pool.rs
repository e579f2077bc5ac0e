//! The sockets that all WebRTC clients of a run share, and what wakes them.
//!
//! Where the server is on this machine, a socket stands for many clients, each with an address of its own in 127.0.0.0/8:
//! for the server they are as different as clients of different houses, for us they are one thing to wait for. Elsewhere
//! every client has a socket.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use media::{
    io::gather::{GatherBatch, GatherSocket},
    transport::DtlsIdentity,
    units::time::{Ntp, Time, WallClock},
};
use tokio::io::unix::AsyncFd;

use super::{LoadError, peer::Peer, stamp};

/// Clients of one socket. The bursts of all of them have to fit into its buffer.
const PEERS_PER_PORT: usize = 16;
/// Receive buffer of a socket: half a second of what 16 players of 2 Mbit/s get, as the kernel counts.
const PORT_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// How often clients that are not connected yet are looked after: finer than the first retransmission of ICE and DTLS.
const CARE_INTERVAL: Duration = Duration::from_millis(20);
/// Receive calls on one socket before the others get their turn.
const CALLS_PER_TURN: usize = 8;
/// How long what comes may gather before it is taken, and how often. A burst then costs one waking instead of dozens, for us
/// and for the server, which pays for waking us where both are on one machine. Delays do not suffer: the kernel notes when
/// each datagram came.
const NAP: Duration = Duration::from_micros(400);
const NAP_INTERVAL: Duration = Duration::from_millis(1);
/// Who had more than this to take since the last nap has no time for another.
const DATAGRAMS_BETWEEN_NAPS_MAX: usize = 1_000;
/// The first of the addresses that clients are given; 127.0.0.1 and its neighbours belong to others.
const FIRST_ADDRESS: u32 = 0x7f10_0001;
/// Addresses before they come round again.
const ADDRESSES: u32 = 1 << 20;

/// How clients are put on sockets.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// Give every client a socket of its own, even if the server is on this machine.
    pub own_sockets: bool,
    /// Let the kernel hand over runs whole.
    pub gro: bool,
}

/// What all clients of a run share.
pub struct Pool {
    pub identity: Arc<DtlsIdentity>,
    origin: Instant,
    wall: WallClock,
    sharing: Sharing,
    ports: RefCell<Vec<Rc<Port>>>,
    batch: RefCell<GatherBatch>,
    next_address: Cell<u32>,
    napped: Cell<Instant>,
    taken_since_nap: Cell<usize>,
    /// Of sockets that are closed.
    drops_gone: Cell<u64>,
}

/// One socket and its clients.
pub struct Port {
    socket: AsyncFd<GatherSocket>,
    /// By their address of this machine; where the socket has one client only, whatever the address.
    peers: RefCell<Vec<(IpAddr, Rc<Peer>)>>,
    /// Places that are given out, those of peers that are not made yet included.
    taken: Cell<usize>,
    shared: bool,
}

/// A client's place, from [`Pool::place`] until dropped.
pub struct Place {
    pool: Weak<Pool>,
    port: Rc<Port>,
    pub ip: IpAddr,
}

impl Pool {
    pub fn new(sharing: Sharing) -> Result<Rc<Pool>, LoadError> {
        let identity = DtlsIdentity::generate().map_err(|error| LoadError::new(error.to_string()))?;
        let pool = Rc::new(Pool {
            identity: Arc::new(identity),
            origin: Instant::now(),
            wall: WallClock::new(stamp::unix_us()),
            sharing,
            ports: RefCell::default(),
            batch: RefCell::new(GatherBatch::new()),
            next_address: Cell::new(0),
            napped: Cell::new(Instant::now()),
            taken_since_nap: Cell::new(0),
            drops_gone: Cell::new(0),
        });
        tokio::task::spawn_local(care(Rc::downgrade(&pool)));
        Ok(pool)
    }

    pub fn now(&self) -> Time {
        Time::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    pub fn ntp(&self, at: Time) -> Ntp {
        self.wall.ntp(at)
    }

    /// Datagrams, or runs of them, that this process did not take from its sockets in time.
    pub fn drops(&self) -> u64 {
        let open: u64 = self.ports.borrow().iter().map(|port| port.socket.get_ref().drops()).sum();
        self.drops_gone.get() + open
    }

    /// A place from which `remote` can be reached.
    pub fn place(self: &Rc<Self>, remote: SocketAddr) -> io::Result<Place> {
        let shared = remote.is_ipv4() && remote.ip().is_loopback() && !self.sharing.own_sockets;
        let free = |port: &&Rc<Port>| shared && port.shared && port.taken.get() < PEERS_PER_PORT;
        let existing = self.ports.borrow().iter().find(free).cloned();
        let port = match existing {
            Some(port) => port,
            None => self.open(remote, shared)?,
        };
        port.taken.set(port.taken.get() + 1);
        let ip = if shared { self.address() } else { port.socket.get_ref().local_addr().ip() };
        Ok(Place { pool: Rc::downgrade(self), port, ip })
    }

    /// An address of this machine that no other client has.
    pub fn address(&self) -> IpAddr {
        let next = self.next_address.get();
        self.next_address.set((next + 1) % ADDRESSES);
        Ipv4Addr::from(FIRST_ADDRESS + next).into()
    }

    /// Lets more come, if there is time for it.
    fn nap(&self) {
        let now = Instant::now();
        if now.duration_since(self.napped.get()) >= NAP_INTERVAL {
            if self.taken_since_nap.replace(0) < DATAGRAMS_BETWEEN_NAPS_MAX {
                std::thread::sleep(NAP);
            }
            self.napped.set(Instant::now());
        }
    }

    fn open(self: &Rc<Self>, remote: SocketAddr, shared: bool) -> io::Result<Rc<Port>> {
        let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = GatherSocket::bind(SocketAddr::new(any, 0), PORT_BUFFER_BYTES, self.sharing.gro)?;
        let port = Rc::new(Port { socket: socket.watched()?, peers: RefCell::default(), taken: Cell::new(0), shared });
        self.ports.borrow_mut().push(port.clone());
        tokio::task::spawn_local(receive(Rc::downgrade(self), Rc::downgrade(&port)));
        Ok(port)
    }
}

impl Place {
    /// From now on, what comes in here is `peer`'s.
    pub fn seat(&self, peer: Rc<Peer>) {
        self.port.peers.borrow_mut().push((self.ip, peer));
    }

    /// Nothing more is for the client.
    pub fn clear(&self) {
        self.port.peers.borrow_mut().retain(|(ip, _)| *ip != self.ip);
    }

    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> bool {
        self.port.socket.get_ref().send(self.ip, to, datagram)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.port.taken.set(self.port.taken.get() - 1);
        let Some(pool) = self.pool.upgrade().filter(|_| !self.port.shared) else { return };
        pool.drops_gone.set(pool.drops_gone.get() + self.port.socket.get_ref().drops());
        pool.ports.borrow_mut().retain(|port| !Rc::ptr_eq(port, &self.port));
    }
}

impl Port {
    fn deliver(&self, pool: &Pool) -> io::Result<bool> {
        let now = pool.now();
        let peers = self.peers.borrow();
        let (mut last, mut taken) = (0, 0);
        let more = self.socket.get_ref().receive(&mut pool.batch.borrow_mut(), |gathered| {
            taken += 1;
            let is_meant = |(ip, _): &(IpAddr, Rc<Peer>)| !self.shared || *ip == gathered.local_ip;
            if !peers.get(last).is_some_and(is_meant) {
                let Some(found) = peers.iter().position(is_meant) else { return };
                last = found;
            }
            if let Some((_, peer)) = peers.get(last) {
                peer.datagram(now, gathered.unix_us, gathered.datagram);
            }
        });
        pool.taken_since_nap.set(pool.taken_since_nap.get() + taken);
        more
    }
}

/// Takes in what comes to a port, as long as it is there.
async fn receive(pool: Weak<Pool>, port: Weak<Port>) {
    loop {
        let Some(open) = port.upgrade() else { return };
        // A port that nothing comes to is looked at now and then, so that it can end.
        let Ok(readable) = tokio::time::timeout(Duration::from_secs(1), open.socket.readable()).await else { continue };
        let (Ok(mut guard), Some(pool)) = (readable, pool.upgrade()) else { return };
        pool.nap();
        for _ in 0..CALLS_PER_TURN {
            match open.deliver(&pool) {
                Ok(true) => {}
                Ok(false) => {
                    guard.clear_ready();
                    break;
                }
                Err(error) => {
                    eprintln!("roomcast-load: receiving: {error}");
                    return;
                }
            }
        }
        drop(guard);
        tokio::task::yield_now().await;
    }
}

/// Looks after the timers of all clients.
async fn care(pool: Weak<Pool>) {
    let mut ticks = tokio::time::interval(CARE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        let now = pool.now();
        for port in pool.ports.borrow().iter() {
            for (_, peer) in port.peers.borrow().iter() {
                peer.care(now);
            }
        }
    }
}
