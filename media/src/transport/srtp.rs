//! SRTP and SRTCP (RFC 3711): AEAD_AES_128_GCM (RFC 7714) and AES_CM_128_HMAC_SHA1_80.
//!
//! Two rules shape this file. *State moves only after authentication*: a forged packet neither advances a roll-over
//! counter nor occupies memory for its SSRC. *One pass*: a packet is sealed from where its payload lies into the buffer
//! that is sent, and opened in place; nothing is allocated for a packet.

use super::{
    replay::ReplayWindow,
    srtp_cipher::{Body, Cipher, Stream},
};
use crate::{drop_reason::DropReason, rtp::packet::Header};

pub use super::srtp_cipher::{Body as RtpBody, SrtpProfile};

/// Synchronisation sources that one peer may send from: a camera, a screen and two microphones with simulcast and
/// retransmission. State is kept for an SSRC only after a packet of it proved authentic.
pub const RX_SSRCS_MAX: usize = 16;

/// Synchronisation sources that we may send from under one key. They are never forgotten, since a forgotten one could
/// repeat a nonce; each costs 40 bytes.
pub const TX_SSRCS_MAX: usize = 4096;

/// Most that protection adds to an RTP packet, in bytes.
pub const RTP_OVERHEAD_MAX: usize = 16;

/// Most that protection adds to an RTCP packet, in bytes.
pub const RTCP_OVERHEAD_MAX: usize = 20;

/// Greatest SRTCP index (RFC 3711 §3.4: 31 bits).
const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

const RTP_HEADER_LEN: usize = 12;
/// The part of an RTCP packet that stays in the clear: first header word and sender.
const RTCP_HEADER_LEN: usize = 8;
const RTCP_TRAILER_LEN: usize = 4;
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Received packets may be this much out of order: 512 is a second at 5 Mbit/s.
type RxWindow = ReplayWindow<8>;
/// What we send is in order but for the pacer.
type TxWindow = ReplayWindow<2>;
type RtcpWindow = ReplayWindow<2>;

/// The two directions of one DTLS-SRTP association.
pub struct Srtp {
    profile: SrtpProfile,
    tx: Tx,
    rx: Rx,
}

struct Tx {
    rtp: Cipher,
    rtcp: Cipher,
    /// Sorted by SSRC.
    ssrcs: Vec<(u32, TxWindow)>,
    /// One counter for all senders of ours: unique per (key, SSRC) all the more.
    rtcp_index: u32,
}

struct Rx {
    rtp: Cipher,
    rtcp: Cipher,
    rtp_windows: Windows<RxWindow>,
    rtcp_windows: Windows<RtcpWindow>,
}

impl Srtp {
    /// Length of the keying material that `profile` takes from DTLS, in bytes (RFC 5764 §4.2).
    pub fn keying_material_len(profile: SrtpProfile) -> usize {
        2 * (profile.key_len() + profile.salt_len())
    }

    /// Makes both directions from what DTLS exports: client key, server key, client salt, server salt.
    /// `None` if `material` has not the length that the profile needs.
    pub fn new(profile: SrtpProfile, material: &[u8], we_are_client: bool) -> Option<Self> {
        if material.len() != Self::keying_material_len(profile) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        let (ours, theirs) = ((client_key, client_salt), (server_key, server_salt));
        let (ours, theirs) = if we_are_client { (ours, theirs) } else { (theirs, ours) };
        Some(Srtp {
            profile,
            tx: Tx {
                rtp: Cipher::new(profile, Stream::Rtp, ours.0, ours.1)?,
                rtcp: Cipher::new(profile, Stream::Rtcp, ours.0, ours.1)?,
                ssrcs: Vec::new(),
                rtcp_index: 0,
            },
            rx: Rx {
                rtp: Cipher::new(profile, Stream::Rtp, theirs.0, theirs.1)?,
                rtcp: Cipher::new(profile, Stream::Rtcp, theirs.0, theirs.1)?,
                rtp_windows: Windows::default(),
                rtcp_windows: Windows::default(),
            },
        })
    }

    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Seals one RTP packet into `out`: `header` is copied, the parts of `body` are encrypted behind it.
    ///
    /// Returns the length of the protected packet; `out` needs [`RTP_OVERHEAD_MAX`] bytes more than the plain packet.
    /// `None` if `out` is too short, if `header` is no RTP header, if the sequence number was used before under this
    /// SSRC, or if there are [`TX_SSRCS_MAX`] SSRCs already.
    pub fn protect_rtp(&mut self, header: &[u8], body: Body, out: &mut [u8]) -> Option<usize> {
        let (seq, ssrc) = rtp_seq_and_ssrc(header)?;
        let len = header.len() + body.len() + self.profile.tag_len();
        let out = out.get_mut(..len)?;
        let place = self.tx.ssrcs.binary_search_by_key(&ssrc, |(known, _)| *known);
        let index = match place {
            Ok(at) => {
                let window = &self.tx.ssrcs[at].1;
                window.index_of(seq).filter(|&index| window.is_fresh(index))?
            }
            Err(_) if self.tx.ssrcs.len() < TX_SSRCS_MAX => u64::from(seq),
            Err(_) => return None,
        };
        // Marked before it is sealed: whatever happens next, this index is spent.
        let at = place.unwrap_or_else(|at| {
            self.tx.ssrcs.insert(at, (ssrc, TxWindow::default()));
            at
        });
        self.tx.ssrcs[at].1.mark(index);
        self.tx.rtp.seal_rtp(ssrc, index, header, body, out)?;
        Some(len)
    }

