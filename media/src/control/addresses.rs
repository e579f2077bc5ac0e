//! Which addresses of ours a client is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{config::MediaConfig, sdp::Candidate};

/// Addresses told to one client. Each costs it checks; a machine with more is one with many container bridges.
const ADDRESSES_MAX: usize = 8;

/// ICE candidates for a shard at `addr`: UDP and TCP on each address, best first.
///
/// The address by which the client reached our signaling leads, for that one is known to work for it. The configured public
/// addresses and those of the interfaces follow: a client in our own network may not reach the public one (few routers
/// turn back what is meant for themselves), and one from outside does not reach the others. Who came by a public address
/// is outside, and is not told the private ones where the public ones are configured.
pub fn candidates(config: &MediaConfig, addr: SocketAddr, reached_at: Option<IpAddr>) -> Vec<Candidate> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let interfaces: Vec<IpAddr> = interfaces.iter().map(|interface| interface.ip()).collect();
    candidates_among(config, addr, reached_at, &interfaces)
}

fn candidates_among(
    config: &MediaConfig,
    addr: SocketAddr,
    reached_at: Option<IpAddr>,
    interfaces: &[IpAddr],
) -> Vec<Candidate> {
    let mut ips: Vec<IpAddr> = Vec::new();
    let both_families = addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let mut add = |ip: IpAddr| {
        let fits = (both_families || ip.is_ipv4() == addr.is_ipv4()) && !ip.is_unspecified();
        if fits && !ips.contains(&ip) && ips.len() < ADDRESSES_MAX {
            ips.push(ip);
        }
    };
    let reached_at = reached_at.map(|ip| ip.to_canonical()).filter(|_| config.bind.is_unspecified());
    reached_at.into_iter().for_each(&mut add);
    let public = config.public_ips.iter().copied();
    if reached_at.is_none() {
        public.clone().for_each(&mut add);
    }
    if !config.bind.is_unspecified() {
        add(config.bind);
    } else {
        let outside = !config.public_ips.is_empty() && reached_at.is_some_and(is_global);
        let told = |ip: &IpAddr| !ip.is_loopback() && !is_link_local(*ip) && (!outside || is_global(*ip));
        interfaces.iter().copied().filter(told).for_each(&mut add);
    }
    public.for_each(&mut add);
    if ips.is_empty() {
        // Only loopback is left: a machine without network, or a test.
        let v4 = addr.is_ipv4() || both_families;
        ips.push(if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let mut list = Vec::new();
    for (i, &ip) in ips.iter().enumerate() {
        let addr = SocketAddr::new(ip, addr.port());
        list.push(Candidate { addr, tcp: false, priority: priority(126, i) });
    }
    for (i, &ip) in ips.iter().enumerate() {
        let addr = SocketAddr::new(ip, addr.port());
        list.push(Candidate { addr, tcp: true, priority: priority(90, i) });
    }
    list
}

/// Whether an address means the same machine everywhere: not private, shared, link-local, loopback or unique local.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || (a == 100 && (64..128).contains(&b)))
        }
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unique_local(),
    }
}

/// Of no use without naming the interface, which a candidate cannot.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// RFC 8445 §5.1.2.1, for component 1; `rank` 0 is the best address.
fn priority(type_preference: u32, rank: usize) -> u32 {
    let local_preference = 65_535 - rank as u32;
    (type_preference << 24) | (local_preference << 8) | 255
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The addresses told, of a machine with a LAN address of either family, a link-local one and a container bridge.
    fn told(public: &[&str], bind: &str, reached_at: Option<&str>) -> Vec<String> {
        let interfaces = ["127.0.0.1", "192.168.1.5", "fe80::1", "fd00::5", "172.17.0.1", "::1"].map(ip);
        let config = MediaConfig {
            public_ips: public.iter().map(|p| ip(p)).collect(),
            bind: ip(bind),
            ..MediaConfig::default()
        };
        let list = candidates_among(&config, SocketAddr::new(config.bind, 8000), reached_at.map(ip), &interfaces);
        assert!(list.windows(2).all(|pair| pair[0].priority > pair[1].priority));
        let (udp, tcp) = list.split_at(list.len() / 2);
        assert!(udp.iter().zip(tcp).all(|(u, t)| u.addr == t.addr && !u.tcp && t.tcp && u.addr.port() == 8000));
        udp.iter().map(|c| c.addr.ip().to_string()).collect()
    }

    #[test]
    fn a_client_in_the_lan_is_told_the_lan_and_the_public_address() {
        let all = ["192.168.1.5", "fd00::5", "172.17.0.1", "203.0.113.7"];
        assert_eq!(told(&["203.0.113.7"], "::", Some("192.168.1.5")), all);
    }

    #[test]
    fn a_client_from_outside_is_told_only_what_it_can_reach() {
        assert_eq!(told(&["203.0.113.7", "2001:db8::7"], "::", Some("203.0.113.7")), ["203.0.113.7", "2001:db8::7"]);
    }

    #[test]
    fn a_client_that_came_by_a_name_is_told_the_public_address_first() {
        let all = ["203.0.113.7", "192.168.1.5", "fd00::5", "172.17.0.1"];
        assert_eq!(told(&["203.0.113.7"], "::", None), all);
    }

    #[test]
    fn without_public_addresses_the_interfaces_are_told_and_the_one_reached_leads() {
        assert_eq!(told(&[], "::", Some("fd00::5")), ["fd00::5", "192.168.1.5", "172.17.0.1"]);
        assert_eq!(told(&[], "::", Some("127.0.0.1")), ["127.0.0.1", "192.168.1.5", "fd00::5", "172.17.0.1"]);
        assert_eq!(told(&[], "::", Some("::ffff:192.168.1.5"))[0], "192.168.1.5");
    }

    #[test]
    fn a_server_of_one_family_tells_no_address_of_the_other() {
        assert_eq!(told(&["2001:db8::7"], "0.0.0.0", Some("fd00::5")), ["192.168.1.5", "172.17.0.1"]);
    }

    #[test]
    fn a_server_bound_to_one_address_tells_that_and_what_is_configured() {
        assert_eq!(told(&[], "127.0.0.1", Some("192.168.1.5")), ["127.0.0.1"]);
        assert_eq!(told(&["203.0.113.7"], "192.168.1.5", Some("203.0.113.7")), ["203.0.113.7", "192.168.1.5"]);
    }

    #[test]
    fn at_most_eight_addresses_are_told() {
        let many: Vec<String> = (1..=20).map(|n| format!("203.0.113.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(told(&many, "::", None).len(), ADDRESSES_MAX);
    }

    #[test]
    fn a_machine_without_network_is_on_loopback() {
        let config = MediaConfig::default();
        let list = candidates_among(&config, ([0, 0, 0, 0], 8000).into(), None, &[ip("127.0.0.1")]);
        assert_eq!(list[0].addr.to_string(), "127.0.0.1:8000");
    }
}
