//! `roomcast-load`: publishers and players in number, against this server or any other that speaks the same protocols.

#[path = "../load/mod.rs"]
mod load;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    load::run(load::cli::Cli::parse())
}
