//! STUN messages (RFC 8489) as ICE uses them (RFC 8445 §7): Binding requests and their answers, read and written.
//!
//! Reading is strict and borrows; nothing is believed before [`Message::verify`] has checked MESSAGE-INTEGRITY.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

use crate::drop_reason::DropReason;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_A442;
const FINGERPRINT_XOR: u32 = 0x5354_554E;
const INTEGRITY_LEN: usize = 20;

const ATTR_USERNAME: u16 = 0x0006;
const ATTR_MESSAGE_INTEGRITY: u16 = 0x0008;
const ATTR_ERROR_CODE: u16 = 0x0009;
const ATTR_XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ATTR_PRIORITY: u16 = 0x0024;
const ATTR_USE_CANDIDATE: u16 = 0x0025;
const ATTR_FINGERPRINT: u16 = 0x8028;
const ATTR_ICE_CONTROLLING: u16 = 0x802A;

const TYPE_REQUEST: u16 = 0x0001;
const TYPE_INDICATION: u16 = 0x0011;
const TYPE_SUCCESS: u16 = 0x0101;
const TYPE_ERROR: u16 = 0x0111;

/// Ties an answer to its request.
pub type TransactionId = [u8; 12];

/// What kind of Binding message this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A Binding message; borrows the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub class: Class,
    pub transaction: TransactionId,
    /// USERNAME: `{ufrag of the receiver}:{ufrag of the sender}` in a request.
    pub username: Option<&'a str>,
    pub priority: Option<u32>,
    pub use_candidate: bool,
    /// The tie-breaker of ICE-CONTROLLING.
    pub ice_controlling: Option<u64>,
    pub mapped: Option<SocketAddr>,
    datagram: &'a [u8],
    /// Where the MESSAGE-INTEGRITY attribute begins.
    integrity_at: Option<usize>,
}

/// An ICE password, prepared for MESSAGE-INTEGRITY (HMAC-SHA1, RFC 8489 §14.5).
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    pub fn new(password: &str) -> Self {
        IntegrityKey(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()))
    }

    /// The HMAC over `before` (everything that precedes the attribute), with the length field as if it were the last.
    fn sign(&self, before: &[u8]) -> hmac::Tag {
        let length = (before.len() - HEADER_LEN + 4 + INTEGRITY_LEN) as u16;
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&before[..2]);
        context.update(&length.to_be_bytes());
        context.update(&before[4..]);
        context.sign()
    }
}

