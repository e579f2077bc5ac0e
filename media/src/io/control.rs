//! What goes to the kernel and comes from it beside a datagram's bytes: addresses of ours, sizes of segments, times of arrival.

use std::{
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use libc::c_int;

/// Room for the control messages of one message: address, time and segment size.
pub(super) const CONTROL_BYTES: usize = 128;

/// Control message space that is aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control([u8; CONTROL_BYTES]);

/// What the kernel said of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The address of ours that it came to.
    pub local_ip: Option<IpAddr>,
    /// Bytes of each segment but the last, if it is a run.
    pub segment: Option<usize>,
    /// When it came, in microseconds of Unix time.
    pub unix_us: Option<u64>,
}

/// Writes a source address, unless it is unspecified, and a segment size; answers the length of what was written.
pub(super) fn write(control: &mut MaybeUninit<Control>, from: IpAddr, segment: Option<u16>) -> usize {
    let control = control.as_mut_ptr();
    let mut len = 0;
    // SAFETY: the two messages are CMSG_SPACE(20) + CMSG_SPACE(2) = 64 bytes at most, of CONTROL_BYTES; the lengths keep each
    // aligned as a `cmsghdr` has to be.
    unsafe {
        match from {
            ip if ip.is_unspecified() => {}
            IpAddr::V4(ip) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                len += append(control, len, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(ip) => {
                let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                len += append(control, len, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
        if let Some(segment) = segment {
            len += append(control, len, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
    }
    len
}

/// Writes one control message `at` bytes into `control`; answers how many it takes.
///
/// # Safety
/// There must be room for it, and `at` be a sum of what this answered.
unsafe fn append<T>(control: *mut Control, at: usize, level: c_int, kind: c_int, data: T) -> usize {
    let len = mem::size_of::<T>() as u32;
    // SAFETY: as the caller promises.
    unsafe {
        let header = control.cast::<u8>().add(at).cast::<libc::cmsghdr>();
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(len) as usize;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(data);
        libc::CMSG_SPACE(len) as usize
    }
}

/// Reads what the kernel wrote into the control buffer of a received message.
pub(super) fn read(header: &libc::msghdr) -> Said {
    let mut said = Said::default();
    // SAFETY: the kernel filled the control buffer and its length; the macros stay within both, and each message is read
    // as what its level and type say it is.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while !cmsg.is_null() {
            let data = libc::CMSG_DATA(cmsg);
            match ((*cmsg).cmsg_level, (*cmsg).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    said.local_ip = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    said.local_ip = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    said.segment = usize::try_from(data.cast::<c_int>().read_unaligned()).ok();
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let at = data.cast::<libc::timespec>().read_unaligned();
                    said.unix_us = Some(at.tv_sec as u64 * 1_000_000 + at.tv_nsec as u64 / 1000);
                }
                _ => {}
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
    }
    said
}
