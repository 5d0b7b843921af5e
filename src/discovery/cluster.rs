//! The cluster as probes see it: an inventory that is read in place, and word of every change.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::feeds::{Wanted, feeds};
use super::inventory::{Inventory, Sight};
use crate::model::{Metric, Resource};

/// Whether the watches of a resource bring what the cluster says.
pub static WATCH_HEALTHY: Metric = Metric::gauge(
    "dr_exporter_watch_healthy",
    &["resource"],
    "1 while every watch of the resource brings what the cluster says, or the cluster does not serve it; 0 within 15 s of the last answer",
);

/// What is known of the cluster now, shared by the watches that write and the probes that read.
#[derive(Debug)]
pub struct Cluster {
    wanted: watch::Sender<Arc<Wanted>>,
    inventory: RwLock<Inventory>,
    changes: watch::Sender<u64>,
}

// === impl Cluster ===

impl Default for Cluster {
    fn default() -> Self {
        Cluster::of(Inventory::default())
    }
}

impl Cluster {
    /// One that knows this, and wants to know nothing.
    pub fn of(inventory: Inventory) -> Self {
        Cluster {
            wanted: watch::Sender::default(),
            inventory: RwLock::new(inventory),
            changes: watch::Sender::new(0),
        }
    }

    /// One that knows nothing, and wants to know this.
    pub fn wanting(wanted: Wanted) -> Self {
        Cluster { wanted: watch::Sender::new(Arc::new(wanted)), ..Cluster::default() }
    }

    /// What the configuration needs.
    pub fn wanted(&self) -> Arc<Wanted> {
        self.wanted.borrow().clone()
    }

    /// Wants something else from now on; the watches follow.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|before| {
            let is_news = **before != wanted;
            if is_news {
                *before = Arc::new(wanted);
            }
            is_news
        });
    }

    /// Tells when something else is wanted.
    pub fn wants(&self) -> watch::Receiver<Arc<Wanted>> {
        self.wanted.subscribe()
    }

    /// Looks; hold it briefly, watches wait.
    pub fn read<T>(&self, look: impl FnOnce(&Inventory) -> T) -> T {
        look(&self.inventory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes, and tells everybody that something changed.
    pub fn write<T>(&self, change: impl FnOnce(&mut Inventory) -> T) -> T {
        let changed = change(&mut self.inventory.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
        changed
    }

    /// Writes, and tells everybody if the change says that something changed; hands that on.
    pub fn update(&self, change: impl FnOnce(&mut Inventory) -> bool) -> bool {
        let changed = change(&mut self.inventory.write().unwrap_or_else(PoisonError::into_inner));
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        changed
    }

    /// Counts the changes; await its `changed`.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Why there is no cluster to ask, if there is none: one sentence.
    pub fn unavailable(&self) -> Option<String> {
        self.read(|inventory| inventory.unavailable.as_deref().map(str::to_owned))
    }

    /// Resolves when every feed that is needed has been answered or refused, those that follow from others included,
    /// or at the limit. The watches must run meanwhile.
    pub async fn first_sight(&self, limit: Duration) {
        let mut changes = self.changes();
        let all_seen = async {
            while !self.read(|inventory| {
                let wanted = feeds(&self.wanted(), inventory);
                wanted.iter().all(|feed| inventory.sight(feed) != Sight::Starting)
            }) {
                // We hold the other end, so this is no error.
                let _ = changes.changed().await;
            }
        };
        let _ = timeout(limit, all_seen).await;
    }

    /// Of each resource that is watched, whether all of its feeds bring what the cluster says.
    pub fn watch_health(&self) -> BTreeMap<Resource, bool> {
        let mut health = BTreeMap::new();
        self.read(|inventory| {
            for (feed, state) in &inventory.feeds {
                *health.entry(feed.resource).or_insert(true) &= match state.sight {
                    Sight::Live | Sight::NotServed => true,
                    Sight::Starting
                    | Sight::Forbidden
                    | Sight::Unauthorized
                    | Sight::Lost
                    | Sight::NoCluster => false,
                };
            }
        });
        health
    }
}
