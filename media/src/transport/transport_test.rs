//! Two whole transports on virtual time, with a network between them that loses, splits and forges.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{command::CloseReason, drop_reason::DropReason};

const STEP: Duration = Duration::from_millis(5);

pub(super) fn server_path() -> Path {
    Path { remote: "192.0.2.2:50000".parse().unwrap(), local_ip: "192.0.2.1".parse().unwrap(), via: Via::Udp }
}

fn client_path() -> Path {
    Path { remote: "192.0.2.1:8000".parse().unwrap(), local_ip: "192.0.2.2".parse().unwrap(), via: Via::Udp }
}

/// A datagram under way.
struct Flying {
    arrives: Time,
    to_server: bool,
    bytes: Vec<u8>,
}

/// What the network does with a datagram: how many of it arrive, and as what.
type Meddle = Box<dyn FnMut(bool, &[u8]) -> Vec<Vec<u8>>>;

/// What two transports are made from.
struct Ends {
    server: TransportParams,
    client: TransportParams,
    server_identity: Arc<DtlsIdentity>,
    client_identity: Arc<DtlsIdentity>,
}

pub(super) struct Pair {
    pub now: Time,
    pub server: Transport,
    client: Transport,
    flying: Vec<Flying>,
    delay: Duration,
    meddle: Meddle,
    server_events: Vec<TransportEvent>,
    client_events: Vec<TransportEvent>,
    server_drops: Vec<DropReason>,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// `change` may spoil what the ends know of one another.
    fn with(change: impl FnOnce(&mut Ends)) -> Self {
        let now = Time::from_millis(1_000);
        let server_identity = Arc::new(DtlsIdentity::generate().unwrap());
        let client_identity = Arc::new(DtlsIdentity::generate().unwrap());
        let (server_ice, client_ice) = (IceCredentials::random(), IceCredentials::random());
        let server = TransportParams {
            remote: Some(client_ice.clone()),
            remote_fingerprint: Some(client_identity.fingerprint().clone()),
            ..TransportParams::server(server_ice.clone())
        };
        let client = TransportParams {
            remote: Some(server_ice),
            remote_fingerprint: Some(server_identity.fingerprint().clone()),
            dtls_role: DtlsRole::Client,
            ice_role: IceRole::Controlling { remote_candidate: client_path().remote },
            // The order of Chromium.
            srtp_profiles: vec![SrtpProfile::Aes128CmSha1_80, SrtpProfile::AeadAes128Gcm],
            ..TransportParams::server(client_ice)
        };
        let mut ends = Ends { server, client, server_identity, client_identity };
        change(&mut ends);
        Pair {
            now,
            server: Transport::new(now, ends.server_identity, ends.server),
            client: Transport::new(now, ends.client_identity, ends.client),
            flying: Vec::new(),
            delay: Duration::from_millis(20),
            meddle: Box::new(|_, bytes| vec![bytes.to_vec()]),
            server_events: Vec::new(),
            client_events: Vec::new(),
            server_drops: Vec::new(),
        }
    }

