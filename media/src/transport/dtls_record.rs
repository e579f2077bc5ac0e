//! What of DTLS 1.2 travels in the clear (RFC 6347 §4): records, handshake fragments, the ClientHello and its cookie.
//!
//! The handshake itself is the library's. It gets from us only whole messages, each once and in order; fragments,
//! repetitions and rubbish, which anybody can send, end here, in bounded memory.

use super::srtp::SrtpProfile;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;

pub(super) const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;

/// Longest handshake message accepted; a chain of RSA certificates has 5 KiB, a browser's ClientHello 1.5 KiB.
pub(super) const MESSAGE_LEN_MAX: usize = 8 << 10;

/// Bytes of unfinished messages kept for one handshake.
pub(super) const INBOX_BYTES_MAX: usize = 16 << 10;

/// Messages ahead of the one that is due for which fragments are kept.
const MESSAGES_AHEAD_MAX: u16 = 8;

/// Pieces of one message that do not touch; more than a loss pattern makes of 8 KiB.
const GAPS_MAX: usize = 16;

/// Length of our HelloVerifyRequest cookies; the library's own length.
pub(super) const COOKIE_LEN: usize = 20;

const RECORD_HEADER_LEN: usize = 13;
const FRAGMENT_HEADER_LEN: usize = 12;
const VERSION_1_0: u16 = 0xfeff;
const VERSION_1_2: u16 = 0xfefd;
const EXTENSION_USE_SRTP: u16 = 14;

/// One record (RFC 6347 §4.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub content: u8,
    pub epoch: u16,
    /// 48 bits.
    pub seq: u64,
    pub body: &'a [u8],
    /// Header and body.
    pub bytes: &'a [u8],
}

/// The records of a datagram, up to the first that is broken.
pub(super) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let head = datagram.first_chunk::<RECORD_HEADER_LEN>()?;
        let version = u16::from_be_bytes([head[1], head[2]]);
        let len = usize::from(u16::from_be_bytes([head[11], head[12]]));
        let bytes = datagram.get(..RECORD_HEADER_LEN + len)?;
        if (version != VERSION_1_0 && version != VERSION_1_2) || len == 0 {
            return None;
        }
        datagram = &datagram[bytes.len()..];
        Some(Record {
            content: head[0],
            epoch: u16::from_be_bytes([head[3], head[4]]),
            seq: u64::from_be_bytes([0, 0, head[5], head[6], head[7], head[8], head[9], head[10]]),
            body: &bytes[RECORD_HEADER_LEN..],
            bytes,
        })
    })
}

/// Writes the sequence number of a record in the clear anew; nothing authenticates it.
pub(super) fn renumber(record: &mut [u8], seq: u64) {
    if let Some(field) = record.get_mut(5..11) {
        field.copy_from_slice(&seq.to_be_bytes()[2..]);
    }
}

/// A ChangeCipherSpec record of epoch 0.
pub(super) fn change_cipher_spec(seq: u64) -> Vec<u8> {
    record(CHANGE_CIPHER_SPEC, seq, &[1])
}

/// A record of epoch 0 with one whole handshake message.
pub(super) fn message_record(message: &Message, seq: u64) -> Vec<u8> {
    let len = (message.body.len() as u32).to_be_bytes();
    let mut body = Vec::with_capacity(FRAGMENT_HEADER_LEN + message.body.len());
    body.push(message.kind);
    body.extend_from_slice(&len[1..]);
    body.extend_from_slice(&message.seq.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0]);
    body.extend_from_slice(&len[1..]);
    body.extend_from_slice(&message.body);
    record(HANDSHAKE, seq, &body)
}

/// A HelloVerifyRequest (RFC 6347 §4.2.1) in the record with the number of the ClientHello that it answers.
pub(super) fn hello_verify_request(cookie: &[u8; COOKIE_LEN], seq: u64) -> Vec<u8> {
    let mut body = VERSION_1_2.to_be_bytes().to_vec();
    body.push(COOKIE_LEN as u8);
    body.extend_from_slice(cookie);
    message_record(&Message { kind: HELLO_VERIFY_REQUEST, seq: 0, body }, seq)
}

fn record(content: u8, seq: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD_HEADER_LEN + body.len());
    out.push(content);
    out.extend_from_slice(&VERSION_1_2.to_be_bytes());
    // Epoch 0 and 48 bits of sequence number.
    out.extend_from_slice(&(seq & 0xffff_ffff_ffff).to_be_bytes());
    out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// A part of a handshake message (RFC 6347 §4.2.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub kind: u8,
    pub seq: u16,
    total: usize,
    offset: usize,
    data: &'a [u8],
}

