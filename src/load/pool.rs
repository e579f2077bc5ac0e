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

use super::{LoadError, peer::Peer, stamp};
use media::{
    io::gather::{GatherBatch, GatherSocket},
    transport::DtlsIdentity,
    units::time::{Ntp, Time, WallClock},
};

/// Clients of one socket, if the kernel grants it the buffer below; else fewer. The bursts of all of them have to fit in.
const PEERS_PER_PORT: usize = 16;
/// Receive buffer of a socket: half a second of what 16 players of 2 Mbit/s get, as the kernel counts.
const PORT_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// How often clients that are not connected yet are looked after: finer than the first retransmission of ICE and DTLS.
const CARE_INTERVAL: Duration = Duration::from_millis(20);
/// How often the sockets are looked into: while somebody connects, so that answers are not late, and else. Nothing sleeps on a
/// socket: a receiver that does has to be woken, and where both are on one machine the kernel does that on the server's
/// account, for every burst. Between two looks datagrams gather in the sockets' buffers. What is told of times does not
/// suffer: the kernel notes when each datagram came.
const CONNECTING_TICK: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(20);
/// Added for each socket, so that looking into many that are empty does not become work of its own.
const TICK_PER_PORT: Duration = Duration::from_micros(20);
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
    /// Of sockets that are closed.
    drops_gone: Cell<u64>,
    /// Clients that are not connected yet.
    connecting: Cell<usize>,
}

/// One socket and its clients.
pub struct Port {
    socket: GatherSocket,
    /// By their address of this machine; where the socket has one client only, whatever the address.
    peers: RefCell<Vec<(IpAddr, Rc<Peer>)>>,
    /// Places that are given out, those of peers that are not made yet included.
    taken: Cell<usize>,
    places: usize,
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
            drops_gone: Cell::new(0),
            connecting: Cell::new(0),
        });
        tokio::task::spawn_local(receive(Rc::downgrade(&pool)));
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
        let open: u64 = self.ports.borrow().iter().map(|port| port.socket.drops()).sum();
        self.drops_gone.get() + open
    }

    /// A place from which `remote` can be reached.
    pub fn place(self: &Rc<Self>, remote: SocketAddr) -> io::Result<Place> {
        let shared = remote.is_ipv4() && remote.ip().is_loopback() && !self.sharing.own_sockets;
        let free = |port: &&Rc<Port>| shared && port.shared && port.taken.get() < port.places;
        let existing = self.ports.borrow().iter().find(free).cloned();
        let port = match existing {
            Some(port) => port,
            None => self.open(remote, shared)?,
        };
        port.taken.set(port.taken.get() + 1);
        let ip = if shared { self.address() } else { port.socket.local_addr().ip() };
        Ok(Place { pool: Rc::downgrade(self), port, ip })
    }

    /// An address of this machine that no other client has.
    pub fn address(&self) -> IpAddr {
        let next = self.next_address.get();
        self.next_address.set((next + 1) % ADDRESSES);
        Ipv4Addr::from(FIRST_ADDRESS + next).into()
    }

    fn open(&self, remote: SocketAddr, shared: bool) -> io::Result<Rc<Port>> {
        let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = GatherSocket::bind(SocketAddr::new(any, 0), PORT_BUFFER_BYTES, self.sharing.gro)?;
        let granted = socket.receive_buffer_bytes() * PEERS_PER_PORT / PORT_BUFFER_BYTES;
        let places = if shared { granted.clamp(1, PEERS_PER_PORT) } else { 1 };
        let port = Rc::new(Port { socket, peers: RefCell::default(), taken: Cell::new(0), places, shared });
        self.ports.borrow_mut().push(port.clone());
        Ok(port)
    }
}

impl Place {
    /// From now on, what comes in here is `peer`'s.
    pub fn seat(&self, peer: Rc<Peer>) {
        self.port.peers.borrow_mut().push((self.ip, peer));
        if let Some(pool) = self.pool.upgrade() {
            pool.connecting.set(pool.connecting.get() + 1);
        }
    }

    /// Nothing more is for the client.
    pub fn clear(&self) {
        self.port.peers.borrow_mut().retain(|(ip, _)| *ip != self.ip);
    }

    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> bool {
        self.send_run(to, datagram, datagram.len())
    }

    /// Sends datagrams of `segment` bytes, the last may be shorter, at once.
    pub fn send_run(&self, to: SocketAddr, run: &[u8], segment: usize) -> bool {
        self.port.socket.send(self.ip, to, run, segment)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.port.taken.set(self.port.taken.get() - 1);
        let Some(pool) = self.pool.upgrade().filter(|_| !self.port.shared) else { return };
        pool.drops_gone.set(pool.drops_gone.get() + self.port.socket.drops());
        pool.ports.borrow_mut().retain(|port| !Rc::ptr_eq(port, &self.port));
    }
}

impl Port {
    /// Takes in what is there; true if there may be more.
    fn deliver(&self, pool: &Pool) -> io::Result<bool> {
        let now = pool.now();
        let peers = self.peers.borrow();
        let mut last = 0;
        self.socket.receive(&mut pool.batch.borrow_mut(), |gathered| {
            let is_meant = |(ip, _): &(IpAddr, Rc<Peer>)| !self.shared || *ip == gathered.local_ip;
            if !peers.get(last).is_some_and(is_meant) {
                let Some(found) = peers.iter().position(is_meant) else { return };
                last = found;
            }
            if let Some((_, peer)) = peers.get(last) {
                peer.datagram(now, gathered.unix_us, gathered.datagram);
            }
        })
    }
}

/// Takes in what comes to the sockets, tick by tick, as long as there is a pool.
async fn receive(pool: Weak<Pool>) {
    loop {
        let Some(open) = pool.upgrade() else { return };
        let ports = open.ports.borrow().clone();
        for port in &ports {
            loop {
                match port.deliver(&open) {
                    Ok(true) => tokio::task::yield_now().await,
                    Ok(false) => break,
                    Err(error) => return eprintln!("roomcast-load: receiving: {error}"),
                }
            }
        }
        let tick = if open.connecting.get() > 0 { CONNECTING_TICK } else { TICK };
        drop(open);
        tokio::time::sleep(tick + TICK_PER_PORT * ports.len() as u32).await;
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
        let mut connecting = 0;
        for port in pool.ports.borrow().iter() {
            for (_, peer) in port.peers.borrow().iter() {
                connecting += usize::from(!peer.care(now));
            }
        }
        pool.connecting.set(connecting);
    }
}
