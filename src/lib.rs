//! The composition: settings become a running server. Only this crate reads files, environment and signals.
//!
//! ```text
//!   config ──▶ media::control ──commands/events──▶ signaling::Hub ──▶ http (page, /signal, WHIP, WHEP, FLV)
//! ```

pub mod accept;
pub mod cli;
pub mod config;
pub mod console;
pub mod data;
pub mod demo;
pub mod greeting;
pub mod http;
pub mod import;
pub mod log;
pub mod metrics;
pub mod shutdown;
pub mod ticket;
pub mod tls;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use media::control::MediaStop;
use signaling::{Api, AppConfig, Callbacks, Hub, Store, StoreError};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tracing::{info, warn};

use accept::Front;
use config::{Config, ConfigError, setting::Secret};
use console::Console;
use data::{DataError, DataFolder, DemoKeys};
use demo::Clip;
use http::{Face, hls::Hls};
use metrics::Metrics;
use shutdown::{ReloadSignal, StopSignals, Stopping};

/// Why the server did not start, in words that say what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot listen for {what} on {addr}: {source}\n  {}", advice(.setting, .addr, .source))]
    Listen {
        what: &'static str,
        addr: SocketAddr,
        /// The setting that moves it.
        setting: &'static str,
        source: io::Error,
    },
    /// The text of the error names the address.
    #[error("{0}\n  {advice}", advice = media_advice(.0))]
    Media(io::Error),
    #[error("signals cannot be handled: {0}")]
    Signals(io::Error),
}

fn advice(setting: &str, addr: &SocketAddr, source: &io::Error) -> String {
    let other = SocketAddr::new(addr.ip(), addr.port().wrapping_add(1000).max(1024));
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program uses that port; `ss -lntup` shows which. Take another port with --set {setting}={other}"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need special rights; take another one with --set {setting}={other}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address; every address is --set {setting}=0.0.0.0:{}", addr.port())
        }
        _ => format!("choose another place with --set {setting}={other}"),
    }
}

fn media_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses that port; `ss -lntup` shows which. Take other ones with --set rtmp.listen=:2935 (RTMP) \
             or --set media.first_port=9000 (media)"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; every address is --set media.bind=::",
        _ => "the settings are rtmp.listen, media.bind and media.first_port; --set changes them",
    }
}

/// Where a running server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    /// RTMP, and RTMPS on the same port.
    pub rtmp: Option<SocketAddr>,
    pub rtmp_also: Option<SocketAddr>,
    /// UDP; ICE-TCP has the same numbers.
    pub media: Vec<SocketAddr>,
}

/// A running server. Dropping it ends it at once; [`Server::stop`] ends it in order.
pub struct Server {
    addresses: Addresses,
    apps: Vec<AppConfig>,
    hub: Hub,
    api: Api,
    demo: Option<DemoKeys>,
    /// The console's password, if this start made it.
    console_password: Option<Secret>,
    media: MediaStop,
    stopping: Stopping,
    places: Arc<Semaphore>,
    places_max: usize,
    tasks: JoinSet<()>,
    stop_within: Duration,
}