    fn meddling(mut self, meddle: impl FnMut(bool, &[u8]) -> Vec<Vec<u8>> + 'static) -> Self {
        self.meddle = Box::new(meddle);
        self
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until both are connected; false if that takes longer than `time`.
    pub fn connects_within(&mut self, time: Duration) -> bool {
        let end = self.now + time;
        while self.now < end && !(self.server.is_connected() && self.client.is_connected()) {
            self.step();
        }
        self.server.is_connected() && self.client.is_connected()
    }

    fn step(&mut self) {
        let now = self.now;
        let (mut from_server, mut from_client) = (Outbox::default(), Outbox::default());
        let (due, flying) = std::mem::take(&mut self.flying).into_iter().partition(|f: &Flying| f.arrives <= now);
        self.flying = flying;
        for Flying { to_server, bytes, .. } in due {
            self.deliver(to_server, &bytes, if to_server { &mut from_server } else { &mut from_client });
        }
        // Timers are called only when they say so: one that forgets itself makes the test hang.
        if self.server.next_timeout().is_some_and(|at| at <= now) {
            self.server_events.extend(self.server.handle_timeout(now, &mut from_server));
        }
        if self.client.next_timeout().is_some_and(|at| at <= now) {
            self.client_events.extend(self.client.handle_timeout(now, &mut from_client));
        }
        self.fly(false, from_server);
        self.fly(true, from_client);
        self.now = now + STEP;
    }

    fn deliver(&mut self, to_server: bool, bytes: &[u8], out: &mut Outbox) {
        let now = self.now;
        let (transport, path) =
            if to_server { (&mut self.server, server_path()) } else { (&mut self.client, client_path()) };
        let outcome = match classify(bytes[0]) {
            Protocol::Stun => transport.handle_stun(now, path, bytes, out).map(|_| None),
            Protocol::Dtls => transport.handle_dtls(now, path, bytes, out),
            other => panic!("sent {other:?}"),
        };
        match outcome {
            Ok(event) if to_server => self.server_events.extend(event),
            Ok(event) => self.client_events.extend(event),
            Err(reason) if to_server => self.server_drops.push(reason),
            Err(_) => {}
        }
    }

    fn fly(&mut self, to_server: bool, out: Outbox) {
        for (_, bytes) in out.datagrams {
            assert!(bytes.len() <= 1_200, "{} bytes", bytes.len());
            let arrives = self.now + self.delay;
            let copies = (self.meddle)(to_server, &bytes);
            self.flying.extend(copies.into_iter().map(|bytes| Flying { arrives, to_server, bytes }));
        }
    }

    pub fn client_sends(&mut self, seq: u16, payload: &[u8]) -> Vec<u8> {
        let mut header = [0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        header[2..4].copy_from_slice(&seq.to_be_bytes());
        let mut out = [0; 1500];
        let len = self.client.protect_rtp(&header, payload, &mut out).unwrap();
        out[..len].to_vec()
    }

    pub fn client_reports(&mut self) -> Vec<u8> {
        let mut report = Vec::new();
        assert!(self.client.protect_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 1], &mut report));
        report
    }

    fn assert_media_flows(&mut self) {
        let mut packet = self.client_sends(1, b"up");
        let len = self.server.unprotect_rtp(self.now, server_path(), &mut packet).unwrap();
        assert_eq!(&packet[12..len], b"up");
        let mut out = [0; 100];
        let header = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8];
        let len = self
            .server
            .protect_rtp_parts(&header, RtpBody { prefix: &[1, 2], payload: b"down", padding: &[] }, &mut out)
            .unwrap();
        let len = self.client.unprotect_rtp(self.now, client_path(), &mut out[..len]).unwrap();
        assert_eq!(&out[12..len], b"\x01\x02down");
        let mut report = Vec::new();
        assert!(self.server.protect_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 8], &mut report));
        assert_eq!(self.client.unprotect_rtcp(self.now, client_path(), &mut report), Ok(8));
    }
}

fn is_dtls(bytes: &[u8]) -> bool {
    classify(bytes[0]) == Protocol::Dtls
}

/// A ClientHello as a browser sends it: grown by an unknown extension and split into fragments in two datagrams.
fn in_two_datagrams(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes[0] != 22 || bytes[13] != 1 {
        return vec![bytes.to_vec()];
    }
    let (record, message) = bytes.split_at(13);
    let (head, body) = message.split_at(12);
    let cut = body.len() * 4 / 5;
    [(0, &body[..cut]), (cut, &body[cut..])]
        .into_iter()
        .map(|(offset, part)| {
            let mut out = record.to_vec();
            out[11..13].copy_from_slice(&(12 + part.len() as u16).to_be_bytes());
            // Each fragment is in a record of its own, with a number of its own.
            out[10] = out[10] * 2 + u8::from(offset > 0);
            out.extend_from_slice(&head[..6]);
            out.extend_from_slice(&(offset as u32).to_be_bytes()[1..]);
            out.extend_from_slice(&(part.len() as u32).to_be_bytes()[1..]);
            out.extend_from_slice(part);
            out
        })
        .collect()
}

#[test]
fn two_ends_connect_and_media_flows() {
    let mut pair = Pair::new();
    assert!(pair.connects_within(Duration::from_secs(1)));
    assert_eq!(pair.server_events, [TransportEvent::Connected]);
    assert_eq!(pair.client_events, [TransportEvent::Connected]);
    assert_eq!(pair.server_drops, []);
    pair.assert_media_flows();
}

