//! The command line, and the help that teaches it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, value_parser};

use super::{pool::Sharing, split::Split};

const EXAMPLES: &str = "\
Examples, with a server on this machine whose demo room is 1001:
  SIG=$(roomcast sign --user load | sed 's/.*\"userSig\":\"\\([^\"]*\\).*/\\1/')
      A ticket. Put it into ROOMCAST_LOAD_TOKEN instead of --token, and no list of processes shows it.

  roomcast-load publish --whip 'http://localhost:8080/whip/1001/load?sdkappid=1400000001' --token $SIG --seconds 60
      Publishes the built-in clip by WebRTC for a minute. By RTMP:
      --rtmp \"rtmp://localhost/push/1001?sdkappid=1400000001&userid=load&usersig=$SIG\"

  roomcast-load play --whep 'http://localhost:8080/whep/1001/load?sdkappid=1400000001&play=load' --token $SIG \\
      --viewers 200 --seconds 30 --pid $(pidof roomcast)
      200 WebRTC players. With --pid the server's processor time per packet and memory per player are measured too.

  roomcast-load rooms --signal ws://localhost:8080/signal --demo --publish --rooms 10 --members 6 --seconds 30
      Ten rooms of six, everybody publishes and watches everybody.

  roomcast-load versus --viewers 100 --rounds 3 --a \"name=ours whep=… token=… pid=…\" --b \"name=other whep=… pid=…\"
      Two servers in turn under the same load: medians and ratios.

Each command has more: roomcast-load play --help.
The live line goes to stderr every second, the result to stdout. The exit code is 0 if every client came in and stayed.";

const PLAY_EXAMPLES: &str = "\
Examples:
  roomcast-load play --whep URL --token T --viewers 100 --publish-whip URL2 --publish-token T2 --video-kbps 1350
      Publishes from the same process too.
  roomcast-load play --flv http://localhost:8080/live/1400000001_1001_teststream_main.flv --viewers 500 --json
      500 HTTP-FLV players of the test stream; the result as one line of JSON.
  roomcast-load play --whep URL --token T --viewers 100 --storm 100 --storm-seconds 10 --seconds 15
      While 100 players are measured, 100 more come in each second for ten seconds. What they meet is shown apart.
  roomcast-load play --whep URL --token T --viewers 100 --churn 5 --seconds 600 --pid PID
      Each player leaves after about five seconds and another takes its place; the server's memory should not grow.

What the figures mean:
  lost         gaps in the RTP sequence numbers; `dropped here` says if this machine was too slow to receive them
  join         from the request to the first packet
  first frame  from the request to the last packet of the first whole key frame
  added delay  from a picture's sending to the arrival of each of its packets, by the time that publishers of this tool
               write into their pictures, as the kernel received them; unknown for pictures of others
  server cpu   user and system time of --pid, all threads, for each packet that arrived here
  memory       resident memory of --pid, less what it was before the first player, for each player";

const ROOMS_EXAMPLES: &str = "\
Examples:
  roomcast-load rooms --signal ws://localhost:8080/signal --demo --publish --rooms 10 --members 6 --video-kbps 500
      Tickets come from the server's demo app.
  ROOMCAST_LOAD_SECRET=… roomcast-load rooms --signal ws://host:8080/signal --sdkappid 1400000777 --publish
      Tickets are made here, with the app's own secret.
  roomcast-load rooms --signal ws://localhost:8080/signal --demo --publish --churn 20 --seconds 600
      Members come and go.

A member that publishes is in when its media can flow. First frames are counted for every stream that a member gets.";

const VERSUS_EXAMPLES: &str = "\
A target is words of name=value with spaces between:
  name            what the table calls it
  whep, rtmp, flv where to play from (one of them)
  token           for playing
  publish-whip, publish-rtmp, publish-token
                  where this tool is to publish; without, somebody else has to
  pid             the server's process

Example:
  roomcast-load versus --viewers 100 --seconds 20 --rounds 3 --video-kbps 1350 \\
      --a 'name=roomcast whep=http://localhost:8080/whep/1001/p?play=p token=T publish-whip=http://localhost:8080/whip/1001/p
           publish-token=T pid=4711' \\
      --b 'name=srs whep=http://localhost:1985/rtc/v1/whep/?app=live&stream=p
           publish-whip=http://localhost:1985/rtc/v1/whip/?app=live&stream=p pid=4712'