impl Server {
    /// Starts everything; when this returns, every port listens.
    ///
    /// # Errors
    /// What kept it from starting. Nothing runs on then.
    pub async fn start(config: &Config) -> Result<Server, StartError> {
        tls::install_crypto();
        let data = DataFolder::open(config.data_folder())?;
        let demo = config.demo.enabled.then(|| data.demo_keys()).transpose()?;
        let mut signaling_config = config.signaling(demo.as_ref())?;
        let store = Store::open(config.data_folder())?;

        // The ports that most likely are taken come first, before any thread runs.
        let http = bind("HTTP", "http.listen", config.http.listen.addr()).await?;
        let https = bind("HTTPS", "https.listen", config.https.listen.addr()).await?;
        let rtmp_on = config.rtmp.listen.addr().or(config.rtmp.listen_also.addr()).is_some();
        let files = if https.is_some() || rtmp_on { Some(tls_files(config, &data)?) } else { None };
        let acceptor = files.as_ref().filter(|_| https.is_some()).map(tls::acceptor).transpose()?;
        let mut media_config = config.media();
        media_config.rtmp_tls = files.as_ref().map(tls::server_config).transpose()?.map(Arc::new);
        let media = media::control::start(media_config).await.map_err(StartError::Media)?;
        let addresses = Addresses {
            http: local_addr(&http),
            https: local_addr(&https),
            rtmp: media.rtmp_addr,
            rtmp_also: media.rtmp_also_addr,
            media: media.udp_addrs.clone(),
        };
        let counters = media.counters.clone();
        let (commands, events, media) = media.into_parts();

        signaling_config.rtmp_port = addresses.rtmp.map(|addr| addr.port());
        let apps = signaling_config.apps.clone();
        let callbacks = Callbacks::new(signaling_config.callbacks.clone(), &apps);
        let api_config = signaling_config.api.clone();
        let hub = Hub::start(signaling_config, commands.clone(), events).map_err(ConfigError::from)?;
        let api = Api::start(hub.clone(), store, callbacks.clone(), api_config).map_err(ConfigError::from)?;

        let stopping = Stopping::default();
        let places_max = config.http.connections_max.get() as usize;
        let places = Arc::new(Semaphore::new(places_max));
        let metrics = Arc::new(Metrics::new(places.clone(), counters, hub.clone(), callbacks.clone()));
        let (console, console_password) = match config.console.enabled {
            false => (None, None),
            true => {
                let (password, fresh) = data.console_password()?;
                (Some(Console::new(config, password, metrics.clone(), addresses.clone())), fresh)
            }
        };
        let app = http::router(Face {
            hls: Hls::new(config.hls.clone(), metrics.hls.clone(), stopping.clone()),
            hub: hub.clone(),
            api: api.clone(),
            commands: commands.clone(),
            metrics,
            stopping: stopping.clone(),
            origins: config.signaling.origins.0.clone().into(),
            metrics_token: config.http.metrics_token.clone(),
            console,
        });
        let head_timeout = Duration::from_secs(config.http.head_timeout_seconds.get());
        let streams_max = config.http.streams_max.get() as u32;
        let front = Front { app, stopping: stopping.clone(), places: places.clone(), streams_max, head_timeout };
        let mut tasks = JoinSet::new();
        if let Some(listener) = http {
            tasks.spawn(front.clone().serve(listener, None));
        }
        if let Some(listener) = https {
            tasks.spawn(front.serve(listener, acceptor));
        }
        if demo.is_some() && config.demo.test_stream {
            match Clip::embedded() {
                Ok(clip) => {
                    tasks.spawn(demo::play_for_ever(clip, hub.clone(), commands, config.demo.room.clone()));
                }
                Err(error) => warn!(%error, "there is no test stream"),
            }
        }
        info!(?addresses, "started");
        let stop_within = Duration::from_secs(config.server.stop_seconds.get());
        Ok(Server {
            addresses,
            apps,
            hub,
            api,
            demo,
            console_password,
            media,
            stopping,
            places,
            places_max,
            tasks,
            stop_within,
        })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The console's password in clear, only if this start made it: it is kept nowhere.
    pub fn fresh_console_password(&self) -> Option<&Secret> {
        self.console_password.as_ref()
    }

    /// Every app, the demo app first where it is on.
    pub fn apps(&self) -> &[AppConfig] {
        &self.apps
    }

    /// Takes the apps of these settings in the place of those before, with their keys; those added at run time stay, and so
    /// does whoever is in a room. Everything else of the settings needs a restart.
    ///
    /// # Errors
    /// A key file cannot be read or used; nothing changes then.
    pub fn reload(&self, config: &Config) -> Result<(), ConfigError> {
        let demo = self.demo.as_ref().filter(|_| config.demo.enabled);
        self.api.reload(config.signaling(demo)?.apps).map_err(ConfigError::from)
    }

    /// Stops in order: readiness off, no new connections, members told, media ended, connections closed. What has not
    /// closed by itself within `server.stop_seconds` is left to its fate.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + self.stop_within;
        self.stopping.start();
        let orderly = async {
            self.hub.shut_down();
            self.media.stop().await;
            // Every place is free when the last connection is gone.
            let _ = self.places.acquire_many(self.places_max as u32).await;
        };
        if tokio::time::timeout_at(deadline.into(), orderly).await.is_err() {
            warn!("some connections did not close in time");
        }
        self.tasks.shutdown().await;
        info!("stopped");
    }
}

/// Serves until a signal asks to stop: what `roomcast serve` does. SIGHUP reads the settings again with `load`, see
/// [`Server::reload`].
pub async fn run(config: Config, load: impl Fn() -> Result<Config, ConfigError>) -> Result<(), StartError> {
    let mut signals = StopSignals::listen().map_err(StartError::Signals)?;
    let mut reloads = ReloadSignal::listen().map_err(StartError::Signals)?;
    let server = Server::start(&config).await?;
    print!("{}", greeting::text(&config, &server));
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = reloads.next() => match load().and_then(|config| server.reload(&config)) {
                Ok(()) => info!("the apps were read again"),
                // What is wrong with the new settings does not end the server that runs on the old ones.
                Err(error) => warn!(%error, "the apps stay as they were"),
            },
        }
    }
    println!("stopping; press Ctrl-C again to end at once");
    signals.exit_at_next();
    server.stop().await;
    Ok(())
}

async fn bind(
    what: &'static str,
    setting: &'static str,
    addr: Option<SocketAddr>,
) -> Result<Option<TcpListener>, StartError> {
    let Some(addr) = addr else { return Ok(None) };
    match TcpListener::bind(addr).await {
        Ok(listener) => Ok(Some(listener)),
        Err(source) => Err(StartError::Listen { what, addr, setting, source }),
    }
}

fn local_addr(listener: &Option<TcpListener>) -> Option<SocketAddr> {
    listener.as_ref()?.local_addr().ok()
}

/// The operator's certificate if there is one, else a self-made one.
fn tls_files(config: &Config, data: &DataFolder) -> Result<data::TlsFiles, DataError> {
    match (config.https.certificate.as_path(), config.https.private_key.as_path()) {
        (Some(certificate), Some(key)) => data::read_tls_files(certificate, key),
        _ => data.self_made_certificate(),
    }
}