#[test]
fn gcm_is_taken_wherever_the_client_puts_it_and_cm_only_without_it() {
    use SrtpProfile::{AeadAes128Gcm as Gcm, Aes128CmSha1_80 as Cm};
    for (offered, taken) in [(&[Cm, Gcm][..], Gcm), (&[Gcm, Cm], Gcm), (&[Gcm], Gcm), (&[Cm], Cm)] {
        let mut pair = Pair::with(|ends| ends.client.srtp_profiles = offered.to_vec());
        assert!(pair.connects_within(Duration::from_secs(1)), "{offered:?}");
        assert_eq!(pair.server.srtp_profile(), Some(taken));
        assert_eq!(pair.client.srtp_profile(), Some(taken));
        pair.assert_media_flows();
    }
}

#[test]
fn a_client_hello_in_two_datagrams_is_put_together() {
    let mut pair = Pair::new().meddling(|_, bytes| in_two_datagrams(bytes));
    assert!(pair.connects_within(Duration::from_secs(1)));
    let mut backwards = Pair::new().meddling(|_, bytes| in_two_datagrams(bytes).into_iter().rev().collect());
    assert!(backwards.connects_within(Duration::from_secs(1)));
    backwards.assert_media_flows();
}

#[test]
fn any_one_lost_dtls_datagram_is_made_good() {
    for lost in 0..14 {
        let mut count = 0;
        let mut pair = Pair::new().meddling(move |_, bytes| {
            count += usize::from(is_dtls(bytes));
            if is_dtls(bytes) && count == lost + 1 { vec![] } else { vec![bytes.to_vec()] }
        });
        assert!(pair.connects_within(Duration::from_secs(2)), "datagram {lost} lost");
        pair.assert_media_flows();
    }
}

#[test]
fn a_third_of_all_datagrams_may_be_lost() {
    let mut times = Vec::new();
    for seed in 1..=60u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut pair = Pair::new().meddling(move |_, bytes| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (random >> 33) % 3 == 0 { vec![] } else { vec![bytes.to_vec()] }
        });
        let began = pair.now;
        assert!(pair.connects_within(Duration::from_secs(29)), "seed {seed}");
        times.push(pair.now.since(began));
        pair.assert_media_flows();
    }
    times.sort();
    let p95 = times[times.len() * 95 / 100];
    assert!(p95 < Duration::from_secs(10), "half within {:?}, 95 % within {p95:?}", times[times.len() / 2]);
}

#[test]
fn doubled_and_swapped_datagrams_do_no_harm() {
    let mut held: [Option<Vec<u8>>; 2] = [None, None];
    let mut pair = Pair::new().meddling(move |to_server, bytes| {
        let held = &mut held[usize::from(to_server)];
        match held.take() {
            Some(before) => vec![bytes.to_vec(), bytes.to_vec(), before],
            None if is_dtls(bytes) => {
                *held = Some(bytes.to_vec());
                vec![]
            }
            None => vec![bytes.to_vec()],
        }
    });
    assert!(pair.connects_within(Duration::from_secs(10)));
    pair.assert_media_flows();
}

#[test]
fn a_certificate_that_is_not_the_one_of_the_sdp_gets_no_keys() {
    let other = DtlsIdentity::generate().unwrap().fingerprint().clone();
    let mut pair = Pair::with(|ends| ends.server.remote_fingerprint = Some(other));
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.server_events, [TransportEvent::Closed(CloseReason::DtlsFailed)]);
    assert!(!pair.server.is_connected() && !pair.client.is_connected());
    assert_eq!(pair.server.protect_rtp(&[0x80; 12], b"x", &mut [0; 100]), None);
    assert_eq!(pair.server.next_timeout(), None);
}

#[test]
fn a_client_refuses_a_server_with_another_certificate() {
    let other = DtlsIdentity::generate().unwrap().fingerprint().clone();
    let mut pair = Pair::with(|ends| ends.client.remote_fingerprint = Some(other));
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.client_events, [TransportEvent::Closed(CloseReason::DtlsFailed)]);
    assert!(!pair.server.is_connected());
}

