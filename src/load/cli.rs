//! The command line, and the help that teaches it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples, with a server on this machine whose demo room is 1001:
  A ticket: roomcast sign --user load1 --room 1001 prints userSig (and privateMapKey) as JSON.

  roomcast-load publish --rtmp 'rtmp://localhost/push/1001?sdkappid=1400000001&userid=load1&usersig=SIG' --seconds 60
      Publishes the built-in clip by RTMP for a minute.
  roomcast-load publish --whip 'http://localhost:8080/whip/1001/load1?sdkappid=1400000001' --token SIG --seconds 60
      The same by WebRTC, its sound turned into Opus.
  roomcast-load play --whep 'http://localhost:8080/whep/1001/load2?sdkappid=1400000001' --token SIG \\
      --viewers 200 --seconds 30 --pid $(pidof roomcast)
      200 WebRTC players. With --pid the server's processor time per packet and memory per viewer are measured too.
  roomcast-load play --rtmp rtmp://localhost/live/1400000001_1001_load1_main --viewers 500 --seconds 30 --json
      500 RTMP players; the result as one line of JSON.

The live line goes to stderr every second, the result to stdout. The exit code is 0 if every client came in and stayed.";

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
    Play(PlayArgs),
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
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,
    /// Fill the video up to this rate, with filler data that decoders skip. The clip alone has about 340 kbit/s.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub video_kbps: Option<u32>,
    /// An FLV file with H.264 and AAC instead of the built-in clip.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("from").required(true).args(["whep", "rtmp", "flv"])))]
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
    /// How many players.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub viewers: u32,
    /// How long to measure, once all players are in.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,
    /// Players that come in per second.
    #[arg(long, value_name = "R", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub joins_per_second: u32,
    /// The server's process, to measure its processor time and memory (same machine).
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
