//! The media socket: many datagrams in by one `recvmmsg`, many out by one `sendmmsg` of segmentation-offload runs.
//!
//! ```text
//!   SendBatch.bytes    |1 to A 1200|1 to B 1200|2 to A 1200|2 to B 1200|3 to A 640|3 to B 640|...   as they were sealed
//!   SendBatch.pieces   |1 to A|2 to A|3 to A|1 to B|2 to B|3 to B|...                               as they are sent
//!   SendBatch.runs     |to A, segment 1200  |to B, segment 1200  |...
//! ```
//!
//! Packets to one destination become a *run* if they are of one size, a shorter last one included: the kernel walks its
//! stack once for a run (`UDP_SEGMENT`) and that is nearly all of a packet's price. A packet is sealed when it is decided
//! on and sent when the turn ends, so that what arrived meanwhile joins its run; the pieces of a run need not lie side by
//! side, the kernel gathers them. The
//! address that a datagram came in on is remembered and used as the source of what goes back (`IP_PKTINFO`): a socket
//! that is bound to every address would otherwise answer from whichever the routing table likes, and browsers ignore that.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, RawFd},
};

use libc::{c_int, c_void};
use socket2::{Domain, Protocol, Socket, Type};

use crate::buf::slot::{SLOT_BYTES, Slot};

/// Datagrams taken by one system call.
pub const RECV_BATCH: usize = 64;
/// Runs handed over by one system call.
const SEND_BATCH: usize = 64;
/// Most segments of one run: the kernel's `UDP_MAX_SEGMENTS` of old; newer kernels take 128.
const SEGMENTS_MAX: usize = 64;
/// Most bytes of one run: an IP packet's length field, less the headers.
const RUN_BYTES_MAX: usize = 65_000;
/// Bytes of the send buffer: what one turn may seal before it has to send. 1,700 packets of 1,200 bytes.
const SEND_BYTES: usize = 2 << 20;
/// Part of it that is left to control traffic.
const SEND_RESERVE_BYTES: usize = 64 << 10;
/// Room for the control messages of one datagram.
const CONTROL_BYTES: usize = 88;

/// Control message space that is aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// A bound UDP socket that never blocks.
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    gso: bool,
}

