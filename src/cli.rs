//! The command line: what may be asked, and the help that teaches it.

use std::{env, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

const EXAMPLES: &str = "\
Examples:
  roomcast
      Serves on the defaults. Open the link that it prints; stop it with Ctrl-C.
  roomcast --set http.listen=:9080 --set rtmp.listen=off
      The same on another port, without RTMP.
  roomcast config > roomcast.toml
      Writes a file with every setting, its default and what it does.
  roomcast --config roomcast.toml
      Serves with that file. ROOMCAST_HTTP_LISTEN=:9080 in the environment goes before it, --set before both.
  roomcast sign --user alice --room 1001 --expire 3600
      Prints a ticket with which alice may enter room 1001 of the demo app during the next hour.";

const SIGN_EXAMPLES: &str = "\
Examples:
  roomcast sign --user alice
      Everything, in the demo room, for a day.
  roomcast sign --user bob --room lobby --privilege 42 --expire 600
      Enter room \"lobby\", hear and see, but not speak, for ten minutes.
      The bits: 1 create the room, 2 enter, 4 send audio, 8 receive audio, 16 send video, 32 receive video,
      64 send the second video (screen), 128 receive it.
  roomcast --config roomcast.toml sign --app 1400000002 --user carol --version 1
      A version 1 (ECDSA) ticket of an app of yours; it needs the private key in the file.";

/// Chrome WebRTC peers and RTMP streams in one room, from one self-hosted server.
#[derive(Debug, Parser)]
#[command(name = "roomcast", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    /// Without a command the server starts.
    #[command(subcommand)]
    pub command: Option<Ask>,
}

#[derive(Clone, Debug, Args)]
pub struct GlobalArgs {
    /// File with settings; see `roomcast config`.
    #[arg(long, global = true, value_name = "FILE", env = "ROOMCAST_CONFIG")]
    config: Option<PathBuf>,
    /// Sets one value, like --set media.public_ips=203.0.113.7; may be repeated.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Address by which clients from outside reach this machine (its router's, say); short for
    /// --set media.public_ips=IP. May be repeated.
    #[arg(long, global = true, value_name = "IP")]
    public_ip: Vec<String>,
    /// Folder for keys and certificates; short for --set server.data_folder=FOLDER.
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<String>,
    /// What is logged, like debug or info,media=debug; short for --set server.log=FILTER, and goes before RUST_LOG.
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
}

/// What the program is asked to do.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Starts the server (the default).
    Serve,
    /// Prints a configuration file with every setting, its default and what it does.
    Config,
    /// Prints a configuration made from the `config.js` of the vendor's sample server (RTMPRoom). It has the keys in it.
    Import {
        /// The file.
        #[arg(value_name = "CONFIG.JS")]
        file: PathBuf,
    },
    /// Prints a ticket as JSON: sdkAppID, userID, userSig, roomID, privateMapKey.
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(SignArgs),
}

#[derive(Clone, Debug, Args)]
pub struct SignArgs {
    /// The userID that the ticket is for.
    #[arg(long, value_name = "USER")]
    pub user: String,
    /// The room that the privateMapKey opens: a number, or a name. Default: the demo room.
    #[arg(long, value_name = "ROOM")]
    pub room: Option<String>,
    /// For how many seconds the ticket is good.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..))]
    pub expire: u32,
    /// What the privateMapKey allows, as a sum of bits; 255 is everything.
    #[arg(long, value_name = "BITS", default_value_t = 255)]
    pub privilege: u32,
    /// 1: signed with a private key (ECDSA). 2: with a shared secret (HMAC). Default: what the app has, 2 before 1.
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub version: Option<u8>,
    /// The app's sdkAppID. Default: the demo app, or the only one of the file.
    #[arg(long, value_name = "SDKAPPID")]
    pub app: Option<u32>,
}

impl GlobalArgs {
    /// The settings, from all four places.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let public_ips = (!self.public_ip.is_empty()).then(|| self.public_ip.join(","));
        let short = [("server.data_folder", &self.data), ("server.log", &self.log), ("media.public_ips", &public_ips)];
        let short = short.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        let set: Vec<String> = self.set.iter().cloned().chain(short).collect();
        // A variable that is not UTF-8 is none of ours.
        let environment =
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Config::load(self.config.as_deref(), environment, &set)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_of_the_help_can_be_typed() {
        let lines = [EXAMPLES, SIGN_EXAMPLES].into_iter().flat_map(str::lines);
        let commands: Vec<_> = lines.filter_map(|line| line.strip_prefix("  roomcast")).collect();
        assert_eq!(commands.len(), 8);
        for command in commands {
            let words = command.split_whitespace().take_while(|word| *word != ">");
            let parsed = Cli::try_parse_from(std::iter::once("roomcast").chain(words));
            assert!(parsed.is_ok(), "roomcast{command}: {:?}", parsed.err());
        }
    }

    #[test]
    fn nothing_asked_means_serve() {
        assert!(Cli::try_parse_from(["roomcast"]).expect("parsed").command.is_none());
    }

    #[test]
    fn bounds_of_a_ticket_are_checked() {
        for (words, allowed) in [
            (vec!["--expire", "1"], true),
            (vec!["--expire", "0"], false),
            (vec!["--version", "1"], true),
            (vec!["--version", "3"], false),
            (vec!["--privilege", "4294967295"], true),
            (vec!["--privilege", "-1"], false),
        ] {
            let line = ["roomcast", "sign", "--user", "u"].into_iter().chain(words.iter().copied());
            assert_eq!(Cli::try_parse_from(line).is_ok(), allowed, "{words:?}");
        }
    }
}
