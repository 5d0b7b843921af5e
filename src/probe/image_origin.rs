//! `image_origin`: does a new pod here depend on a registry that goes down together with the other region?

mod judgement;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;

use self::judgement::{Placed, Seen, judge, look};
use super::{Answer, Attempt, Kind, Probe, Question, Schedule, Tools};
use crate::discovery::{Gap, WorkloadRef, stirred};
use crate::model::{Check, CheckKey, Reason};
use crate::net::region::RegionAnswer;

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::ImageOrigin,
    about: "Where the images of a workload come from: the registry of every container and init container of its template, \
            placed by `host_suffixes`, else by a part of its name that is a configured region or begins with one and a \
            hyphen, else by its addresses, resolved anew each time. A registry in another region than the site's fails: it is \
            away when the site is needed. A pod that waits because it cannot get its image fails, too. A registry in none of \
            the configured regions passes and is named; one whose name does not resolve here is skipped, since nodes may use a \
            mirror. Nobody asks the registry itself, nor whether it holds the image.",
    example: "regions:\n  us-east-1: {cidrs: [10.0.0.0/16]}\n  us-west-2: {cidrs: [10.1.0.0/16]}\nsystems:\n  - name: orders\n    workloads: [{namespace: prod, deployment: api-server}]",
    metrics: &[],
    reasons: &[&[
        Reason::WrongRegion,
        Reason::Missing,
        Reason::Unreachable,
        Reason::Misconfigured,
        Reason::Internal,
    ]],
};

/// The images of a workload as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and name of the workload.
    pub key: CheckKey,
    /// Where its template is.
    pub workload: WorkloadRef,
    /// The region of this site.
    pub site_region: String,
    /// The names of all configured regions.
    pub regions: Vec<String>,
    /// When to ask.
    pub schedule: Schedule,
}

/// The images of a workload, looked at.
pub struct ImageOrigin {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 1],
    seen: Mutex<Option<Result<Seen, Gap>>>,
}

// === impl ImageOrigin ===

impl ImageOrigin {
    /// Ready to ask; nothing is looked up before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let question = Question { key: spec.key.clone(), at_first: vec![], promised: vec![] };
        ImageOrigin { spec, tools, questions: [question], seen: Mutex::new(None) }
    }

    /// The region of a registry: by its name, else by its addresses. `Err` is a sentence why nobody can tell.
    async fn place(&self, registry: &str, host: &str) -> Result<RegionAnswer, String> {
        if let Some(by_name) = judgement::by_name(&self.tools.regions, &self.spec.regions, registry) {
            return Ok(by_name);
        }
        // Every node runs its own, so it is wherever the node is.
        if judgement::is_local(registry) {
            return Ok(RegionAnswer::Known(self.spec.site_region.clone()));
        }
        let addresses = self.tools.resolver.lookup(host).await.map_err(|fault| fault.message)?;
        Ok(self.tools.regions.of_addresses(None, &addresses).0)
    }

    async fn placed(&self, seen: &Seen) -> Vec<Placed> {
        if self.spec.regions.is_empty() {
            return Vec::new();
        }
        let mut registries: Vec<(String, String)> =
            seen.images().map(|image| (image.registry.clone(), image.host().to_owned())).collect();
        registries.sort();
        registries.dedup();
        let asked = registries.into_iter().map(|(registry, host)| async move {
            let region = self.place(&registry, &host).await;
            Placed { registry, region }
        });
        join_all(asked).await
    }
}

#[async_trait]
impl Probe for ImageOrigin {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        // Silence of a name server is no fault of the registry: it must not become a timeout.
        let silence =
            "the region of the registry cannot be told from here: no name server gave an answer in time";
        attempt.answer(0, Answer::skipped(silence));
        let seen = self.tools.cluster.read(|inventory| look(inventory, &self.spec.workload));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.clone());
        let answer = match seen {
            Err(gap) => gap.answer(),
            Ok(seen) => {
                let placed = self.placed(&seen).await;
                judge(&seen, &placed, &self.spec.site_region, !self.spec.regions.is_empty())
            }
        };
        attempt.answer(0, answer);
    }

    async fn stirred(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(seen) = seen else { return std::future::pending().await };
        stirred(&self.tools.cluster, &seen, |inventory| look(inventory, &self.spec.workload)).await;
    }
}
