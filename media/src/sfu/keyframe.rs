//! One publisher, many who want a key frame: merged into as few requests as possible.

use std::time::Duration;

use crate::units::time::Time;

/// Decides when a key frame is asked of one publisher.
#[derive(Clone, Debug)]
pub struct KeyFrameRequests {
    /// Least time between two requests. Shorter costs the publisher bitrate, longer costs newcomers time.
    interval: Duration,
    wanted: bool,
    asked_at: Option<Time>,
}

impl KeyFrameRequests {
    pub fn new(interval: Duration) -> Self {
        KeyFrameRequests { interval, wanted: false, asked_at: None }
    }

    /// Somebody cannot go on without a key frame.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// A key frame came: whoever waited has it.
    pub fn satisfied(&mut self) {
        self.wanted = false;
    }

    /// Whether to send a request now. One is repeated each interval until a key frame comes.
    pub fn poll(&mut self, now: Time) -> bool {
        let due = self.wanted && self.asked_at.is_none_or(|at| now >= at + self.interval);
        if due {
            self.asked_at = Some(now);
        }
        due
    }

    /// When to poll next; `None` while nobody waits.
    pub fn next_timeout(&self) -> Option<Time> {
        self.wanted.then(|| self.asked_at.map_or(Time::ZERO, |at| at + self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_who_want_a_key_frame_cost_one_request_each_interval() {
        let mut requests = KeyFrameRequests::new(Duration::from_millis(500));
        let mut sent = 0;
        for ms in 0..1000 {
            for _ in 0..40 {
                requests.want();
            }
            sent += u32::from(requests.poll(Time::from_millis(10_000 + ms)));
        }
        assert_eq!(sent, 2);
    }

    #[test]
    fn a_request_is_repeated_until_a_key_frame_comes() {
        let mut requests = KeyFrameRequests::new(Duration::from_millis(500));
        requests.want();
        assert!(requests.poll(Time::from_millis(1)));
        assert_eq!(requests.next_timeout(), Some(Time::from_millis(501)));
        assert!(requests.poll(Time::from_millis(501)));
        requests.satisfied();
        assert!(!requests.poll(Time::from_millis(2000)));
        assert_eq!(requests.next_timeout(), None);
    }
}
