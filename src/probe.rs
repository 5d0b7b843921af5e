//! What a check is made of, and the one visible list of what we can ask.
//!
//! A [`Probe`] makes one attempt and answers one or more questions by it. The schedule, the deadline, repeated
//! attempts, the panic boundary, the record and every bookkeeping metric belong to the frame
//! ([`crate::scheduler`], [`crate::ledger`]), so that each kind gets them for nothing.
//!
//! To add a kind: one file below `probe/`, its `mod` line here and its row in [`KINDS`].

pub mod create_dry_run;
pub mod database;
pub mod db_endpoint_region;
pub mod dependency;
pub mod drift;
pub mod expect;
pub mod heartbeat;
pub mod image_origin;
pub mod instances;
pub mod own_requests;
pub mod peer;
pub mod site_identity;
pub mod slots;
pub mod surface;
pub mod synthetic_query;
pub mod synthetic_request;
#[cfg(test)]
pub(crate) mod testing;
pub mod traffic;
pub mod workload;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

pub use crate::config::Schedule;
use crate::discovery::Cluster;
use crate::discovery::prints::Prints;
use crate::model::{Check, CheckKey, Fact, GapReason, Metric, Outcome, Reason};
use crate::net::http::HttpClient;
use crate::net::region::Regions;
use crate::net::resolve::Resolver;
use crate::secret::{SecretError, Secrets};
use crate::sightings::Sightings;

/// A kind of check: what documentation and the catalogue say about it.
#[derive(Debug)]
pub struct Kind {
    /// Its name in labels, waivers and reports.
    pub check: Check,
    /// What it asks, and of whom, in a few sentences.
    pub about: &'static str,
    /// A piece of configuration that asks for it.
    pub example: &'static str,
    /// The metrics that only this kind emits.
    pub metrics: &'static [&'static Metric],
    /// The reasons with which it can fail or be blind.
    pub reasons: &'static [&'static [Reason]],
}

/// What can go wrong on the way to any target.
pub const TRANSPORT: &[Reason] =
    &[Reason::Refused, Reason::Unreachable, Reason::Timeout, Reason::Dns, Reason::Tls, Reason::Certificate];

/// Everything we can ask, in the order of the documentation.
pub const KINDS: &[&Kind] = &[
    &synthetic_query::KIND,
    &db_endpoint_region::KIND,
    &surface::KIND,
    &synthetic_request::KIND,
    &traffic::KIND,
    &create_dry_run::KIND,
    &image_origin::KIND,
    &dependency::KIND,
    &site_identity::KIND,
    &peer::KIND,
    &drift::KIND,
    &heartbeat::KIND,
    &workload::replicas::KIND,
    &workload::readiness_probe::KIND,
    &workload::service_endpoints::KIND,
    &workload::node_lease::KIND,
    &workload::storage::KIND,
    &workload::quota::KIND,
    &workload::cron_jobs::KIND,
];

/// What the plan asks for: what an operator configured, checked and completed, one variant a kind of probe.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A database: its business queries and its region.
    Database(database::Spec),
    /// A claim.
    Surface(surface::Spec),
    /// A business call.
    Request(synthetic_request::Spec),
    /// Business requests over a window.
    Traffic(traffic::Spec),
    /// The admission of a new pod.
    CreateDryRun(create_dry_run::Spec),
    /// The images of a workload.
    ImageOrigin(image_origin::Spec),
    /// Something else that the application needs.
    Dependency(dependency::Spec),
    /// The identity of the site.
    SiteIdentity(site_identity::Spec),
    /// The exporter of another site.
    Peer(peer::Spec),
    /// The row by which replication is measured.
    Heartbeat(heartbeat::Spec),
    /// What the cluster says about a workload.
    Workload(workload::Spec),
}

/// What probes work with; shared by all of them.
#[derive(Debug)]
pub struct Tools {
    /// Sends HTTP requests, each on a new connection.
    pub http: HttpClient,
    /// Resolves names, each time anew.
    pub resolver: Resolver,
    /// Reads credentials, each time anew.
    pub secrets: Secrets,
    /// Knows which address is in which region.
    pub regions: Regions,
    /// Remembers our own business requests.
    pub own_requests: own_requests::OwnRequests,
    /// Bounds the connections to one database endpoint.
    pub slots: slots::Slots,
    /// What the cluster says, as far as watches tell.
    pub cluster: Arc<Cluster>,
    /// What was seen of the nodes of databases, by us and by peers.
    pub sightings: Arc<Sightings>,
    /// What our site runs, as hashes.
    pub prints: Arc<Prints>,
}

