//! Which addresses of ours a client is told.

use std::net::{IpAddr, SocketAddr};

use crate::{config::MediaConfig, sdp::Candidate};

/// Addresses told to one client. Each costs it checks; a machine with more is one with many container bridges.
const ADDRESSES_MAX: usize = 8;

/// ICE candidates for a shard at `addr`: UDP and TCP on each address, best first. The address by which the client reached
/// our signaling leads, for that one is known to work for it.
pub fn candidates(config: &MediaConfig, addr: SocketAddr, reached_at: Option<IpAddr>) -> Vec<Candidate> {
    let mut ips: Vec<IpAddr> = Vec::new();
    let mut add = |ip: IpAddr| {
        let fits = ip.is_ipv4() == addr.is_ipv4() && !ip.is_unspecified();
        if fits && !ips.contains(&ip) && ips.len() < ADDRESSES_MAX {
            ips.push(ip);
        }
    };
    if !config.bind.is_unspecified() {
        add(config.bind);
    } else {
        if let Some(ip) = reached_at.map(|ip| ip.to_canonical()) {
            add(ip);
        }
        if config.public_ips.is_empty() {
            let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
            interfaces.iter().filter(|i| !i.is_loopback()).for_each(|i| add(i.ip()));
        }
    }
    config.public_ips.iter().copied().for_each(&mut add);
    if ips.is_empty() {
        // Only loopback is left: a machine without network, or a test.
        ips.push(if addr.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
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

/// RFC 8445 §5.1.2.1, for component 1; `rank` 0 is the best address.
fn priority(type_preference: u32, rank: usize) -> u32 {
    let local_preference = 65_535 - rank as u32;
    (type_preference << 24) | (local_preference << 8) | 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_by_which_the_client_came_leads() {
        let config = MediaConfig { public_ips: vec![[203, 0, 113, 7].into()], ..MediaConfig::default() };
        let list = candidates(&config, ([0, 0, 0, 0], 8000).into(), Some([192, 168, 1, 5].into()));
        let told: Vec<(SocketAddr, bool)> = list.iter().map(|c| (c.addr, c.tcp)).collect();
        let (lan, wan): (SocketAddr, SocketAddr) = (([192, 168, 1, 5], 8000).into(), ([203, 0, 113, 7], 8000).into());
        assert_eq!(told, [(lan, false), (wan, false), (lan, true), (wan, true)]);
        assert!(list.windows(2).all(|pair| pair[0].priority > pair[1].priority));
    }

    #[test]
    fn a_server_bound_to_one_address_tells_only_that() {
        let config = MediaConfig { bind: [127, 0, 0, 1].into(), ..MediaConfig::default() };
        let list = candidates(&config, ([127, 0, 0, 1], 8000).into(), Some([192, 168, 1, 5].into()));
        assert!(list.iter().all(|c| c.addr == SocketAddr::from(([127, 0, 0, 1], 8000))));
    }
}
