//! A client whose address changes: what finds it, what moves its path, and what moves nothing.

use std::time::Duration;

use super::{
    transport_test::{Pair, server_path},
    *,
};
use crate::drop_reason::DropReason;

const QUIET: Duration = Duration::from_millis(200);

fn elsewhere() -> Path {
    Path { remote: "198.51.100.9:9".parse().unwrap(), ..server_path() }
}

fn connected() -> Pair {
    let mut pair = Pair::new();
    assert!(pair.connects_within(Duration::from_secs(1)));
    let mut first = pair.client_sends(1, b"media");
    pair.server.unprotect_rtp(pair.now, server_path(), &mut first).unwrap();
    let mut report = pair.client_reports();
    pair.server.unprotect_rtcp(pair.now, server_path(), &mut report).unwrap();
    pair
}

/// What the shard does with a packet from an address that it does not know.
fn arrives(pair: &mut Pair, path: Path, packet: &[u8], rtcp: bool) -> bool {
    let found = pair.server.may_recognise(pair.now, packet, rtcp) && pair.server.recognises(&mut packet.to_vec(), rtcp);
    if found {
        pair.server.adopt_path(pair.now, path);
    }
    found
}

#[test]
fn media_from_a_new_address_moves_the_path() {
    for rtcp in [false, true] {
        let mut pair = connected();
        pair.now = pair.now + QUIET;
        let mut packet = if rtcp { pair.client_reports() } else { pair.client_sends(2, b"media") };
        assert!(arrives(&mut pair, elsewhere(), &packet, rtcp));
        assert_eq!(pair.server.path(), Some(elsewhere()));
        let opened = match rtcp {
            true => pair.server.unprotect_rtcp(pair.now, elsewhere(), &mut packet),
            false => pair.server.unprotect_rtp(pair.now, elsewhere(), &mut packet),
        };
        assert!(opened.is_ok(), "what found it is still good as a packet: {opened:?}");
    }
}

#[test]
fn a_client_that_is_heard_where_it_was_is_not_looked_for() {
    let mut pair = connected();
    pair.now = pair.now + QUIET - Duration::from_millis(1);
    let packet = pair.client_sends(2, b"media");
    assert!(!arrives(&mut pair, elsewhere(), &packet, false));
}

#[test]
fn f5_u8_nothing_without_valid_integrity_moves_the_path() {
    let mut pair = connected();
    pair.now = pair.now + Duration::from_secs(5);
    let (rtp, rtcp) = (pair.client_sends(2, b"media"), pair.client_reports());
    for (good, is_rtcp) in [(rtp, false), (rtcp, true)] {
        for bit in 0..good.len() * 8 {
            let mut forged = good.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!arrives(&mut pair, elsewhere(), &forged, is_rtcp), "bit {bit} of {}", good.len());
        }
        for len in 0..good.len() {
            assert!(!arrives(&mut pair, elsewhere(), &good[..len], is_rtcp), "{len} of {} bytes", good.len());
        }
    }
    assert_eq!(pair.server.path(), Some(server_path()));
    assert_eq!(pair.server.unprotect_rtp(pair.now, elsewhere(), &mut [0x80; 60]), Err(DropReason::UnknownPath));
}

#[test]
fn u9_a_copy_of_an_old_packet_moves_nothing() {
    let mut pair = connected();
    let late = pair.client_sends(2, b"never arrived");
    let (seen, seen_report) = (pair.client_sends(3, b"seen"), pair.client_reports());
    pair.server.unprotect_rtp(pair.now, server_path(), &mut seen.clone()).unwrap();
    pair.server.unprotect_rtcp(pair.now, server_path(), &mut seen_report.clone()).unwrap();
    pair.now = pair.now + Duration::from_secs(5);
    for (packet, rtcp) in [(&late, false), (&seen, false), (&seen_report, true)] {
        assert!(!arrives(&mut pair, elsewhere(), packet, rtcp));
    }
    assert_eq!(pair.server.path(), Some(server_path()));
}

#[test]
fn u9_a_packet_of_another_session_moves_nothing() {
    let (mut pair, mut other) = (connected(), connected());
    pair.now = pair.now + Duration::from_secs(5);
    let (rtp, rtcp) = (other.client_sends(2, b"media"), other.client_reports());
    assert!(!arrives(&mut pair, elsewhere(), &rtp, false));
    assert!(!arrives(&mut pair, elsewhere(), &rtcp, true));
}