/// One question with a fixed target, planned before it is first asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Under which name its history is kept.
    pub key: CheckKey,
    /// Facts that are true before the first run: a region is `unknown`, a window is not complete.
    pub at_first: Vec<Fact>,
    /// The facts which must never vanish once the first run ended, because their absence would read as health.
    pub promised: Vec<Fact>,
}

/// What one question was answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence for people, without secrets and without text of others.
    pub detail: String,
    /// What was learnt.
    pub facts: Vec<Fact>,
    /// Promised facts that do not apply this time: withheld instead of 0.
    pub withheld: Vec<Fact>,
    /// Why the question could not be put at all.
    pub gap: Option<GapReason>,
}

/// One attempt under way: the time it began, the time it has, and where its answers go.
#[derive(Debug)]
pub struct Attempt {
    /// The wall clock at the start.
    pub now: Timestamp,
    /// When the attempt is aborted.
    pub deadline: Instant,
    answers: Mutex<Vec<Option<Answer>>>,
}

/// Asks once. It owns no clock, no schedule, no deadline and no retry; it spawns nothing, so that dropping the
/// future of [`Probe::ask`] ends all of its work; and it never echoes the text of a driver or of a peer.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The questions that one attempt answers; fixed for the life of the probe.
    fn questions(&self) -> &[Question];

    /// When to ask.
    fn schedule(&self) -> Schedule;

    /// Makes one attempt. What has no answer when it returns is blind with `internal`; what has none when the
    /// deadline aborts it has failed with `timeout`. A later answer to the same question replaces an earlier one.
    async fn ask(&self, attempt: &Attempt);

    /// Resolves when something changed that the last attempt looked up, so that it is worth asking at once. Pending for
    /// ever for what looks nothing up.
    async fn stirred(&self) {
        std::future::pending::<()>().await;
    }

    /// Called after a deadline aborted [`Probe::ask`], with a short deadline of its own: tells the other side to stop
    /// what it may still be doing for us.
    async fn abandon(&self) {}

    /// Called when another replica takes over: what is remembered of earlier runs would have a hole, in which that one
    /// asked and we did not look.
    fn forget(&self) {}
}

// === impl Ask ===

impl Ask {
    /// Under which name it is known from one configuration to the next; no two asks of a plan share one.
    pub fn key(&self) -> CheckKey {
        match self {
            Ask::Database(spec) => spec.queries_key.clone(),
            Ask::Surface(surface::Spec { key, .. })
            | Ask::Request(synthetic_request::Spec { key, .. })
            | Ask::Traffic(traffic::Spec { key, .. })
            | Ask::CreateDryRun(create_dry_run::Spec { key, .. })
            | Ask::ImageOrigin(image_origin::Spec { key, .. })
            | Ask::Dependency(dependency::Spec { key, .. })
            | Ask::Heartbeat(heartbeat::Spec { key, .. }) => key.clone(),
            // There is one, and it speaks to every system.
            Ask::SiteIdentity(_) => {
                CheckKey { system: Arc::from(""), check: Check::SiteIdentity, target: Arc::from("") }
            }
            // One for each site, which speaks to every system.
            Ask::Peer(spec) => CheckKey {
                system: Arc::from(""),
                check: Check::Peer,
                target: Arc::from(spec.peer.site.as_str()),
            },
            Ask::Workload(workload::Spec { system, name, .. }) => {
                CheckKey { system: system.clone(), check: Check::WorkloadReplicas, target: name.clone() }
            }
        }
    }

    /// Whether what was answered to that one answers this one too.
    pub fn carries_on(&self, before: &Ask) -> bool {
        match (self, before) {
            (Ask::SiteIdentity(now), Ask::SiteIdentity(before)) => {
                let keys = now.keys.clone();
                *now == site_identity::Spec { keys, ..before.clone() }
            }
            (Ask::Peer(now), Ask::Peer(before)) => {
                let (keys, compared) = (now.keys.clone(), now.compared.clone());
                *now == peer::Spec { keys, compared, ..before.clone() }
            }
            (now, before) => now == before,
        }
    }