impl UdpSocket {
    /// Binds to `addr`, where `[::]` means every address of both families, and asks for socket buffers of `buffer_bytes`; the kernel may grant less, see
    /// [`receive_buffer_bytes`](Self::receive_buffer_bytes).
    pub fn bind(addr: SocketAddr, buffer_bytes: usize) -> io::Result<Self> {
        let domain = if addr.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // What the kernel refuses here costs packets under load, not correctness: the caller reports the shortfall.
        let _ = socket.set_recv_buffer_size(buffer_bytes);
        let _ = socket.set_send_buffer_size(buffer_bytes);
        let fd = socket.as_raw_fd();
        if addr.is_ipv4() {
            set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        } else {
            // IPv4 comes in as `::ffff:a.b.c.d`; outside of this file it is IPv4 again.
            socket.set_only_v6(!addr.ip().is_unspecified())?;
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
        socket.bind(&addr.into())?;
        let local = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no local address"))?;
        // Setting a segment size of 0 changes nothing and tells whether the kernel knows the option at all.
        let gso = set_option(fd, libc::IPPROTO_UDP, libc::UDP_SEGMENT, 0).is_ok();
        Ok(UdpSocket { socket, local, gso })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel granted; it reports twice the usable size.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(0) / 2
    }

    /// Whether runs are sent by segmentation offload; falls to false when the kernel or the interface refuses one.
    pub fn uses_gso(&self) -> bool {
        self.gso
    }

    /// Takes what is there, at most [`RECV_BATCH`] datagrams; 0 if nothing is.
    pub fn receive(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.filled = 0;
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut headers: [libc::mmsghdr; RECV_BATCH] = unsafe { mem::zeroed() };
        let mut iovecs: [libc::iovec; RECV_BATCH] = unsafe { mem::zeroed() };
        let mut names: [libc::sockaddr_storage; RECV_BATCH] = unsafe { mem::zeroed() };
        let mut controls = [Control([0; CONTROL_BYTES]); RECV_BATCH];
        for (i, slot) in batch.slots.iter_mut().enumerate() {
            let space = slot.space_mut();
            iovecs[i] = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: SLOT_BYTES };
            let header = &mut headers[i].msg_hdr;
            header.msg_name = (&raw mut names[i]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut iovecs[i];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut controls[i]).cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        // SAFETY: every header points at memory that lives past the call, with its true length.
        let n = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECV_BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                // An ICMP error for something sent earlier; the datagrams behind it are still there.
                io::ErrorKind::ConnectionRefused => Ok(0),
                _ => Err(error),
            };
        }
        let n = n as usize;
        for i in 0..n {
            let header = &headers[i];
            // A truncated datagram is longer than anything we speak; length 0 makes the demultiplexer drop it.
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            batch.slots[i].set_len(if truncated { 0 } else { header.msg_len as usize });
            let local_ip = local_ip_of(&header.msg_hdr).unwrap_or(self.local.ip());
            let remote = socket_addr(&names[i]).unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
            batch.origins[i] = Origin { remote, local_ip };
        }
        batch.filled = n;
        Ok(n)
    }

    /// Sends every run of the batch and empties it.
    pub fn send(&mut self, batch: &mut SendBatch) -> Sent {
        let mut refused = 0;
        let mut calls = 0;
        let mut next = 0;
        while next < batch.runs.len() {
            calls += 1;
            let end = (next + SEND_BATCH).min(batch.runs.len());
            match self.send_runs(batch, &batch.runs[next..end]) {
                Ok(sent) => next += sent,
                Err(error) => {
                    let run = batch.runs[next];
                    let raw = error.raw_os_error();
                    if run.pieces > 1 && matches!(raw, Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP)) {
                        self.gso = false;
                        refused += self.send_singly(batch, run);
                    } else {
                        refused += run.pieces;
                    }
                    next += 1;
                    if error.kind() == io::ErrorKind::WouldBlock {
                        // The socket's buffer is full: what is left would only wait and be late.
                        refused += batch.runs[next..].iter().map(|run| run.pieces).sum::<usize>();
                        break;
                    }
                }
            }
        }
        let runs = batch.runs.len() as u64;
        batch.clear();
        Sent { runs, calls, refused: refused as u64 }
    }

    fn send_singly(&self, batch: &SendBatch, run: Run) -> usize {
        let mut refused = 0;
        for first in run.first..run.first + run.pieces {
            let single = Run { first, pieces: 1, ..run };
            if !matches!(self.send_runs(batch, &[single]), Ok(1)) {
                refused += 1;
            }
        }
        refused
    }

    /// One `sendmmsg`. Answers how many runs went out, at least one; an error concerns the first.
    fn send_runs(&self, batch: &SendBatch, runs: &[Run]) -> io::Result<usize> {
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut headers: [libc::mmsghdr; SEND_BATCH] = unsafe { mem::zeroed() };
        let mut names: [MaybeUninit<socket2::SockAddr>; SEND_BATCH] = [const { MaybeUninit::uninit() }; SEND_BATCH];
        let mut controls = [Control([0; CONTROL_BYTES]); SEND_BATCH];
        for (i, run) in runs.iter().enumerate() {
            let pieces = &batch.pieces[run.first..run.first + run.pieces];
            let to = if self.local.is_ipv6() { in_ipv6(run.to) } else { run.to };
            let name = names[i].write(to.remote.into());
            let header = &mut headers[i].msg_hdr;
            header.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_namelen = name.len();
            header.msg_iov = pieces.as_ptr().cast_mut().cast();
            header.msg_iovlen = pieces.len();
            header.msg_control = (&raw mut controls[i]).cast();
            header.msg_controllen = CONTROL_BYTES;
            header.msg_controllen = write_control(header, to.local_ip, run);
            if header.msg_controllen == 0 {
                header.msg_control = std::ptr::null_mut();
            }
        }
        // SAFETY: every header points at memory that lives past the call, with its true length: pieces are iovecs of
        // packets in `batch.bytes`, which is not touched meanwhile, and names were written above for as many headers as
        // are passed. (A `SockAddr` needs no drop.)
        let n = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), runs.len() as u32, libc::MSG_DONTWAIT)
        };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Runs handed over.
    pub runs: u64,
    /// System calls that it took.
    pub calls: u64,
    /// Packets that the kernel refused.
    pub refused: u64,
}