    /// Opens one SRTP packet in place and returns the length of the plain packet.
    ///
    /// # Errors
    /// [`DropReason::TooShort`], [`DropReason::Malformed`], [`DropReason::SrtpReplay`], [`DropReason::SrtpAuth`], or
    /// [`DropReason::UnknownSsrc`] if it would be one SSRC too many. None of them changes anything but the packet.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let header_len = usize::from(Header::parse_protected(packet)?.payload_offset);
        let (seq, ssrc) = rtp_seq_and_ssrc(packet).ok_or(DropReason::TooShort)?;
        let plain_len = packet
            .len()
            .checked_sub(self.profile.tag_len())
            .filter(|&len| len >= header_len)
            .ok_or(DropReason::TooShort)?;
        let slot = self.rx.rtp_windows.find(ssrc)?;
        let index = match slot {
            Slot::Known(at) => {
                let window = &self.rx.rtp_windows.list[at].1;
                window.index_of(seq).filter(|&index| window.is_fresh(index)).ok_or(DropReason::SrtpReplay)?
            }
            Slot::Free => u64::from(seq),
        };
        self.rx.rtp.open_rtp(ssrc, index, header_len, packet).ok_or(DropReason::SrtpAuth)?;
        self.rx.rtp_windows.get_or_make(ssrc, slot).mark(index);
        Ok(plain_len)
    }

    /// Seals a plain RTCP compound packet and appends it to `out`, whose contents stay in front. False, and nothing
    /// appended, if it is shorter than an RTCP header or the 2^31 indices of this key are spent.
    pub fn protect_rtcp(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(ssrc) = rtcp_sender(plain) else { return false };
        if self.tx.rtcp_index > RTCP_INDEX_MAX {
            return false;
        }
        let index = self.tx.rtcp_index;
        self.tx.rtcp_index += 1;
        let start = out.len();
        out.resize(start + plain.len() + self.profile.tag_len() + RTCP_TRAILER_LEN, 0);
        let sealed = self.tx.rtcp.seal_rtcp(ssrc, index | RTCP_ENCRYPTED, plain, &mut out[start..]).is_some();
        if !sealed {
            out.truncate(start);
        }
        sealed
    }

    /// Opens one SRTCP packet in place and returns the length of the plain packet.
    ///
    /// # Errors
    /// As [`unprotect_rtp`](Self::unprotect_rtp). Packets that are authenticated but not encrypted are malformed here.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let overhead = self.profile.tag_len() + RTCP_TRAILER_LEN;
        let ssrc = rtcp_sender(packet).ok_or(DropReason::TooShort)?;
        if packet.len() < RTCP_HEADER_LEN + overhead {
            return Err(DropReason::TooShort);
        }
        if packet[0] >> 6 != 2 {
            return Err(DropReason::Malformed);
        }
        let plain_len = packet.len() - overhead;
        let trailer = self.profile.rtcp_trailer(packet).ok_or(DropReason::TooShort)?;
        if trailer & RTCP_ENCRYPTED == 0 {
            return Err(DropReason::Malformed);
        }
        let index = u64::from(trailer & !RTCP_ENCRYPTED);
        let slot = self.rx.rtcp_windows.find(ssrc)?;
        if let Slot::Known(at) = slot
            && !self.rx.rtcp_windows.list[at].1.is_fresh(index)
        {
            return Err(DropReason::SrtpReplay);
        }
        self.rx.rtcp.open_rtcp(ssrc, trailer, packet).ok_or(DropReason::SrtpAuth)?;
        self.rx.rtcp_windows.get_or_make(ssrc, slot).mark(index);
        Ok(plain_len)
    }

    /// Whether an RTP packet is authentic and newer than everything that came from its SSRC. Nothing is marked, and an SSRC
    /// that never proved itself is not tried; `copy` is destroyed.
    pub fn recognises_rtp(&self, copy: &mut [u8]) -> bool {
        let Some((header_len, index, ssrc)) = self.newer_rtp(copy) else { return false };
        self.rx.rtp.open_rtp(ssrc, index, header_len, copy).is_some()
    }

    /// As [`recognises_rtp`](Self::recognises_rtp), for RTCP.
    pub fn recognises_rtcp(&self, copy: &mut [u8]) -> bool {
        let Some((trailer, ssrc)) = self.newer_rtcp(copy) else { return false };
        self.rx.rtcp.open_rtcp(ssrc, trailer, copy).is_some()
    }

    /// What can be told without a key: whether this is worth trying. A few comparisons.
    pub fn may_recognise(&self, packet: &[u8], rtcp: bool) -> bool {
        if rtcp { self.newer_rtcp(packet).is_some() } else { self.newer_rtp(packet).is_some() }
    }

    fn newer_rtp(&self, packet: &[u8]) -> Option<(usize, u64, u32)> {
        let (seq, ssrc) = rtp_seq_and_ssrc(packet)?;
        let Ok(Slot::Known(at)) = self.rx.rtp_windows.find(ssrc) else { return None };
        let window = &self.rx.rtp_windows.list[at].1;
        let index = window.index_of(seq).filter(|&index| window.is_newest(index))?;
        let header_len = usize::from(Header::parse_protected(packet).ok()?.payload_offset);
        (packet.len() >= header_len + self.profile.tag_len()).then_some((header_len, index, ssrc))
    }

    fn newer_rtcp(&self, packet: &[u8]) -> Option<(u32, u32)> {
        let ssrc = rtcp_sender(packet)?;
        if packet.len() < RTCP_HEADER_LEN + self.profile.tag_len() + RTCP_TRAILER_LEN || packet[0] >> 6 != 2 {
            return None;
        }
        let trailer = self.profile.rtcp_trailer(packet).filter(|trailer| trailer & RTCP_ENCRYPTED != 0)?;
        let Ok(Slot::Known(at)) = self.rx.rtcp_windows.find(ssrc) else { return None };
        let window = &self.rx.rtcp_windows.list[at].1;
        window.is_newest(u64::from(trailer & !RTCP_ENCRYPTED)).then_some((trailer, ssrc))
    }

    /// Forgets what was received from `ssrc`, so that another may take its place: its track has ended, and packets of
    /// it would find no track any more.
    pub fn forget_rx(&mut self, ssrc: u32) {
        self.rx.rtp_windows.forget(ssrc);
        self.rx.rtcp_windows.forget(ssrc);
    }

    /// How many SSRCs were received from.
    pub fn rx_ssrcs(&self) -> usize {
        self.rx.rtp_windows.list.len()
    }
}

