//! The media socket: many datagrams in by one `recvmmsg`, many out by one `sendmmsg` of segmentation-offload runs.
//!
//! ```text
//!   SendBatch.bytes    |1 to A 1200|2 to A 1200|3 to A 640|1 to B 1200|2 to B 1200|3 to B 640|...   as they were sealed
//!   SendBatch.pieces   |1, 2 and 3 to A                   |1, 2 and 3 to B                   |...   where they lie
//!   SendBatch.runs     |to A, segment 1200                |to B, segment 1200                |...   as they are sent
//! ```
//!
//! Packets to one destination become a *run* if they are of one size, a shorter last one included: the kernel walks its
//! stack once for a run (`UDP_SEGMENT`) and that is nearly all of a packet's price. A packet is sealed when it is decided
//! on and sent when enough others are, or when the turn ends, so that what arrived meanwhile joins its run; the pieces of a
//! run need not lie side by side, the kernel gathers them. Runs come in, too (`UDP_GRO`, see
//! [`recv_batch`](super::recv_batch)): a picture that arrives in one run is handled in one turn and leaves in one. The
//! address that a datagram came in on is remembered and used as the source of what goes back (`IP_PKTINFO`): a socket
//! that is bound to every address would otherwise answer from whichever the routing table likes, and browsers ignore that.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    control::{self, CONTROL_BYTES, Control},
    name::{Name, set_option, socket_addr},
    recv_batch::RECV_MESSAGES,
    send_batch::Run,
};
pub use super::{
    recv_batch::{Origin, RecvBatch},
    send_batch::{Packet, SendBatch},
};
use crate::buf::slot::SLOT_BYTES;

/// Runs handed over by one system call.
const SEND_BATCH: usize = 64;
/// A bound UDP socket that never blocks.
pub struct UdpSocket {
    socket: Socket,
    /// What is sent with; see [`make_sender`].
    sender: Option<Socket>,
    local: SocketAddr,
    gso: bool,
    gro: bool,
}

