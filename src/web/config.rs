//! `--web.config.file` in force: read at the start, and again when it or a file that it names has changed.
//!
//! What cannot be used is refused at the start. Later the last good version stays in force, and what is wrong is logged once
//! and shown at `/config`. A new version never takes TLS or the login away altogether: that is what a file that is being
//! written, or was truncated, looks like. It needs a restart.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::auth::{Login, Logins};
use super::limits::Bucket;
use super::tls::{self, Pem, Unusable};
use crate::clock;
use crate::config::{Material, Problem, Problems, ServerTls, Source, WebConfig, parse_web};
use crate::tasks;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What stands between the network and the answers.
#[derive(Debug)]
pub struct Armour {
    file: Option<PathBuf>,
    policy: RwLock<Arc<Policy>>,
    seen: Mutex<Seen>,
    bucket: Mutex<Option<Bucket>>,
    logins: Logins,
}

/// One version of the file, ready for use.
#[derive(Debug, Default)]
pub struct Policy {
    config: WebConfig,
    tls: Option<Arc<ServerConfig>>,
}

/// What a request gets before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is answered.
    Granted,
    /// It needs a login.
    LoginNeeded,
    /// There are too many.
    TooMany,
}

/// What was found when the files were last looked at.
#[derive(Debug)]
struct Seen {
    content: [u8; 32],
    /// Since when the version in force is in force.
    since: Timestamp,
    /// Since when there is a newer one that cannot be used, and why.
    broken: Option<(Timestamp, String)>,
}

// === impl Armour ===

impl Default for Armour {
    /// None: plain HTTP, and everybody is let in.
    fn default() -> Self {
        Armour {
            file: None,
            policy: RwLock::default(),
            seen: Mutex::new(Seen { content: [0; 32], since: Timestamp::UNIX_EPOCH, broken: None }),
            bucket: Mutex::default(),
            logins: Logins::default(),
        }
    }
}

impl Armour {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// Every mistake in it and in the files that it names.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        let Some(file) = file else { return Ok(Armour::default()) };
        let (content, raw) = look(file);
        Ok(Armour {
            file: Some(file.to_owned()),
            policy: RwLock::new(Arc::new(raw.and_then(|raw| raw.policy(file))?)),
            seen: Mutex::new(Seen { content, since: clock::now(), broken: None }),
            ..Armour::default()
        })
    }

    /// What is in force now.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a request is answered. What needs no login is not counted either, so that a flood of scrapes fails no health
    /// check.
    pub async fn admit(
        &self,
        policy: &Policy,
        unauthenticated: &[String],
        path: &str,
        authorization: &str,
        now: Instant,
    ) -> Admission {
        if unauthenticated.iter().any(|prefix| is_below(path, prefix)) {
            return Admission::Granted;
        }
        if !self.has_token(policy, now) {
            return Admission::TooMany;
        }
        let WebConfig { users, tls: _, http2: _, headers: _, rate_limit: _ } = &policy.config;
        if users.is_empty() {
            return Admission::Granted;
        }
        match self.logins.judge(users, authorization).await {
            Login::Welcome => Admission::Granted,
            Login::Refused => Admission::LoginNeeded,
            Login::Busy => Admission::TooMany,
        }
    }

    fn has_token(&self, policy: &Policy, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(limit) = policy.config.rate_limit else {
            *bucket = None;
            return true;
        };
        match bucket.as_mut().filter(|bucket| bucket.is_of(limit)) {
            Some(bucket) => bucket.take(now),
            None => bucket.insert(Bucket::new(limit, now)).take(now),
        }
    }

    /// Looks at the files for ever.
    pub async fn keep_fresh(self: Arc<Self>) {
        let Some(file) = self.file.clone() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let path = file.clone();
            let last = self.seen().content;
            let found = tasks::compute(move || changed(&path, last)).await;
            if let Some((content, policy)) = found {
                self.take(&file, content, policy);
            }
        }
    }

    fn take(&self, file: &Path, content: [u8; 32], found: Result<Policy, Problems>) {
        let file = file.display();
        let now = clock::now();
        let taken = found.map_err(|problems| problems.to_string()).and_then(|policy| {
            policy.still_protects(&self.policy()).map_err(|why| format!("{file}: {why}"))?;
            Ok(policy)
        });
        let mut seen = self.seen();
        seen.content = content;
        match taken {
            Ok(policy) => {
                *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
                (seen.since, seen.broken) = (now, None);
                tracing::info!(%file, "the web configuration was read again");
            }
            Err(why) => {
                let since = seen.broken.as_ref().map_or(now, |(since, _)| *since);
                tracing::error!(%file, %why, "the new web configuration cannot be used; the last good one stays in force");
                seen.broken = Some((since, why));
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the newest version is the one in force; nothing where there is no file.
    pub fn is_current(&self) -> Option<bool> {
        self.file.is_some().then(|| self.seen().broken.is_none())
    }

    /// How it is, as comments below the configuration at `/config`.
    pub fn says(&self) -> String {
        let Some(file) = &self.file else { return String::new() };
        let Seen { content: _, since, broken } = &*self.seen();
        let mut text = format!("# web configuration: {}, in force since {since}\n", file.display());
        if let Some((since, why)) = broken {
            let _ = writeln!(text, "# there is a newer one since {since}, which cannot be used:");
            for line in why.lines() {
                let _ = writeln!(text, "#   {line}");
            }
        }
        text
    }
}

/// Whether a path is the one that is meant, or below it where that ends in `/`.
fn is_below(path: &str, prefix: &str) -> bool {
    path == prefix || (prefix.ends_with('/') && path.starts_with(prefix))
}

// === impl Policy ===

impl Policy {
    /// How TLS is spoken, if it is.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.clone()
    }

    /// Headers of every answer.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.config.headers
    }

    fn still_protects(&self, old: &Policy) -> Result<(), &'static str> {
        if old.tls.is_some() && self.tls.is_none() {
            return Err("tls_server_config is gone; to serve without TLS, start the exporter anew");
        }
        if !old.config.users.is_empty() && self.config.users.is_empty() {
            return Err("basic_auth_users is gone; to serve without a login, start the exporter anew");
        }
        Ok(())
    }
}

