//! Keeps the inventory as the cluster is: lists, watches, polls, and the sign of life that tells silence from peace.
//!
//! One future holds everything, so that it ends as one. Each feed lists in pages, then watches from where the list
//! stands; a watch that ends goes on from where it was. Beside them goes a pulse: a request every few seconds. A
//! watch says nothing for minutes when nothing happens, and it says nothing when the server hangs; the pulse is what
//! tells. When it stops, every feed is [`Sight::Lost`] and keeps what it holds; when it is back, all are listed anew.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use rand::RngExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use self::api::{Api, Lines};
use self::table::{Malformed, Table, Told};
use super::cluster::Cluster;
use super::feeds::feeds;
use super::inventory::{Feed, FeedState, Inventory, Sight};
use crate::clock;
use crate::model::Resource;
use crate::secret::Secrets;

mod api;
mod kinds;
mod table;
#[cfg(test)]
mod tests;

/// How much later than asked a watch may end.
const WATCH_GRACE: Duration = Duration::from_secs(10);
/// How long a watch goes well until its earlier troubles are forgotten.
const WELL_FOR: Duration = Duration::from_secs(5);
/// The longest wait before the next try of a feed that is broken.
const PAUSE: Duration = Duration::from_millis(2_500);

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    /// How often a sign of life is asked for.
    pulse: Duration,
    /// How soon again after one that did not come; the second makes everything lost.
    pulse_again: Duration,
    /// The time for a sign of life.
    sign_within: Duration,
    /// How long one watch lasts. A connection that is dead on its own, unlike the server, is left behind after it.
    watch_for: Duration,
    /// How often what has no watch is listed.
    poll_every: Duration,
    /// How long a feed may be broken while the API server is alive until it counts as lost.
    broken_for: Duration,
    /// How often it is tried whether we may read by now.
    right_again: Duration,
    /// How often it is tried whether the resource is served by now.
    served_again: Duration,
    /// How often it is tried whether there is a cluster by now.
    cluster_again: Duration,
}

/// Silence is noticed after 3 + 4 + 1 + 4 seconds at most.
const USUAL: Rhythm = Rhythm {
    pulse: Duration::from_secs(3),
    pulse_again: Duration::from_secs(1),
    sign_within: Duration::from_secs(4),
    watch_for: Duration::from_secs(50),
    poll_every: Duration::from_secs(15),
    broken_for: Duration::from_secs(8),
    right_again: Duration::from_secs(10),
    served_again: Duration::from_secs(30),
    cluster_again: Duration::from_secs(5),
};

/// Why a feed brings nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Our account may not.
    Forbidden,
    /// Our account is not accepted.
    Unauthorized,
    /// The API server does not know the resource.
    NotServed,
    /// The API server has forgotten where we stood.
    Expired,
    /// No connection, an error of the server, or no sense in what it sent.
    Broken,
}

/// One feed that is kept.
struct Keeper {
    feed: Feed,
    cluster: Arc<Cluster>,
    api: Api,
    /// Told when a workload changed, from which other feeds follow.
    changed: Arc<Notify>,
    table: Box<dyn Table>,
    /// Where in the history we stand; `None` before the first list, and when a list is needed.
    version: Option<Box<str>>,
    /// Since when nothing came, if nothing comes.
    broken: Option<Instant>,
    /// How often it did not work since it last went well.
    tries: u32,
    rhythm: Rhythm,
}

/// A feed that is kept, until its handle is told otherwise.
type Kept = Abortable<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Keeps what the cluster wants to know of itself as it is; never ends, spawns nothing.
pub async fn keep_watching(cluster: Arc<Cluster>, secrets: Secrets) {
    keep_watching_at(USUAL, cluster, secrets).await;
}

async fn keep_watching_at(rhythm: Rhythm, cluster: Arc<Cluster>, secrets: Secrets) {
    loop {
        watched(rhythm, &cluster, &secrets).await;
        tracing::info!("nothing of the cluster is needed any more");
    }
}