/// Where a datagram came from, and the address of ours that it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub remote: SocketAddr,
    pub local_ip: IpAddr,
}

/// Slots for one receive call. What was received may be swapped out for other slots.
pub struct RecvBatch {
    slots: Vec<Slot>,
    origins: Vec<Origin>,
    filled: usize,
}

impl RecvBatch {
    pub fn new() -> Self {
        let nowhere =
            Origin { remote: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), local_ip: Ipv4Addr::UNSPECIFIED.into() };
        RecvBatch {
            slots: (0..RECV_BATCH).map(|_| Slot::new()).collect(),
            origins: vec![nowhere; RECV_BATCH],
            filled: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.filled
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// # Panics
    /// If `i` is not below [`RECV_BATCH`].
    pub fn entry(&mut self, i: usize) -> (Origin, &mut Slot) {
        (self.origins[i], &mut self.slots[i])
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        RecvBatch::new()
    }
}

/// One packet in a [`SendBatch`], until it is cleared.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    start: u32,
    len: u16,
}

/// Datagrams on their way out, in one block of memory.
pub struct SendBatch {
    bytes: Box<[u8]>,
    used: usize,
    pieces: Vec<Piece>,
    runs: Vec<Run>,
}

/// A packet as the kernel wants to be told of it.
#[repr(transparent)]
struct Piece(libc::iovec);

// SAFETY: the pointer leads into `SendBatch::bytes`, which moves along and is shared with nobody.
unsafe impl Send for Piece {}

/// Packets to one destination that the kernel cuts apart again. `to.remote` is the destination, `to.local_ip` the source.
#[derive(Clone, Copy)]
struct Run {
    to: Origin,
    first: usize,
    pieces: usize,
    /// Size of each packet but the last, which may be shorter.
    segment: u16,
}

impl SendBatch {
    pub fn new() -> Self {
        let bytes = vec![0; SEND_BYTES].into_boxed_slice();
        SendBatch { bytes, used: 0, pieces: Vec::with_capacity(2048), runs: Vec::with_capacity(1024) }
    }

