//! The two SRTP transforms: what is encrypted, with which nonce, and what is authenticated. No memory of packets here.

use aes::{Aes128Enc, cipher::KeyInit};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use hmac::{Hmac, Mac};
use sha1::Sha1;

/// AES in the counter mode of RFC 3711 §4.1.1. Its counter is the low 16 bits of the block, which a datagram never
/// exhausts, so that a 128-bit counter does the same.
type AesCtr<'a> = ctr::Ctr128BE<&'a Aes128Enc>;
type HmacSha1 = Hmac<Sha1>;

const KEY_LEN: usize = 16;
/// The CM profile's salt; GCM's is two bytes shorter.
const SALT_LEN_MAX: usize = 14;
const GCM_NONCE_LEN: usize = 12;
const GCM_TAG_LEN: usize = 16;
const CM_TAG_LEN: usize = 10;
const CM_AUTH_KEY_LEN: usize = 20;

/// First header word and sender of RTCP, which stay in the clear.
const RTCP_HEADER_LEN: usize = 8;
/// The E flag and the index at the end of SRTCP.
const RTCP_TRAILER_LEN: usize = 4;

/// How media is protected. AEAD_AES_256_GCM is not offered: it adds cost and nothing that the handshake could match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// RFC 7714; four to five times cheaper than the other on current processors.
    AeadAes128Gcm,
    /// RFC 3711, which every peer must have (RFC 8827 §6.5).
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SrtpProfile::AeadAes128Gcm => "aead_aes_128_gcm",
            SrtpProfile::Aes128CmSha1_80 => "aes128_cm_sha1_80",
        }
    }

    /// The profile of a `use_srtp` entry (RFC 5764 §4.1.2, RFC 7714 §14.2); `None` for those that are not ours.
    pub(super) fn from_id(id: [u8; 2]) -> Option<Self> {
        match id {
            [0, 1] => Some(SrtpProfile::Aes128CmSha1_80),
            [0, 7] => Some(SrtpProfile::AeadAes128Gcm),
            _ => None,
        }
    }

    pub(super) fn key_len(self) -> usize {
        KEY_LEN
    }

    pub(super) fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm => GCM_NONCE_LEN,
            SrtpProfile::Aes128CmSha1_80 => SALT_LEN_MAX,
        }
    }

    pub(super) fn tag_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm => GCM_TAG_LEN,
            SrtpProfile::Aes128CmSha1_80 => CM_TAG_LEN,
        }
    }

    /// The word with E flag and index: the last of a GCM packet, before the tag of a CM packet.
    pub(super) fn rtcp_trailer(self, packet: &[u8]) -> Option<u32> {
        let end = match self {
            SrtpProfile::AeadAes128Gcm => packet.len(),
            SrtpProfile::Aes128CmSha1_80 => packet.len().checked_sub(CM_TAG_LEN)?,
        };
        packet.get(..end)?.last_chunk().map(|word| u32::from_be_bytes(*word))
    }
}

/// RTP and RTCP have keys of their own (RFC 3711 §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Rtp,
    Rtcp,
}

/// The session keys of one direction of RTP or RTCP.
pub(super) enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; GCM_NONCE_LEN],
    },
    /// Boxed, being the larger and the rarer.
    Cm(Box<CmKeys>),
}

pub(super) struct CmKeys {
    aes: Aes128Enc,
    salt: [u8; SALT_LEN_MAX],
    mac: HmacSha1,
}

/// What stands behind the header of an RTP packet, in parts that lie apart.
#[derive(Clone, Copy, Default)]
pub struct Body<'a> {
    /// The original sequence number of a retransmission (RFC 4588 §4), or nothing.
    pub prefix: &'a [u8],
    pub payload: &'a [u8],
    /// Padding (RFC 3550 §5.1), its count included; the header has to say that it is there.
    pub padding: &'a [u8],
}

