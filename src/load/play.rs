//! Players of one stream in number, with a publisher of this process if asked for.

use std::{rc::Rc, time::Duration};

use media::rtmp::url::RtmpUrl;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    LoadError,
    board::Seat,
    cli::{MediaArgs, PlayArgs, PoolArgs},
    crowd::{self, Crowd, Life, Plan, Storm},
    http::Url,
    play_rtc, play_tcp,
    pool::Pool,
    publish::{self, Goal, Sent},
    report::{Report, print},
};

/// How long the publisher may take until the server is ready for it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(25);
/// Between the publisher's first packet and the first player: a server needs a moment to know the stream.
const PUBLISH_PAUSE: Duration = Duration::from_millis(500);

/// Where players play from.
#[derive(Clone)]
pub enum Stream {
    Whep(Url),
    Rtmp(RtmpUrl),
    Flv(Url),
}

struct Players {
    stream: Stream,
    token: Option<String>,
    pool: Rc<Pool>,
    /// Every so many players open all of their packets; 0 for none.
    verify: u32,
}

/// Plays, and prints what was seen. True if every player came in and stayed.
pub async fn run(args: PlayArgs) -> Result<bool, LoadError> {
    let stream = Stream::new(args.whep.as_deref(), args.rtmp.as_deref(), args.flv.as_deref())?;
    let goal = Goal::new(args.publish_whip.as_deref(), args.publish_rtmp.as_deref(), args.publish_token.clone())?;
    let storm = (args.storm > 0).then_some(Storm { joins_per_second: args.storm, seconds: args.storm_seconds });
    let plan = Plan {
        clients: args.viewers as usize,
        joins_per_second: args.joins_per_second,
        seconds: args.seconds,
        churn: args.churn.map(Duration::from_secs),
        storm,
        pid: args.pid,
        settle: Duration::from_secs(args.settle),
    };
    let (report, complete) = measure(&plan, stream, args.token, goal, &args.pool, &args.media).await?;
    print(args.json, &report, &report.rows());
    Ok(complete)
}

/// Publishes if there is a goal, plays, measures.
pub async fn measure(
    plan: &Plan,
    stream: Stream,
    token: Option<String>,
    goal: Option<Goal>,
    pool_args: &PoolArgs,
    media: &MediaArgs,
) -> Result<(Report, bool), LoadError> {
    let pool = Pool::new(pool_args.sharing())?;
    let publisher = match goal {
        Some(goal) => {
            let publisher = Publisher::start(&pool, goal, media.clone()).await?;
            if plan.pid.is_some() {
                tokio::time::sleep(plan.settle).await;
            }
            Some(publisher)
        }
        None => None,
    };
    let crowd = Rc::new(Players { stream, token, pool: pool.clone(), verify: pool_args.verify });
    let outcome = crowd::run(plan, crowd, &pool).await;
    let (mut report, complete) = outcome?;
    if let Some(publisher) = publisher {
        report.published = Some(publisher.sent.packets.get());
        publisher.stop().await;
    }
    Ok((report, complete))
}

/// A publisher that goes on beside the players.
struct Publisher {
    sent: Rc<Sent>,
    task: JoinHandle<Result<(), LoadError>>,
    stop: watch::Sender<bool>,
}

impl Publisher {
    async fn start(pool: &Rc<Pool>, goal: Goal, media: MediaArgs) -> Result<Publisher, LoadError> {
        let sent = Rc::new(Sent::default());
        let (stop, mut stopped) = watch::channel(false);
        let (told, pool) = (sent.clone(), pool.clone());
        let mut task = tokio::task::spawn_local(async move {
            let for_ever = Duration::from_secs(365 * 24 * 3600);
            publish::publish(&told, &pool, &goal, &media, for_ever, async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            })
            .await
        });
        let ready = async {
            while sent.ready.get().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(PUBLISH_PAUSE).await;
        };
        tokio::select! {
            ended = &mut task => Err(match ended {
                Ok(Err(LoadError(reason))) => LoadError::new(format!("publishing: {reason}")),
                _ => LoadError::new("the publisher ended"),
            }),
            ready = tokio::time::timeout(PUBLISH_TIMEOUT, ready) => match ready {
                Ok(()) => Ok(Publisher { sent, task, stop }),
                Err(_) => Err(LoadError::new("publishing: the server was not ready in time")),
            },
        }
    }

    async fn stop(self) {
        let _ = self.stop.send(true);
        // It says goodbye to the server; whoever does not answer is left.
        if let Ok(Ok(Err(error))) = tokio::time::timeout(Duration::from_secs(5), self.task).await {
            eprintln!("roomcast-load: publishing: {error}");
        }
    }
}

impl Stream {
    pub fn new(whep: Option<&str>, rtmp: Option<&str>, flv: Option<&str>) -> Result<Stream, LoadError> {
        match (whep, rtmp, flv) {
            (Some(url), _, _) => Ok(Stream::Whep(Url::parse(url)?)),
            (_, Some(url), _) => RtmpUrl::parse(url)
                .filter(|url| !url.tls)
                .map(Stream::Rtmp)
                .ok_or_else(|| LoadError::new("rtmp needs an address like rtmp://host/app/stream")),
            (_, _, Some(url)) => Ok(Stream::Flv(Url::parse(url)?)),
            (None, None, None) => Err(LoadError::new("one of whep, rtmp and flv is needed to play from")),
        }
    }
}

impl Crowd for Players {
    fn client(&self, seat: Rc<Seat>, number: usize, stopped: watch::Receiver<bool>) -> Life {
        let (stream, token, pool) = (self.stream.clone(), self.token.clone(), self.pool.clone());
        let verifies = self.verify > 0 && number.is_multiple_of(self.verify as usize);
        Box::pin(async move {
            let token = token.as_deref();
            let outcome = match stream {
                Stream::Whep(url) => play_rtc::play(&seat, &pool, &url, token, verifies, stopped).await,
                Stream::Rtmp(url) => play_tcp::play_rtmp(&seat, url, stopped).await,
                Stream::Flv(url) => play_tcp::play_flv(&seat, &url, token, stopped).await,
            };
            seat.end(outcome);
        })
    }

    fn protocol(&self) -> &'static str {
        match self.stream {
            Stream::Whep(_) => "whep",
            Stream::Rtmp(_) => "rtmp",
            Stream::Flv(_) => "flv",
        }
    }

    fn name(&self) -> &'static str {
        "viewers"
    }

    fn pictures(&self) -> usize {
        0
    }

    fn sees_loss(&self) -> bool {
        matches!(self.stream, Stream::Whep(_))
    }
}
