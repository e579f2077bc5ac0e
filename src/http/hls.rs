//! `/live/{stream}.m3u8`: a stream as low-latency HLS, for players that know nothing else.
//!
//! The ticket is checked once, at the multivariant playlist. Everything else stands in a folder whose name says what was
//! granted and until when, signed with a key of this process; all whose rights do not end share the same files, so that a cache
//! in front of the server serves them. Who plays is told by the playlist's query, see [`players`].
//!
//! A stream is packaged from the first player on, as one more player of its tags, and until nobody has asked for
//! `hls.idle_seconds`.

mod players;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{hmac, rand};
use axum::{
    body::Body,
    extract::{ConnectInfo, Path, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use media::{
    Command, StreamId,
    hls::{File, Found, MediaPlaylist, Packager, Settings},
    outlet::{Given, Player},
    units::time::Time,
};
use signaling::code::{Code, Fault};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use self::players::{Asking, Players, WORD, Word};
use super::{
    Face,
    flv::{attach, cors_headers, preflight, refusal},
    same,
};
use crate::{config::HlsSettings, metrics::HlsCounts, shutdown::Stopping};

/// The media playlist's name in the folder of a grant.
const MEDIA_PLAYLIST: &str = "media.m3u8";
/// Bytes of a signature: as hard to guess as 128 bits.
const SIGNATURE_BYTES: usize = 16;
/// How often it is looked whether anybody still asks.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// The first player waits this long for something to play: a publisher's next key frame.
const START_WAIT: Duration = Duration::from_secs(10);
/// Files never change, so caches may keep them while players may ask for them.
const FILE_CACHING: &str = "public, max-age=60, immutable";

/// All streams that are packaged.
pub struct Hls {
    key: hmac::Key,
    settings: HlsSettings,
    streams: Mutex<HashMap<StreamId, Arc<Live>>>,
    /// For one player each.
    places: Arc<Semaphore>,
    counts: Arc<HlsCounts>,
    stopping: Stopping,
}

/// One of them.
struct Live {
    packager: Mutex<Packager>,
    /// Counts parts, so that whoever waits for the next one wakes.
    changed: watch::Sender<u64>,
    asked_at: Mutex<Instant>,
    players: Arc<Players>,
}

impl Hls {
    pub fn new(settings: HlsSettings, counts: Arc<HlsCounts>, stopping: Stopping) -> Arc<Hls> {
        let mut secret = [0; 32];
        // Without randomness nothing in this process would be safe, TLS to begin with.
        rand::fill(&mut secret).expect("the system has randomness");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let places = Arc::new(Semaphore::new(settings.players_max.get() as usize));
        Arc::new(Hls { key, settings, streams: Mutex::default(), places, counts, stopping })
    }

    /// The stream's packaging, which begins if it has not.
    async fn open(self: &Arc<Self>, commands: &mpsc::Sender<Command>, stream: StreamId) -> Result<Arc<Live>, Fault> {
        if let Some(live) = self.find(stream) {
            return Ok(live);
        }
        if lock(&self.streams).len() as u64 >= self.settings.streams_max.get() {
            return Err(Fault::with(Code::MediaLimit, "limit reached: hls.streams_max"));
        }
        let player = attach(commands, stream).await?;
        let mut streams = lock(&self.streams);
        // Somebody else may have been faster.
        let live = streams.entry(stream).or_insert_with(|| {
            let live = Arc::new(Live::new(&self.settings, self.places.clone()));
            self.counts.begin();
            tokio::spawn(self.clone().feed(stream, live.clone(), player));
            live
        });
        live.touch();
        Ok(live.clone())
    }

    fn find(&self, stream: StreamId) -> Option<Arc<Live>> {
        let live = lock(&self.streams).get(&stream)?.clone();
        live.touch();
        Some(live)
    }

    async fn feed(self: Arc<Self>, stream: StreamId, live: Arc<Live>, mut player: Player) {
        let origin = Instant::now();
        let mut tick = interval(IDLE_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut over = false;
        loop {
            tokio::select! {
                given = player.next(), if !over => {
                    let now = Time::from_micros(origin.elapsed().as_micros() as u64);
                    let mut packager = lock(&live.packager);
                    let mut changed = false;
                    for tag in given.iter().flat_map(Given::tags) {
                        changed |= packager.push(now, &tag);
                    }
                    over = given.is_none();
                    if over {
                        packager.end();
                    }
                    drop(packager);
                    if over {
                        live.players.end();
                    }
                    if changed || over {
                        live.changed.send_modify(|parts| *parts += 1);
                    }
                }
                now = tick.tick() => {
                    let silence = Duration::from_secs(self.settings.player_silence_seconds.get());
                    live.players.forget_silent(now.into(), silence);
                    if self.forget_if_idle(stream, &live) {
                        break;
                    }
                }
                () = self.stopping.started() => {
                    lock(&self.streams).remove(&stream);
                    break;
                }
            }
        }
        live.players.end();
        self.counts.end();
    }

    fn forget_if_idle(&self, stream: StreamId, live: &Arc<Live>) -> bool {
        let mut streams = lock(&self.streams);
        // The map and the task hold it; anybody else is a request that waits.
        let in_use = Arc::strong_count(live) > 2;
        let idle = lock(&live.asked_at).elapsed() >= Duration::from_secs(self.settings.idle_seconds.get());
        if in_use || !idle {
            return false;
        }
        streams.remove(&stream);
        true
    }

    /// The folder of a grant: stream, when it ends in Unix seconds (0: never), signature.
    fn folder(&self, stream: StreamId, until_s: u64) -> String {
        let grant = format!("{}-{until_s}", stream.0);
        let signature = hmac::sign(&self.key, grant.as_bytes());
        format!("{grant}-{}", hex(&signature.as_ref()[..SIGNATURE_BYTES]))
    }

    /// The stream that a folder grants.
    fn granted(&self, folder: &str, now_s: u64) -> Result<StreamId, Code> {
        let mut words = folder.splitn(3, '-');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(stream), Some(until_s)) = (number(), number()) else { return Err(Code::NotFound) };
        let stream = StreamId(stream);
        if !same(self.folder(stream, until_s).as_bytes(), folder.as_bytes()) {
            return Err(Code::NotFound);
        }
        if until_s != 0 && now_s >= until_s {
            return Err(Code::UrlSignatureExpired);
        }
        Ok(stream)
    }

    /// As long as a blocked answer may be held back (RFC 8216bis §6.2.5.2).
    fn wait_max(&self) -> Duration {
        Duration::from_secs(3 * self.settings.segment_seconds.get())
    }

    /// Asks the stream until it answers, or is over, or the time is.
    async fn wait<T>(&self, live: &Live, limit: Duration, mut ask: impl FnMut(&Packager) -> Option<T>) -> Option<T> {
        let mut changed = live.changed.subscribe();
        let asked = async {
            loop {
                if let Some(answer) = ask(&lock(&live.packager)) {
                    return Some(answer);
                }
                tokio::select! {
                    told = changed.changed() => told.ok()?,
                    () = self.stopping.started() => return None,
                }
            }
        };
        let answer = timeout(limit, asked).await.ok().flatten();
        live.touch();
        answer
    }
}

impl Live {
    fn new(settings: &HlsSettings, places: Arc<Semaphore>) -> Live {
        let settings = Settings {
            segment: Duration::from_secs(settings.segment_seconds.get()),
            part: Duration::from_millis(settings.part_ms.get()),
            window: settings.window_segments.get() as u32,
        };
        Live {
            packager: Mutex::new(Packager::new(settings)),
            changed: watch::Sender::new(0),
            asked_at: Mutex::new(Instant::now()),
            players: Arc::new(Players::new(places)),
        }
    }

    fn touch(&self) {
        *lock(&self.asked_at) = Instant::now();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete before anything that may panic, so a poisoned state is a usable one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The multivariant playlist: checks the ticket and names the folder of the grant. `name` as it stands in the URL.
pub(super) async fn begin(face: Face, remote: SocketAddr, name: &str, query: &str) -> Result<Response, Fault> {
    let grant = face.hub.authorise_hls(name, query, Some(remote.ip())).inspect_err(|_| face.metrics.hls.refuse())?;
    let live = face.hls.open(&face.commands, grant.stream).await?;
    let until_s = grant.until.map_or(0, |until| {
        let left = until.saturating_duration_since(Instant::now());
        (now_s() + left.as_secs()).max(1)
    });
    // "./": a name may hold a colon, which would look like a scheme.
    let folder = face.hls.folder(grant.stream, until_s);
    let word = Word::new(grant.player).to_text(&face.hls.key, &folder);
    let media = format!("./{name}/{folder}/{MEDIA_PLAYLIST}?{WORD}={word}");
    let text = face.hls.wait(&live, START_WAIT, |packager| packager.multivariant(&media)).await;
    let text = text.ok_or_else(|| Fault::with(Code::MediaUnavailable, "the stream has sent no key frame yet"))?;
    Ok(playlist(text))
}

/// What stands in the folder of a grant.
pub async fn folder(
    State(face): State<Face>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path((stream, folder, file)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let cors = cors_headers(&face.origins, request.headers());
    let answer = match *request.method() {
        Method::GET | Method::HEAD => {
            let query = request.uri().query().unwrap_or_default();
            let plays = *request.method() == Method::GET;
            let asked = Asked { stream: &stream, folder: &folder, file: &file, query, remote: remote.ip(), plays };
            serve(&face, asked).await.unwrap_or_else(refusal)
        }
        Method::OPTIONS => (StatusCode::NO_CONTENT, preflight()).into_response(),
        _ => ([(header::ALLOW, "GET, HEAD, OPTIONS")], refusal(Code::MethodNotAllowed.into())).into_response(),
    };
    (cors, answer).into_response()
}

/// A request for something in a folder.
struct Asked<'a> {
    /// As in the URL, decoded.
    stream: &'a str,
    folder: &'a str,
    file: &'a str,
    query: &'a str,
    remote: IpAddr,
    /// It does not only ask whether it could.
    plays: bool,
}

impl Asked<'_> {
    /// A part of the query.
    fn value(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

async fn serve(face: &Face, asked: Asked<'_>) -> Result<Response, Fault> {
    let stream = face.hls.granted(asked.folder, now_s())?;
    let live = face.hls.find(stream).ok_or(Code::NoSuchStream)?;
    if asked.file == MEDIA_PLAYLIST {
        let _asking = player(face, &live, stream, &asked)?;
        return media_playlist(face, &live, &asked).await;
    }
    let file = File::from_name(asked.file).ok_or(Code::NotFound)?;
    let found = face.hls.wait(&live, face.hls.wait_max(), |packager| match packager.file(file) {
        Found::Soon => None,
        found => Some(found),
    });
    match found.await {
        Some(Found::Here(pieces)) => Ok(media_file(pieces)),
        Some(_) => Err(Code::NotFound.into()),
        None => Err(pauses()),
    }
}

/// Whose request for the playlist this is; his first is his beginning.
fn player(face: &Face, live: &Live, stream: StreamId, asked: &Asked<'_>) -> Result<Option<Asking>, Fault> {
    let word =
        asked.value(WORD).and_then(|text| Word::read(&face.hls.key, asked.folder, text)).ok_or(Code::NotFound)?;
    if !asked.plays {
        return Ok(None);
    }
    let asking = live.players.ask(word.id, || {
        let watch = face.hub.watch_hls(asked.stream, stream, word.user.as_deref(), Some(asked.remote));
        Ok((watch.ok_or(Code::NoSuchStream)?, face.metrics.hls.admit()))
    });
    asking.map(Some).inspect_err(|_| face.metrics.hls.refuse())
}

/// Held back, where the player asks for that, until it has what the player does not know yet.
async fn media_playlist(face: &Face, live: &Live, asked: &Asked<'_>) -> Result<Response, Fault> {
    let bad = |what: &str| Fault::with(Code::BadField, format!("{what} is no number of a segment or part to come"));
    let number = |name: &str| asked.value(name).map(|text| text.parse::<u32>().map_err(|_| bad(name))).transpose();
    let (segment, part) = (number("_HLS_msn")?, number("_HLS_part")?);
    let update = match asked.value("_HLS_skip") {
        None => false,
        Some("YES" | "v2") => true,
        Some(_) => return Err(Fault::with(Code::BadField, "_HLS_skip is neither YES nor v2")),
    };
    let (limit, segment) = match (segment, part) {
        (Some(segment), _) => (face.hls.wait_max(), Some(u64::from(segment))),
        (None, Some(_)) => return Err(bad("_HLS_part without _HLS_msn")),
        (None, None) => (START_WAIT, None),
    };
    let found = face.hls.wait(live, limit, |packager| {
        let is_ready = match segment {
            Some(segment) => packager.has(segment, part),
            None => Some(packager.is_playable()),
        };
        match is_ready {
            None => Some(Err(bad("_HLS_msn"))),
            Some(true) => Some(Ok(packager.media(update))),
            Some(false) => None,
        }
    });
    let MediaPlaylist { text, skipped } = found.await.ok_or_else(pauses)??;
    face.metrics.hls.answer(skipped > 0);
    Ok(playlist(text))
}

fn pauses() -> Fault {
    Fault::with(Code::MediaUnavailable, "the stream pauses")
}

fn playlist(text: String) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "application/vnd.apple.mpegurl"), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

fn media_file(pieces: Vec<bytes::Bytes>) -> Response {
    let length = pieces.iter().map(bytes::Bytes::len).sum::<usize>();
    let body = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")),
        (header::CACHE_CONTROL, HeaderValue::from_static(FILE_CACHING)),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    (headers, Body::from_stream(body)).into_response()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_grants_its_stream_until_its_time_and_no_other_text_does() {
        let hls = Hls::new(HlsSettings::default(), Arc::default(), Stopping::default());
        let folder = hls.folder(StreamId(7), 0);
        assert_eq!(hls.granted(&folder, 1_000), Ok(StreamId(7)));
        let ending = hls.folder(StreamId(7), 500);
        assert_eq!(hls.granted(&ending, 499), Ok(StreamId(7)));
        assert_eq!(hls.granted(&ending, 500), Err(Code::UrlSignatureExpired));
        let forged =
            [ending.replacen("500", "900", 1), folder.replacen('7', "8", 1), "7-0-".into(), "7".into(), "".into()];
        for forged in forged {
            assert_eq!(hls.granted(&forged, 499), Err(Code::NotFound), "{forged}");
        }
        let other = Hls::new(HlsSettings::default(), Arc::default(), Stopping::default());
        assert_eq!(other.granted(&folder, 0), Err(Code::NotFound));
    }
}