/// The fragments in the body of a handshake record in the clear, up to the first that is broken.
pub(super) fn fragments(mut body: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    std::iter::from_fn(move || {
        let head = body.first_chunk::<FRAGMENT_HEADER_LEN>()?;
        let u24 = |at: usize| u32::from_be_bytes([0, head[at], head[at + 1], head[at + 2]]) as usize;
        let (total, offset, len) = (u24(1), u24(6), u24(9));
        let data = body.get(FRAGMENT_HEADER_LEN..FRAGMENT_HEADER_LEN + len)?;
        if total > MESSAGE_LEN_MAX || offset + len > total || (len == 0 && total != 0) {
            return None;
        }
        body = &body[FRAGMENT_HEADER_LEN + len..];
        Some(Fragment { kind: head[0], seq: u16::from_be_bytes([head[4], head[5]]), total, offset, data })
    })
}

/// A whole handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub kind: u8,
    pub seq: u16,
    pub body: Vec<u8>,
}

/// A message of which parts are there.
#[derive(Debug)]
pub(super) struct Partial {
    kind: u8,
    seq: u16,
    body: Vec<u8>,
    /// What is there: sorted, neither touching nor overlapping.
    there: Vec<(usize, usize)>,
}

impl Partial {
    pub fn new(fragment: &Fragment<'_>) -> Self {
        Partial { kind: fragment.kind, seq: fragment.seq, body: vec![0; fragment.total], there: Vec::new() }
    }

    /// Whether `fragment` says of its message what the others said.
    pub fn fits(&self, fragment: &Fragment<'_>) -> bool {
        (self.kind, self.seq, self.body.len()) == (fragment.kind, fragment.seq, fragment.total)
    }

    /// Adds a fragment that [`fits`](Self::fits). True once the message is whole.
    pub fn add(&mut self, fragment: &Fragment<'_>) -> bool {
        let (mut start, mut end) = (fragment.offset, fragment.offset + fragment.data.len());
        let touching = |&(s, e): &(usize, usize)| s <= end && start <= e;
        let first = self.there.iter().position(touching).unwrap_or(self.there.len());
        if first == self.there.len() && self.there.len() >= GAPS_MAX {
            return false;
        }
        if let Some(place) = self.body.get_mut(start..end) {
            place.copy_from_slice(fragment.data);
        }
        self.there.retain(|&(s, e)| {
            let touches = s <= end && start <= e;
            if touches {
                (start, end) = (start.min(s), end.max(e));
            }
            !touches
        });
        let at = self.there.partition_point(|&(s, _)| s < start);
        self.there.insert(at, (start, end));
        self.there == [(0, self.body.len())]
    }

    pub fn into_message(self) -> Message {
        Message { kind: self.kind, seq: self.seq, body: self.body }
    }
}

/// Puts the peer's handshake messages together and hands them out in order.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Sequence number of the message that is due.
    next: u16,
    partials: Vec<Partial>,
    whole: Vec<Message>,
    bytes: usize,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Kept,
    /// Of a message that was handed out already: the peer repeats itself, it has not got our answer.
    Old,
    Refused,
}

impl Inbox {
    /// An inbox whose first message is number `next`.
    pub fn starting_at(next: u16) -> Self {
        Inbox { next, ..Inbox::default() }
    }

    pub fn push(&mut self, fragment: &Fragment<'_>) -> Taken {
        let ahead = fragment.seq.wrapping_sub(self.next);
        if ahead >= 0x8000 {
            return Taken::Old;
        }
        if ahead >= MESSAGES_AHEAD_MAX {
            return Taken::Refused;
        }
        if self.whole.iter().any(|message| message.seq == fragment.seq) {
            return Taken::Kept;
        }
        let at = match self.partials.iter().position(|partial| partial.seq == fragment.seq) {
            Some(at) if self.partials[at].fits(fragment) => at,
            contradicted => {
                // Whoever spoke first need not have been the peer: the latest word counts.
                if let Some(at) = contradicted {
                    self.bytes -= self.partials.swap_remove(at).body.len();
                }
                if self.bytes + fragment.total > INBOX_BYTES_MAX {
                    return Taken::Refused;
                }
                self.bytes += fragment.total;
                self.partials.push(Partial::new(fragment));
                self.partials.len() - 1
            }
        };
        if self.partials[at].add(fragment) {
            self.whole.push(self.partials.swap_remove(at).into_message());
        }
        Taken::Kept
    }

    /// The message that is due, if it is whole.
    pub fn pop(&mut self) -> Option<Message> {
        let at = self.whole.iter().position(|message| message.seq == self.next)?;
        let message = self.whole.swap_remove(at);
        self.bytes -= message.body.len();
        self.next = self.next.wrapping_add(1);
        Some(message)
    }
}

