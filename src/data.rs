//! The data folder: the demo app's keys, the self-made certificate and the hash of the console's password, beside the store, which `signaling::store` keeps.
//! Whatever is missing is made anew; tickets issued before are worthless then.
//!
//! Every file is readable by its owner only, and appears whole or not at all, also when two processes make it at once
//! (a server that starts while `roomcast sign` runs).

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use signaling::AppConfig;

use crate::{config::setting::Secret, console::ConsolePassword};

/// The sdkAppID of the demo app.
pub const DEMO_SDK_APP_ID: u32 = 1_400_000_001;

/// A self-made certificate is replaced when it is this old: half of the two years for which it is valid, so that no
/// server that is restarted once a year ever shows an expired one. Longer validity is refused by some systems (825 days).
const CERTIFICATE_AGE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
const CERTIFICATE_VALID: Duration = Duration::from_secs(2 * 365 * 24 * 3600);

/// Length of the version 2 secret in bytes; it is used as its hexadecimal text, like the vendor's.
const SECRET_BYTES: usize = 32;

/// The demo app's keys.
#[derive(Clone, Debug)]
pub struct DemoKeys {
    /// P-256 private key, PKCS#8 PEM, for version 1 tickets.
    pub private_key_pem: Secret,
    /// 64 hexadecimal characters, for version 2 tickets.
    pub secret: Secret,
}

impl DemoKeys {
    /// The demo app: both ticket versions, everything allowed that the ticket allows.
    pub fn app(&self) -> AppConfig {
        AppConfig {
            sdk_app_id: DEMO_SDK_APP_ID,
            name: "demo".to_owned(),
            v1_keys_pem: vec![self.private_key_pem.expose().to_owned()],
            v2_secret: Some(self.secret.expose().to_owned()),
            ..AppConfig::default()
        }
    }
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub certificate_pem: String,
    pub private_key_pem: Secret,
    /// Where they came from, for error messages.
    pub certificate_path: PathBuf,
    pub private_key_path: PathBuf,
}

/// What went wrong in the data folder, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{path}: {source}\n  choose a folder that can be written with --data FOLDER (server.data_folder)")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} holds no usable key ({why})\n  delete it, and a fresh one is made")]
    Unusable { path: PathBuf, why: String },
}

/// The folder.
#[derive(Clone, Debug)]
pub struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// Makes the folder if it is missing.
    pub fn open(path: &Path) -> Result<DataFolder, DataError> {
        let result = DirBuilder::new().recursive(true).mode(0o700).create(path);
        result.map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        Ok(DataFolder { path: path.to_owned() })
    }

    /// The demo app's keys, made if they are missing.
    pub fn demo_keys(&self) -> Result<DemoKeys, DataError> {
        let (key_path, pem) = self
            .read_or_make("demo-private.pem", || Ok(KeyPair::generate().map_err(io::Error::other)?.serialize_pem()))?;
        if let Err(error) = pem.parse::<p256::SecretKey>() {
            // The parser's words name the form that failed, never the key.
            return Err(DataError::Unusable { path: key_path, why: error.to_string() });
        }
        let (secret_path, secret) = self.read_or_make("demo-secret.txt", || Ok(random_hex()? + "\n"))?;
        let secret = secret.trim();
        if secret.len() != 2 * SECRET_BYTES || !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let why = "64 hexadecimal characters are expected".to_owned();
            return Err(DataError::Unusable { path: secret_path, why });
        }
        Ok(DemoKeys { private_key_pem: Secret::new(pem), secret: Secret::new(secret.to_owned()) })
    }

    /// The console's password as it is kept; and in clear, if it was made just now.
    pub fn console_password(&self) -> Result<(ConsolePassword, Option<Secret>), DataError> {
        let mut fresh = None;
        let (path, text) = self.read_or_make("console-password.hash", || {
            let (clear, password) = ConsolePassword::generate()?;
            fresh = Some(clear);
            Ok(format!("{password}\n"))
        })?;
        match text.parse() {
            Ok(password) => Ok((password, fresh)),
            Err(why) => Err(DataError::Unusable { path, why: why.to_owned() }),
        }
    }

    /// The self-made certificate, made if it is missing or old.
    pub fn self_made_certificate(&self) -> Result<TlsFiles, DataError> {
        let (certificate, key) = ("tls-certificate.pem", "tls-private.pem");
        let age = fs::metadata(self.path.join(certificate))
            .and_then(|metadata| metadata.modified())
            .map(|made| SystemTime::now().duration_since(made).unwrap_or_default());
        let whole = self.path.join(key).exists() && age.is_ok_and(|age| age < CERTIFICATE_AGE_MAX);
        if !whole {
            for name in [certificate, key] {
                match fs::remove_file(self.path.join(name)) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(DataError::Io { path: self.path.join(name), source });
                    }
                    _ => {}
                }
            }
        }
        // The key first: a certificate without its key would count as whole.
        let (private_key_path, private_key) =
            self.read_or_make(key, || Ok(KeyPair::generate().map_err(io::Error::other)?.serialize_pem()))?;
        let key_pair = KeyPair::from_pem(&private_key)
            .map_err(|error| DataError::Unusable { path: private_key_path.clone(), why: error.to_string() })?;
        let (certificate_path, certificate_pem) =
            self.read_or_make(certificate, || self_signed(&key_pair).map_err(io::Error::other))?;
        Ok(TlsFiles { certificate_pem, private_key_pem: Secret::new(private_key), certificate_path, private_key_path })
    }

    fn read_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> io::Result<String>,
    ) -> Result<(PathBuf, String), DataError> {
        let path = self.path.join(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make().and_then(|text| create_whole(&path, &text)).and_then(|()| fs::read_to_string(&path))
            }
            result => result,
        };
        match text {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(DataError::Io { path, source }),
        }
    }
}