impl UdpSocket {
    /// Binds to `addr`, where `[::]` means every address of both families, and asks for socket buffers of `buffer_bytes`; the kernel may grant less, see
    /// [`receive_buffer_bytes`](Self::receive_buffer_bytes).
    pub fn bind(addr: SocketAddr, buffer_bytes: usize) -> io::Result<Self> {
        let socket = unbound(addr, buffer_bytes)?;
        let fd = socket.as_raw_fd();
        if addr.is_ipv4() {
            set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        } else {
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
        socket.bind(&addr.into())?;
        let local = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no local address"))?;
        // Setting a segment size of 0 changes nothing and tells whether the kernel knows the option at all.
        let gso = set_option(fd, libc::IPPROTO_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let gro = set_option(fd, libc::IPPROTO_UDP, libc::UDP_GRO, 1).is_ok();
        let sender = make_sender(&socket, local, buffer_bytes).ok();
        Ok(UdpSocket { socket, sender, local, gso, gro })
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

    /// Whether the kernel may hand over runs: what is received with has to be made for them.
    pub fn uses_gro(&self) -> bool {
        self.gro
    }

    /// Whether there is a second socket to send with, which costs the kernel less.
    pub fn has_sender(&self) -> bool {
        self.sender.is_some()
    }

    /// Takes what is there, at most [`RECV_MESSAGES`] datagrams or runs of them; answers how many, 0 if nothing is there.
    pub fn receive(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.rewind(0);
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut headers: [libc::mmsghdr; RECV_MESSAGES] = unsafe { mem::zeroed() };
        let mut iovecs: [[libc::iovec; 2]; RECV_MESSAGES] = unsafe { mem::zeroed() };
        let mut names: [MaybeUninit<libc::sockaddr_storage>; RECV_MESSAGES] =
            [const { MaybeUninit::uninit() }; RECV_MESSAGES];
        let mut controls: [MaybeUninit<Control>; RECV_MESSAGES] = [const { MaybeUninit::uninit() }; RECV_MESSAGES];
        for i in 0..RECV_MESSAGES {
            let (slot, rest) = batch.space(i);
            iovecs[i] = [
                libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT_BYTES },
                libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() },
            ];
            let header = &mut headers[i].msg_hdr;
            header.msg_name = names[i].as_mut_ptr().cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = iovecs[i].as_mut_ptr();
            header.msg_iovlen = 1 + usize::from(!rest.is_empty());
            header.msg_control = controls[i].as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        // SAFETY: every header points at memory that lives past the call, with its true length.
        let n = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECV_MESSAGES as u32,
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
        for (i, header) in headers.iter().enumerate().take(n) {
            let message = &mut batch.messages[i];
            // SAFETY: the kernel wrote the sender's address.
            let name = unsafe { names[i].assume_init_ref() };
            let remote = socket_addr(name).unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
            let said = control::read(&header.msg_hdr);
            message.origin = Origin { remote, local_ip: said.local_ip.unwrap_or(self.local.ip()) };
            // A truncated datagram is longer than anything we speak; length 0 makes the demultiplexer drop it.
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            message.len = if truncated { 0 } else { header.msg_len as usize };
            message.segment = said.segment.unwrap_or(message.len).max(1);
        }
        batch.rewind(n);
        Ok(n)
    }

    /// Sends every run of the batch and empties it.
    pub fn send(&mut self, batch: &mut SendBatch) -> Sent {
        let mut refused = 0;
        let mut calls = 0;
        let mut next = 0;
        let runs = batch.runs.len();
        while next < runs {
            calls += 1;
            let end = (next + SEND_BATCH).min(runs);
            match self.send_runs(batch, &batch.runs[next..end]) {
                Ok(sent) => next += sent,
                Err(error) => {
                    let run = batch.runs[next];
                    let raw = error.raw_os_error();
                    if run.packets > 1 && matches!(raw, Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP)) {
                        self.gso = false;
                        for single in batch.take_apart(next) {
                            let sent = self.send_runs(batch, &batch.runs[single..=single]);
                            refused += usize::from(!matches!(sent, Ok(1)));
                        }
                        batch.truncate(runs);
                    } else {
                        refused += run.packets;
                    }
                    next += 1;
                    if error.kind() == io::ErrorKind::WouldBlock {
                        // The socket's buffer is full: what is left would only wait and be late.
                        refused += batch.runs[next..].iter().map(|run| run.packets).sum::<usize>();
                        break;
                    }
                }
            }
        }
        batch.clear();
        Sent { runs: runs as u64, calls, refused: refused as u64 }
    }

    /// One `sendmmsg`. Answers how many runs went out, at least one; an error concerns the first.
    fn send_runs(&self, batch: &SendBatch, runs: &[Run]) -> io::Result<usize> {
        let mut headers: [MaybeUninit<libc::mmsghdr>; SEND_BATCH] = [const { MaybeUninit::uninit() }; SEND_BATCH];
        let mut names: [MaybeUninit<Name>; SEND_BATCH] = [const { MaybeUninit::uninit() }; SEND_BATCH];
        let mut controls: [MaybeUninit<Control>; SEND_BATCH] = [const { MaybeUninit::uninit() }; SEND_BATCH];
        for (i, run) in runs.iter().enumerate() {
            let pieces = batch.pieces(run);
            let to = if self.local.is_ipv6() { in_ipv6(run.to) } else { run.to };
            let (name, name_len) = Name::of(to.remote);
            let control_len = control::write(&mut controls[i], to.local_ip, (run.packets > 1).then_some(run.segment));
            // SAFETY: all-zero is a valid value of this plain C structure.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = (&raw mut *names[i].write(name)).cast();
            header.msg_hdr.msg_namelen = name_len;
            header.msg_hdr.msg_iov = pieces.as_ptr().cast_mut();
            header.msg_hdr.msg_iovlen = pieces.len();
            header.msg_hdr.msg_control =
                if control_len == 0 { std::ptr::null_mut() } else { controls[i].as_mut_ptr().cast() };
            header.msg_hdr.msg_controllen = control_len;
            headers[i].write(header);
        }
        let fd = self.sender.as_ref().unwrap_or(&self.socket).as_raw_fd();
        // SAFETY: as many headers as are passed were written above. Each points at memory that lives past the call, with its
        // true length: pieces are iovecs of packets in the batch, which is not touched meanwhile.
        let n = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr().cast(), runs.len() as u32, libc::MSG_DONTWAIT) };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
    }
}

