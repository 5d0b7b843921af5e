//! What the cluster says about a workload: seven questions, answered by one look at the inventory.
//!
//! The judges are pure functions of the inventory, one file a kind of check. Nothing is asked over the network here:
//! watches keep the inventory as it is in the cluster, and tell of every change.

pub mod cron_jobs;
pub mod node_lease;
pub mod quota;
pub mod readiness_probe;
pub mod replicas;
pub mod service_endpoints;
pub mod storage;

#[cfg(test)]
mod fixture;
mod look;
mod part;
mod quantity;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::sleep;

use self::part::Part;
use super::{Answer, Attempt, Probe, Question, Schedule};
use crate::config::Anchored;
use crate::discovery::{Cluster, Inventory, WorkloadRef};
use crate::model::{CheckKey, Fact, Role, Strategy};

/// How long changes may settle before they are looked at: a roll-out is many changes, and their answers are due within
/// five seconds.
const SETTLE: Duration = Duration::from_secs(1);

/// A workload of a cluster, as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its system.
    pub system: Arc<str>,
    /// Its name in labels: the target of the questions.
    pub name: Arc<str>,
    /// Which object it is.
    pub workload: WorkloadRef,
    /// What the site is for.
    pub role: Role,
    /// What is promised about the failover.
    pub strategy: Strategy,
    /// How many pods a failover needs; by the object itself, when absent.
    pub required: Option<u32>,
    /// Names of CronJobs that may be active on both sides.
    pub cron_jobs_allowed: Vec<Anchored>,
    /// Whether this is the workload that asks about the CronJobs of the namespace: one of each namespace does.
    pub asks_cron_jobs: bool,
    /// When to look.
    pub schedule: Schedule,
}

/// A workload that is looked at.
pub struct Workload {
    spec: Spec,
    cluster: Arc<Cluster>,
    parts: Vec<Part>,
    questions: Vec<Question>,
    last: Mutex<Option<Seen>>,
}

/// What the last attempt saw, and when.
#[derive(Debug)]
struct Seen {
    now: Timestamp,
    answers: Vec<Answer>,
}

// === impl Spec ===

impl Spec {
    /// The labels of its facts.
    fn labels(&self) -> [(&'static str, &str); 1] {
        [("workload", &self.name)]
    }
}

// === impl Workload ===

impl Workload {
    /// Ready to look; nothing is looked at before the first attempt.
    pub fn new(spec: Spec, cluster: Arc<Cluster>) -> Self {
        let asked = |part: &Part| *part != Part::CronJobs || spec.asks_cron_jobs;
        let parts: Vec<Part> = Part::ALL.iter().copied().filter(asked).collect();
        let questions = parts
            .iter()
            .map(|part| {
                let check = part.kind().check;
                let key = CheckKey { system: spec.system.clone(), check, target: spec.name.clone() };
                // A look never ends without an answer, and an answer without its numbers is blind.
                Question { key, at_first: vec![], promised: vec![] }
            })
            .collect();
        Workload { spec, cluster, parts, questions, last: Mutex::new(None) }
    }

    fn look(&self, now: Timestamp) -> Vec<Answer> {
        let look = |inventory: &Inventory| {
            self.parts.iter().map(|part| part.answer(&self.spec, inventory, now)).collect()
        };
        self.cluster.read(look)
    }

    /// Whether a look at the moment of the last attempt would see something else by now. The moment is the same one, so
    /// that only the cluster makes a difference.
    fn is_outdated(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_some_and(|Seen { now, answers }| {
            let current = self.look(*now);
            !current.iter().zip(answers).all(|(current, before)| is_same(current, before))
        })
    }
}

#[async_trait]
impl Probe for Workload {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        let answers = self.look(attempt.now);
        for (question, answer) in answers.iter().enumerate() {
            attempt.answer(question, answer.clone());
        }
        let seen = Seen { now: attempt.now, answers };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    async fn stirred(&self) {
        // Before the first look, so that no change falls between both.
        let mut changes = self.cluster.changes();
        loop {
            sleep(SETTLE).await;
            if self.is_outdated() {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn is_same(one: &Answer, other: &Answer) -> bool {
    let Answer { outcome, detail, facts, withheld: _, gap } = one;
    let same =
        |(one, other): (&Fact, &Fact)| one.same_series(other) && one.value.total_cmp(&other.value).is_eq();
    *outcome == other.outcome
        && *gap == other.gap
        && *detail == other.detail
        && facts.len() == other.facts.len()
        && facts.iter().zip(&other.facts).all(same)
}

#[cfg(test)]
mod tests;