/// The operator's own certificate.
pub fn read_tls_files(certificate: &Path, private_key: &Path) -> Result<TlsFiles, DataError> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|source| DataError::Io { path: path.to_owned(), source });
    Ok(TlsFiles {
        certificate_pem: read(certificate)?,
        private_key_pem: Secret::new(read(private_key)?),
        certificate_path: certificate.to_owned(),
        private_key_path: private_key.to_owned(),
    })
}

/// Writes beside the place and links it there: a reader never sees half a file, and who comes second leaves the file
/// of the first in place.
fn create_whole(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.part", process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match fs::hard_link(&beside, path) {
        Ok(()) => fs::remove_file(&beside),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&beside),
        // Some file systems have no links.
        Err(_) => fs::rename(&beside, path),
    }
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn self_signed(key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    names.extend(interfaces.iter().filter(|interface| !interface.is_loopback()).map(|i| i.ip().to_string()));
    let mut params = CertificateParams::new(names)?;
    let now = SystemTime::now();
    // A day early, for clients whose clock is behind.
    params.not_before = (now - Duration::from_secs(24 * 3600)).into();
    params.not_after = (now + CERTIFICATE_VALID).into();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "roomcast, made by itself");
    Ok(params.self_signed(key)?.pem())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(&folder.path().join("inner/data")).expect("made");
        let first = data.demo_keys().expect("made");
        let second = data.demo_keys().expect("read");
        assert_eq!(first.secret, second.secret);
        assert_eq!(first.private_key_pem, second.private_key_pem);
        assert!(first.private_key_pem.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
        let certificate = data.self_made_certificate().expect("made");
        assert_eq!(certificate.certificate_pem, data.self_made_certificate().expect("read").certificate_pem);
    }

    #[test]
    fn two_folders_have_different_keys() {
        let keys = || {
            let folder = tempfile::tempdir().expect("a folder");
            DataFolder::open(folder.path()).and_then(|data| data.demo_keys()).expect("made")
        };
        let (a, b) = (keys(), keys());
        assert_ne!(a.secret, b.secret);
        assert_ne!(a.private_key_pem, b.private_key_pem);
    }

    #[test]
    fn files_are_readable_by_their_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(&folder.path().join("data")).expect("made");
        data.demo_keys().expect("made");
        data.self_made_certificate().expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path().join("data")), 0o700);
        let files: Vec<_> = fs::read_dir(folder.path().join("data")).expect("listed").flatten().collect();
        assert_eq!(files.len(), 4, "{files:?}");
        for file in files {
            assert_eq!(mode(&file.path()), 0o600, "{file:?}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("made");
        let first = data.self_made_certificate().expect("made");
        fs::remove_file(&first.private_key_path).expect("removed");
        assert_ne!(first.certificate_pem, data.self_made_certificate().expect("made anew").certificate_pem);
    }

    #[test]
    fn a_broken_key_is_named_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("made");
        fs::write(folder.path().join("demo-private.pem"), "not a key at all").expect("written");
        let text = data.demo_keys().expect_err("refused").to_string();
        assert!(text.contains("demo-private.pem") && text.contains("delete it"), "{text}");
        assert!(!text.contains("not a key at all"), "{text}");
    }
}
