//! Rooms in number: members enter over `/signal`, publish, and subscribe to everybody else.

use std::{rc::Rc, time::Duration};

use hyper::Method;
use roomcast::ticket::{self, Ticket};
use serde_json::Value;
use signaling::{AppConfig, Privilege, RoomName, TicketVersion};
use tokio::sync::watch;

use super::{
    LoadError,
    board::Seat,
    cli::RoomsArgs,
    crowd::{self, Crowd, Life, Plan},
    http::{Url, request},
    member::{self, Member},
    pool::Pool,
    publish::{self, Sent},
    reel::Reel,
    report::{Report, print},
};

/// How long the tickets are good for beyond the run.
const TICKET_RESERVE_S: u64 = 3_600;

/// Who issues the tickets.
pub enum Tickets {
    /// We do, with the app's secret.
    Secret { app: AppConfig, life_s: u64 },
    /// The server's demo does, for whoever asks.
    Demo(Url),
}

/// What a member shows at the door.
pub struct Entry {
    pub sdk_app_id: u64,
    pub user_sig: String,
    pub private_map_key: String,
}

struct Rooms {
    signal: Url,
    tickets: Rc<Tickets>,
    first_room: u32,
    rooms: usize,
    members: usize,
    reel: Option<Rc<Reel>>,
    sent: Rc<Sent>,
    pool: Rc<Pool>,
    verify: u32,
}

/// Fills rooms, and prints what was seen. True if everybody came in and stayed.
pub async fn run(args: RoomsArgs) -> Result<bool, LoadError> {
    let json = args.json;
    let (report, complete) = measure(args).await?;
    print(json, &report, &report.rows());
    Ok(complete)
}

/// Fills rooms. What was seen, and whether everybody came in and stayed.
pub async fn measure(args: RoomsArgs) -> Result<(Report, bool), LoadError> {
    let signal = signal_url(&args.signal)?;
    let tickets = match args.secret {
        Some(secret) => {
            let sdk_app_id = args.sdkappid.ok_or_else(|| LoadError::new("--secret needs --sdkappid"))?;
            let app = AppConfig { sdk_app_id, v2_secret: Some(secret), ..AppConfig::default() };
            Tickets::Secret { app, life_s: args.seconds + TICKET_RESERVE_S }
        }
        None => Tickets::Demo(signal.clone()),
    };
    let pool = Pool::new(args.pool.sharing())?;
    let reel = match args.publish {
        true => Some(Rc::new(Reel::new(&*publish::footage(&args.media)?, args.media.split)?)),
        false => None,
    };
    let plan = Plan {
        clients: args.rooms as usize * args.members as usize,
        joins_per_second: args.joins_per_second,
        seconds: args.seconds,
        churn: args.churn.map(Duration::from_secs),
        storm: None,
        pid: args.pid,
        settle: Duration::ZERO,
    };
    let sent = Rc::new(Sent::default());
    let crowd = Rooms {
        signal,
        tickets: Rc::new(tickets),
        first_room: args.first_room,
        rooms: args.rooms as usize,
        members: args.members as usize,
        reel,
        sent: sent.clone(),
        pool: pool.clone(),
        verify: args.pool.verify,
    };
    let (mut report, complete) = crowd::run(&plan, Rc::new(crowd), &pool).await?;
    report.published = args.publish.then(|| sent.packets.get());
    Ok((report, complete))
}

/// `ws://…` as the HTTP address behind it.
fn signal_url(text: &str) -> Result<Url, LoadError> {
    match text.strip_prefix("ws://") {
        Some(rest) if rest.contains('/') => Url::parse(&format!("http://{rest}")),
        Some(rest) => Url::parse(&format!("http://{rest}/signal")),
        None => Err(LoadError::new(format!("{text}: an address like ws://host:8080/signal is needed"))),
    }
}

impl Tickets {
    pub async fn entry(&self, room: u32, user: &str) -> Result<Entry, LoadError> {
        match self {
            Tickets::Secret { app, life_s } => {
                let room = RoomName::from_text(&room.to_string()).ok_or_else(|| LoadError::new("a bad room number"))?;
                let issued = ticket::issue(app, TicketVersion::V2, user, &room, Privilege::ALL, *life_s);
                let Ticket { sdk_app_id, user_sig, private_map_key, .. } =
                    issued.map_err(|error| LoadError::new(format!("no ticket: {error}")))?;
                Ok(Entry { sdk_app_id: u64::from(sdk_app_id), user_sig, private_map_key })
            }
            Tickets::Demo(server) => {
                let url = server.at(&format!("/demo/ticket?roomID={room}&userID={user}"))?;
                let answer = request(Method::GET, &url, None, None).await?;
                let status = answer.status;
                let text = answer.text().await?;
                if !status.is_success() {
                    return Err(LoadError::new(format!(
                        "the server has no ticket for us ({status}); give --sdkappid and --secret"
                    )));
                }
                let ticket: Value = serde_json::from_str(&text)
                    .map_err(|error| LoadError::new(format!("the server's ticket cannot be read: {error}")))?;
                let text = |name: &str| ticket.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let sdk_app_id = ticket.get("sdkAppID").and_then(Value::as_u64).unwrap_or_default();
                Ok(Entry { sdk_app_id, user_sig: text("userSig"), private_map_key: text("privateMapKey") })
            }
        }
    }
}

impl Crowd for Rooms {
    fn client(&self, seat: Rc<Seat>, number: usize, stopped: watch::Receiver<bool>) -> Life {
        // Room after room gets its first member, then its second: all grow together.
        let room = self.first_room + (number % self.rooms) as u32;
        let member = Member {
            signal: self.signal.clone(),
            tickets: self.tickets.clone(),
            room,
            user: format!("load-{}-{number}", std::process::id()),
            media: self.reel.as_ref().map(|reel| (reel.clone(), self.sent.clone())),
            number,
            verifies: self.verify > 0 && number.is_multiple_of(self.verify as usize),
            pool: self.pool.clone(),
        };
        Box::pin(async move {
            let outcome = member::stay(&seat, &member, stopped).await;
            seat.end(outcome);
        })
    }

    fn protocol(&self) -> &'static str {
        "signal"
    }

    fn name(&self) -> &'static str {
        "members"
    }

    fn pictures(&self) -> usize {
        if self.reel.is_some() { self.rooms * self.members * (self.members - 1) } else { 0 }
    }

    fn sees_loss(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_address_is_a_websockets() {
        assert_eq!(signal_url("ws://localhost:8080/signal").unwrap().path(), "/signal");
        assert_eq!(signal_url("ws://localhost:8080").unwrap().path(), "/signal");
        assert!(signal_url("http://localhost:8080/signal").is_err());
        assert!(signal_url("wss://localhost:8080/signal").is_err());
    }

    #[tokio::test]
    async fn tickets_of_the_secret_are_for_the_user_and_the_app() {
        let app = AppConfig { sdk_app_id: 7, v2_secret: Some("secret".to_owned()), ..AppConfig::default() };
        let entry = Tickets::Secret { app, life_s: 60 }.entry(5, "a").await.unwrap();
        assert!(entry.sdk_app_id == 7 && !entry.user_sig.is_empty() && !entry.private_map_key.is_empty());
    }
}