#[test]
fn every_kind_of_fingerprint_is_checked() {
    use super::certificate::FingerprintAlgorithm as A;
    for algorithm in [A::Sha1, A::Sha224, A::Sha256, A::Sha384, A::Sha512] {
        for right in [true, false] {
            let mut pair = Pair::with(|ends| {
                let der = ends.client_identity.certificate().certificate[0].as_ref();
                let mut fingerprint = Fingerprint::of(algorithm, der);
                fingerprint.bytes[5] ^= u8::from(!right);
                ends.server.remote_fingerprint = Some(fingerprint);
            });
            assert_eq!(pair.connects_within(Duration::from_secs(2)), right, "{algorithm:?}");
        }
    }
}

#[test]
fn an_answer_that_arrives_late_is_waited_for() {
    let mut answer = None;
    let mut pair = Pair::with(|ends| {
        answer = ends.server.remote.take().zip(ends.server.remote_fingerprint.take());
    });
    assert!(!pair.connects_within(Duration::from_secs(1)));
    assert_eq!(pair.server.path(), Some(server_path()), "checks are answered before the answer is here");
    let (remote, fingerprint) = answer.unwrap();
    assert!(pair.server.set_remote(remote, fingerprint));
    assert!(pair.connects_within(Duration::from_secs(3)));
    pair.assert_media_flows();
}

#[test]
fn an_answer_that_names_another_fragment_forgets_the_early_paths() {
    let mut fingerprint = None;
    let mut pair = Pair::with(|ends| {
        ends.server.remote = None;
        fingerprint = ends.server.remote_fingerprint.take();
    });
    pair.run(Duration::from_secs(1));
    assert!(pair.server.path().is_some());
    assert!(pair.server.set_remote(IceCredentials::random(), fingerprint.unwrap()));
    assert_eq!(pair.server.path(), None);
    assert!(!pair.connects_within(Duration::from_secs(3)));
}

#[test]
fn the_certificate_cannot_change_once_it_was_used() {
    let mut pair = Pair::new();
    assert!(pair.connects_within(Duration::from_secs(1)));
    let other = DtlsIdentity::generate().unwrap().fingerprint().clone();
    assert!(!pair.server.set_remote(IceCredentials::random(), other));
    pair.assert_media_flows();
}

#[test]
fn consent_ends_thirty_seconds_after_the_last_sign_of_life() {
    let mut pair = Pair::new();
    assert!(pair.connects_within(Duration::from_secs(1)));
    pair.run(Duration::from_secs(120));
    assert!(pair.server.is_connected() && pair.client.is_connected(), "consent is kept by checks alone");
    pair.meddle = Box::new(|_, _| vec![]);
    pair.run(Duration::from_secs(24));
    assert!(pair.server.is_connected());
    pair.run(Duration::from_secs(7));
    assert_eq!(pair.server_events.last(), Some(&TransportEvent::Closed(CloseReason::ConsentExpired)));
    assert_eq!(pair.client_events.last(), Some(&TransportEvent::Closed(CloseReason::ConsentExpired)));
}

#[test]
fn authenticated_media_is_a_sign_of_life_and_forged_media_is_not() {
    for genuine in [true, false] {
        let mut pair = Pair::new();
        assert!(pair.connects_within(Duration::from_secs(1)));
        pair.meddle = Box::new(|_, _| vec![]);
        for seq in 0..40 {
            let mut packet = pair.client_sends(seq, b"media");
            packet[20] ^= u8::from(!genuine);
            let opened = pair.server.unprotect_rtp(pair.now, server_path(), &mut packet);
            assert_eq!(opened.is_ok(), genuine && pair.server.is_connected());
            pair.run(Duration::from_secs(1));
            if !pair.client.is_connected() {
                break;
            }
        }
        assert_eq!(pair.server.is_connected(), genuine);
    }
}

#[test]
fn a_transport_that_never_connects_ends_after_thirty_seconds() {
    let mut pair = Pair::new().meddling(|_, bytes| if is_dtls(bytes) { vec![] } else { vec![bytes.to_vec()] });
    pair.run(Duration::from_secs(29));
    assert_eq!(pair.server_events, []);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.server_events, [TransportEvent::Closed(CloseReason::ConnectTimeout)]);
}

