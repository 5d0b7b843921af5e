//! What was seen of the nodes of databases: by our own visits, and by the exporters of other sites as they tell it.
//!
//! Written by the probes that visit a database and by the one that reads a peer's report; read by whoever has to set
//! one node beside another: identity, split brain, the role in force, what the next peer is told. Pure data.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::discovery::fingerprints::Fingerprint;
use crate::model::{Reason, Role};

/// Through which door a node was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The endpoint that the application is wired to.
    Application,
    /// The site's own standby database, by our own endpoint.
    Standby,
    /// The database that feeds the standby, by our own endpoint.
    Primary,
}

/// A database server as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Node {
    /// `pg_control_system()`'s identifier: the same on a primary and all its physical copies.
    pub system_identifier: Option<String>,
    /// The timeline of its last checkpoint; each promotion begins a new one.
    pub timeline: Option<u32>,
    /// It replays what another one writes.
    pub in_recovery: bool,
    /// A transaction may not write, for whatever reason.
    pub read_only: bool,
}

/// A look at a node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sighting {
    /// When, by the clock of whoever looked.
    pub at: Timestamp,
    /// What it said, or why it said nothing.
    pub node: Result<Node, Reason>,
}

/// What the exporter of another site told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When we read it, by our clock.
    pub read_at: Timestamp,
    /// When it was said, by theirs.
    pub said_at: Timestamp,
    /// The role that the site is declared to have.
    pub declared_role: Role,
    /// Its systems by name.
    pub systems: BTreeMap<String, ToldSystem>,
    /// What it runs, as hashes.
    pub fingerprints: Vec<Fingerprint>,
}

/// What the exporter of another site told of one system.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldSystem {
    /// The role in force there.
    pub role: Role,
    /// Its databases by name, each with what was seen through each door.
    pub databases: BTreeMap<String, BTreeMap<Place, Sighting>>,
}

/// Which database of which system.
type Whose = (Arc<str>, Arc<str>);

/// Everything that was seen last, through every door.
#[derive(Debug, Default)]
pub struct Sightings {
    ours: RwLock<BTreeMap<Whose, BTreeMap<Place, Sighting>>>,
    told: RwLock<BTreeMap<Arc<str>, Arc<Told>>>,
}

// === impl Sightings ===

impl Sightings {
    /// Notes what one of our visits saw; it replaces what was seen through that door before.
    pub fn note(&self, system: &Arc<str>, db: &Arc<str>, place: Place, sighting: Sighting) {
        let mut ours = self.ours.write().unwrap_or_else(PoisonError::into_inner);
        ours.entry((system.clone(), db.clone())).or_default().insert(place, sighting);
    }

    /// What our visits saw last of one database.
    pub fn ours(&self, system: &Arc<str>, db: &Arc<str>) -> BTreeMap<Place, Sighting> {
        let ours = self.ours.read().unwrap_or_else(PoisonError::into_inner);
        ours.get(&(system.clone(), db.clone())).cloned().unwrap_or_default()
    }

    /// Notes what a peer told; it replaces what that one told before.
    pub fn hear(&self, site: &Arc<str>, told: Told) {
        self.told.write().unwrap_or_else(PoisonError::into_inner).insert(site.clone(), Arc::new(told));
    }

    /// Forgets what peers told that are asked no more.
    pub fn keep_told_of(&self, is_asked: impl Fn(&str) -> bool) {
        self.told.write().unwrap_or_else(PoisonError::into_inner).retain(|site, _| is_asked(site));
    }

    /// What one peer told last, however long ago.
    pub fn told(&self, site: &str) -> Option<Arc<Told>> {
        self.told.read().unwrap_or_else(PoisonError::into_inner).get(site).cloned()
    }

    /// What every peer told last, by the site's name.
    pub fn all_told(&self) -> BTreeMap<Arc<str>, Arc<Told>> {
        self.told.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