impl<'a> Message<'a> {
    /// Reads a Binding message. A FINGERPRINT that is present must be right; MESSAGE-INTEGRITY is not checked yet.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] or [`DropReason::Malformed`]. A comprehension-required attribute that we do not know
    /// (RFC 8489 §6.3) is malformed too: an error response would only help whoever probes us.
    pub fn parse(datagram: &'a [u8]) -> Result<Message<'a>, DropReason> {
        let header = header(datagram)?;
        let class = match header.message_type {
            TYPE_REQUEST => Class::Request,
            TYPE_INDICATION => Class::Indication,
            TYPE_SUCCESS => Class::Success,
            TYPE_ERROR => Class::Error,
            _ => return Err(DropReason::Malformed),
        };
        let mut message = Message {
            class,
            transaction: header.transaction,
            username: None,
            priority: None,
            use_candidate: false,
            ice_controlling: None,
            mapped: None,
            datagram,
            integrity_at: None,
        };
        let mut fingerprint_seen = false;
        for attribute in Attributes::of(datagram) {
            let Attribute { kind, value, at } = attribute?;
            // "With the exception of the FINGERPRINT attribute … agents MUST ignore all other attributes that follow
            // MESSAGE-INTEGRITY", and FINGERPRINT is the last one (RFC 8489 §14.5, §14.7).
            if fingerprint_seen {
                return Err(DropReason::Malformed);
            }
            if message.integrity_at.is_some() && kind != ATTR_FINGERPRINT {
                continue;
            }
            match kind {
                ATTR_USERNAME => {
                    message.username = Some(std::str::from_utf8(value).map_err(|_| DropReason::Malformed)?);
                }
                ATTR_MESSAGE_INTEGRITY => {
                    if value.len() != INTEGRITY_LEN {
                        return Err(DropReason::Malformed);
                    }
                    message.integrity_at = Some(at);
                }
                ATTR_PRIORITY => message.priority = Some(u32::from_be_bytes(fixed(value)?)),
                ATTR_USE_CANDIDATE => message.use_candidate = true,
                ATTR_ICE_CONTROLLING => message.ice_controlling = Some(u64::from_be_bytes(fixed(value)?)),
                ATTR_XOR_MAPPED_ADDRESS => message.mapped = Some(read_address(value, &header.transaction)?),
                ATTR_FINGERPRINT => {
                    if u32::from_be_bytes(fixed(value)?) != fingerprint(&datagram[..at]) {
                        return Err(DropReason::Malformed);
                    }
                    fingerprint_seen = true;
                }
                ATTR_ERROR_CODE => {}
                unknown if unknown < 0x8000 => return Err(DropReason::Malformed),
                _ => {}
            }
        }
        Ok(message)
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with `key`.
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let Some(given) = self.datagram.get(at + 4..at + 4 + INTEGRITY_LEN) else { return false };
        let made = key.sign(&self.datagram[..at]);
        constant_time::verify_slices_are_equal(made.as_ref(), given).is_ok()
    }

    /// The length of the whole message in bytes.
    pub fn datagram_len(&self) -> usize {
        self.datagram.len()
    }
}

/// The part of USERNAME before the colon, which in a request names the transport that is meant; unauthenticated.
pub fn peek_local_ufrag(datagram: &[u8]) -> Option<&str> {
    let username = Attributes::of(datagram).map_while(Result::ok).find(|a| a.kind == ATTR_USERNAME)?;
    let text = std::str::from_utf8(username.value).ok()?;
    Some(text.split_once(':')?.0)
}

/// A Binding request of a controlling agent, with USE-CANDIDATE.
///
/// `username` is `{ufrag of the receiver}:{our ufrag}`, `key` the receiver's password.
pub fn write_request(
    transaction: &TransactionId,
    username: &str,
    priority: u32,
    tie_breaker: u64,
    key: &IntegrityKey,
) -> Vec<u8> {
    let mut out = begin(TYPE_REQUEST, transaction);
    attribute(&mut out, ATTR_USERNAME, username.as_bytes());
    attribute(&mut out, ATTR_ICE_CONTROLLING, &tie_breaker.to_be_bytes());
    attribute(&mut out, ATTR_USE_CANDIDATE, &[]);
    attribute(&mut out, ATTR_PRIORITY, &priority.to_be_bytes());
    finish(out, key, true)
}

/// The success answer to `request`, which came from `mapped`.
///
/// It is not larger than the request: FINGERPRINT is left out where it would make it so. `None` if it would be larger
/// even then (a request whose names are shorter than ICE allows, from an IPv6 address).
pub fn write_success(request: &Message<'_>, mapped: SocketAddr, key: &IntegrityKey) -> Option<Vec<u8>> {
    let mut out = begin(TYPE_SUCCESS, &request.transaction);
    let (value, len) = xor_address(mapped, &request.transaction);
    attribute(&mut out, ATTR_XOR_MAPPED_ADDRESS, &value[..len]);
    let without_fingerprint = out.len() + 4 + INTEGRITY_LEN;
    let with_fingerprint = without_fingerprint + 8 <= request.datagram_len();
    (without_fingerprint <= request.datagram_len()).then(|| finish(out, key, with_fingerprint))
}

struct Header {
    message_type: u16,
    transaction: TransactionId,
}

fn header(datagram: &[u8]) -> Result<Header, DropReason> {
    let Some((head, attributes)) = datagram.split_first_chunk::<HEADER_LEN>() else {
        return Err(DropReason::TooShort);
    };
    let message_type = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let cookie = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let mut transaction = [0; 12];
    transaction.copy_from_slice(&head[8..]);
    if message_type & 0xC000 != 0 || cookie != MAGIC_COOKIE || length % 4 != 0 || length != attributes.len() {
        return Err(DropReason::Malformed);
    }
    Ok(Header { message_type, transaction })
}

struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    /// Offset of the attribute's header in the datagram.
    at: usize,
}

