//! Every mode against this repository's own server, in this process, for a second or two each.

use std::path::Path;

use roomcast::{
    Server,
    config::Config,
    ticket::{self, Ticket},
};
use serde_json::Value;
use signaling::{Privilege, RoomName, TicketVersion};
use tempfile::TempDir;

use super::{
    super::{
        cli::{Cli, MediaArgs, PoolArgs, Task},
        crowd::{Plan, Storm},
        play::{Stream, measure},
        report::Report,
        versus,
    },
    *,
};

const POOL: PoolArgs = PoolArgs { verify: 2, own_sockets: false, no_gro: false };
const APP: u32 = 1_400_000_001;

struct House {
    server: Server,
    _folder: TempDir,
}

impl House {
    async fn open() -> House {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = format!("server.data_folder={}", folder.path().display());
        let set = [
            data.as_str(),
            "http.listen=127.0.0.1:0",
            "https.listen=off",
            "rtmp.listen=127.0.0.1:0",
            "media.bind=127.0.0.1",
            "media.first_port=0",
            "media.shards=1",
            "demo.test_stream=false",
        ];
        let set: Vec<String> = set.map(str::to_owned).into();
        let config = Config::load(None::<&Path>, [], &set).expect("the settings are allowed");
        House { server: Server::start(&config).await.expect("the server starts"), _folder: folder }
    }

    fn http(&self) -> String {
        self.server.addresses().http.expect("HTTP is on").to_string()
    }

    fn ticket(&self, user: &str) -> Ticket {
        let room = RoomName::from_text("1001").expect("a room's name");
        ticket::issue(&self.server.apps()[0], TicketVersion::V2, user, &room, Privilege::ALL, 600).expect("a ticket")
    }

    fn whip(&self) -> Goal {
        let url = format!("http://{}/whip/1001/pub?sdkappid={APP}", self.http());
        Goal::Whip { url: Url::parse(&url).unwrap(), token: Some(self.ticket("pub").user_sig) }
    }

    fn rtmp(&self) -> Goal {
        let addr = self.server.addresses().rtmp.expect("RTMP is on");
        let sig = self.ticket("pub").user_sig;
        let url = format!("rtmp://{addr}/push/1001?sdkappid={APP}&userid=pub&usersig={sig}");
        Goal::new(None, Some(&url), None).unwrap().unwrap()
    }

    fn whep(&self) -> String {
        format!("http://{}/whep/1001/eye?sdkappid={APP}&play=pub", self.http())
    }

    async fn play(&self, plan: &Plan, stream: Stream, goal: Goal) -> Report {
        let token = Some(self.ticket("eye").user_sig);
        let media = MediaArgs { video_kbps: Some(600), ..MediaArgs::default() };
        let (report, complete) = measure(plan, stream, token, Some(goal), &POOL, &media).await.unwrap();
        assert!(complete && report.viewers_failed == 0, "{report:?}");
        assert!(
            report.packets > 0 && report.join_ms_p99.is_some() && report.first_frame_ms_p95.is_some(),
            "{report:?}"
        );
        assert!(report.delay_ms_p50.is_some_and(|ms| ms < 500.0) && report.delay_ms_p99.is_some(), "{report:?}");
        assert!(report.server_cpu_us_per_packet.is_some() && report.rss_per_viewer_kb.is_some(), "{report:?}");
        report
    }
}

fn plan(clients: usize, seconds: u64) -> Plan {
    // The server is in this process.
    Plan {
        clients,
        joins_per_second: 50,
        seconds,
        churn: None,
        storm: None,
        pid: Some(std::process::id()),
        settle: Duration::ZERO,
    }
}

fn on_many_threads(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work);
}

