//! The load tool. Everything runs on one thread: hundreds of clients are hundreds of small tasks, so that what is measured
//! beside them is the server. Counting happens in cells shared within that thread; nothing is locked.

mod board;
pub mod cli;
mod clip;
mod crowd;
mod histogram;
mod http;
mod listener;
mod member;
mod peer;
mod play;
mod play_rtc;
mod play_tcp;
mod pool;
mod process;
mod publish;
mod publish_rtc;
mod publish_rtmp;
mod reel;
mod report;
mod rooms;
mod source;
mod split;
mod stamp;
#[cfg(test)]
mod tests;
mod versus;

use std::process::ExitCode;

use cli::{Cli, Task};

/// What made a run impossible, in words for the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

impl LoadError {
    fn new(text: impl Into<String>) -> Self {
        LoadError(text.into())
    }
}

/// Does what was asked. Success means that every client came in and stayed to the end.
pub fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("roomcast-load: {error}");
            return ExitCode::FAILURE;
        }
    };
    let work = async {
        match cli.task {
            Task::Publish(args) => publish::run(args).await,
            Task::Play(args) => play::run(args).await,
            Task::Rooms(args) => rooms::run(args).await,
            Task::Versus(args) => versus::run(args).await,
        }
    };
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, work);
    // An encoder's thread may still be in the middle of a frame; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("roomcast-load: {error}");
            ExitCode::FAILURE
        }
    }
}
