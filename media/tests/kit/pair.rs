//! A server's transport and its client's, connected in memory. For tests and benches.

use std::{sync::Arc, time::Duration};

use media::{
    transport::{
        DtlsIdentity, DtlsRole, IceCredentials, IceRole, Outbox, Path, Protocol, Transport, TransportParams, Via,
        classify,
    },
    units::time::Time,
};

/// Virtual time until a pair that has not connected never will.
const CONNECT_MS: u64 = 2_000;

/// Both ends of a connection.
pub struct Pair {
    pub server: Transport,
    pub client: Transport,
}

impl Pair {
    /// Connects; `now` moves on. `identities`: the server's and the client's.
    pub fn connect(now: &mut Time, identities: &[Arc<DtlsIdentity>; 2]) -> Pair {
        let (ours, theirs) = (IceCredentials::random(), IceCredentials::random());
        let server = TransportParams {
            remote: Some(theirs.clone()),
            remote_fingerprint: Some(identities[1].fingerprint().clone()),
            ..TransportParams::server(ours.clone())
        };
        let client = TransportParams {
            remote: Some(ours),
            remote_fingerprint: Some(identities[0].fingerprint().clone()),
            dtls_role: DtlsRole::Client,
            ice_role: IceRole::Controlling { remote_candidate: at_client().remote },
            ..TransportParams::server(theirs)
        };
        let mut pair = Pair {
            server: Transport::new(*now, identities[0].clone(), server),
            client: Transport::new(*now, identities[1].clone(), client),
        };
        let (mut from_server, mut from_client) = (Outbox::default(), Outbox::default());
        for _ in 0..CONNECT_MS {
            if pair.server.is_connected() && pair.client.is_connected() {
                return pair;
            }
            pair.client.handle_timeout(*now, &mut from_client);
            pair.server.handle_timeout(*now, &mut from_server);
            for (_, bytes) in std::mem::take(&mut from_client.datagrams) {
                take(&mut pair.server, *now, at_server(), &bytes, &mut from_server);
            }
            for (_, bytes) in std::mem::take(&mut from_server.datagrams) {
                take(&mut pair.client, *now, at_client(), &bytes, &mut from_client);
            }
            *now = *now + Duration::from_millis(1);
        }
        panic!("the pair did not connect");
    }
}

/// The path of what the client sends, as the server sees it.
pub fn at_server() -> Path {
    path("192.0.2.2:5000", "192.0.2.1")
}

/// The path of what the server sends, as the client sees it.
pub fn at_client() -> Path {
    path("192.0.2.1:8000", "192.0.2.2")
}

fn path(remote: &str, local: &str) -> Path {
    Path { remote: remote.parse().expect("an address"), local_ip: local.parse().expect("an address"), via: Via::Udp }
}

fn take(to: &mut Transport, now: Time, path: Path, bytes: &[u8], out: &mut Outbox) {
    let _ = match classify(bytes[0]) {
        Protocol::Stun => to.handle_stun(now, path, bytes, out).map(|_| ()),
        _ => to.handle_dtls(now, path, bytes, out).map(|_| ()),
    };
}
