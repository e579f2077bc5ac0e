//! A UDP socket for a load client: what hundreds of players receive, in few system calls, without disturbing the sender.
//!
//! Two things make it cheap. Runs that the sender hands to the kernel whole arrive whole (`UDP_GRO`) and are walked here.
//! And one socket, bound to every address, can stand for many clients where the server is on this machine: each client has
//! an address of its own in 127.0.0.0/8, which the kernel says with every datagram (`IP_PKTINFO`). The kernel also says when
//! a datagram came in, so that a delay does not depend on when somebody looked, and how many it had to throw away.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
};

use libc::{c_int, c_void};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    control::{self, CONTROL_BYTES, Control},
    name::{Name, set_option, socket_addr},
};

/// Runs taken by one system call.
const BATCH: usize = 16;
/// Longest run: what an IP packet can hold.
const RUN_BYTES: usize = 65_536;
/// Index of the count of dropped datagrams in what `SO_MEMINFO` tells (linux/sock_diag.h), and how many values there are.
const MEMINFO_DROPS: usize = 8;
const MEMINFO_VALUES: usize = 9;

/// A bound socket that never blocks.
pub struct GatherSocket {
    socket: Socket,
    local: SocketAddr,
}

/// Memory for one receive call.
pub struct GatherBatch {
    runs: Vec<u8>,
}

/// One datagram.
pub struct Gathered<'a> {
    /// The address of ours that it came to; unspecified if the kernel did not say.
    pub local_ip: IpAddr,
    pub remote: SocketAddr,
    /// When it came in, in microseconds of Unix time; `None` if the kernel did not say.
    pub unix_us: Option<u64>,
    pub datagram: &'a mut [u8],
}

impl GatherBatch {
    pub fn new() -> GatherBatch {
        GatherBatch { runs: vec![0; BATCH * RUN_BYTES] }
    }
}

impl Default for GatherBatch {
    fn default() -> Self {
        GatherBatch::new()
    }
}

impl GatherSocket {
    /// Binds to `addr` with a receive buffer of `buffer_bytes`, or what the kernel grants. `gro`: take runs whole.
    pub fn bind(addr: SocketAddr, buffer_bytes: usize, gro: bool) -> io::Result<GatherSocket> {
        let domain = if addr.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let fd = socket.as_raw_fd();
        let wanted = c_int::try_from(buffer_bytes).unwrap_or(c_int::MAX);
        // Beyond net.core.rmem_max only with the right to; else as much as there is.
        if set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted).is_err() {
            let _ = socket.set_recv_buffer_size(buffer_bytes);
        }
        if addr.is_ipv4() {
            set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        } else {
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
        // Kernels without either still deliver; delays are then not known, runs arrive cut.
        let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
        if gro {
            let _ = set_option(fd, libc::IPPROTO_UDP, libc::UDP_GRO, 1);
        }
        socket.bind(&addr.into())?;
        let local = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no local address"))?;
        Ok(GatherSocket { socket, local })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel granted; it reports twice the usable size.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(0) / 2
    }

    /// Datagrams that the kernel threw away since the start because nobody took them in time: lost here, not on the way.
    pub fn drops(&self) -> u64 {
        let mut values = [0_u32; MEMINFO_VALUES];
        let mut len = mem::size_of_val(&values) as libc::socklen_t;
        // SAFETY: the pointer and the length are those of a live array; the kernel writes at most that much.
        let rc = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                values.as_mut_ptr().cast::<c_void>(),
                &raw mut len,
            )
        };
        if rc == 0 { u64::from(values[MEMINFO_DROPS]) } else { 0 }
    }

    /// Hands over what is there, by one system call. True if there may be more.
    ///
    /// # Errors
    /// Those of the socket; that nothing is there is none of them, nor is an ICMP error for something sent earlier.
    pub fn receive(&self, batch: &mut GatherBatch, mut take: impl FnMut(Gathered<'_>)) -> io::Result<bool> {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut iovecs: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { mem::zeroed() };
        let mut controls: [MaybeUninit<Control>; BATCH] = [const { MaybeUninit::uninit() }; BATCH];
        for (i, run) in batch.runs.chunks_exact_mut(RUN_BYTES).enumerate().take(BATCH) {
            iovecs[i] = libc::iovec { iov_base: run.as_mut_ptr().cast(), iov_len: RUN_BYTES };
            let header = &mut headers[i].msg_hdr;
            header.msg_name = (&raw mut names[i]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut iovecs[i];
            header.msg_iovlen = 1;
            header.msg_control = controls[i].as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        // SAFETY: every header points at memory that lives past the call, with its true length.
        let n = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => Ok(true),
                _ => Err(error),
            };
        }
        let n = n as usize;
        for (i, run) in batch.runs.chunks_exact_mut(RUN_BYTES).enumerate().take(n) {
            let header = &headers[i].msg_hdr;
            let said = control::read(header);
            let Some(run) = run.get_mut(..headers[i].msg_len as usize) else { continue };
            let Some(remote) = socket_addr(&names[i]) else { continue };
            let local_ip = said.local_ip.unwrap_or(self.local.ip());
            let segment = said.segment.filter(|segment| *segment > 0).unwrap_or(run.len()).max(1);
            for datagram in run.chunks_mut(segment) {
                take(Gathered { local_ip, remote, unix_us: said.unix_us, datagram });
            }
        }
        Ok(n == BATCH)
    }

    /// Sends `bytes` from `from`, an address of this machine, or from any if unspecified: as one datagram, or as a run, which
    /// the kernel cuts into datagrams of `segment` bytes, the last one may be shorter. False if the kernel refused.
    pub fn send(&self, from: IpAddr, to: SocketAddr, bytes: &[u8], segment: usize) -> bool {
        let (mut name, name_len) = Name::of(to);
        let mut iovec = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = MaybeUninit::uninit();
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut iovec;
        header.msg_iovlen = 1;
        header.msg_controllen = control::write(&mut control, from, (bytes.len() > segment).then_some(segment as u16));
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the header points at memory that lives past the call, with its true length.
        let sent = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        // Without segmentation in the kernel the datagrams of a run go one by one.
        let singly = sent < 0 && bytes.len() > segment && segment > 0;
        sent >= 0 || (singly && bytes.chunks(segment).all(|one| self.send(from, to, one, one.len())))
    }
}

