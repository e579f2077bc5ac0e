//! The least that a frame to many subscribers can cost here: AES-GCM and `sendmmsg` with segmentation offload. No packet is
//! found, parsed, counted, numbered or remembered; addresses and control messages were written beforehand.

use std::{
    mem,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Header with the transport-wide number, and tag.
const HEADER_BYTES: usize = 20;
const TAG_BYTES: usize = 16;
/// As many as the walk hands over by one call.
const RUNS_PER_CALL: usize = 64;

pub struct Floor {
    socket: UdpSocket,
    keys: Vec<LessSafeKey>,
    names: Vec<libc::sockaddr_in>,
    payload: Vec<u8>,
    out: Vec<u8>,
    count: u64,
}

#[repr(C, align(8))]
struct Control([u8; 24]);

impl Floor {
    pub fn new(sinks: &[SocketAddr]) -> Floor {
        let key = |n: usize| UnboundKey::new(&AES_128_GCM, &[n as u8; 16]).map(LessSafeKey::new).expect("a key");
        let name = |addr: &SocketAddr| {
            let SocketAddr::V4(addr) = addr else { panic!("the sinks are of IPv4") };
            libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: addr.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*addr.ip()).to_be() },
                sin_zero: [0; 8],
            }
        };
        Floor {
            socket: UdpSocket::bind("127.0.0.1:0").expect("a socket"),
            keys: (0..sinks.len()).map(key).collect(),
            names: sinks.iter().map(name).collect(),
            payload: vec![0x5a; 1500],
            out: vec![0; 2 << 20],
            count: 0,
        }
    }

    /// Seals and sends a frame of packets of these payload sizes, all but the last of one size; answers the runs sent.
    pub fn frame<const N: usize>(&mut self, sizes: [usize; N]) -> usize {
        let mut used = 0;
        let mut runs = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let start = used;
            for size in sizes {
                let end = used + HEADER_BYTES + size + TAG_BYTES;
                let (header, body) = self.out[used..end].split_at_mut(HEADER_BYTES);
                header.fill(0x80);
                let (text, tag) = body.split_at_mut(size);
                self.count += 1;
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&self.count.to_be_bytes());
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_out_of_place_scatter(nonce, Aad::from(&*header), &self.payload[..size], text, &[], tag)
                    .expect("sealed");
                used = end;
            }
            runs.push(libc::iovec { iov_base: self.out[start..].as_mut_ptr().cast(), iov_len: used - start });
        }
        let segment = (HEADER_BYTES + sizes[0] + TAG_BYTES) as u16;
        let mut control = Control([0; 24]);
        let mut sent = 0;
        for (runs, names) in runs.chunks_mut(RUNS_PER_CALL).zip(self.names.chunks_mut(RUNS_PER_CALL)) {
            // SAFETY: all-zero is a valid value of these plain C structures.
            let mut headers: [libc::mmsghdr; RUNS_PER_CALL] = unsafe { mem::zeroed() };
            for ((header, run), name) in headers.iter_mut().zip(runs.iter_mut()).zip(names) {
                let header = &mut header.msg_hdr;
                header.msg_name = (&raw mut *name).cast();
                header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
                header.msg_iov = run;
                header.msg_iovlen = 1;
                header.msg_control = (&raw mut control).cast();
                header.msg_controllen = mem::size_of::<Control>();
                // SAFETY: the control buffer is as long and as aligned as one message with two bytes needs.
                unsafe {
                    let message = libc::CMSG_FIRSTHDR(header);
                    (*message).cmsg_level = libc::SOL_UDP;
                    (*message).cmsg_type = libc::UDP_SEGMENT;
                    (*message).cmsg_len = libc::CMSG_LEN(2) as usize;
                    libc::CMSG_DATA(message).cast::<u16>().write_unaligned(segment);
                }
            }
            // SAFETY: as many headers were filled; all that they point at lives past the call.
            let n = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), runs.len() as u32, 0) };
            sent += usize::try_from(n).unwrap_or(0);
        }
        sent
    }
}