#[test]
fn a_close_is_seen_by_the_other_end_whichever_closes() {
    for server_closes in [true, false] {
        let mut pair = Pair::new();
        assert!(pair.connects_within(Duration::from_secs(1)));
        let mut out = Outbox::default();
        let now = pair.now;
        if server_closes {
            pair.server.close(now, &mut out)
        } else {
            pair.client.close(now, &mut out)
        }
        assert!(!out.datagrams.is_empty());
        pair.fly(!server_closes, out);
        pair.run(Duration::from_secs(1));
        let events = if server_closes { &pair.client_events } else { &pair.server_events };
        assert_eq!(events.last(), Some(&TransportEvent::Closed(CloseReason::ClosedByPeer)), "{server_closes}");
        assert!(!pair.server.is_connected() && !pair.client.is_connected());
    }
}

#[test]
fn dtls_from_an_unchecked_address_gets_no_answer() {
    let mut pair = Pair::new();
    let mut hellos = Vec::new();
    pair.meddle = Box::new(|_, bytes| if is_dtls(bytes) { vec![] } else { vec![bytes.to_vec()] });
    pair.run(Duration::from_millis(200));
    let mut out = Outbox::default();
    pair.now = pair.now + Duration::from_secs(1);
    pair.client.handle_timeout(pair.now, &mut out);
    hellos.extend(out.datagrams.into_iter().map(|(_, bytes)| bytes).filter(|bytes| is_dtls(bytes)));
    assert!(!hellos.is_empty());
    let stranger = Path { remote: "198.51.100.9:9".parse().unwrap(), ..server_path() };
    let mut out = Outbox::default();
    for hello in &hellos {
        assert_eq!(pair.server.handle_dtls(pair.now, stranger, hello, &mut out), Err(DropReason::UnknownPath));
    }
    assert!(out.datagrams.is_empty());
    // The same bytes from the checked address are answered.
    assert_eq!(pair.server.handle_dtls(pair.now, server_path(), &hellos[0], &mut out), Ok(None));
    assert!(!out.datagrams.is_empty() && out.datagrams[0].1.len() < hellos[0].len());
}

#[test]
fn media_from_an_unchecked_address_is_dropped() {
    let mut pair = Pair::new();
    assert!(pair.connects_within(Duration::from_secs(1)));
    let mut packet = pair.client_sends(1, b"media");
    let stranger = Path { remote: "198.51.100.9:9".parse().unwrap(), ..server_path() };
    let before = packet.clone();
    assert_eq!(pair.server.unprotect_rtp(pair.now, stranger, &mut packet), Err(DropReason::UnknownPath));
    assert_eq!(packet, before);
    let tcp = Path { via: Via::Tcp(1), ..server_path() };
    assert_eq!(pair.server.unprotect_rtp(pair.now, tcp, &mut packet), Err(DropReason::UnknownPath));
    assert!(pair.server.unprotect_rtp(pair.now, server_path(), &mut packet).is_ok());
    let mut again = before;
    assert_eq!(pair.server.unprotect_rtp(pair.now, server_path(), &mut again), Err(DropReason::SrtpReplay));
}

#[test]
fn media_before_the_keys_is_dropped() {
    let mut pair = Pair::new().meddling(|_, bytes| if is_dtls(bytes) { vec![] } else { vec![bytes.to_vec()] });
    pair.run(Duration::from_millis(200));
    let mut packet = [0x80; 40];
    assert_eq!(pair.server.unprotect_rtp(pair.now, server_path(), &mut packet), Err(DropReason::NoKeys));
    assert_eq!(pair.server.protect_rtp(&[0x80; 12], b"x", &mut [0; 64]), None);
    assert!(!pair.server.protect_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 7], &mut Vec::new()));
}