/// Watches what is wanted, until nothing is.
async fn watched(rhythm: Rhythm, cluster: &Arc<Cluster>, secrets: &Secrets) {
    let changed = Arc::new(Notify::new());
    let mut wants = cluster.wants();
    let api = Api::new(connected(&rhythm, cluster, secrets).await);
    let (tell, alive) = watch::channel(false);
    let mut pulse = pin!(pulse(&rhythm, cluster, &api, &tell));
    let mut handles = BTreeMap::new();
    let mut kept: FuturesUnordered<Kept> = FuturesUnordered::new();
    loop {
        adjust(cluster, &mut handles, |feed| {
            let keeper = Keeper::new(feed, cluster.clone(), api.clone(), changed.clone(), rhythm);
            let (handle, registration) = AbortHandle::new_pair();
            let future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(keeper.keep(alive.clone()));
            kept.push(Abortable::new(future, registration));
            handle
        });
        if handles.is_empty() {
            return;
        }
        tokio::select! {
            // The pulse first: when it stops, no feed may say anything else afterwards.
            biased;
            () = &mut pulse => {}
            Some(_) = kept.next() => {}
            () = changed.notified() => {}
            // We hold the other end, so this is no error.
            _ = wants.changed() => {}
        }
    }
}

/// The client, once there is a way to a cluster; until then every feed says why there is none.
async fn connected(rhythm: &Rhythm, cluster: &Cluster, secrets: &Secrets) -> kube::Client {
    let mut wants = cluster.wants();
    loop {
        wants.mark_unchanged();
        let wanted = cluster.read(|inventory| feeds(&cluster.wanted(), inventory));
        if wanted.is_empty() {
            cluster.update(|inventory| {
                let is_news = !inventory.feeds.is_empty() || inventory.unavailable.is_some();
                inventory.feeds.clear();
                inventory.unavailable = None;
                is_news
            });
            // No cluster is touched for nothing.
            let _ = wants.changed().await;
            continue;
        }
        match secrets.client().await {
            Ok(client) => {
                cluster.update(|inventory| inventory.unavailable.take().is_some());
                return client;
            }
            Err(why) => {
                let is_news = cluster.read(|inventory| inventory.unavailable.as_deref() != Some(&*why));
                cluster.update(|inventory| {
                    if !is_news && inventory.feeds.keys().eq(&wanted) {
                        return false;
                    }
                    let state = state(Sight::NoCluster);
                    inventory.feeds = wanted.into_iter().map(|feed| (feed, state.clone())).collect();
                    inventory.unavailable = Some(why.as_str().into());
                    true
                });
                if is_news {
                    tracing::info!(why, "nothing is learnt from a cluster");
                }
            }
        }
        tokio::select! {
            () = sleep(rhythm.cluster_again) => {}
            _ = wants.changed() => {}
        }
    }
}

/// Begins what is wanted and not kept, ends what is kept and not wanted, together with what it brought.
fn adjust(
    cluster: &Cluster,
    handles: &mut BTreeMap<Feed, AbortHandle>,
    mut begin: impl FnMut(Feed) -> AbortHandle,
) {
    let wanted = cluster.read(|inventory| feeds(&cluster.wanted(), inventory));
    let is_same = handles.len() == wanted.len() && handles.keys().all(|feed| wanted.contains(feed));
    if is_same {
        return;
    }
    cluster.update(|inventory| {
        handles.retain(|feed, handle| {
            let stays = wanted.contains(feed);
            if !stays {
                handle.abort();
                inventory.feeds.remove(feed);
                kinds::table(feed).forget(inventory);
            }
            stays
        });
        for feed in wanted {
            handles.entry(feed).or_insert_with_key(|feed| {
                inventory.feeds.insert(feed.clone(), state(Sight::Starting));
                begin(feed.clone())
            });
        }
        true
    });
}

fn state(sight: Sight) -> FeedState {
    FeedState { sight, since: clock::now(), heard: None, skipped: 0 }
}

