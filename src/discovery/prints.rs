//! The fingerprints of the site's workloads as of now. What is in the inventory is hashed when somebody asks; Secrets
//! are read by name every half minute, and of their values no more than an HMAC is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fingerprints::{Digest, Fingerprint, SecretsSeen, Site, definitions, of_workload, seen, template};
use super::references::References;
use super::{Cluster, WorkloadRef};
use crate::secret::{SecretSource, Secrets};

/// From one reading of the Secrets to the next.
const READ_EVERY: Duration = Duration::from_secs(30);
/// After the first one that found no workload yet.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// How long the Secrets of one workload may take.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What is needed to make fingerprints, and what the last reading of Secrets gave.
#[derive(Debug)]
pub struct Prints {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// With which way to it.
    pub secrets: Secrets,
    /// Name of the site.
    pub site: String,
    /// Its region.
    pub region: String,
    /// Where the key of the HMACs is.
    pub key: Option<SecretSource>,
    /// What was read.
    pub read: RwLock<(Digest, BTreeMap<WorkloadRef, SecretsSeen>)>,
}

// === impl Prints ===

impl Prints {
    /// Every fingerprint as of now: four of each workload, and one of the cluster.
    pub fn now(&self) -> Vec<Fingerprint> {
        let wanted = self.cluster.wanted();
        let workloads = &wanted.workloads;
        if workloads.is_empty() {
            return Vec::new();
        }
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        let (digest, secrets) = &*read;
        let nothing = SecretsSeen::default();
        self.cluster.read(|inventory| {
            let each = workloads.iter().flat_map(|workload| {
                let secrets = secrets.get(workload).unwrap_or(&nothing);
                of_workload(inventory, workload, self.of_site(), digest, secrets)
            });
            each.chain([definitions(inventory)]).collect()
        })
    }

    /// Reads the Secrets again and again; never ends.
    pub async fn keep_reading(self: Arc<Self>) {
        loop {
            let found = self.read_once().await;
            sleep(if found { READ_EVERY } else { READ_AGAIN }).await;
        }
    }

    async fn read_once(&self) -> bool {
        let wanted = self.cluster.wanted();
        if wanted.workloads.is_empty() {
            return false;
        }
        let key = match &self.key {
            // A key that cannot be read is no key: what is not keyed says so.
            Some(source) => source.read(&self.secrets).await.ok(),
            None => None,
        };
        let digest = Digest::keyed(key);
        let mut all = BTreeMap::new();
        for workload in &wanted.workloads {
            let names: Option<BTreeSet<String>> = self.cluster.read(|inventory| {
                let spec = template(inventory, workload).ok()?;
                Some(References::of(spec).secrets.into_iter().map(str::to_owned).collect())
            });
            let Some(names) = names else { continue };
            let names = names.iter().map(String::as_str).collect();
            let reading = seen(&self.secrets, workload.namespace(), names, self.of_site(), &digest);
            if let Ok(secrets) = timeout(READ_WITHIN, reading).await {
                all.insert(workload.clone(), secrets);
            }
        }
        let found = !all.is_empty();
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = (digest, all);
        found
    }

    fn of_site(&self) -> Site<'_> {
        Site { name: &self.site, region: &self.region }
    }
}
