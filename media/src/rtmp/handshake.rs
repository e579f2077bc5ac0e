//! The handshake (Adobe, "RTMP specification 1.0" §5.2), both sides, plain and with digests.
//!
//! ```text
//! client  C0 C1 ------------------>            C0 = version 3, C1 = 1536 bytes of time, version, noise
//!         <------------- S0 S1 S2  server      S2 = C1 again, or signed with C1's digest
//!         C2 ------------------>               C2 = S1 again, or signed with S1's digest
//! ```
//! The digest form is not in the specification; Flash 9 brought it, and players that see a version in S1 may check it. It
//! proves nothing about anybody, as its keys are public, so a wrong digest is never a reason to refuse.

use aws_lc_rs::hmac;

/// Bytes of each of C1, S1, C2 and S2.
pub const PACKET_BYTES: usize = 1536;
/// RTMP; 6 would be RTMPE, whose encryption is broken and not offered.
const VERSION: u8 = 3;
const DIGEST_BYTES: usize = 32;
/// Offsets that the four bytes in front of a digest block can express.
const DIGEST_OFFSETS: usize = 728;
/// Where the digest block begins: the newer layout, then the older.
const DIGEST_BLOCKS: [usize; 2] = [8, 772];
/// What we put into the version field of S1 and C1 when we sign; players take 3 or more in the first byte for "signed".
const SIGNED_VERSION: [u8; 4] = [4, 5, 0, 1];

const CLIENT_NAME: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_NAME: &[u8] = b"Genuine Adobe Flash Media Server 001";
/// Behind either name in the key of the second packet.
const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e, 0xec, 0x5d,
    0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];

type Packet = [u8; PACKET_BYTES];

/// The first byte names a version that is not RTMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("handshake version {0} is not RTMP")]
pub struct VersionError(pub u8);

/// The accepting side. Holds at most one packet of 1536 bytes, and that only until it is answered.
#[derive(Debug)]
pub struct ServerHandshake {
    incoming: Incoming,
}

/// The connecting side.
#[derive(Debug)]
pub struct ClientHandshake {
    incoming: Incoming,
}

impl ServerHandshake {
    pub fn new() -> Self {
        ServerHandshake { incoming: Incoming::default() }
    }

    /// Takes bytes from the front of `data`, appends answers to `out`, and says whether the handshake is over. Bytes behind
    /// it are left in `data`.
    pub fn handle_input(&mut self, data: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, VersionError> {
        if let Some(c1) = self.incoming.first(data)? {
            out.push(VERSION);
            match find_digest(&c1, CLIENT_NAME) {
                Some((block, digest)) => {
                    out.extend_from_slice(&signed_first(block, SERVER_NAME));
                    out.extend_from_slice(&signed_second(&digest, SERVER_NAME));
                }
                None => {
                    out.extend_from_slice(&plain_first());
                    out.extend_from_slice(&*c1);
                }
            }
        }
        Ok(self.incoming.second(data))
    }
}

impl Default for ServerHandshake {
    fn default() -> Self {
        ServerHandshake::new()
    }
}

impl ClientHandshake {
    /// Appends C0 and C1 to `out`. `signed` asks for the digest form.
    pub fn new(signed: bool, out: &mut Vec<u8>) -> Self {
        out.push(VERSION);
        let c1 = if signed { signed_first(DIGEST_BLOCKS[0], CLIENT_NAME) } else { plain_first() };
        out.extend_from_slice(&c1);
        ClientHandshake { incoming: Incoming::default() }
    }

    /// As [`ServerHandshake::handle_input`].
    pub fn handle_input(&mut self, data: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, VersionError> {
        if let Some(s1) = self.incoming.first(data)? {
            match find_digest(&s1, SERVER_NAME) {
                Some((_, digest)) => out.extend_from_slice(&signed_second(&digest, CLIENT_NAME)),
                None => out.extend_from_slice(&*s1),
            }
        }
        Ok(self.incoming.second(data))
    }
}

/// How far the other side's bytes have come.
#[derive(Debug, Default)]
enum Incoming {
    #[default]
    Version,
    First {
        packet: Box<Packet>,
        filled: usize,
    },
    /// The second packet is counted and not kept: what it proves is worth nothing, and real peers send it wrong.
    Second {
        missing: usize,
    },
}

impl Incoming {
    /// The first packet, once, when it is complete.
    fn first(&mut self, data: &mut &[u8]) -> Result<Option<Box<Packet>>, VersionError> {
        if let Incoming::Version = self {
            let Some((&version, rest)) = data.split_first() else { return Ok(None) };
            if version != VERSION {
                return Err(VersionError(version));
            }
            *data = rest;
            *self = Incoming::First { packet: Box::new([0; PACKET_BYTES]), filled: 0 };
        }
        let Incoming::First { packet, filled } = self else { return Ok(None) };
        let (bytes, rest) = data.split_at(data.len().min(PACKET_BYTES - *filled));
        packet[*filled..*filled + bytes.len()].copy_from_slice(bytes);
        *filled += bytes.len();
        *data = rest;
        if *filled < PACKET_BYTES {
            return Ok(None);
        }
        match std::mem::replace(self, Incoming::Second { missing: PACKET_BYTES }) {
            Incoming::First { packet, .. } => Ok(Some(packet)),
            _ => Ok(None),
        }
    }