/// Walks the attributes; ends after the first error.
struct Attributes<'a> {
    datagram: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    fn of(datagram: &'a [u8]) -> Self {
        let at = if header(datagram).is_ok() { HEADER_LEN } else { datagram.len() };
        Attributes { datagram, at }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.datagram.get(at..).filter(|rest| !rest.is_empty())?;
        let whole = (|| {
            let (head, body) = rest.split_first_chunk::<4>()?;
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let padded = len.next_multiple_of(4);
            (body.len() >= padded).then(|| (u16::from_be_bytes([head[0], head[1]]), &body[..len], padded))
        })();
        let Some((kind, value, padded)) = whole else {
            self.at = self.datagram.len();
            return Some(Err(DropReason::Malformed));
        };
        self.at = at + 4 + padded;
        Some(Ok(Attribute { kind, value, at }))
    }
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], DropReason> {
    value.try_into().map_err(|_| DropReason::Malformed)
}

/// XOR-MAPPED-ADDRESS (RFC 8489 §14.2): the address is xor-ed with the cookie, and for IPv6 with the transaction too.
fn xor_address(address: SocketAddr, transaction: &TransactionId) -> ([u8; 20], usize) {
    let mut value = [0; 20];
    value[2..4].copy_from_slice(&(address.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes());
    let mask = address_mask(transaction);
    let xor = |out: &mut [u8], octets: &[u8]| {
        for (o, (a, m)) in out.iter_mut().zip(octets.iter().zip(mask)) {
            *o = a ^ m;
        }
    };
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            xor(&mut value[4..8], &ip.octets());
            (value, 8)
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            xor(&mut value[4..20], &ip.octets());
            (value, 20)
        }
    }
}

fn read_address(value: &[u8], transaction: &TransactionId) -> Result<SocketAddr, DropReason> {
    let Some((head, octets)) = value.split_first_chunk::<4>() else { return Err(DropReason::Malformed) };
    let port = u16::from_be_bytes([head[2], head[3]]) ^ (MAGIC_COOKIE >> 16) as u16;
    let mask = address_mask(transaction);
    let ip: IpAddr = match head[1] {
        1 => {
            let octets: [u8; 4] = fixed(octets)?;
            Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(|i| octets[i] ^ mask[i])).into()
        }
        2 => {
            let octets: [u8; 16] = fixed(octets)?;
            Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| octets[i] ^ mask[i])).into()
        }
        _ => return Err(DropReason::Malformed),
    };
    Ok(SocketAddr::new(ip, port))
}

fn address_mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    mask
}

fn begin(message_type: u16, transaction: &TransactionId) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&message_type.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out.extend_from_slice(transaction);
    out
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn finish(mut out: Vec<u8>, key: &IntegrityKey, with_fingerprint: bool) -> Vec<u8> {
    let tag = key.sign(&out);
    attribute(&mut out, ATTR_MESSAGE_INTEGRITY, tag.as_ref());
    let length = out.len() - HEADER_LEN + if with_fingerprint { 8 } else { 0 };
    out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    if with_fingerprint {
        let crc = fingerprint(&out);
        attribute(&mut out, ATTR_FINGERPRINT, &crc.to_be_bytes());
    }
    out
}

