//! Who gets into the console: the password, kept as a hash only, the tries of those who guess, and the sessions of those who are in.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    num::NonZeroU32,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    pbkdf2::{self, PBKDF2_HMAC_SHA256},
    rand,
};
use signaling::Code;

use crate::config::{ConsoleSettings, setting::Secret};

/// Rounds of PBKDF2-HMAC-SHA256, as OWASP advises since 2023: a fifth of a second. A file may say another number.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("not 0");
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Letters of a password that is made here, and what they are taken from: 32 that nobody confuses, so 100 bits.
const PASSWORD_LETTERS: usize = 20;
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Sessions at once; the one that ends first makes room for a new one.
const SESSIONS_MAX: usize = 64;
/// Addresses whose wrong passwords are remembered. When it is full everybody waits for the minute to end.
const GUESSERS_MAX: usize = 1000;
const MINUTE: Duration = Duration::from_secs(60);

/// The console's password as it is kept: `pbkdf2-sha256$rounds$salt$hash`, the last two in hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsolePassword {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl ConsolePassword {
    /// A fresh password, in clear for the one time that it is shown, and as it is kept.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<(Secret, ConsolePassword), std::io::Error> {
        let mut random = [0; PASSWORD_LETTERS + SALT_BYTES];
        rand::fill(&mut random).map_err(|_| std::io::Error::other("the system gives no random bytes"))?;
        let (letters, salt) = random.split_at(PASSWORD_LETTERS);
        let password: String = letters.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
        let mut hash = vec![0; HASH_BYTES];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, ROUNDS, salt, password.as_bytes(), &mut hash);
        Ok((Secret::new(password), ConsolePassword { rounds: ROUNDS, salt: salt.to_vec(), hash }))
    }

    /// Whether it is this one. Takes the same time for every answer.
    fn is(&self, password: &str) -> bool {
        pbkdf2::verify(PBKDF2_HMAC_SHA256, self.rounds, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

impl fmt::Display for ConsolePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pbkdf2-sha256${}${}${}", self.rounds, hex(&self.salt), hex(&self.hash))
    }
}

impl fmt::Debug for ConsolePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl FromStr for ConsolePassword {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "pbkdf2-sha256$rounds$salt$hash is expected";
        let parts: Vec<&str> = text.trim().split('$').collect();
        let ["pbkdf2-sha256", rounds, salt, hash] = parts[..] else { return Err(EXPECTED) };
        let rounds = rounds.parse().map_err(|_| EXPECTED)?;
        let (salt, hash) = (unhex(salt).ok_or(EXPECTED)?, unhex(hash).ok_or(EXPECTED)?);
        match hash.len() {
            HASH_BYTES => Ok(ConsolePassword { rounds, salt, hash }),
            _ => Err(EXPECTED),
        }
    }
}

/// A session that was just begun.
#[derive(Debug)]
pub struct Session {
    pub token: String,
    pub seconds: u64,
}