/// A ClientHello of a stranger who knows the addresses but receives nothing: no cookie can be in it but a guessed one.
fn forged_hello(seq: u8, cookie: &[u8], suites: &[u8]) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend_from_slice(&[seq; 32]);
    body.push(0);
    body.push(cookie.len() as u8);
    body.extend_from_slice(cookie);
    body.extend_from_slice(&(suites.len() as u16).to_be_bytes());
    body.extend_from_slice(suites);
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&[0, 9, 0, 14, 0, 5, 0, 2, 0, 7, 0]);
    let len = (body.len() as u32).to_be_bytes();
    let mut out = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, seq];
    out.extend_from_slice(&((12 + body.len()) as u16).to_be_bytes());
    out.push(1);
    out.extend_from_slice(&len[1..]);
    out.extend_from_slice(&[0, u8::from(!cookie.is_empty()), 0, 0, 0]);
    out.extend_from_slice(&len[1..]);
    out.extend_from_slice(&body);
    out
}

#[test]
fn forged_hellos_from_the_checked_address_do_not_stop_the_genuine_one() {
    // Between any two datagrams of the client there are forged ones: of unknown ciphers, of good ones, with cookies.
    let mut seq = 0;
    let mut pair = Pair::new().meddling(move |to_server, bytes| {
        let mut all = vec![bytes.to_vec()];
        if to_server && is_dtls(bytes) {
            seq += 1;
            all.insert(0, forged_hello(seq, &[], &[0x13, 0x37]));
            all.insert(1, forged_hello(seq, &[], &[0xc0, 0x2b]));
            all.push(forged_hello(seq, &[7; 20], &[0xc0, 0x2b]));
            // Alerts: fatal handshake_failure and close_notify, in the clear and as if encrypted.
            all.push(vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 1, seq, 0, 2, 2, 40]);
            all.push(vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 2, seq, 0, 2, 1, 0]);
            all.push([&[21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 2, seq, 0, 26][..], &[9; 26]].concat());
            // As if they were Finished, and as if keys had changed.
            let finished = [&[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 2, seq, 0, 48][..], &[9; 48]].concat();
            all.extend(vec![finished; 5]);
            all.push(vec![20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 3, seq, 0, 1, 1]);
        }
        all
    });
    assert!(pair.connects_within(Duration::from_secs(1)));
    pair.run(Duration::from_secs(10));
    assert!(pair.server.is_connected());
    pair.assert_media_flows();
}

#[test]
fn a_peer_may_begin_sixteen_handshakes_and_no_more() {
    let mut pair = Pair::new().meddling(|_, bytes| if is_dtls(bytes) { vec![] } else { vec![bytes.to_vec()] });
    pair.run(Duration::from_millis(200));
    let mut out = Outbox::default();
    let (now, path) = (pair.now, server_path());
    pair.server.handle_dtls(now, path, &forged_hello(0, &[], &[0xc0, 0x2b]), &mut out).unwrap();
    // Record, message and version are 27 bytes; then comes the cookie with its length.
    let cookie = out.datagrams[0].1[28..48].to_vec();
    for n in 1..=dtls::HANDSHAKES_MAX as u8 {
        out.datagrams.clear();
        let hello = forged_hello(n, &cookie, &[0xc0, 0x2b]);
        assert_eq!(pair.server.handle_dtls(now, path, &hello, &mut out), Ok(None), "{n}");
        assert!(!out.datagrams.is_empty());
    }
    out.datagrams.clear();
    let one_more = forged_hello(200, &cookie, &[0xc0, 0x2b]);
    assert_eq!(pair.server.handle_dtls(now, path, &one_more, &mut out), Err(DropReason::Malformed));
    assert!(out.datagrams.is_empty());
}

#[test]
fn a_hello_without_common_ground_begins_nothing() {
    let mut pair = Pair::new().meddling(|_, bytes| if is_dtls(bytes) { vec![] } else { vec![bytes.to_vec()] });
    pair.run(Duration::from_millis(200));
    let mut out = Outbox::default();
    let (now, path) = (pair.now, server_path());
    pair.server.handle_dtls(now, path, &forged_hello(0, &[], &[0xc0, 0x2b]), &mut out).unwrap();
    let cookie = out.datagrams[0].1[28..48].to_vec();
    // No cipher suite of ours, from a peer that does receive us: refused, and it may try again.
    let hello = forged_hello(1, &cookie, &[0x00, 0x2f]);
    assert_eq!(pair.server.handle_dtls(now, path, &hello, &mut out), Err(DropReason::Malformed));
    // No SRTP profile of ours: not even a cookie.
    let mut hello = forged_hello(2, &[], &[0xc0, 0x2b]);
    let last = hello.len();
    hello[last - 2] = 8;
    out.datagrams.clear();
    assert_eq!(pair.server.handle_dtls(now, path, &hello, &mut out), Err(DropReason::Malformed));
    assert!(out.datagrams.is_empty());
    pair.meddle = Box::new(|_, bytes| vec![bytes.to_vec()]);
    assert!(pair.connects_within(Duration::from_secs(3)));
}