/// A socket with buffers of the size that is wanted, or what the kernel grants.
fn unbound(addr: SocketAddr, buffer_bytes: usize) -> io::Result<Socket> {
    let domain = if addr.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // What the kernel refuses here costs packets under load, not correctness: the caller reports the shortfall.
    let _ = socket.set_recv_buffer_size(buffer_bytes);
    let _ = socket.set_send_buffer_size(buffer_bytes);
    if addr.is_ipv6() {
        // IPv4 comes in as `::ffff:a.b.c.d`; outside of this file it is IPv4 again.
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    Ok(socket)
}

/// A second socket of the same address, to send with. Nobody waits for it, so that the kernel has nobody to wake when a
/// packet has left; and it is connected, so that numbering packets (IP identification) costs one addition and nothing is
/// ever delivered to it: the peer, port 1 of this machine, does not exist. What is sent names its own destination all the same.
fn make_sender(receiver: &Socket, local: SocketAddr, buffer_bytes: usize) -> io::Result<Socket> {
    let socket = unbound(local, buffer_bytes)?;
    // Two sockets may share an address if both allow it. Only here: another server on this port is still refused.
    receiver.set_reuse_address(true)?;
    socket.set_reuse_address(true)?;
    let bound = socket.bind(&local.into());
    receiver.set_reuse_address(false)?;
    socket.set_reuse_address(false)?;
    bound?;
    let ip = match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Both families can be sent to from a socket that is connected in the older one.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        ip => ip,
    };
    socket.connect(&SocketAddr::new(ip, NO_PORT).into())?;
    Ok(socket)
}

/// tcpmux over UDP: a privileged port that nothing uses.
const NO_PORT: u16 = 1;

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

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn receive_all(socket: &UdpSocket, want: usize) -> Vec<(Origin, Vec<u8>)> {
        let mut batch = RecvBatch::new(socket.uses_gro());
        let mut got = Vec::new();
        let mut fds = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        while got.len() < want {
            // SAFETY: one live pollfd.
            assert!(unsafe { libc::poll(&raw mut fds, 1, 5_000) } > 0, "{} of {want} datagrams came", got.len());
            socket.receive(&mut batch).unwrap();
            while let Some((origin, slot)) = batch.next() {
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

    #[test]
    fn a_run_that_arrives_whole_is_one_message_and_all_its_datagrams() {
        let server = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1 << 20).unwrap();
        let mut client = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1 << 20).unwrap();
        if !server.uses_gro() || !client.uses_gso() {
            return eprintln!("skipped: this kernel makes no runs");
        }
        let mut batch = SendBatch::new();
        let to = Origin { remote: server.local_addr(), local_ip: Ipv4Addr::LOCALHOST.into() };
        let sizes: Vec<usize> = (0..40).map(|i| if i == 39 { 77 } else { 1100 }).collect();
        let packets: Vec<Packet> =
            sizes.iter().enumerate().map(|(i, size)| batch.keep_copy(&vec![i as u8; *size]).unwrap()).collect();
        batch.address(to, &packets, true);
        assert_eq!(client.send(&mut batch).refused, 0);
        let mut received = RecvBatch::new(true);
        assert_eq!(server.receive(&mut received).unwrap(), 1, "one message");
        let mut got = Vec::new();
        while let Some((origin, slot)) = received.next() {
            assert_eq!(origin.remote, client.local_addr());
            got.push(slot.data().to_vec());
        }
        assert_eq!(got, sizes.iter().enumerate().map(|(i, size)| vec![i as u8; *size]).collect::<Vec<_>>());
    }

    #[test]
    fn a_port_that_is_served_is_refused_to_another_server() {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let first = UdpSocket::bind(any, 1 << 16).unwrap();
        assert!(first.sender.is_some());
        let second = UdpSocket::bind(first.local_addr(), 1 << 16);
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        let reusing = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        reusing.set_reuse_address(true).unwrap();
        assert!(reusing.bind(&first.local_addr().into()).is_err(), "even if that one would share it");
    }
}
