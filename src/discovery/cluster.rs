//! The cluster as probes see it: an inventory that is read in place, and word of every change.

use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use super::inventory::Inventory;

/// What is known of the cluster now, shared by the watches that write and the probes that read.
#[derive(Debug)]
pub struct Cluster {
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
    /// One that knows this.
    pub fn of(inventory: Inventory) -> Self {
        Cluster { inventory: RwLock::new(inventory), changes: watch::Sender::new(0) }
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

    /// Counts the changes; await its `changed`.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until a look shows something else than what was seen.
    pub async fn differs<T: PartialEq>(&self, seen: &T, look: impl Fn(&Inventory) -> T) {
        let mut changes = self.changes();
        while self.read(&look) == *seen {
            // The sender is ours, so there is always a next change to wait for.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
