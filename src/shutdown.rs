//! How the process ends. The first SIGINT or SIGTERM starts an orderly stop; the second ends at once.

use std::process;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Exit code of an impatient end, by the shell's custom for an interrupted program.
const EXIT_INTERRUPTED: i32 = 130;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signaled {
    /// SIGINT or SIGTERM.
    Stop,
    /// SIGHUP: read keys again.
    Reload,
}

/// The signals to which a server listens.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    /// From here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system allows no signal handler.
    pub fn listen() -> std::io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signaled {
        tokio::select! {
            _ = self.interrupt.recv() => Signaled::Stop,
            _ = self.terminate.recv() => Signaled::Stop,
            _ = self.hangup.recv() => Signaled::Reload,
        }
    }

    /// Lets the next signal that asks to stop end the process at once.
    pub fn exit_at_next(mut self) {
        tokio::spawn(async move {
            while self.next().await == Signaled::Reload {}
            process::exit(EXIT_INTERRUPTED);
        });
    }
}

/// Tells every connection that the server stops. Cheap to clone; dropping it says nothing.
#[derive(Clone, Debug)]
pub struct Stopping {
    sender: watch::Sender<bool>,
}

impl Default for Stopping {
    fn default() -> Self {
        Stopping { sender: watch::Sender::new(false) }
    }
}

impl Stopping {
    pub fn start(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the stop has begun; readiness is the opposite of it.
    pub fn has_started(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until the stop begins.
    pub async fn started(&self) {
        // The sender lives in `self`, so the wait ends only by the value.
        let _ = self.sender.subscribe().wait_for(|stopping| *stopping).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_that_has_begun_is_seen_by_those_who_ask_later() {
        let stopping = Stopping::default();
        assert!(!stopping.has_started());
        let other = stopping.clone();
        let waiting = tokio::spawn(async move { other.started().await });
        stopping.start();
        waiting.await.expect("the waiter ends");
        assert!(stopping.has_started());
        stopping.started().await;
    }
}
