//! What a join costs a shard before the first packet, and for how long one step of it holds packets up:
//! `cargo bench -p media --bench handshake`.
//!
//! CPU time of the thread that a server's transport spends on each datagram of ICE and DTLS, over many connections. The
//! longest single step is what forwarding waits for, since a shard takes datagrams one after the other.

use std::{hint::black_box, sync::Arc, time::Duration};

use media::{
    transport::{
        DtlsIdentity, DtlsRole, IceCredentials, IceRole, Outbox, Path, Protocol, Transport, TransportParams, Via,
        classify,
    },
    units::time::Time,
};

const JOINS: usize = 300;

fn main() {
    // `cargo test --benches` passes arguments of its own; there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let [ours, theirs] = [(); 2].map(|()| Arc::new(DtlsIdentity::generate().expect("a certificate")));
    let (mut totals, mut longest, mut stun, mut made) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..JOINS {
        let join = join(&ours, &theirs);
        made.push(join.made_us);
        stun.push(join.stun_us);
        totals.push(join.dtls_us.iter().sum::<f64>());
        longest.push(join.dtls_us.iter().copied().fold(0.0, f64::max));
    }
    println!("{JOINS} joins, server's thread CPU time in us      median      p99");
    for (what, mut values) in [
        ("making the transport", made),
        ("ICE checks", stun),
        ("DTLS, all datagrams", totals),
        ("DTLS, the longest datagram", longest),
    ] {
        values.sort_by(f64::total_cmp);
        println!("{what:<40} {:>10.1} {:>10.1}", values[values.len() / 2], values[values.len() * 99 / 100]);
    }
}

struct Join {
    made_us: f64,
    stun_us: f64,
    /// One for each datagram.
    dtls_us: Vec<f64>,
}

fn join(ours: &Arc<DtlsIdentity>, theirs: &Arc<DtlsIdentity>) -> Join {
    let mut now = Time::from_millis(1_000);
    let path = |remote: &str, local: &str| Path {
        remote: remote.parse().expect("an address"),
        local_ip: local.parse().expect("an address"),
        via: Via::Udp,
    };
    let (at_server, at_client) = (path("192.0.2.2:5000", "192.0.2.1"), path("192.0.2.1:8000", "192.0.2.2"));
    let (ours_ice, theirs_ice) = (IceCredentials::random(), IceCredentials::random());
    let server = TransportParams {
        remote: Some(theirs_ice.clone()),
        remote_fingerprint: Some(theirs.fingerprint().clone()),
        ..TransportParams::server(ours_ice.clone())
    };
    let client = TransportParams {
        remote: Some(ours_ice),
        remote_fingerprint: Some(ours.fingerprint().clone()),
        dtls_role: DtlsRole::Client,
        ice_role: IceRole::Controlling { remote_candidate: at_client.remote },
        ..TransportParams::server(theirs_ice)
    };
    let before = cpu_us();
    let mut server = Transport::new(now, ours.clone(), server);
    let mut join = Join { made_us: cpu_us() - before, stun_us: 0.0, dtls_us: Vec::new() };
    let mut client = Transport::new(now, theirs.clone(), client);
    let (mut from_server, mut from_client) = (Outbox::default(), Outbox::default());
    while !(server.is_connected() && client.is_connected()) {
        client.handle_timeout(now, &mut from_client);
        for (_, bytes) in std::mem::take(&mut from_client.datagrams) {
            let before = cpu_us();
            let stun = classify(bytes[0]) == Protocol::Stun;
            let _ = match stun {
                true => server.handle_stun(now, at_server, &bytes, &mut from_server).map(|_| ()),
                false => server.handle_dtls(now, at_server, &bytes, &mut from_server).map(|_| ()),
            };
            let took = cpu_us() - before;
            if stun {
                join.stun_us += took;
            } else {
                join.dtls_us.push(took);
            }
        }
        for (_, bytes) in std::mem::take(&mut from_server.datagrams) {
            let _ = match classify(bytes[0]) {
                Protocol::Stun => client.handle_stun(now, at_client, &bytes, &mut from_client).map(|_| ()),
                _ => client.handle_dtls(now, at_client, &bytes, &mut from_client).map(|_| ()),
            };
        }
        now = now + Duration::from_millis(1);
        assert!(now < Time::from_millis(5_000), "the pair connects");
    }
    black_box(&server);
    join
}

/// CPU time of this thread, in microseconds.
fn cpu_us() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one live timespec, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
