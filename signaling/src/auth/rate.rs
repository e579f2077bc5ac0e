//! Counts what somebody did within a minute: refused tickets of an address, joins of a user.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long things are counted together.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Those remembered at once. When they are full, those whose minute is over are forgotten, and if none is, a new one is not
/// counted: a flood from everywhere must not grow memory, and is not what this is against.
const KEYS_MAX: usize = 10_000;

/// Recent counts by key.
#[derive(Debug)]
pub struct PerMinute<K>(HashMap<K, (Instant, u32)>);

impl<K> Default for PerMinute<K> {
    fn default() -> Self {
        PerMinute(HashMap::new())
    }
}

impl<K: Eq + Hash> PerMinute<K> {
    /// Whether `limit` things were counted within the minute.
    pub fn is_full(&self, now: Instant, key: &K, limit: u32) -> bool {
        let recent = self.0.get(key).filter(|(since, _)| now.duration_since(*since) < WINDOW);
        recent.is_some_and(|(_, count)| *count >= limit)
    }

    pub fn count(&mut self, now: Instant, key: K) {
        if self.0.len() >= KEYS_MAX {
            self.0.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        if self.0.len() >= KEYS_MAX && !self.0.contains_key(&key) {
            return;
        }
        let (since, count) = self.0.entry(key).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }
}

/// By what an address is counted: IPv6 by its /64, which is what one customer has. `None` for loopback, which is not counted:
/// a reverse proxy's clients all come from there.
pub fn counted_address(remote: IpAddr) -> Option<IpAddr> {
    match remote.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            Some(IpAddr::V6(octets.into()))
        }
        v4 => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reached_the_limit_is_full_until_his_minute_is_over() {
        let (mut counts, start) = (PerMinute::default(), Instant::now());
        for _ in 0..19 {
            counts.count(start, "a");
        }
        assert!(!counts.is_full(start, &"a", 20));
        counts.count(start, "a");
        assert!(counts.is_full(start, &"a", 20));
        assert!(!counts.is_full(start, &"b", 20));
        assert!(counts.is_full(start + WINDOW - Duration::from_millis(1), &"a", 20));
        assert!(!counts.is_full(start + WINDOW, &"a", 20));
        counts.count(start + WINDOW, "a");
        assert!(!counts.is_full(start + WINDOW, &"a", 20));
    }

    #[test]
    fn a_64_of_ipv6_is_one_address_and_loopback_is_none() {
        let of = |text: &str| counted_address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(loopback), None, "{loopback}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut counts, now) = (PerMinute::default(), Instant::now());
        for n in 0..KEYS_MAX + 10 {
            counts.count(now, n);
        }
        assert_eq!(counts.0.len(), KEYS_MAX);
        counts.count(now + WINDOW, 0);
        assert_eq!(counts.0.len(), 1);
    }
}