#[test]
fn whip_to_whep_rtmp_and_flv_is_measured_end_to_end() {
    on_many_threads(async {
        let house = House::open().await;
        let report = house.play(&plan(4, 2), Stream::Whep(Url::parse(&house.whep()).unwrap()), house.whip()).await;
        assert_eq!((report.viewers, report.lost, report.broken), (4, Some(0), Some(0)), "{report:?}");
        assert!(report.verified.is_some_and(|verified| verified > 0 && verified < report.packets * 2), "{report:?}");
        let rtmp = house.server.addresses().rtmp.unwrap();
        let stream = Stream::new(None, Some(&format!("rtmp://{rtmp}/live/{APP}_1001_pub_main")), None).unwrap();
        assert_eq!(house.play(&plan(2, 2), stream, house.whip()).await.lost, None);
        let flv = format!("http://{}/live/{APP}_1001_pub_main.flv", house.http());
        house.play(&plan(2, 2), Stream::new(None, None, Some(&flv)).unwrap(), house.rtmp()).await;
        house.server.stop().await;
    });
}

#[test]
fn a_storm_and_a_coming_and_going_are_counted_apart() {
    on_many_threads(async {
        let house = House::open().await;
        let whep = || Stream::Whep(Url::parse(&house.whep()).unwrap());
        let storm = Storm { joins_per_second: 10, seconds: 1 };
        let report = house.play(&Plan { storm: Some(storm), ..plan(2, 4) }, whep(), house.whip()).await;
        let storm = report.storm.expect("there was a storm");
        assert_eq!((report.viewers, storm.joins, storm.failed), (2, 10, 0));
        assert!(storm.join_ms_p99.is_some() && report.lost == Some(0));

        let churn = Some(Duration::from_secs(1));
        let report = house.play(&Plan { churn, ..plan(3, 4) }, whep(), house.whip()).await;
        assert!(report.joins > 5 && report.lost == Some(0), "{report:?}");
        house.server.stop().await;
    });
}

#[test]
fn members_of_rooms_publish_and_see_one_another() {
    on_many_threads(async {
        let house = House::open().await;
        let line = format!(
            "roomcast-load rooms --signal ws://{}/signal --demo --publish --rooms 2 --members 3 --seconds 2 --json --pid {}",
            house.http(),
            std::process::id()
        );
        let Task::Rooms(args) = <Cli as clap::Parser>::try_parse_from(line.split(' ')).unwrap().task else {
            panic!("another task")
        };
        let (report, complete) = super::super::rooms::measure(args).await.unwrap();
        assert!(complete, "{report:?}");
        assert_eq!((report.viewers, report.lost, report.broken), (6, Some(0), Some(0)), "{report:?}");
        // Six members get two streams each, of about 50 + 40 packets a second.
        assert!(report.packets_per_second > 12.0 * 75.0, "{report:?}");
        assert!(report.delay_ms_p99.is_some() && report.first_frame_ms_p95.is_some(), "{report:?}");
        house.server.stop().await;
    });
}

#[test]
fn versus_runs_both_and_gives_ratios() {
    on_many_threads(async {
        let house = House::open().await;
        let Goal::Whip { token: Some(token), .. } = house.whip() else { panic!("no token") };
        let target = |name: &str| {
            format!(
                "name={name} whep={} token={} publish-whip=http://{}/whip/1001/pub?sdkappid={APP} publish-token={token} pid={}",
                house.whep(),
                house.ticket("eye").user_sig,
                house.http(),
                std::process::id()
            )
        };
        let (a, b) = (target("one"), target("two"));
        let line =
            ["roomcast-load", "versus", "--viewers", "2", "--seconds", "1", "--rounds", "1", "--a", &a, "--b", &b];
        let Task::Versus(args) = <Cli as clap::Parser>::try_parse_from(line).unwrap().task else {
            panic!("another task")
        };
        let (outcome, complete) = versus::measure_both(&args).await.unwrap();
        let json: Value = serde_json::to_value(&outcome).unwrap();
        assert!(complete && json["a"] == "one", "{json}");
        let packets = json["figures"].as_array().unwrap().iter().find(|figure| figure["name"] == "packets_per_second");
        assert!(packets.unwrap()["ratio"].as_f64().is_some_and(|ratio| (0.5..2.0).contains(&ratio)), "{json}");
        house.server.stop().await;
    });
}