#[test]
fn ten_thousand_fragments_do_not_stop_a_handshake() {
    let mut burst = 0u32;
    let mut pair = Pair::new().meddling(move |to_server, bytes| {
        let mut all = vec![bytes.to_vec()];
        if to_server && is_dtls(bytes) {
            for _ in 0..2_500 {
                burst += 1;
                // One byte of a long message: certificates, key exchanges, hellos of changing numbers and lengths.
                let kind = [11, 16, 15, 1, 14][burst as usize % 5];
                let total = (burst.wrapping_mul(37) % 9_000 + 1).to_be_bytes();
                let mut out = vec![22, 0xfe, 0xfd, 0, 0, 0, 0];
                out.extend_from_slice(&(burst + 1_000).to_be_bytes());
                out.extend_from_slice(&[0, 13, kind, total[1], total[2], total[3], 0, (burst % 7) as u8]);
                out.extend_from_slice(&[0, 0, (burst % 200) as u8, 0, 0, 1, 0xAA]);
                all.push(out);
            }
        }
        all
    });
    assert!(pair.connects_within(Duration::from_secs(10)));
    pair.assert_media_flows();
}

#[test]
fn a_repeated_last_flight_is_answered_and_not_without_end() {
    let mut last = Vec::new();
    let mut pair = Pair::new();
    let (sender, kept) = std::sync::mpsc::channel();
    pair.meddle = Box::new(move |to_server, bytes| {
        if to_server && is_dtls(bytes) {
            sender.send(bytes.to_vec()).unwrap();
        }
        vec![bytes.to_vec()]
    });
    assert!(pair.connects_within(Duration::from_secs(1)));
    last.extend(kept.try_iter().last());
    let mut answers = 0;
    for _ in 0..200 {
        pair.now = pair.now + Duration::from_millis(100);
        let mut out = Outbox::default();
        assert_eq!(pair.server.handle_dtls(pair.now, server_path(), &last[0], &mut out), Ok(None));
        answers += out.datagrams.len();
    }
    assert!((1..=64).contains(&answers), "{answers}");
    pair.assert_media_flows();
}

#[test]
fn rubbish_of_every_first_byte_and_length_changes_nothing() {
    let mut pair = Pair::new();
    assert!(pair.connects_within(Duration::from_secs(1)));
    let mut waiting = Pair::new();
    waiting.run(Duration::from_millis(30));
    let mut out = Outbox::default();
    for pair in [&mut pair, &mut waiting] {
        for len in 1..=60 {
            for first in 0..=255u8 {
                for fill in [0, 1, 0xfe, 0xff] {
                    let mut junk = vec![fill; len];
                    junk[0] = first;
                    let (now, path) = (pair.now, server_path());
                    assert_eq!(pair.server.handle_stun(now, path, &junk, &mut out).ok().flatten(), None);
                    assert_eq!(pair.server.handle_dtls(now, path, &junk, &mut out).ok().flatten(), None);
                    assert!(pair.server.unprotect_rtp(now, path, &mut junk.clone()).is_err());
                    assert!(pair.server.unprotect_rtcp(now, path, &mut junk).is_err());
                }
            }
        }
    }
    assert!(out.datagrams.is_empty());
    pair.assert_media_flows();
    assert!(waiting.connects_within(Duration::from_secs(2)));
}

#[test]
fn protocols_are_told_apart_by_the_first_byte() {
    for byte in 0..=255 {
        let expected = match byte {
            0..=3 => Protocol::Stun,
            20..=63 => Protocol::Dtls,
            128..=191 => Protocol::Rtp,
            _ => Protocol::Unknown,
        };
        assert_eq!(classify(byte), expected);
    }
}