/// Replay windows of at most [`RX_SSRCS_MAX`] sources.
#[derive(Default)]
struct Windows<W> {
    list: Vec<(u32, W)>,
}

/// Where the window of an SSRC is.
#[derive(Clone, Copy)]
enum Slot {
    Known(usize),
    /// Nowhere yet, but there is room.
    Free,
}

impl<W: Default> Windows<W> {
    fn find(&self, ssrc: u32) -> Result<Slot, DropReason> {
        match self.list.iter().position(|(known, _)| *known == ssrc) {
            Some(at) => Ok(Slot::Known(at)),
            None if self.list.len() < RX_SSRCS_MAX => Ok(Slot::Free),
            None => Err(DropReason::UnknownSsrc),
        }
    }

    fn get_or_make(&mut self, ssrc: u32, slot: Slot) -> &mut W {
        let at = match slot {
            Slot::Known(at) => at,
            Slot::Free => {
                self.list.push((ssrc, W::default()));
                self.list.len() - 1
            }
        };
        &mut self.list[at].1
    }

    fn forget(&mut self, ssrc: u32) {
        self.list.retain(|(known, _)| *known != ssrc);
    }
}

fn rtp_seq_and_ssrc(header: &[u8]) -> Option<(u16, u32)> {
    let fixed = header.first_chunk::<RTP_HEADER_LEN>()?;
    let seq = u16::from_be_bytes([fixed[2], fixed[3]]);
    Some((seq, u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])))
}

fn rtcp_sender(packet: &[u8]) -> Option<u32> {
    let fixed = packet.first_chunk::<RTCP_HEADER_LEN>()?;
    Some(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_srtcp_index_is_used_and_none_after_it() {
        let profile = SrtpProfile::AeadAes128Gcm;
        let material = vec![7; Srtp::keying_material_len(profile)];
        let (mut a, mut b) =
            (Srtp::new(profile, &material, true).unwrap(), Srtp::new(profile, &material, false).unwrap());
        a.tx.rtcp_index = RTCP_INDEX_MAX;
        let (report, mut out) = ([0x80, 201, 0, 1, 0, 0, 0, 7], Vec::new());
        assert!(a.protect_rtcp(&report, &mut out));
        assert!(!a.protect_rtcp(&report, &mut Vec::new()));
        assert_eq!(b.unprotect_rtcp(&mut out), Ok(report.len()));
    }

    #[test]
    fn keying_material_of_another_length_makes_nothing() {
        for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80] {
            let len = Srtp::keying_material_len(profile);
            assert!(Srtp::new(profile, &vec![7; len - 1], true).is_none());
            assert!(Srtp::new(profile, &vec![7; len + 1], true).is_none());
        }
    }
}