impl AsRawFd for GatherSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        time::{Instant, SystemTime, UNIX_EPOCH},
    };

    use super::*;
    use crate::io::udp::{Origin, SendBatch, UdpSocket};

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    fn receive_all(socket: &GatherSocket, count: usize) -> Vec<(IpAddr, Vec<u8>, u64)> {
        let (mut batch, mut got, began) = (GatherBatch::new(), Vec::new(), Instant::now());
        while got.len() < count && began.elapsed().as_secs() < 5 {
            let taken = socket.receive(&mut batch, |one| {
                got.push((one.local_ip, one.datagram.to_vec(), one.unix_us.unwrap_or(0)));
            });
            taken.unwrap();
        }
        got
    }

    #[test]
    fn one_socket_stands_for_many_addresses_and_takes_runs_whole() {
        for gro in [true, false] {
            let gather = GatherSocket::bind(ANY, 1 << 20, gro).unwrap();
            let port = gather.local_addr().port();
            let mut sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
            let mut batch = SendBatch::new();
            let here = Ipv4Addr::LOCALHOST.into();
            let mut sent = Vec::new();
            for client in 1..=3_u8 {
                let ip: IpAddr = Ipv4Addr::new(127, 9, 0, client).into();
                let mut run = Vec::new();
                let to = Origin { remote: SocketAddr::new(ip, port), local_ip: here };
                for packet in 0..5_u8 {
                    let bytes = vec![client * 16 + packet; if packet == 4 { 100 } else { 1000 }];
                    run.push(batch.keep_copy(&bytes).unwrap());
                    sent.push((ip, bytes));
                }
                batch.address(to, &run, true);
            }
            assert_eq!(sender.send(&mut batch).refused, 0);
            let got = receive_all(&gather, sent.len());
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
            assert!(got.iter().all(|(.., at)| now.abs_diff(*at) < 5_000_000));
            assert_eq!(got.into_iter().map(|(ip, bytes, _)| (ip, bytes)).collect::<Vec<_>>(), sent);
            assert_eq!(gather.drops(), 0);
        }
    }

    #[test]
    fn what_is_sent_leaves_from_the_address_that_is_named() {
        let (one, two) =
            (GatherSocket::bind(ANY, 1 << 20, true).unwrap(), GatherSocket::bind(ANY, 1 << 20, true).unwrap());
        let from: IpAddr = Ipv4Addr::new(127, 9, 1, 7).into();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), two.local_addr().port());
        assert!(one.send(from, to, b"hello", 5));
        let (mut batch, mut origin, began) = (GatherBatch::new(), None, Instant::now());
        while origin.is_none() && began.elapsed().as_secs() < 5 {
            two.receive(&mut batch, |got| origin = Some((got.remote, got.local_ip))).unwrap();
        }
        assert_eq!(origin, Some((SocketAddr::new(from, one.local_addr().port()), to.ip())));
    }

    #[test]
    fn a_run_arrives_as_the_datagrams_that_it_is_made_of() {
        let from: IpAddr = Ipv4Addr::new(127, 9, 2, 1).into();
        for gro in [true, false] {
            let receiver = GatherSocket::bind(ANY, 1 << 20, gro).unwrap();
            let sender = GatherSocket::bind(ANY, 1 << 20, gro).unwrap();
            let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), receiver.local_addr().port());
            let run: Vec<u8> = (0..2_500_u32).map(|at| at as u8).collect();
            assert!(sender.send(from, to, &run, 1_000));
            let got: Vec<Vec<u8>> = receive_all(&receiver, 3).into_iter().map(|(_, bytes, _)| bytes).collect();
            assert_eq!(got, run.chunks(1_000).map(<[u8]>::to_vec).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let full = GatherSocket::bind(ANY, 4096, true).unwrap();
        let sender = GatherSocket::bind(ANY, 4096, true).unwrap();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), full.local_addr().port());
        for _ in 0..200 {
            assert!(sender.send(ANY.ip(), to, &[0; 1000], 1000));
        }
        let got = receive_all(&full, 200 - full.drops() as usize).len() as u64;
        assert_eq!(got + full.drops(), 200);
        assert!(full.drops() > 0);
    }
}
