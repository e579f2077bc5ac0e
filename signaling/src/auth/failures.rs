//! Counts refused tickets per address, so that guessing costs time.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long failures are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered at once. When they are full, those whose minute is over are forgotten, and if none is, the new one
/// is not counted: a flood from everywhere must not grow memory, and is not guessing.
const ADDRESSES_MAX: usize = 10_000;

/// Recent failures by address. IPv6 addresses count by their /64, which is what one customer has.
#[derive(Default)]
pub struct Failures(HashMap<IpAddr, (Instant, u32)>);

impl Failures {
    /// Whether `limit` failures came from this address within its minute.
    pub fn is_locked(&self, now: Instant, remote: IpAddr, limit: u32) -> bool {
        let recent = self.0.get(&bucket(remote)).filter(|(since, _)| now.duration_since(*since) < WINDOW);
        recent.is_some_and(|(_, count)| *count >= limit)
    }

    /// Counts one failure. Loopback is not counted: a reverse proxy's clients all come from there.
    pub fn count(&mut self, now: Instant, remote: IpAddr) {
        if remote.to_canonical().is_loopback() {
            return;
        }
        if self.0.len() >= ADDRESSES_MAX {
            self.0.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&bucket(remote)) {
            return;
        }
        let (since, count) = self.0.entry(bucket(remote)).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }
}

fn bucket(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::V6(octets.into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_locked_at_the_limit_until_its_minute_is_over() {
        let (mut failures, start, remote) = (Failures::default(), Instant::now(), IpAddr::from([192, 0, 2, 1]));
        for _ in 0..19 {
            failures.count(start, remote);
        }
        assert!(!failures.is_locked(start, remote, 20));
        failures.count(start, remote);
        assert!(failures.is_locked(start, remote, 20));
        assert!(!failures.is_locked(start, IpAddr::from([192, 0, 2, 2]), 20));
        assert!(failures.is_locked(start + WINDOW - Duration::from_millis(1), remote, 20));
        assert!(!failures.is_locked(start + WINDOW, remote, 20));
        failures.count(start + WINDOW, remote);
        assert!(!failures.is_locked(start + WINDOW, remote, 20));
    }

    #[test]
    fn a_64_of_ipv6_is_one_address_and_loopback_is_none() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.count(now, "2001:db8::1".parse().unwrap());
        assert!(failures.is_locked(now, "2001:db8::2".parse().unwrap(), 1));
        assert!(!failures.is_locked(now, "2001:db8:0:1::1".parse().unwrap(), 1));
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            failures.count(now, loopback.parse().unwrap());
            assert!(!failures.is_locked(now, loopback.parse().unwrap(), 1), "{loopback}");
        }
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for n in 0..ADDRESSES_MAX as u32 + 10 {
            failures.count(now, IpAddr::V4((n + (10 << 24)).into()));
        }
        assert_eq!(failures.0.len(), ADDRESSES_MAX);
        failures.count(now + WINDOW, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(failures.0.len(), 1);
    }
}