    /// The probe that asks. Nothing is sent before its first attempt.
    pub fn probe(self, tools: Arc<Tools>) -> Arc<dyn Probe> {
        match self {
            Ask::Database(spec) => Arc::new(database::Database::new(spec, tools)),
            Ask::Surface(spec) => Arc::new(surface::Surface::new(spec, tools)),
            Ask::Request(spec) => Arc::new(synthetic_request::SyntheticRequest::new(spec, tools)),
            Ask::Traffic(spec) => Arc::new(traffic::Traffic::new(spec, tools)),
            Ask::CreateDryRun(spec) => Arc::new(create_dry_run::CreateDryRun::new(spec, tools)),
            Ask::ImageOrigin(spec) => Arc::new(image_origin::ImageOrigin::new(spec, tools)),
            Ask::Dependency(spec) => Arc::new(dependency::Dependency::new(spec, tools)),
            Ask::SiteIdentity(spec) => Arc::new(site_identity::SiteIdentity::new(spec, tools)),
            Ask::Peer(spec) => Arc::new(peer::Peer::new(spec, tools)),
            Ask::Heartbeat(spec) => Arc::new(heartbeat::Heartbeat::new(spec, tools)),
            Ask::Workload(spec) => Arc::new(workload::Workload::new(spec, tools.cluster.clone())),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The question was answered as it should be.
    pub fn pass(detail: impl Into<String>) -> Self {
        Answer::new(Outcome::Pass, detail)
    }

    /// The target's fault.
    pub fn fail(reason: Reason, detail: impl Into<String>) -> Self {
        Answer::new(Outcome::Fail(reason), detail)
    }

    /// Our own fault: nothing was seen.
    pub fn blind(reason: Reason, detail: impl Into<String>) -> Self {
        Answer::new(Outcome::Blind(reason), detail)
    }

    /// The question does not apply here.
    pub fn skipped(detail: impl Into<String>) -> Self {
        Answer::new(Outcome::Skipped, detail)
    }

    /// A credential that is needed could not be read; the need is named.
    pub fn unread(what: &str, error: &SecretError) -> Self {
        let detail = format!("{what}: {error}");
        match error.gap {
            Some(reason) => Answer::gap(reason, detail),
            None => Answer::blind(Reason::Unreachable, detail),
        }
    }

    /// The question could not even be put: shown and counted as a gap.
    pub fn gap(gap: GapReason, detail: impl Into<String>) -> Self {
        Answer { gap: Some(gap), ..Answer::blind(Reason::Misconfigured, detail) }
    }

    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Answer { outcome, detail: detail.into(), facts: Vec::new(), withheld: Vec::new(), gap: None }
    }

    /// A failure that is the target's fault, or ours.
    pub fn not_passed(ours: bool, reason: Reason, detail: impl Into<String>) -> Self {
        if ours { Answer::blind(reason, detail) } else { Answer::fail(reason, detail) }
    }

    /// With these facts as well.
    #[must_use]
    pub fn with(mut self, facts: impl IntoIterator<Item = Fact>) -> Self {
        self.facts.extend(facts);
        self
    }
}

// === impl Attempt ===

impl Attempt {
    /// An attempt with room for so many answers.
    pub fn new(now: Timestamp, deadline: Instant, questions: usize) -> Self {
        Attempt { now, deadline, answers: Mutex::new(vec![None; questions]) }
    }

    /// Answers the question at that place in [`Probe::questions`].
    pub fn answer(&self, question: usize, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(place) = answers.get_mut(question) {
            *place = Some(answer);
        }
    }

    /// Takes an answer back, so that the end of the attempt decides.
    pub fn retract(&self, question: usize) {
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(place) = answers.get_mut(question) {
            *place = None;
        }
    }

    /// Answers every question alike.
    pub fn answer_all(&self, answer: &Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answers.fill(Some(answer.clone()));
    }

    /// How much time is left.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The answers given, one place a question.
    pub fn into_answers(self) -> Vec<Option<Answer>> {
        self.answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