/// Asks for signs of life, and tells the feeds. Never ends.
async fn pulse(rhythm: &Rhythm, cluster: &Cluster, api: &Api, tell: &watch::Sender<bool>) {
    let mut missed = 0_u32;
    loop {
        if api.answers(rhythm.sign_within).await {
            missed = 0;
            let is_back = !tell.send_replace(true);
            if is_back {
                tracing::info!("the Kubernetes API answers");
            }
        } else {
            missed = missed.saturating_add(1);
            if missed == 2 {
                tracing::warn!(
                    "the Kubernetes API cannot be reached: what is known of the cluster is kept, and trusted by nobody"
                );
                tell.send_replace(false);
                cluster.update(|inventory| {
                    let now = clock::now();
                    for state in inventory.feeds.values_mut().filter(|state| state.sight != Sight::Lost) {
                        (state.sight, state.since) = (Sight::Lost, now);
                    }
                    true
                });
            }
        }
        sleep(if missed == 0 { rhythm.pulse } else { rhythm.pulse_again }).await;
    }
}

// === impl Keeper ===

impl Keeper {
    fn new(feed: Feed, cluster: Arc<Cluster>, api: Api, changed: Arc<Notify>, rhythm: Rhythm) -> Self {
        let table = kinds::table(&feed);
        Keeper { feed, cluster, api, changed, table, version: None, broken: None, tries: 0, rhythm }
    }

    /// Keeps the feed for ever.
    async fn keep(mut self, mut alive: watch::Receiver<bool>) {
        loop {
            // Errors mean that the pulse is gone, and this future with it.
            let _ = alive.wait_for(|is| *is).await;
            tokio::select! {
                biased;
                _ = alive.wait_for(|is| !*is) => {
                    self.version = None;
                    self.broken = None;
                    self.tries = 0;
                }
                () = self.follow() => {}
            }
        }
    }

    /// Goes on until something is in the way, and waits until it may be tried again.
    async fn follow(&mut self) {
        let trouble = loop {
            if let Err(trouble) = self.go_on().await {
                break trouble;
            }
        };
        let pause = match trouble {
            Trouble::Forbidden => self.refused(Sight::Forbidden, self.rhythm.right_again),
            Trouble::Unauthorized => self.refused(Sight::Unauthorized, self.rhythm.right_again),
            Trouble::NotServed => {
                self.put(|_, table, inventory| table.forget(inventory));
                self.refused(Sight::NotServed, self.rhythm.served_again)
            }
            Trouble::Expired | Trouble::Broken => self.broken(trouble),
        };
        sleep(pause).await;
    }

