//! What the room services may be asked for. The vendor's `config.js` has words for most of it; they are named here.

use std::time::Duration;

/// Settings of the room services. [`Default`] has the vendor's figures.
#[derive(Clone, Debug)]
pub struct RoomServiceConfig {
    /// Whether `/weapp` and `/webrtc/weapp` are served. Default: yes.
    pub enabled: bool,
    /// Pushers of a room of `double_room`. Default 2.
    pub double_members: usize,
    /// Pushers of a room of `multi_room` (`maxMembers`). Default 4.
    pub multi_members: usize,
    /// Pushers of a room of `live_room`. Default 4.
    pub live_members: usize,
    /// Viewers of a live room that are listed (`maxAudiencesLen`). Default 30.
    pub audiences: usize,
    /// A pusher who gave no sign of life for this long and sends nothing is gone (`heartBeatTimeout`). Default 20 s.
    pub heartbeat_within: Duration,
    /// A room that nobody entered is gone after this (`maxIdleDuration`). Default 30 s.
    pub idle_within: Duration,
    /// Bytes of `roomInfo`. Default 1,024.
    pub room_info_bytes: usize,
    /// How long push and play URLs are good (`validTime`). Default seven days.
    pub url_life: Duration,
    /// Users who are logged in at once, of all apps. Default 100,000.
    pub logins: usize,
}

impl Default for RoomServiceConfig {
    fn default() -> Self {
        RoomServiceConfig {
            enabled: true,
            double_members: 2,
            multi_members: 4,
            live_members: 4,
            audiences: 30,
            heartbeat_within: Duration::from_secs(20),
            idle_within: Duration::from_secs(30),
            room_info_bytes: 1024,
            url_life: Duration::from_secs(604_800),
            logins: 100_000,
        }
    }
}