impl Body<'_> {
    pub fn len(&self) -> usize {
        self.prefix.len() + self.payload.len() + self.padding.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Cipher {
    /// Derives the session keys from a master key and salt (RFC 3711 §4.3, key derivation rate zero).
    pub fn new(profile: SrtpProfile, stream: Stream, master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        let derive = KeyDerivation::new(master_key, master_salt)?;
        let (key_label, auth_label, salt_label) = match stream {
            Stream::Rtp => (0, 1, 2),
            Stream::Rtcp => (3, 4, 5),
        };
        let key = derive.bytes::<KEY_LEN>(key_label);
        Some(match profile {
            SrtpProfile::AeadAes128Gcm => Cipher::Gcm {
                key: LessSafeKey::new(UnboundKey::new(&aead::AES_128_GCM, &key).ok()?),
                salt: derive.bytes(salt_label),
            },
            SrtpProfile::Aes128CmSha1_80 => Cipher::Cm(Box::new(CmKeys {
                aes: Aes128Enc::new(&key.into()),
                salt: derive.bytes(salt_label),
                mac: <HmacSha1 as Mac>::new_from_slice(&derive.bytes::<CM_AUTH_KEY_LEN>(auth_label)).ok()?,
            })),
        })
    }

    /// Writes `header`, the sealed `body`, and the tag into `out`, which is exactly long enough.
    pub fn seal_rtp(&self, ssrc: u32, index: u64, header: &[u8], body: Body, out: &mut [u8]) -> Option<()> {
        let (out_header, sealed) = out.split_at_mut_checked(header.len())?;
        out_header.copy_from_slice(header);
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                let Body { prefix, payload, padding } = body;
                // The padding is sealed with the tag, behind the rest, without having been copied.
                let text_len = sealed.len().checked_sub(GCM_TAG_LEN + padding.len())?;
                let (text, end) = sealed.split_at_mut(text_len);
                if prefix.is_empty() {
                    key.seal_out_of_place_scatter(nonce, Aad::from(header), payload, text, padding, end).ok()?;
                } else {
                    copy_parts(&[prefix, payload], text)?;
                    key.seal_in_place_scatter(nonce, Aad::from(header), text, padding, end).ok()?;
                }
            }
            Cipher::Cm(cm) => {
                let body_len = sealed.len().checked_sub(CM_TAG_LEN)?;
                let text = &mut sealed[..body_len];
                copy_parts(&[body.prefix, body.payload, body.padding], text)?;
                cm.keystream(ssrc, index).try_apply_keystream(text).ok()?;
                let (authenticated, tag) = out.split_at_mut(header.len() + body_len);
                tag.copy_from_slice(&cm.rtp_mac(authenticated, index).finalize().into_bytes()[..CM_TAG_LEN]);
            }
        }
        Some(())
    }

    /// Opens `packet` in place, behind its `header_len` bytes of header; `None` if the tag does not fit.
    pub fn open_rtp(&self, ssrc: u32, index: u64, header_len: usize, packet: &mut [u8]) -> Option<()> {
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, sealed) = packet.split_at_mut_checked(header_len)?;
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                key.open_in_place(nonce, Aad::from(&*header), sealed).ok()?;
            }
            Cipher::Cm(cm) => {
                let body_end = packet.len().checked_sub(CM_TAG_LEN)?;
                let (authenticated, tag) = packet.split_at_mut(body_end);
                cm.rtp_mac(authenticated, index).verify_truncated_left(tag).ok()?;
                let body = authenticated.get_mut(header_len..)?;
                cm.keystream(ssrc, index).try_apply_keystream(body).ok()?;
            }
        }
        Some(())
    }

    /// Writes the sealed RTCP packet into `out`, which is exactly long enough. `trailer` is E flag and index.
    pub fn seal_rtcp(&self, ssrc: u32, trailer: u32, plain: &[u8], out: &mut [u8]) -> Option<()> {
        out.get_mut(..plain.len())?.copy_from_slice(plain);
        match self {
            Cipher::Gcm { key, salt } => {
                let (packet, trailer_out) = out.split_last_chunk_mut::<RTCP_TRAILER_LEN>()?;
                *trailer_out = trailer.to_be_bytes();
                let (header, sealed) = packet.split_at_mut_checked(RTCP_HEADER_LEN)?;
                let body_len = sealed.len().checked_sub(GCM_TAG_LEN)?;
                let (body, tag) = sealed.split_at_mut(body_len);
                let aad = gcm_rtcp_aad(header, trailer)?;
                key.seal_in_place_scatter(gcm_rtcp_nonce(salt, ssrc, trailer), Aad::from(aad), body, &[], tag).ok()?;
            }
            Cipher::Cm(cm) => {
                let index = u64::from(trailer & !(1 << 31));
                let body = out.get_mut(RTCP_HEADER_LEN..plain.len())?;
                cm.keystream(ssrc, index).try_apply_keystream(body).ok()?;
                let authenticated_len = plain.len() + RTCP_TRAILER_LEN;
                let (authenticated, tag) = out.split_at_mut_checked(authenticated_len)?;
                authenticated[plain.len()..].copy_from_slice(&trailer.to_be_bytes());
                let made = cm.mac.clone().chain_update(&*authenticated).finalize().into_bytes();
                tag.copy_from_slice(&made[..CM_TAG_LEN]);
            }
        }
        Some(())
    }

    /// Opens an RTCP packet in place; `None` if the tag does not fit.
    pub fn open_rtcp(&self, ssrc: u32, trailer: u32, packet: &mut [u8]) -> Option<()> {
        match self {
            Cipher::Gcm { key, salt } => {
                let (packet, _) = packet.split_last_chunk_mut::<RTCP_TRAILER_LEN>()?;
                let (header, sealed) = packet.split_at_mut_checked(RTCP_HEADER_LEN)?;
                let aad = gcm_rtcp_aad(header, trailer)?;
                key.open_in_place(gcm_rtcp_nonce(salt, ssrc, trailer), Aad::from(aad), sealed).ok()?;
            }
            Cipher::Cm(cm) => {
                let (authenticated, tag) = packet.split_at_mut(packet.len().checked_sub(CM_TAG_LEN)?);
                cm.mac.clone().chain_update(&*authenticated).verify_truncated_left(tag).ok()?;
                let index = u64::from(trailer & !(1 << 31));
                let body_end = authenticated.len().checked_sub(RTCP_TRAILER_LEN)?;
                let body = authenticated.get_mut(RTCP_HEADER_LEN..body_end)?;
                cm.keystream(ssrc, index).try_apply_keystream(body).ok()?;
            }
        }
        Some(())
    }
}

