//! One WHEP player.

use std::{cell::RefCell, rc::Rc, time::Duration};

use media::sdp::client::{offer_play, read_answer};
use tokio::{sync::watch, time::interval};

use super::{
    LoadError,
    board::Seat,
    http::{Resource, Url},
    listener::Listener,
    peer::{Peer, Proposal, State},
    pool::Pool,
};

/// How often a player that waits for media looks at the time.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Plays until told to stop. `verifies`: open every packet, not only those up to the first picture.
pub async fn play(
    seat: &Rc<Seat>,
    pool: &Rc<Pool>,
    url: &Url,
    token: Option<&str>,
    verifies: bool,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    let proposal = Proposal::new(pool);
    let offer = offer_play(&proposal.local);
    let (answer, reached, resource) = Resource::create(url, token, offer).await?;
    let work = async {
        let negotiated =
            read_answer(&answer).map_err(|error| LoadError::new(format!("the server's answer: {error}")))?;
        let listener = Rc::new(RefCell::new(Listener::new(seat.clone(), true, verifies)));
        listener.borrow_mut().expect(&negotiated.media);
        let peer = Peer::open(pool, proposal, &negotiated, reached.ip(), listener)?;
        let outcome = tokio::select! {
            error = peer.ended() => Err(error),
            error = overdue(seat, &peer) => Err(error),
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
        };
        peer.close();
        outcome
    };
    let outcome = work.await;
    resource.delete().await;
    outcome
}

/// Ends only if the player waits for too long.
pub async fn overdue(seat: &Seat, peer: &Peer) -> LoadError {
    let mut ticks = interval(IDLE_TICK);
    loop {
        ticks.tick().await;
        if seat.is_overdue() {
            let connected = *peer.state().borrow() == State::Connected;
            return LoadError::new(if connected { "connected, but no media came" } else { "no connection" });
        }
    }
}