    /// Whether the second packet has passed.
    fn second(&mut self, data: &mut &[u8]) -> bool {
        let Incoming::Second { missing } = self else { return false };
        let take = data.len().min(*missing);
        *data = &data[take..];
        *missing -= take;
        *missing == 0
    }
}

/// Time and version zero, the rest noise.
fn plain_first() -> Packet {
    let mut packet: Packet = [0; PACKET_BYTES];
    rand::fill(&mut packet[8..]);
    packet
}

/// Noise with a version and a digest over everything around the digest.
fn signed_first(block: usize, name: &[u8]) -> Packet {
    let mut packet = plain_first();
    packet[4..8].copy_from_slice(&SIGNED_VERSION);
    let at = digest_at(&packet, block);
    let digest = digest_around(&packet, at, name);
    packet[at..at + DIGEST_BYTES].copy_from_slice(&digest);
    packet
}

/// Noise that ends in its own signature, by a key that the other side's digest gives.
fn signed_second(digest: &[u8; DIGEST_BYTES], name: &[u8]) -> Packet {
    let mut packet: Packet = [0; PACKET_BYTES];
    rand::fill(&mut packet[..]);
    let key = hmac(&[name, &KEY_TAIL].concat(), &[digest]);
    let body = PACKET_BYTES - DIGEST_BYTES;
    let signature = hmac(&key, &[&packet[..body]]);
    packet[body..].copy_from_slice(&signature);
    packet
}

/// The block and the digest of a signed first packet; `None` if it is a plain one.
fn find_digest(packet: &Packet, name: &[u8]) -> Option<(usize, [u8; DIGEST_BYTES])> {
    if packet[4..8] == [0; 4] {
        return None;
    }
    DIGEST_BLOCKS.into_iter().find_map(|block| {
        let at = digest_at(packet, block);
        let digest = digest_around(packet, at, name);
        (packet[at..at + DIGEST_BYTES] == digest).then_some((block, digest))
    })
}

/// Where the digest lies in a block that begins at `block` with four bytes whose sum tells. At most 772 + 4 + 727 + 32 =
/// 1535, so inside the packet.
fn digest_at(packet: &Packet, block: usize) -> usize {
    let sum: usize = packet[block..block + 4].iter().map(|&byte| usize::from(byte)).sum();
    block + 4 + sum % DIGEST_OFFSETS
}

fn digest_around(packet: &Packet, at: usize, name: &[u8]) -> [u8; DIGEST_BYTES] {
    hmac(name, &[&packet[..at], &packet[at + DIGEST_BYTES..]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(signed: bool, split: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut client = ClientHandshake::new(signed, &mut to_server);
        let mut server = ServerHandshake::new();
        let (mut server_done, mut client_done) = (false, false);
        let (mut sent, mut received) = (0, 0);
        while !(server_done && client_done) {
            let end = to_server.len().min(sent + split);
            let mut piece = &to_server[sent..end];
            server_done |= server.handle_input(&mut piece, &mut to_client).unwrap();
            sent = end;
            let end = to_client.len().min(received + split);
            let mut piece = &to_client[received..end];
            client_done |= client.handle_input(&mut piece, &mut to_server).unwrap();
            received = end;
        }
        (to_server, to_client)
    }

    #[test]
    fn a_plain_handshake_echoes() {
        let (client, server) = run(false, 100);
        assert_eq!((client.len(), server.len()), (1 + 2 * PACKET_BYTES, 1 + 2 * PACKET_BYTES));
        assert_eq!(client[1..=PACKET_BYTES], server[1 + PACKET_BYTES..]);
        assert_eq!(server[1..=PACKET_BYTES], client[1 + PACKET_BYTES..]);
    }

    #[test]
    fn a_signed_handshake_is_signed_in_both_directions() {
        let (client, server) = run(true, 4000);
        let c1: &Packet = client[1..].first_chunk().unwrap();
        let s1: &Packet = server[1..].first_chunk().unwrap();
        for (first, first_name, second, second_name) in [
            (c1, CLIENT_NAME, &server[1 + PACKET_BYTES..], SERVER_NAME),
            (s1, SERVER_NAME, &client[1 + PACKET_BYTES..], CLIENT_NAME),
        ] {
            let (_, digest) = find_digest(first, first_name).unwrap();
            let key = hmac(&[second_name, &KEY_TAIL].concat(), &[&digest]);
            assert_eq!(second[1504..], hmac(&key, &[&second[..1504]]));
        }
    }

    #[test]
    fn both_layouts_of_the_digest_are_found() {
        for block in DIGEST_BLOCKS {
            let packet = signed_first(block, CLIENT_NAME);
            assert_eq!(find_digest(&packet, CLIENT_NAME).map(|found| found.0), Some(block));
            assert!(find_digest(&packet, SERVER_NAME).is_none());
        }
    }

    #[test]
    fn a_version_without_a_digest_is_a_plain_handshake() {
        let mut packet = plain_first();
        packet[4..8].copy_from_slice(&[9, 0, 124, 2]);
        let mut data = &[&[VERSION][..], &packet].concat()[..];
        let mut out = Vec::new();
        assert_eq!(ServerHandshake::new().handle_input(&mut data, &mut out), Ok(false));
        assert_eq!(out[1 + PACKET_BYTES..], packet);
    }

    #[test]
    fn other_versions_are_refused() {
        for version in [0, 6, b'G', 255] {
            let mut out = Vec::new();
            assert_eq!(ServerHandshake::new().handle_input(&mut &[version][..], &mut out), Err(VersionError(version)));
            assert!(out.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_split_ends_the_handshake_and_leaves_the_rest(split in 1usize..4000, signed: bool) {
            run(signed, split);
            let mut bytes = Vec::new();
            ClientHandshake::new(signed, &mut bytes);
            bytes.extend_from_slice(&[0; PACKET_BYTES]);
            bytes.extend_from_slice(b"rest");
            let mut data = &bytes[..];
            prop_assert_eq!(ServerHandshake::new().handle_input(&mut data, &mut Vec::new()), Ok(true));
            prop_assert_eq!(data, b"rest");
        }
    }
}