    /// Time to send. What is small and cannot wait, like a handshake, still fits.
    pub fn is_full(&self) -> bool {
        self.used + SEND_RESERVE_BYTES > self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Keeps one packet, written by `write` into the space that it is given, which is [`SLOT_BYTES`] long and not blank;
    /// `write` answers the packet's length, or `None` to keep nothing. `None` too if there is no space.
    pub fn keep(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Packet> {
        let space = self.bytes.get_mut(self.used..self.used + SLOT_BYTES)?;
        let len = write(space).filter(|len| *len <= SLOT_BYTES)?;
        let packet = Packet { start: self.used as u32, len: len as u16 };
        self.used += len;
        Some(packet)
    }

    /// Keeps a copy of a packet that exists already.
    pub fn keep_copy(&mut self, packet: &[u8]) -> Option<Packet> {
        self.keep(|space| {
            space.get_mut(..packet.len())?.copy_from_slice(packet);
            Some(packet.len())
        })
    }

    /// The bytes of a packet that was kept.
    pub fn bytes(&self, packet: Packet) -> &[u8] {
        &self.bytes[packet.start as usize..packet.start as usize + usize::from(packet.len)]
    }

    /// Addresses packets that were kept, in this order. With `gso` they are put together to runs.
    pub fn address(&mut self, to: Origin, packets: &[Packet], gso: bool) {
        let mut open: Option<Run> = None;
        let mut bytes = 0;
        for packet in packets {
            let len = usize::from(packet.len);
            let start = &raw mut self.bytes[packet.start as usize];
            self.pieces.push(Piece(libc::iovec { iov_base: start.cast(), iov_len: len }));
            let at = self.pieces.len() - 1;
            if let Some(run) = open.as_mut().filter(|_| gso) {
                // A run whose last packet is shorter than the others is complete.
                let whole = bytes == usize::from(run.segment) * run.pieces;
                if whole && packet.len <= run.segment && run.pieces < SEGMENTS_MAX && bytes + len <= RUN_BYTES_MAX {
                    run.pieces += 1;
                    bytes += len;
                    continue;
                }
            }
            self.runs.extend(open.replace(Run { to, first: at, pieces: 1, segment: packet.len }));
            bytes = len;
        }
        self.runs.extend(open);
    }

    fn clear(&mut self) {
        self.used = 0;
        self.pieces.clear();
        self.runs.clear();
    }
}

impl Default for SendBatch {
    fn default() -> Self {
        SendBatch::new()
    }
}

/// Sets an integer option of a socket.
pub(super) fn set_option(fd: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live integer.
    let rc = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast::<c_void>(), mem::size_of::<c_int>() as u32)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The addresses as a socket of both families names them.
fn in_ipv6(to: Origin) -> Origin {
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => ip,
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(_) => ip,
    };
    let remote = match to.remote {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        v6 => v6,
    };
    Origin { remote, local_ip: mapped(to.local_ip) }
}

/// Writes source address and segment size; answers the length of what was written.
fn write_control(header: &libc::msghdr, local_ip: IpAddr, run: &Run) -> usize {
    let mut len = 0;
    // SAFETY: the header's control buffer is CONTROL_BYTES long, zeroed and aligned; the two messages need
    // CMSG_SPACE(20) + CMSG_SPACE(2) = 64 bytes at most, so CMSG_FIRSTHDR and CMSG_NXTHDR stay inside.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        if !local_ip.is_unspecified() && !cmsg.is_null() {
            match local_ip {
                IpAddr::V4(ip) => {
                    (*cmsg).cmsg_level = libc::IPPROTO_IP;
                    (*cmsg).cmsg_type = libc::IP_PKTINFO;
                    (*cmsg).cmsg_len = libc::CMSG_LEN(mem::size_of::<libc::in_pktinfo>() as u32) as usize;
                    let info = libc::in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
                        ipi_addr: libc::in_addr { s_addr: 0 },
                    };
                    libc::CMSG_DATA(cmsg).cast::<libc::in_pktinfo>().write_unaligned(info);
                    len += libc::CMSG_SPACE(mem::size_of::<libc::in_pktinfo>() as u32) as usize;
                }
                IpAddr::V6(ip) => {
                    (*cmsg).cmsg_level = libc::IPPROTO_IPV6;
                    (*cmsg).cmsg_type = libc::IPV6_PKTINFO;
                    (*cmsg).cmsg_len = libc::CMSG_LEN(mem::size_of::<libc::in6_pktinfo>() as u32) as usize;
                    let info =
                        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                    libc::CMSG_DATA(cmsg).cast::<libc::in6_pktinfo>().write_unaligned(info);
                    len += libc::CMSG_SPACE(mem::size_of::<libc::in6_pktinfo>() as u32) as usize;
                }
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
        if run.pieces > 1 && !cmsg.is_null() {
            (*cmsg).cmsg_level = libc::SOL_UDP;
            (*cmsg).cmsg_type = libc::UDP_SEGMENT;
            (*cmsg).cmsg_len = libc::CMSG_LEN(2) as usize;
            libc::CMSG_DATA(cmsg).cast::<u16>().write_unaligned(run.segment);
            len += libc::CMSG_SPACE(2) as usize;
        }
    }
    len
}

fn local_ip_of(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled the control buffer and its length; the macros stay within both.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while !cmsg.is_null() {
            match ((*cmsg).cmsg_level, (*cmsg).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = libc::CMSG_DATA(cmsg).cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = libc::CMSG_DATA(cmsg).cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
                }
                _ => cmsg = libc::CMSG_NXTHDR(header, cmsg),
            }
        }
    }
    None
}

