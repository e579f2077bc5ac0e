//! The gate of every way in: the apps and their keys, and the memory of who tried how often.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::Ordering},
    time::Instant,
};

use tracing::info;

use super::{Hub, Inner, lock, unix_ms};
use crate::{
    auth::{
        authorise::{Authority, Credential, Grant, Presented, Privilege, Purpose},
        once::SpentKeys,
        rate::{PerMinute, counted_address},
    },
    code::Code,
    config::{AppConfig, ConfigError, SignalingConfig},
    name::RoomName,
};

/// What the gate knows.
pub(super) struct Gate {
    apps: RwLock<Apps>,
    /// Refused tickets by address.
    failures: Mutex<PerMinute<IpAddr>>,
    /// Joins by app and user.
    joins: Mutex<PerMinute<(u32, String)>>,
    spent: Mutex<SpentKeys>,
}

#[derive(Clone)]
struct Apps {
    list: Arc<[AppConfig]>,
    authority: Arc<Authority>,
}

impl Gate {
    pub(super) fn new(config: &SignalingConfig) -> Result<Gate, ConfigError> {
        Ok(Gate {
            apps: RwLock::new(Apps::new(config)?),
            failures: Mutex::default(),
            joins: Mutex::default(),
            spent: Mutex::default(),
        })
    }

    fn apps(&self) -> Apps {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Apps {
    fn new(config: &SignalingConfig) -> Result<Apps, ConfigError> {
        Ok(Apps { list: config.apps.clone().into(), authority: Arc::new(Authority::new(config)?) })
    }
}

impl Hub {
    /// The apps as they are now.
    pub fn apps(&self) -> Arc<[AppConfig]> {
        self.0.apps()
    }

    /// Puts these apps, with their keys and policies, in the place of those before: tickets are judged by them from now on.
    /// Members who are in stay, with what they were allowed.
    ///
    /// # Errors
    /// A key cannot be used; nothing changes then.
    pub fn replace_apps(&self, apps: Vec<AppConfig>) -> Result<(), ConfigError> {
        let config = SignalingConfig { apps, ..self.0.config.clone() };
        let apps = Apps::new(&config)?;
        for app in apps.list.iter() {
            self.0.rooms_of_app.entry(app.sdk_app_id).or_default();
        }
        *self.0.gate.apps.write().unwrap_or_else(PoisonError::into_inner) = apps;
        Ok(())
    }

    /// Says until when (Unix seconds) a user is who he says he is, whatever the room.
    pub fn authorise_user(
        &self,
        remote: Option<IpAddr>,
        sdk_app_id: u32,
        user: &str,
        user_sig: &str,
    ) -> Result<u64, Code> {
        self.0.may_try(remote)?;
        let judged = self.0.gate.apps().authority.user(unix_ms() / 1000, sdk_app_id, user, user_sig);
        if let Err(code) = &judged {
            self.0.guessed_wrong(remote);
            info!(code = code.number(), reason = code.name(), remote = ?remote, "refused");
        }
        judged
    }

    /// Says whether a user may enter a room with these tickets. Nothing is used up by it.
    pub fn authorise_entry(
        &self,
        remote: Option<IpAddr>,
        sdk_app_id: u32,
        user: &str,
        user_sig: &str,
        room: &RoomName,
        private_map_key: Option<&str>,
    ) -> Result<(), Code> {
        self.0.may_try(remote)?;
        let shown = Presented {
            sdk_app_id: Some(sdk_app_id),
            user,
            room,
            credential: Credential::Ticket { user_sig, private_map_key },
            purpose: Purpose::Watch,
        };
        let judged = self.0.gate.apps().authority.authorise(unix_ms() / 1000, &shown, Privilege::JOIN);
        if let Err(code) = &judged {
            self.0.guessed_wrong(remote);
            info!(code = code.number(), reason = code.name(), remote = ?remote, "refused");
        }
        judged.map(|_| ())
    }

    /// Lets in an app's own server, which shows the app's secret. An app that is not known is refused like a wrong secret.
    pub fn authorise_owner(&self, remote: Option<IpAddr>, sdk_app_id: u32, secret: Option<&str>) -> Result<(), Code> {
        self.0.may_try(remote)?;
        let secret = secret.ok_or(Code::OwnerRefused)?;
        if self.0.gate.apps().authority.is_owner(sdk_app_id, secret) {
            return Ok(());
        }
        self.0.guessed_wrong(remote);
        info!(code = Code::OwnerRefused.number(), reason = Code::OwnerRefused.name(), remote = ?remote, "refused");
        Err(Code::OwnerRefused)
    }
}

impl Inner {
    /// Judges what was shown, and remembers who guesses and who comes too often.
    pub(super) fn authorise(
        &self,
        remote: Option<IpAddr>,
        shown: &Presented<'_>,
        needed: Privilege,
    ) -> Result<Grant, Code> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(Code::ShuttingDown);
        }
        self.may_try(remote)?;
        let now_s = unix_ms() / 1000;
        let judged = self.gate.apps().authority.authorise(now_s, shown, needed);
        let result = match &judged {
            Ok(grant) => self.admit(now_s, shown, grant),
            Err(code) => {
                if !matches!(shown.credential, Credential::None) {
                    self.guessed_wrong(remote);
                }
                Err(*code)
            }
        };
        if let Err(code) = result {
            info!(code = code.number(), reason = code.name(), remote = ?remote, "refused");
        }
        result.and(judged)
    }

    /// What is asked of good tickets too: not too often, and some of them not twice.
    fn admit(&self, now_s: u64, shown: &Presented<'_>, grant: &Grant) -> Result<(), Code> {
        if shown.purpose == Purpose::Member {
            let (now, limit) = (Instant::now(), self.config.limits.joins_per_user_per_minute);
            let user = (grant.sdk_app_id, shown.user.to_owned());
            let mut joins = lock(&self.gate.joins);
            if joins.is_full(now, &user, limit) {
                return Err(Code::TooManyJoins);
            }
            joins.count(now, user);
        }
        match grant.once {
            Some(key) => lock(&self.gate.spent).spend(now_s, key, self.config.limits.spent_keys_max),
            None => Ok(()),
        }
    }

    /// The apps as they are now.
    pub(super) fn apps(&self) -> Arc<[AppConfig]> {
        self.gate.apps().list
    }

    /// The app that is meant where none is named.
    pub(super) fn only_app(&self) -> Option<u32> {
        match &*self.apps() {
            [app] => Some(app.sdk_app_id),
            _ => None,
        }
    }

    /// How many messages to a room this app wants its newcomers to be told.
    pub(super) fn history_messages(&self, sdk_app_id: u32) -> usize {
        let apps = self.gate.apps().list;
        apps.iter().find(|app| app.sdk_app_id == sdk_app_id).map_or(0, |app| app.history_messages)
    }

    /// Refuses an address from which too much was guessed.
    pub(super) fn may_try(&self, remote: Option<IpAddr>) -> Result<(), Code> {
        let (now, limit) = (Instant::now(), self.config.limits.failed_auths_per_minute);
        let counted = remote.and_then(counted_address);
        match counted.is_some_and(|ip| lock(&self.gate.failures).is_full(now, &ip, limit)) {
            true => Err(Code::TooManyFailures),
            false => Ok(()),
        }
    }

    /// Counts a wrong guess of this address.
    pub(super) fn guessed_wrong(&self, remote: Option<IpAddr>) {
        if let Some(ip) = remote.and_then(counted_address) {
            lock(&self.gate.failures).count(Instant::now(), ip);
        }
    }
}
