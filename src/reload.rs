//! When the configuration file is taken anew: when somebody asks for it, and when its content is another one.
//!
//! The content is looked at every two seconds, through whatever links lead to it. That finds what an editor renames, what
//! a file server holds and what a kubelet swaps (`..data` of a mounted ConfigMap) alike, and costs one small read. A new
//! content is taken once it was seen twice, so that a file that is still being written is not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::config::{self, Loaded, MAX_BYTES, Problems};

/// How often the content is looked at: a change is in force within 15 s.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long whoever asks for a reload waits for its end.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many may wait at a time.
const QUEUE: usize = 16;

/// Asks for a reload. Clones ask the same exporter.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<Answer>);

/// Where the outcome of a reload is told.
type Answer = oneshot::Sender<Result<(), String>>;

/// The configuration file, and everybody who may want it taken anew.
#[derive(Debug)]
pub struct Changes {
    path: PathBuf,
    requests: mpsc::Receiver<Answer>,
    hangups: Signal,
    looks: Interval,
    /// What was considered last, in force or not.
    considered: Seen,
    /// Another content that was seen once.
    news: Option<Seen>,
}

/// The file as it was read just now, to be put in force or not.
#[derive(Debug)]
pub struct Change {
    /// What it says, or everything that is wrong with it.
    pub loaded: Result<Loaded, Problems>,
    /// What led to it, in a word for the log.
    pub because: &'static str,
    /// Who waits for the outcome.
    pub answer: Option<Answer>,
}

/// What tells one content from another; contents may hold credentials, so they are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Content([u8; 32]),
    Unreadable(String),
}

/// The file's content, or why there is none.
type Content = Result<Vec<u8>, String>;

// === impl Reloader ===

impl Reloader {
    /// Reads the file and puts it in force. One reload follows the other.
    ///
    /// # Errors
    ///
    /// Every mistake of the file with its place; the configuration before stays in force.
    pub async fn reload(&self) -> Result<(), String> {
        let (answer, outcome) = oneshot::channel();
        let asked = async {
            self.0.send(answer).await.ok()?;
            outcome.await.ok()
        };
        match timeout(PATIENCE, asked).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err("dr-exporter is about to end: nothing is loaded any more".to_owned()),
            Err(_elapsed) => Err(format!("the reload has not ended within {} s", PATIENCE.as_secs())),
        }
    }
}

// === impl Changes ===

impl Changes {
    /// Looks at the file from which that was loaded.
    pub fn new(path: PathBuf, loaded: &Loaded, hangups: Signal) -> (Self, Reloader) {
        let (asks, requests) = mpsc::channel(QUEUE);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let considered = Seen::Content(Sha256::digest(&loaded.text).into());
        (Changes { path, requests, hangups, looks, considered, news: None }, Reloader(asks))
    }

    /// Resolves when the file is to be taken anew; not before the file server answers, should there be one.
    pub async fn next(&mut self) -> Change {
        loop {
            let (because, answer) = tokio::select! {
                Some(answer) = self.requests.recv() => ("POST /-/reload", Some(answer)),
                Some(()) = self.hangups.recv() => ("SIGHUP", None),
                _ = self.looks.tick() => {
                    let content = content(&self.path).await;
                    if self.is_news(&content) {
                        return self.taken(content, "its content changed", None);
                    }
                    continue;
                }
            };
            // Nobody waits any more: the next look does the same.
            if answer.as_ref().is_some_and(oneshot::Sender::is_closed) {
                continue;
            }
            let content = content(&self.path).await;
            return self.taken(content, because, answer);
        }
    }

    /// Whether that is neither what was considered last nor seen for the first time.
    fn is_news(&mut self, content: &Content) -> bool {
        let seen = Seen::of(content);
        if seen == self.considered {
            self.news = None;
            return false;
        }
        let is_settled = self.news.as_ref() == Some(&seen);
        self.news = Some(seen);
        is_settled
    }

    fn taken(&mut self, content: Content, because: &'static str, answer: Option<Answer>) -> Change {
        self.considered = Seen::of(&content);
        self.news = None;
        let name = self.path.display().to_string();
        let loaded = match content {
            Ok(bytes) => config::read(&name, bytes, clock::now()),
            Err(why) => Err(config::whole(&name, why)),
        };
        Change { loaded, because, answer }
    }
}

/// Reads no more of the file than is allowed, and one byte.
async fn content(path: &Path) -> Content {
    let file = tokio::fs::File::open(path).await.map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

// === impl Seen ===

impl Seen {
    fn of(content: &Content) -> Self {
        match content {
            Ok(bytes) => Seen::Content(Sha256::digest(bytes).into()),
            Err(why) => Seen::Unreadable(why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    #[tokio::test]
    async fn a_content_is_taken_once_it_was_seen_twice_and_only_once() {
        let text = "site: {name: a, region: b, role: standby}\nsystems: [{name: orders}]\n";
        let loaded = config::parse("f", text, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let hangups = signal(SignalKind::hangup()).unwrap();
        let (mut changes, _reloader) = Changes::new(PathBuf::from("f"), &loaded, hangups);
        let same = || Ok(text.as_bytes().to_vec());
        let half = || Ok(b"site: {name: a, reg".to_vec());
        let whole = || Ok(b"site: {name: a, region: b}".to_vec());
        let gone = || Err("cannot be opened".to_owned());
        let mut news = |content: Content| changes.is_news(&content);
        assert!(!news(same()) && !news(same()), "what is in force is no news");
        assert!(!news(half()) && !news(whole()), "it is still being written");
        assert!(news(whole()));
        assert!(!news(gone()) && !news(same()), "an editor that removes first and writes then");
        assert!(!news(whole()) && news(whole()));
        changes.taken(whole(), "", None);
        assert!(!changes.is_news(&whole()), "refused or not, it was considered");
        assert!(!changes.is_news(&gone()) && changes.is_news(&gone()), "a file that stays away is news");
        changes.taken(gone(), "", None);
        assert!(!changes.is_news(&gone()));
        assert!(
            !changes.is_news(&same()) && changes.is_news(&same()),
            "what was in force all the time is back"
        );
    }
}