Rounds turn about (a b, b a, …), so that a machine that gets busier hurts both. A ratio above 1 says that b needs more.";

/// How long a server's memory of a stream grows, with a second to spare; ours keeps four seconds.
pub const SETTLE_S: u64 = 5;

/// Publishers and players in number, to see what a server can carry.
#[derive(Debug, Parser)]
#[command(name = "roomcast-load", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Debug, Subcommand)]
pub enum Task {
    /// Publishes a looping clip, H.264 with AAC (RTMP) or Opus (WHIP).
    Publish(PublishArgs),
    /// Plays a stream many times over, and counts.
    #[command(after_help = PLAY_EXAMPLES)]
    Play(PlayArgs),
    /// Fills rooms with members that publish and watch one another, over /signal.
    #[command(after_help = ROOMS_EXAMPLES)]
    Rooms(RoomsArgs),
    /// Runs the same load against two servers in turn and prints ratios.
    #[command(after_help = VERSUS_EXAMPLES)]
    Versus(VersusArgs),
}

/// What is published.
#[derive(Clone, Debug, Default, Args)]
pub struct MediaArgs {
    /// Scale the pictures to this rate. The clip has about 340 kbit/s: above, they are filled with data that decoders skip;
    /// below, they are cut short, right in number and size but not to be watched.
    #[arg(long, value_name = "K", value_parser = value_parser!(u32).range(50..=100_000))]
    pub video_kbps: Option<u32>,
    /// An FLV file with H.264 and AAC instead of the built-in clip.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How WebRTC publishers cut a picture into packets.
    #[arg(long, value_enum, default_value_t)]
    pub split: Split,
}

/// How WebRTC clients receive.
#[derive(Clone, Debug, Args)]
pub struct PoolArgs {
    /// Every N-th client decrypts and checks all that it gets, and measures delay; the others read headers only, once they
    /// have seen a picture. 1: everyone; 0: nobody.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub verify: u32,
    /// Give every client a socket of its own. Otherwise, if the server is on this machine, 16 share one, each with an
    /// address of its own in 127.0.0.0/8.
    #[arg(long)]
    pub own_sockets: bool,
    /// Have the kernel cut runs of packets apart (no UDP_GRO). On one machine that is done on the server's account.
    #[arg(long)]
    pub no_gro: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("to").required(true).args(["whip", "rtmp"])))]