// === reading ===

/// Everything that is on disk, before it is judged.
struct Raw {
    config: WebConfig,
    /// Certificate, key and authorities, with what they hold or why that is not known.
    pem: Vec<(Material, io::Result<Vec<u8>>)>,
}

type Found = ([u8; 32], Result<Policy, Problems>);

/// What is there now, if it is not what was there before.
fn changed(file: &Path, last: [u8; 32]) -> Option<Found> {
    let (content, raw) = look(file);
    (content != last).then(|| (content, raw.and_then(|raw| raw.policy(file))))
}

/// Reads the file and what it names; beside it the hash of all that was read, or of what went wrong.
fn look(file: &Path) -> ([u8; 32], Result<Raw, Problems>) {
    let mut hash = Sha256::new();
    let problem = |message: String| {
        let file = file.display().to_string();
        Problems(vec![Problem { file, line: 1, column: 1, path: String::new(), message }])
    };
    let text = content(file).map_err(|error| format!("cannot be read: {error}"));
    let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned()));
    let text = match text {
        Ok(text) => text,
        Err(why) => return (hash.chain_update(&why).finalize().into(), Err(problem(why))),
    };
    hash.update(&text);
    let config = match parse_web(file, &text) {
        Ok(config) => config,
        Err(problems) => return (hash.finalize().into(), Err(problems)),
    };
    let mut pem = Vec::new();
    if let Some(ServerTls { certificate, key, client_cas, .. }) = &config.tls {
        for material in [certificate, key].into_iter().chain(client_cas) {
            let bytes = match &material.source {
                Source::File(path) => content(path),
                Source::Inline(text) => Ok(text.expose().as_bytes().to_vec()),
            };
            match &bytes {
                Ok(bytes) => hash.update(Sha256::digest(bytes)),
                Err(error) => hash.update(error.to_string()),
            }
            pem.push((material.clone(), bytes));
        }
    }
    (hash.finalize().into(), Ok(Raw { config, pem }))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

// === impl Raw ===

impl Raw {
    fn policy(self, file: &Path) -> Result<Policy, Problems> {
        let Raw { config, pem } = self;
        let Some(tls) = &config.tls else { return Ok(Policy { config, tls: None }) };
        let mut problems = Vec::new();
        let mut read = Vec::new();
        for (material, bytes) in pem {
            match bytes {
                Ok(bytes) => read.push(bytes),
                Err(error) => problems
                    .push(material.problem(file, format!("{}cannot be read: {error}", shown(&material)))),
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let mut read = read.into_iter();
        let pem = Pem {
            certificate: read.next().unwrap_or_default(),
            key: read.next().unwrap_or_default(),
            client_cas: read.next(),
        };
        let server = tls::server_config(tls, config.http2, &pem).map_err(|unusable| {
            let (material, why) = match unusable {
                Unusable::Certificate(why) => (Some(&tls.certificate), why),
                Unusable::Key(why) => (Some(&tls.key), why),
                Unusable::ClientCas(why) => (tls.client_cas.as_ref(), why),
            };
            let material = material.unwrap_or(&tls.certificate);
            Problems(vec![material.problem(file, format!("{}{why}", shown(material)))])
        })?;
        Ok(Policy { config, tls: Some(server) })
    }
}

/// What is wrong, is wrong with that file; of what is written inline nothing is repeated.
fn shown(material: &Material) -> String {
    match &material.source {
        Source::File(path) => format!("{}: ", path.display()),
        Source::Inline(_) => String::new(),
    }
}

#[cfg(test)]
mod tests;