/// FINGERPRINT (RFC 8489 §14.7): the CRC-32 of ITU V.42 over what precedes the attribute, xor-ed.
fn fingerprint(before: &[u8]) -> u32 {
    let crc = before.iter().fold(!0u32, |crc, &byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8));
    !crc ^ FINGERPRINT_XOR
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5769 §2.1, §2.2, §2.3.
    const SAMPLE_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
    const SAMPLE_TRANSACTION: TransactionId = [0xb7, 0xe7, 0xa7, 1, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
        002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
        000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
    const SAMPLE_ANSWER_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
        002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    const SAMPLE_ANSWER_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
        002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed41\
        80280004c8fb0b4c";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    fn request(username: &str) -> Vec<u8> {
        write_request(&[7; 12], username, 0x6e00_01ff, 42, &IntegrityKey::new("password"))
    }

    #[test]
    fn the_sample_request_is_read() {
        let datagram = bytes(SAMPLE_REQUEST);
        let message = Message::parse(&datagram).unwrap();
        assert_eq!(message.class, Class::Request);
        assert_eq!(message.transaction, SAMPLE_TRANSACTION);
        assert_eq!(message.username, Some("evtj:h6vY"));
        assert_eq!(message.priority, Some(0x6e00_01ff));
        assert!(message.verify(&IntegrityKey::new(SAMPLE_PASSWORD)));
        assert!(!message.verify(&IntegrityKey::new("another")));
        assert_eq!(peek_local_ufrag(&datagram), Some("evtj"));
    }

    #[test]
    fn the_sample_answers_are_read() {
        for (hex, mapped) in
            [(SAMPLE_ANSWER_V4, "192.0.2.1:32853"), (SAMPLE_ANSWER_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
        {
            let datagram = bytes(hex);
            let message = Message::parse(&datagram).unwrap();
            assert_eq!(message.class, Class::Success);
            assert_eq!(message.mapped, Some(mapped.parse().unwrap()));
            assert!(message.verify(&IntegrityKey::new(SAMPLE_PASSWORD)));
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let key = IntegrityKey::new("password");
        let datagram = request("abcd:efgh");
        let message = Message::parse(&datagram).unwrap();
        assert_eq!((message.username, message.use_candidate), (Some("abcd:efgh"), true));
        assert_eq!((message.ice_controlling, message.priority), (Some(42), Some(0x6e00_01ff)));
        assert!(message.verify(&key));
        for mapped in ["198.51.100.7:1", "[2001:db8::7]:65535"] {
            let mapped = mapped.parse().unwrap();
            let answer = write_success(&message, mapped, &key).unwrap();
            let read = Message::parse(&answer).unwrap();
            assert_eq!((read.class, read.mapped, read.transaction), (Class::Success, Some(mapped), [7; 12]));
            assert!(read.verify(&key));
        }
    }

    #[test]
    fn an_answer_is_never_larger_than_its_request() {
        let key = IntegrityKey::new("password");
        // The smallest authenticated requests there can be: USERNAME and MESSAGE-INTEGRITY.
        for username in ["a:b", "abcd:efgh", "abcdefgh:ijkl"] {
            let mut bare = begin(TYPE_REQUEST, &[1; 12]);
            attribute(&mut bare, ATTR_USERNAME, username.as_bytes());
            let bare = finish(bare, &key, false);
            for mapped in ["198.51.100.7:1", "[2001:db8::7]:1"] {
                let message = Message::parse(&bare).unwrap();
                if let Some(answer) = write_success(&message, mapped.parse().unwrap(), &key) {
                    assert!(answer.len() <= bare.len(), "{username} {mapped}");
                    assert!(Message::parse(&answer).unwrap().verify(&key));
                }
            }
        }
    }

    #[test]
    fn what_follows_the_integrity_is_not_believed() {
        let key = IntegrityKey::new("password");
        let mut datagram = begin(TYPE_REQUEST, &[1; 12]);
        attribute(&mut datagram, ATTR_USERNAME, b"abcd:efgh");
        let mut datagram = finish(datagram, &key, false);
        attribute(&mut datagram, ATTR_USE_CANDIDATE, &[]);
        let length = (datagram.len() - HEADER_LEN) as u16;
        datagram[2..4].copy_from_slice(&length.to_be_bytes());
        let message = Message::parse(&datagram).unwrap();
        assert!(message.verify(&key) && !message.use_candidate);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = IntegrityKey::new("password");
        let datagram = request("abcd:efgh");
        // FINGERPRINT, the last 8 bytes, is outside of what the password protects.
        for bit in 0..(datagram.len() - 8) * 8 {
            let mut bad = datagram.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Message::parse(&bad).map_or(true, |m| !m.verify(&key)), "bit {bit}");
        }
    }

    #[test]
    fn cut_and_odd_messages_are_refused_without_panic() {
        let datagram = request("abcd:efgh");
        for end in 0..datagram.len() {
            assert!(Message::parse(&datagram[..end]).is_err());
            let _ = peek_local_ufrag(&datagram[..end]);
        }
        for len in 0..=40 {
            for first in 0..=255 {
                let mut junk = vec![0xff; len];
                if let Some(byte) = junk.first_mut() {
                    *byte = first;
                }
                assert!(Message::parse(&junk).is_err());
                assert_eq!(peek_local_ufrag(&junk), None);
            }
        }
    }

    #[test]
    fn unknown_attributes_that_must_be_understood_are_refused() {
        for (kind, accepted) in [(0x7fff, false), (0x8001, true), (0xC057, true)] {
            let mut datagram = begin(TYPE_REQUEST, &[1; 12]);
            attribute(&mut datagram, kind, &[1, 2, 3]);
            let datagram = finish(datagram, &IntegrityKey::new("password"), true);
            assert_eq!(Message::parse(&datagram).is_ok(), accepted, "{kind:#x}");
        }
    }
}
