//! `heartbeat`: says that the client lives, and asks for the time.

use serde::Serialize;

use super::Answered;
use crate::message::OkBody;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heartbeat {}

impl Heartbeat {
    pub(super) fn apply(self, unix_ms: u64) -> Answered {
        Ok(Some(OkBody::Heartbeat { now: unix_ms }))
    }
}