/// Whether the lengths inside a message agree with its size; the library allocates what they say before it looks.
pub(super) fn is_plausible(message: &Message) -> bool {
    if message.kind != CERTIFICATE {
        return true;
    }
    let mut body = Reader(&message.body);
    let list = body.vec24();
    let Some(mut list) = list.filter(|_| body.0.is_empty()).map(Reader) else { return false };
    while !list.0.is_empty() {
        if list.vec24().is_none() {
            return false;
        }
    }
    true
}

/// What we need to know of a ClientHello before there is a handshake (RFC 6347 §4.2.1, RFC 5764 §4.1.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientHello<'a> {
    pub random: &'a [u8],
    pub cookie: &'a [u8],
    /// The `use_srtp` list, as far as we know the profiles.
    pub profiles: Vec<SrtpProfile>,
    cookie_at: usize,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a ClientHello; `None` if it is broken, not of DTLS 1.2 or later, or resumes a session.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(body);
        if rest.u16()? != VERSION_1_2 {
            return None;
        }
        let random = rest.take(32)?;
        // The library reads no session identifier, and nobody resumes DTLS-SRTP.
        if rest.u8()? != 0 {
            return None;
        }
        let cookie_at = body.len() - rest.0.len();
        let cookie = rest.vec8()?;
        let _cipher_suites = rest.vec16()?;
        let _compression = rest.vec8()?;
        let mut extensions = Reader(rest.vec16()?);
        let mut profiles = Vec::new();
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let value = extensions.vec16()?;
            if kind == EXTENSION_USE_SRTP {
                let list = Reader(value).vec16()?;
                profiles = list.chunks_exact(2).filter_map(|id| SrtpProfile::from_id([id[0], id[1]])).collect();
            }
        }
        rest.0.is_empty().then_some(ClientHello { random, cookie, profiles, cookie_at })
    }

    /// The body as it was before the cookie was put in.
    pub fn without_cookie(&self, body: &[u8]) -> Vec<u8> {
        let (before, from_cookie) = body.split_at(self.cookie_at);
        [before, &[0], &from_cookie[1 + self.cookie.len()..]].concat()
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn vec24(&mut self) -> Option<&'a [u8]> {
        let len = self.take(3).map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]))?;
        self.take(len as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fragment(kind: u8, seq: u16, total: usize, offset: usize, data: &[u8]) -> Fragment<'_> {
        Fragment { kind, seq, total, offset, data }
    }

    fn hello(cookie: &[u8], profiles: &[u8]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&[9; 32]);
        body.extend_from_slice(&[0, cookie.len() as u8]);
        body.extend_from_slice(cookie);
        body.extend_from_slice(&[0, 2, 0xc0, 0x2b, 1, 0]);
        let list = profiles.len() as u8;
        body.extend_from_slice(&[0, 4 + 2 + list + 1 + 4, 0xff, 1, 0, 0, 0, 14, 0, 3 + list, 0, list]);
        body.extend_from_slice(profiles);
        body.push(0);
        body
    }

    #[test]
    fn a_message_survives_its_record() {
        let message = Message { kind: 11, seq: 3, body: (0..200).collect() };
        let bytes = message_record(&message, 77);
        let record = records(&bytes).next().unwrap();
        assert_eq!((record.content, record.epoch, record.seq), (HANDSHAKE, 0, 77));
        let mut inbox = Inbox::starting_at(3);
        assert_eq!(inbox.push(&fragments(record.body).next().unwrap()), Taken::Kept);
        assert_eq!(inbox.pop(), Some(message));
        assert_eq!(inbox.bytes, 0);
    }

    #[test]
    fn messages_come_out_in_order_and_old_ones_are_told() {
        let mut inbox = Inbox::starting_at(2);
        inbox.push(&fragment(15, 3, 1, 0, b"b"));
        assert_eq!(inbox.pop(), None);
        inbox.push(&fragment(14, 2, 0, 0, b""));
        assert_eq!(inbox.pop().map(|m| m.seq), Some(2));
        assert_eq!(inbox.pop().map(|m| m.seq), Some(3));
        assert_eq!(inbox.push(&fragment(14, 2, 0, 0, b"")), Taken::Old);
    }

    #[test]
    fn the_inbox_is_bounded() {
        let mut inbox = Inbox::starting_at(0);
        assert_eq!(inbox.push(&fragment(11, MESSAGES_AHEAD_MAX, 1, 0, b"x")), Taken::Refused);
        for seq in 0..MESSAGES_AHEAD_MAX {
            inbox.push(&fragment(11, seq, MESSAGE_LEN_MAX, 0, b"x"));
            assert!(inbox.bytes <= INBOX_BYTES_MAX);
        }
        assert_eq!(inbox.partials.len(), INBOX_BYTES_MAX / MESSAGE_LEN_MAX);
        for offset in (0..MESSAGE_LEN_MAX).step_by(2) {
            inbox.push(&fragment(11, 0, MESSAGE_LEN_MAX, offset, b"x"));
        }
        assert!(inbox.partials.iter().all(|partial| partial.there.len() <= GAPS_MAX));
    }

    #[test]
    fn the_latest_word_about_a_message_counts() {
        let mut inbox = Inbox::starting_at(0);
        inbox.push(&fragment(11, 0, 100, 0, b"forged"));
        inbox.push(&fragment(11, 0, 4, 0, b"true"));
        assert_eq!(inbox.pop().map(|m| m.body), Some(b"true".to_vec()));
        assert_eq!(inbox.bytes, 0);
    }

    #[test]
    fn impossible_fragments_are_refused() {
        let broken = |total: [u8; 3], offset: [u8; 3], len: [u8; 3], data: &[u8]| {
            let body = [&[11], &total[..], &[0, 0], &offset, &len, data].concat();
            fragments(&body).next().is_none()
        };
        assert!(!broken([0, 0, 2], [0, 0, 1], [0, 0, 1], b"x"));
        assert!(broken([0, 0, 2], [0, 0, 2], [0, 0, 1], b"x"), "beyond its message");
        assert!(broken([0, 0, 2], [0, 0, 0], [0, 0, 2], b"x"), "longer than it is");
        assert!(broken([0, 0, 2], [0, 0, 0], [0, 0, 0], b""), "empty part of a message that is not");
        assert!(broken([0, 0x20, 1], [0, 0, 0], [0, 0, 1], b"x"), "of a message too long");
        assert!(broken([0xff; 3], [0xff; 3], [0xff; 3], b"x"));
    }

    #[test]
    fn a_client_hello_tells_its_cookie_and_profiles() {
        let plain = hello(&[], &[0, 1, 0, 8, 0, 7]);
        let parsed = ClientHello::parse(&plain).unwrap();
        assert_eq!(parsed.profiles, [SrtpProfile::Aes128CmSha1_80, SrtpProfile::AeadAes128Gcm]);
        assert_eq!((parsed.random, parsed.cookie), (&[9u8; 32][..], &[][..]));
        let with_cookie = hello(&[5; 20], &[0, 1, 0, 8, 0, 7]);
        let parsed = ClientHello::parse(&with_cookie).unwrap();
        assert_eq!(parsed.cookie, [5; 20]);
        assert_eq!(parsed.without_cookie(&with_cookie), plain);
        for end in 0..plain.len() {
            assert_eq!(ClientHello::parse(&plain[..end]), None);
        }
    }

    #[test]
    fn certificates_that_claim_more_than_there_is_are_implausible() {
        let certificate = |body: &[u8]| Message { kind: CERTIFICATE, seq: 0, body: body.to_vec() };
        assert!(is_plausible(&certificate(&[0, 0, 0])));
        assert!(is_plausible(&certificate(&[0, 0, 8, 0, 0, 2, 1, 2, 0, 0, 0])));
        for body in [&[][..], &[0, 0], &[0, 0, 1], &[0, 0, 3, 0xff, 0xff, 0xff], &[0, 0, 3, 0, 0, 1], &[0, 0, 1, 0]] {
            assert!(!is_plausible(&certificate(body)), "{body:?}");
        }
    }

    proptest! {
        /// However a message is cut and shuffled, it is put together again.
        #[test]
        fn any_cut_in_any_order_is_put_together(
            body in prop::collection::vec(any::<u8>(), 1..600),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            seed in any::<u64>(),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).chain([0, body.len()]).collect();
            at.sort_unstable();
            at.dedup();
            let mut parts: Vec<(usize, &[u8])> = at.windows(2).map(|w| (w[0], &body[w[0]..w[1]])).collect();
            parts.sort_by_key(|(offset, _)| (*offset as u64).wrapping_mul(seed | 1) >> 7);
            let mut inbox = Inbox::starting_at(0);
            for (offset, part) in parts {
                prop_assert_eq!(inbox.pop(), None);
                inbox.push(&fragment(1, 0, body.len(), offset, part));
            }
            prop_assert_eq!(inbox.pop().map(|m| m.body), Some(body));
        }

        /// Nothing that arrives makes a reader panic.
        #[test]
        fn rubbish_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for record in records(&bytes) {
                fragments(record.body).count();
            }
            fragments(&bytes).count();
            ClientHello::parse(&bytes);
            is_plausible(&Message { kind: CERTIFICATE, seq: 0, body: bytes });
        }
    }
}
