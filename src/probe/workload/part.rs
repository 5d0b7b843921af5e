//! The seven questions, each with its feeds and its judge. Pure.

use jiff::Timestamp;

use super::look::{Look, listed};
use super::{Spec, cron_jobs, node_lease, quota, readiness_probe, replicas, service_endpoints, storage};
use crate::discovery::{ControllerKind, Feed, Gap, Inventory, WorkloadRef, in_sight};
use crate::model::GapReason;
use crate::probe::{Answer, Kind};

/// One of the questions about a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Ready pods against what a failover needs.
    Replicas,
    /// A readiness probe is defined.
    ReadinessProbe,
    /// Its Services have ready endpoints.
    ServiceEndpoints,
    /// The nodes of its pods are alive.
    NodeLease,
    /// Its volumes are there.
    Storage,
    /// Quotas leave room for what is missing.
    Quota,
    /// The CronJobs of its namespace.
    CronJobs,
}

type Feeds = fn(&Look<'_>) -> Vec<Feed>;
type Judge = fn(&Look<'_>) -> Answer;

// === impl Part ===

impl Part {
    /// Every question, in the order of the documentation.
    pub const ALL: &[Part] = &[
        Part::Replicas,
        Part::ReadinessProbe,
        Part::ServiceEndpoints,
        Part::NodeLease,
        Part::Storage,
        Part::Quota,
        Part::CronJobs,
    ];

    /// What the documentation says.
    pub fn kind(self) -> &'static Kind {
        match self {
            Part::Replicas => &replicas::KIND,
            Part::ReadinessProbe => &readiness_probe::KIND,
            Part::ServiceEndpoints => &service_endpoints::KIND,
            Part::NodeLease => &node_lease::KIND,
            Part::Storage => &storage::KIND,
            Part::Quota => &quota::KIND,
            Part::CronJobs => &cron_jobs::KIND,
        }
    }

    /// The answer by what is known: a gap or blindness where too little is.
    pub fn answer(self, spec: &Spec, inventory: &Inventory, now: Timestamp) -> Answer {
        self.judged(spec, inventory, now).unwrap_or_else(Gap::answer)
    }

    fn judged(self, spec: &Spec, inventory: &Inventory, now: Timestamp) -> Result<Answer, Gap> {
        let Some((feeds, judge)) = self.of_a_workload() else {
            in_sight(inventory, &cron_jobs::feeds(spec))?;
            return Ok(cron_jobs::judge(spec, inventory));
        };
        let itself = Feed::all(spec.workload.resource(), Some(spec.workload.namespace()));
        in_sight(inventory, [&itself])?;
        // What is being deleted makes no more pods.
        let controller = inventory.controllers.get(&spec.workload).filter(|found| !found.meta.deleting);
        let Some(controller) = controller else {
            let detail = absent(spec, inventory);
            let is_the_failure = self == Part::Replicas;
            return if is_the_failure {
                Ok(replicas::absent(spec, &detail))
            } else {
                Err(Gap::new(GapReason::NotFound, detail))
            };
        };
        let look = Look { spec, inventory, controller, now };
        in_sight(inventory, &feeds(&look))?;
        Ok(judge(&look))
    }

    /// Which feeds it needs, and who judges; none for the question that is about a namespace.
    fn of_a_workload(self) -> Option<(Feeds, Judge)> {
        match self {
            Part::Replicas => Some((replicas::feeds, replicas::judge)),
            Part::ReadinessProbe => Some((readiness_probe::feeds, readiness_probe::judge)),
            Part::ServiceEndpoints => Some((service_endpoints::feeds, service_endpoints::judge)),
            Part::NodeLease => Some((node_lease::feeds, node_lease::judge)),
            Part::Storage => Some((storage::feeds, storage::judge)),
            Part::Quota => Some((quota::feeds, quota::judge)),
            Part::CronJobs => None,
        }
    }
}

/// That a workload is not there, and what it may have been meant to be.
fn absent(spec: &Spec, inventory: &Inventory) -> String {
    let WorkloadRef { kind, object } = &spec.workload;
    if inventory.controllers.contains_key(&spec.workload) {
        return format!("{} is being deleted", spec.workload);
    }
    let other = match kind {
        ControllerKind::Deployment => ControllerKind::StatefulSet,
        ControllerKind::StatefulSet => ControllerKind::Deployment,
    };
    let other = WorkloadRef { kind: other, object: object.clone() };
    if inventory.controllers.contains_key(&other) {
        return format!("{} does not exist, but {other} does", spec.workload);
    }
    let mut near: Vec<(usize, &str)> = inventory
        .controllers
        .keys()
        .filter(|found| found.kind == *kind && found.object.namespace == object.namespace)
        .map(|found| (strsim::damerau_levenshtein(&object.name, &found.object.name), &*found.object.name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .collect();
    near.sort_unstable();
    let near: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
    if near.is_empty() {
        format!("{} does not exist", spec.workload)
    } else {
        format!("{} does not exist; the nearest names there: {}", spec.workload, listed(&near))
    }
}
