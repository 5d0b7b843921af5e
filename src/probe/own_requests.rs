//! Our own business requests, so that they can be subtracted from what an application counts: a synthetic request
//! must never look like a user.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// How many are kept while nobody takes them; far more than are sent in an interval of the traffic check.
const KEPT: usize = 10_000;

/// A request of ours that got an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRequest {
    /// What the application's counter calls it, or its path.
    pub handler: Arc<str>,
    /// When it was sent.
    pub sent: Timestamp,
    /// When the answer came.
    pub answered: Timestamp,
}

/// What was sent and not yet taken into account, by system and workload.
#[derive(Debug, Default)]
pub struct OwnRequests(Mutex<BTreeMap<SystemAndWorkload, Vec<OwnRequest>>>);

type SystemAndWorkload = (Arc<str>, String);

impl OwnRequests {
    /// Notes a request to a workload that got an answer, whatever it was.
    pub fn note(&self, system: &Arc<str>, workload: &str, request: OwnRequest) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = all.entry((system.clone(), workload.to_owned())).or_default();
        if noted.len() < KEPT {
            noted.push(request);
        }
    }

    /// Takes what was noted since the last time.
    pub fn take(&self, system: &Arc<str>, workload: &str) -> Vec<OwnRequest> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&(system.clone(), workload.to_owned())).map(std::mem::take).unwrap_or_default()
    }
}