fn copy_parts(parts: &[&[u8]], out: &mut [u8]) -> Option<()> {
    let mut rest = out;
    for part in parts {
        let (front, back) = rest.split_at_mut_checked(part.len())?;
        front.copy_from_slice(part);
        rest = back;
    }
    rest.is_empty().then_some(())
}

/// RFC 7714 §8.1: two zero bytes, SSRC, roll-over counter and sequence number, xor-ed with the salt.
fn gcm_rtp_nonce(salt: &[u8; GCM_NONCE_LEN], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0; GCM_NONCE_LEN];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
    salted(nonce, salt)
}

/// RFC 7714 §9.1: two zero bytes, SSRC, two zero bytes, the index without its E flag, xor-ed with the salt.
fn gcm_rtcp_nonce(salt: &[u8; GCM_NONCE_LEN], ssrc: u32, trailer: u32) -> Nonce {
    let mut nonce = [0; GCM_NONCE_LEN];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[8..12].copy_from_slice(&(trailer & !(1 << 31)).to_be_bytes());
    salted(nonce, salt)
}

fn salted(mut nonce: [u8; GCM_NONCE_LEN], salt: &[u8; GCM_NONCE_LEN]) -> Nonce {
    nonce.iter_mut().zip(salt).for_each(|(n, s)| *n ^= s);
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.2: the header in the clear, then E flag and index.
fn gcm_rtcp_aad(header: &[u8], trailer: u32) -> Option<[u8; RTCP_HEADER_LEN + RTCP_TRAILER_LEN]> {
    let mut aad = [0; RTCP_HEADER_LEN + RTCP_TRAILER_LEN];
    aad.get_mut(..header.len())?.copy_from_slice(header);
    aad[RTCP_HEADER_LEN..].copy_from_slice(&trailer.to_be_bytes());
    Some(aad)
}

impl CmKeys {
    /// RFC 3711 §4.1.1: IV = (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
    fn keystream(&self, ssrc: u32, index: u64) -> AesCtr<'_> {
        let mut iv = [0; 16];
        iv[..SALT_LEN_MAX].copy_from_slice(&self.salt);
        iv[4..8].iter_mut().zip(ssrc.to_be_bytes()).for_each(|(v, s)| *v ^= s);
        iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]).for_each(|(v, i)| *v ^= i);
        StreamCipherCoreWrapper::from_core(ctr::CtrCore::inner_iv_init(&self.aes, &iv.into()))
    }

    /// RFC 3711 §4.2: the packet without its tag, then the roll-over counter.
    fn rtp_mac(&self, authenticated: &[u8], index: u64) -> HmacSha1 {
        self.mac.clone().chain_update(authenticated).chain_update(((index >> 16) as u32).to_be_bytes())
    }
}

/// The pseudo-random function of RFC 3711 §4.3.3; RFC 7714 §11 uses the same, with its shorter salt followed by zeros.
struct KeyDerivation {
    aes: Aes128Enc,
    salt: [u8; SALT_LEN_MAX],
}

impl KeyDerivation {
    fn new(master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        let mut salt = [0; SALT_LEN_MAX];
        salt.get_mut(..master_salt.len())?.copy_from_slice(master_salt);
        Some(KeyDerivation { aes: Aes128Enc::new_from_slice(master_key).ok()?, salt })
    }

    fn bytes<const N: usize>(&self, label: u8) -> [u8; N] {
        let mut iv = [0; 16];
        iv[..SALT_LEN_MAX].copy_from_slice(&self.salt);
        iv[7] ^= label;
        let mut out = [0; N];
        let mut keystream: AesCtr<'_> =
            StreamCipherCoreWrapper::from_core(ctr::CtrCore::inner_iv_init(&self.aes, &iv.into()));
        keystream.apply_keystream(&mut out);
        out
    }
}