fn socket_addr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: a sockaddr_storage is large enough and aligned for both kinds; the family says which it is.
    unsafe {
        match c_int::from(storage.ss_family) {
            libc::AF_INET => {
                let addr = &*(&raw const *storage).cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(addr.sin_port))))
            }
            libc::AF_INET6 => {
                let addr = &*(&raw const *storage).cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
                let port = u16::from_be(addr.sin6_port);
                if let Some(ip) = ip.to_ipv4_mapped() {
                    return Some(SocketAddr::V4(SocketAddrV4::new(ip, port)));
                }
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, addr.sin6_flowinfo, addr.sin6_scope_id)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive_all(socket: &UdpSocket, want: usize) -> Vec<(Origin, Vec<u8>)> {
        let mut batch = RecvBatch::new();
        let mut got = Vec::new();
        let mut fds = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        while got.len() < want {
            // SAFETY: one live pollfd.
            assert!(unsafe { libc::poll(&raw mut fds, 1, 5_000) } > 0, "{} of {want} datagrams came", got.len());
            for i in 0..socket.receive(&mut batch).unwrap() {
                let (origin, slot) = batch.entry(i);
                got.push((origin, slot.data().to_vec()));
            }
        }
        got
    }

    #[test]
    fn runs_of_packets_arrive_as_single_datagrams_from_the_address_they_were_sent_to() {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut server = UdpSocket::bind(any, 1 << 20).unwrap();
        let mut client = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1 << 20).unwrap();
        let target = Ipv4Addr::new(127, 0, 0, 2);
        let mut batch = SendBatch::new();
        let to = Origin { remote: (target, server.local_addr().port()).into(), local_ip: Ipv4Addr::LOCALHOST.into() };
        let packet = batch.keep_copy(b"hello").unwrap();
        batch.address(to, &[packet], true);
        assert_eq!(client.send(&mut batch), Sent { runs: 1, calls: 1, refused: 0 });
        let (origin, data) = receive_all(&server, 1).remove(0);
        assert_eq!((data.as_slice(), origin.local_ip), (&b"hello"[..], IpAddr::V4(target)));

        let sizes = [1000, 1000, 1000, 400, 1000, 30];
        let mut packets = Vec::new();
        for (i, size) in sizes.into_iter().enumerate() {
            packets.push(batch.keep_copy(&vec![i as u8; size]).unwrap());
            // What belongs to somebody else lies between the pieces of a run.
            batch.keep_copy(b"not for you").unwrap();
        }
        batch.address(origin, &packets, true);
        assert_eq!(batch.runs.len(), 2, "a shorter packet ends a run");
        assert_eq!(server.send(&mut batch), Sent { runs: 2, calls: 1, refused: 0 });
        let got = receive_all(&client, sizes.len());
        for (i, (from, data)) in got.iter().enumerate() {
            assert_eq!(data, &vec![i as u8; sizes[i]]);
            assert_eq!(from.remote.ip(), IpAddr::V4(target), "the answer leaves from where the question came to");
        }
    }

    #[test]
    fn one_socket_serves_both_families_and_answers_from_where_it_was_asked() {
        let Ok(mut server) = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), 1 << 20) else {
            return eprintln!("skipped: this machine has no IPv6");
        };
        let targets: [IpAddr; 2] = [Ipv4Addr::new(127, 0, 0, 2).into(), Ipv6Addr::LOCALHOST.into()];
        for target in targets {
            let local: IpAddr = if target.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let mut client = UdpSocket::bind((local, 0).into(), 1 << 20).unwrap();
            let mut batch = SendBatch::new();
            let to = Origin { remote: (target, server.local_addr().port()).into(), local_ip: local };
            let packet = batch.keep_copy(b"hello").unwrap();
            batch.address(to, &[packet], true);
            assert_eq!(client.send(&mut batch).refused, 0);
            let (origin, _) = receive_all(&server, 1).remove(0);
            assert_eq!(origin, Origin { remote: client.local_addr(), local_ip: target }, "never as a mapped address");
            let packets = [(); 3].map(|()| batch.keep_copy(&[7; 500]).unwrap());
            batch.address(origin, &packets, true);
            assert_eq!(batch.runs.len(), 1);
            assert_eq!(server.send(&mut batch).refused, 0);
            let got = receive_all(&client, 3);
            assert!(got.iter().all(|(from, data)| from.remote.ip() == target && data.len() == 500));
        }
        assert!(server.uses_gso() || set_option(server.as_raw_fd(), libc::IPPROTO_UDP, libc::UDP_SEGMENT, 0).is_err());
    }

    #[test]
    fn a_datagram_longer_than_a_slot_is_received_as_empty() {
        let server = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1 << 20).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[7; SLOT_BYTES + 1], server.local_addr()).unwrap();
        assert!(receive_all(&server, 1)[0].1.is_empty());
    }
}