pub struct PublishArgs {
    /// Publish by WebRTC to this WHIP address (http).
    #[arg(long, value_name = "URL")]
    pub whip: Option<String>,
    /// Publish by RTMP to this address, tickets in its query.
    #[arg(long, value_name = "URL")]
    pub rtmp: Option<String>,
    /// Sent as Authorization: Bearer (the userSig). Also read from ROOMCAST_LOAD_TOKEN, where no process list shows it.
    #[arg(long, value_name = "TOKEN", env = "ROOMCAST_LOAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// How long to publish once the server has agreed.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,
    #[command(flatten)]
    pub media: MediaArgs,
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("from").required(true).args(["whep", "rtmp", "flv"])))]
#[command(group(ArgGroup::new("with").args(["publish_whip", "publish_rtmp"])))]
pub struct PlayArgs {
    /// Play by WebRTC from this WHEP address (http).
    #[arg(long, value_name = "URL")]
    pub whep: Option<String>,
    /// Play by RTMP.
    #[arg(long, value_name = "URL")]
    pub rtmp: Option<String>,
    /// Play by HTTP-FLV (http).
    #[arg(long, value_name = "URL")]
    pub flv: Option<String>,
    /// Sent as Authorization: Bearer (the userSig). Also read from ROOMCAST_LOAD_TOKEN, where no process list shows it.
    #[arg(long, value_name = "TOKEN", env = "ROOMCAST_LOAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Publish from this process too, to this WHIP address.
    #[arg(long, value_name = "URL")]
    pub publish_whip: Option<String>,
    /// Publish from this process too, by RTMP.
    #[arg(long, value_name = "URL")]
    pub publish_rtmp: Option<String>,
    /// The publisher's token.
    #[arg(long, value_name = "TOKEN", env = "ROOMCAST_LOAD_PUBLISH_TOKEN", hide_env_values = true)]
    pub publish_token: Option<String>,
    #[command(flatten)]
    pub media: MediaArgs,
    /// How many players.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=100_000))]
    pub viewers: u32,
    /// How long to measure, once all players are in.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,
    /// Players that come in per second.
    #[arg(long, value_name = "R", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    pub joins_per_second: u32,
    /// Each player leaves after about this many seconds, and another takes its place.
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(1..=86_400))]
    pub churn: Option<u64>,
    /// With --pid and a publisher of this process: wait so long before the first player. What the server keeps of the stream
    /// is then complete, and not counted as the players' memory.
    #[arg(long, value_name = "S", default_value_t = SETTLE_S, value_parser = value_parser!(u64).range(0..=3_600))]
    pub settle: u64,
    /// While the players are measured, let so many more come in per second; 0 for none.
    #[arg(long, value_name = "R", default_value_t = 0, value_parser = value_parser!(u32).range(0..=10_000))]
    pub storm: u32,
    /// How long the storm lasts; it begins one second into the measurement.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3_600))]
    pub storm_seconds: u64,
    /// The server's process, to measure its processor time and memory (same machine).
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("tickets").required(true).args(["secret", "demo"])))]
pub struct RoomsArgs {
    /// The server's WebSocket address.
    #[arg(long, value_name = "URL")]
    pub signal: String,
    /// Fetch the tickets from the server's demo app (GET /demo/ticket).
    #[arg(long)]
    pub demo: bool,
    /// The app that the tickets are for.
    #[arg(long, value_name = "ID", requires = "secret")]
    pub sdkappid: Option<u32>,
    /// The app's secret, to make tickets with. Also read from ROOMCAST_LOAD_SECRET, where no process list shows it.
    #[arg(long, value_name = "SECRET", env = "ROOMCAST_LOAD_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// How many rooms.
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub rooms: u32,
    /// Members of each.
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = value_parser!(u32).range(1..=1_000))]
    pub members: u32,
    /// Number of the first room; the others follow it.
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = value_parser!(u32).range(1..=4_000_000_000))]
    pub first_room: u32,
    /// Everybody publishes. Without it they only watch who is there.
    #[arg(long)]
    pub publish: bool,
    #[command(flatten)]
    pub media: MediaArgs,
    /// How long to measure, once everybody is in and has seen the first picture of everybody.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,
    /// Members that come in per second.
    #[arg(long, value_name = "R", default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub joins_per_second: u32,
    /// Each member leaves after about this many seconds, and comes again.
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(1..=86_400))]
    pub churn: Option<u64>,
    /// The server's process, to measure its processor time and memory (same machine).
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct VersusArgs {
    /// The first server, in words of name=value.
    #[arg(long, value_name = "TARGET")]
    pub a: String,
    /// The second server.
    #[arg(long, value_name = "TARGET")]
    pub b: String,
    /// How many players.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=100_000))]
    pub viewers: u32,
    /// How long each run measures.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Runs of each server.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Players that come in per second.
    #[arg(long, value_name = "R", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    pub joins_per_second: u32,
    #[command(flatten)]
    pub media: MediaArgs,
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

impl PoolArgs {
    pub fn sharing(&self) -> Sharing {
        Sharing { own_sockets: self.own_sockets, gro: !self.no_gro }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_the_fixed_words_are_taken() {
        Cli::command().debug_assert();
        let publish = "roomcast-load publish --whip http://h/w --token T --seconds 5 --video-kbps 1350";
        let play = "roomcast-load play --whep http://h/w --token T --viewers 9 --seconds 5 --pid 1 --json";
        let flv = "roomcast-load play --flv http://h/w --viewers 9 --seconds 5";
        let rooms =
            "roomcast-load rooms --signal ws://h/signal --rooms 10 --members 6 --publish --sdkappid 7 --secret S";
        for line in [publish, play, flv, rooms] {
            Cli::try_parse_from(line.split(' ')).unwrap();
        }
        for line in ["play --viewers 9", "publish --seconds 1", "rooms --signal ws://h", "play --whep a --flv b"] {
            assert!(Cli::try_parse_from(format!("roomcast-load {line}").split(' ')).is_err(), "{line}");
        }
    }
}