    /// One step: a list, a watch, or the time until the next list of what has no watch.
    async fn go_on(&mut self) -> Result<(), Trouble> {
        match self.version.take() {
            None => self.list().await?,
            Some(_) if self.is_polled() => sleep(self.rhythm.poll_every).await,
            Some(version) => {
                // Kept for the next one, should this one not begin.
                self.version = Some(version.clone());
                self.watch(&version).await?;
            }
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<(), Trouble> {
        self.table.begin();
        let mut next: Option<Box<str>> = None;
        let version = loop {
            let Keeper { feed, api, table, cluster, .. } = self;
            let page = api
                .page(feed, next.as_deref(), |text| {
                    let page = table.page(text)?;
                    cluster.read(|inventory| table.compare(inventory));
                    Ok::<_, Malformed>(page)
                })
                .await??;
            self.skip(page.refused);
            match page.next {
                Some(_) => next = page.next,
                None => break page.version,
            }
        };
        let is_polled = self.is_polled();
        self.put(|feed, table, inventory| {
            let changed = table.commit(inventory);
            // Who may list and not watch may not see: not well for a moment at every try.
            let is_refused = matches!(inventory.sight(feed), Sight::Forbidden | Sight::Unauthorized);
            (is_polled || !is_refused) && inventory.note(feed, Sight::Live, clock::now()) || changed
        });
        self.version = Some(version);
        self.broken = None;
        if is_polled {
            self.tries = 0;
        }
        Ok(())
    }

    /// Watches until the watch ends in order; an end that comes at once is none.
    async fn watch(&mut self, version: &str) -> Result<(), Trouble> {
        // Spread, so that the feeds do not all come back in one moment.
        let time = self.rhythm.watch_for.mul_f64(rand::rng().random_range(0.8..1.2));
        let begun = Instant::now();
        let lines = self.api.watch(&self.feed, version, time).await?;
        self.cluster.update(|inventory| inventory.note(&self.feed, Sight::Live, clock::now()));
        self.broken = None;
        let end = self.hear(lines, time + WATCH_GRACE).await;
        // Something between us may cut what is idle: then it goes on from where it was, however often.
        if begun.elapsed() >= WELL_FOR {
            self.tries = 0;
            return end;
        }
        end.and(Err(Trouble::Broken))
    }

    /// Takes in what a watch says, until its end or until it is silent for too long.
    async fn hear(&mut self, mut lines: Lines, patience: Duration) -> Result<(), Trouble> {
        while let Ok(more) = timeout(patience, lines.more()).await {
            let Some(text) = more? else { break };
            self.told(&text)?;
        }
        Ok(())
    }

    /// Takes lines in: all of them at once, since who is told of each would be told of thousands.
    fn told(&mut self, lines: &[u8]) -> Result<(), Trouble> {
        let mut end = Ok(());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match self.table.event(line) {
                Ok(Told::At { version, refused }) => {
                    if !version.is_empty() {
                        self.version = Some(version);
                    }
                    self.skip(refused);
                }
                Ok(Told::Ended(code)) => {
                    end = Err(match code {
                        401 => Trouble::Unauthorized,
                        403 => Trouble::Forbidden,
                        _ => Trouble::Expired,
                    });
                    break;
                }
                Err(Malformed) => {
                    end = Err(Trouble::Broken);
                    break;
                }
            }
        }
        self.put(|feed, table, inventory| {
            let changed = table.apply(inventory);
            inventory.note(feed, Sight::Live, clock::now()) || changed
        });
        end
    }

    /// Puts into the inventory what the table holds, and tells if other feeds may follow from it.
    fn put(&mut self, change: impl FnOnce(&Feed, &mut dyn Table, &mut Inventory) -> bool) {
        let Keeper { feed, cluster, table, changed, .. } = self;
        let is_news = cluster.update(|inventory| change(feed, table.as_mut(), inventory));
        if is_news && matches!(feed.resource, Resource::Deployments | Resource::StatefulSets) {
            changed.notify_one();
        }
    }

    /// Leases of nodes are renewed all the time, and only how old they are matters.
    fn is_polled(&self) -> bool {
        self.feed.resource == Resource::NodeLeases
    }

    /// Objects that could not be read: told once each, by name only.
    fn skip(&self, refused: impl IntoIterator<Item = Box<str>>) {
        for name in refused {
            let namespace = self.feed.namespace.as_deref().unwrap_or_default();
            tracing::warn!(
                resource = self.feed.resource.as_str(),
                namespace,
                name = &*name,
                "an object that we cannot read is left out"
            );
            self.cluster.update(|inventory| {
                inventory.feeds.get_mut(&self.feed).map(|state| state.skipped += 1).is_some()
            });
        }
    }

    /// The API server says no.
    fn refused(&mut self, sight: Sight, again: Duration) -> Duration {
        self.version = None;
        self.broken = None;
        self.note(sight);
        again.mul_f64(rand::rng().random_range(0.8..1.0))
    }

    /// It did not work; how long to wait.
    fn broken(&mut self, trouble: Trouble) -> Duration {
        let since = *self.broken.get_or_insert_with(Instant::now);
        // A watch that cannot go on from where it was may be asked for something that is not there any more, as after
        // a restored backup, whatever the server calls it.
        if trouble == Trouble::Expired || self.tries >= 1 {
            self.version = None;
        }
        if since.elapsed() >= self.rhythm.broken_for {
            self.note(Sight::Lost);
        }
        let longest = Duration::from_millis(100 << self.tries.min(5)).min(PAUSE);
        self.tries = self.tries.saturating_add(1);
        longest.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    fn note(&self, sight: Sight) {
        let is_news = self.cluster.update(|inventory| inventory.note(&self.feed, sight, clock::now()));
        if is_news {
            tracing::info!(needs = self.feed.rule(), state = ?sight, "a watch is not as it should be");
        }
    }
}

impl From<Malformed> for Trouble {
    fn from(_: Malformed) -> Self {
        Trouble::Broken
    }
}
