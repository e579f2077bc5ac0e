//! A server in this process on free ports, with keys of its own, and with a second app that is strict.

use std::{fs, net::SocketAddr, path::PathBuf};

use roomcast::{
    Server,
    config::Config,
    ticket::{self, Ticket},
};
use signaling::{AppConfig, Privilege, RoomName, TicketVersion};
use tempfile::TempDir;

/// An app that wants a privateMapKey for entering and a ticket for playing.
pub const STRICT_APP: u32 = 1_400_000_777;
pub const STRICT_SECRET: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
/// What signs its URLs.
pub const STRICT_PUSH_KEY: &str = "4f1d2c3b5a69788796a5b4c3d2e1f001";

/// A running server; its folder goes away with it.
pub struct TestServer {
    pub server: Server,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub rtmp: SocketAddr,
    folder: TempDir,
}

impl TestServer {
    /// Starts on loopback; `set` are further `section.key=value` texts.
    pub async fn start(set: &[&str]) -> TestServer {
        TestServer::start_with("", set).await
    }

    /// The same, with further text in the file of settings.
    pub async fn start_with(more: &str, set: &[&str]) -> TestServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("roomcast.toml");
        let strict = format!(
            "[[app]]\nsdk_app_id = {STRICT_APP}\nsecret = \"{STRICT_SECRET}\"\n\
             private_map_key = \"required\"\nplay = \"ticket\"\n\
             push_key = \"{STRICT_PUSH_KEY}\"\nbizid = \"8888\"\nrelay_private = true\n{more}"
        );
        fs::write(&file, strict).expect("the file is written");
        let data = format!("server.data_folder={}", folder.path().join("data").display());
        let ours = [
            data.as_str(),
            "http.listen=127.0.0.1:0",
            "https.listen=127.0.0.1:0",
            "rtmp.listen=127.0.0.1:0",
            "media.bind=127.0.0.1",
            "media.first_port=0",
            "media.shards=1",
        ];
        let set: Vec<String> = ours.iter().chain(set).map(|text| (*text).to_owned()).collect();
        let config = Config::load(Some(&file), [], &set).expect("the settings are allowed");
        let server = Server::start(&config).await.expect("the server starts");
        let addresses = server.addresses().clone();
        TestServer {
            server,
            http: addresses.http.expect("HTTP is on"),
            https: addresses.https.expect("HTTPS is on"),
            rtmp: addresses.rtmp.expect("RTMP is on"),
            folder,
        }
    }

    /// The self-made certificate of its HTTPS and RTMPS.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/tls-certificate.pem")
    }

    pub fn app(&self, sdk_app_id: u32) -> &AppConfig {
        self.server.apps().iter().find(|app| app.sdk_app_id == sdk_app_id).expect("the app is there")
    }

    /// A ticket with every privilege, good for a minute.
    pub fn ticket(&self, sdk_app_id: u32, user: &str, room: &str) -> Ticket {
        let room = RoomName::from_text(room).expect("a room's name");
        ticket::issue(self.app(sdk_app_id), TicketVersion::V2, user, &room, Privilege::ALL, 60).expect("a ticket")
    }

    /// Where a member pushes to.
    pub fn push_url(&self, ticket: &Ticket) -> String {
        let Ticket { sdk_app_id, user_id, room_id, user_sig, private_map_key } = ticket;
        let query =
            format!("sdkappid={sdk_app_id}&userid={user_id}&usersig={user_sig}&privatemapkey={private_map_key}");
        format!("rtmp://{}/push/{room_id}?{query}", self.rtmp)
    }
}