/// The way in.
pub struct Door {
    password: ConsolePassword,
    session_life: Duration,
    guesses_per_minute: u32,
    /// When each ends, by the digest of its token: what memory shows opens nothing.
    sessions: Mutex<HashMap<Vec<u8>, Instant>>,
    guesses: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Door {
    pub fn new(password: ConsolePassword, settings: &ConsoleSettings) -> Door {
        Door {
            password,
            session_life: Duration::from_secs(settings.session_minutes.get() * 60),
            guesses_per_minute: settings.guesses_per_minute.get() as u32,
            sessions: Mutex::default(),
            guesses: Mutex::default(),
        }
    }

    /// Begins a session. Takes a fifth of a second, which is why guesses are counted before they are looked at.
    ///
    /// # Errors
    /// The password is wrong, or too many were.
    pub fn open(&self, now: Instant, from: IpAddr, password: &str) -> Result<Session, Code> {
        self.count_guess(now, from)?;
        if !self.password.is(password) {
            return Err(Code::ConsoleRefused);
        }
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| Code::ConsoleRefused)?;
        let token = hex(&bytes);
        lock(&self.guesses).remove(&from);
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, end| now < *end);
        if sessions.len() >= SESSIONS_MAX
            && let Some(first) = sessions.iter().min_by_key(|(_, end)| **end).map(|(key, _)| key.clone())
        {
            sessions.remove(&first);
        }
        sessions.insert(key(&token), now + self.session_life);
        Ok(Session { token, seconds: self.session_life.as_secs() })
    }

    pub fn is_session(&self, now: Instant, token: &str) -> bool {
        lock(&self.sessions).get(&key(token)).is_some_and(|end| now < *end)
    }

    pub fn close(&self, token: &str) {
        lock(&self.sessions).remove(&key(token));
    }

    fn count_guess(&self, now: Instant, from: IpAddr) -> Result<(), Code> {
        let mut guesses = lock(&self.guesses);
        guesses.retain(|_, (since, _)| now.duration_since(*since) < MINUTE);
        if guesses.len() >= GUESSERS_MAX && !guesses.contains_key(&from) {
            return Err(Code::TooManyFailures);
        }
        let (_, count) = guesses.entry(from).or_insert((now, 0));
        if *count >= self.guesses_per_minute {
            return Err(Code::TooManyFailures);
        }
        *count += 1;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    (digits.len().is_multiple_of(2) && text.is_ascii())
        .then(|| (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn door() -> (Secret, Door) {
        let (clear, password) = ConsolePassword::generate().expect("random bytes");
        // Fewer rounds: the test is not about them.
        let mut hash = vec![0; HASH_BYTES];
        let rounds = NonZeroU32::new(10).expect("not 0");
        pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &password.salt, clear.expose().as_bytes(), &mut hash);
        let password = ConsolePassword { rounds, hash, ..password };
        (clear, Door::new(password, &ConsoleSettings::default()))
    }

    #[test]
    fn the_password_is_kept_as_a_hash_that_can_be_read_again() {
        let (clear, password) = ConsolePassword::generate().expect("random bytes");
        assert_eq!(clear.expose().len(), PASSWORD_LETTERS);
        let kept = password.to_string();
        assert!(!kept.contains(clear.expose()), "{kept}");
        let again: ConsolePassword = kept.parse().expect("it is read");
        assert!(again.is(clear.expose()));
        assert!(!again.is("something else"));
        for broken in ["", "pbkdf2-sha256$0$00$00", "pbkdf2-sha256$10$zz$00", "plain$text", &kept[..kept.len() - 2]] {
            assert!(broken.parse::<ConsolePassword>().is_err(), "{broken}");
        }
    }

    #[test]
    fn a_session_is_good_until_its_end_or_its_logout() {
        let (clear, door) = door();
        let now = Instant::now();
        let session = door.open(now, HERE, clear.expose()).expect("the right password");
        assert!(door.is_session(now, &session.token));
        assert!(!door.is_session(now, "another"));
        assert!(!door.is_session(now + Duration::from_secs(session.seconds), &session.token));
        door.close(&session.token);
        assert!(!door.is_session(now, &session.token));
    }

    #[test]
    fn who_guesses_too_often_waits_a_minute_and_nobody_else_does() {
        let (clear, door) = door();
        let now = Instant::now();
        for _ in 0..door.guesses_per_minute {
            assert_eq!(door.open(now, THERE, "wrong").expect_err("wrong"), Code::ConsoleRefused);
        }
        assert_eq!(door.open(now, THERE, clear.expose()).expect_err("too late"), Code::TooManyFailures);
        assert!(door.open(now, HERE, clear.expose()).is_ok());
        assert!(door.open(now + MINUTE, THERE, clear.expose()).is_ok());
    }

    #[test]
    fn sessions_and_guessers_have_an_end() {
        let (clear, door) = door();
        let now = Instant::now();
        let first = door.open(now, HERE, clear.expose()).expect("in");
        for second in 1..=SESSIONS_MAX as u64 {
            door.open(now + Duration::from_secs(second), HERE, clear.expose()).expect("in");
        }
        assert!(!door.is_session(now, &first.token));
        assert_eq!(lock(&door.sessions).len(), SESSIONS_MAX);
        for n in 0..GUESSERS_MAX as u32 {
            let _ = door.count_guess(now, IpAddr::from(n.to_be_bytes()));
        }
        assert_eq!(door.count_guess(now, THERE), Err(Code::TooManyFailures));
    }
}
