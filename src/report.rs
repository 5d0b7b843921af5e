//! What we say, once. `/metrics`, the page, the JSON and the terminal render this one value, so that they cannot
//! disagree. Pure: a function of what is remembered, of what was declared and of the time.

#[cfg(test)]
pub mod fixture;
mod for_peer;
mod json;
pub mod runbook;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::MetricsEndpoint;
use crate::discovery::WorkloadRef;
use crate::discovery::fingerprints::Fingerprint;
use crate::discovery::learnt::{Asked, AskedDatabase, Learnt};
use crate::ledger::{Pages, Record, VerdictHistory};
use crate::model::{Check, CheckKey, GapReason, Reason, Role, Status, Strategy, Verdict, ago, length};
use crate::probe::surface;
use crate::sightings::{Place, Sighting};
use crate::verdict::{Claim, Evidence, Intent, Judgement, Weighed, is_required, judge, weigh};

pub use for_peer::ForPeer;
pub use words::check_in_words;

/// What the owner declared about a site: the frame into which observations are put.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The site's name.
    pub site: Arc<str>,
    /// Its region.
    pub region: String,
    /// Its declared role.
    pub role: Role,
    /// The other sites whose exporters are read.
    pub peers: Vec<Arc<str>>,
    /// Every system, in the order of the file.
    pub systems: Vec<DeclaredSystem>,
}

/// What the owner declared about one system.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredSystem {
    /// Its name.
    pub name: Arc<str>,
    /// What was promised.
    pub strategy: Strategy,
    /// How long a failover may take.
    pub rto: Option<Duration>,
    /// How much data may be lost, per database.
    pub rpo: Vec<(String, Duration)>,
    /// Findings that are known and dated.
    pub waivers: Vec<Waiver>,
    /// Gates pages, never the verdict.
    pub maintenance: Option<Window>,
    /// The same, for an announced exercise.
    pub drill: Option<Window>,
    /// Whether users are expected at this site; `None` if nobody said.
    pub traffic_expected: Option<bool>,
    /// Where the site claims to be well.
    pub surfaces: Vec<DeclaredSurface>,
    /// Its programs in a cluster.
    pub workloads: Vec<DeclaredWorkload>,
    /// The names of its databases.
    pub databases: Vec<Arc<str>>,
}

/// A program in a cluster, with what was said about it instead of learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredWorkload {
    /// Its name in labels.
    pub name: Arc<str>,
    /// Its object.
    pub reference: WorkloadRef,
    /// The databases that are read from its configuration: name, variable, file.
    pub databases: Vec<(String, Option<String>, Option<String>)>,
    /// Where its metrics are.
    pub metrics: Option<MetricsEndpoint>,
    /// What a failover needs.
    pub replicas_required: Option<u32>,
}

/// A finding that is known and dated.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiver {
    /// Which check.
    pub check: Check,
    /// Of what; everything that the check asks, if absent.
    pub target: Option<String>,
    /// It counts before this moment.
    pub until: Timestamp,
    /// Why.
    pub because: String,
}

/// A stretch of time that ends by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Its end.
    pub until: Timestamp,
    /// Why.
    pub because: String,
}

/// A surface with what it vouches for.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredSurface {
    /// Its name.
    pub name: Arc<str>,
    /// Somebody moves traffic because of it.
    pub decisive: bool,
    /// It follows from a probe of the pods, and is shown only if there is one.
    pub found: bool,
    /// The checks whose failure makes its claim of health a contradiction.
    pub vouches_for: Vec<CheckKey>,
}

/// Everything we say about a site at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// When.
    pub at: Timestamp,
    /// Of which site.
    pub declared: Arc<Declared>,
    /// Every declared system, in order of the file.
    pub systems: Vec<SystemReport>,
    /// Checks that could not be put at all, by reason.
    pub gaps: BTreeMap<GapReason, usize>,
    /// What this replica is to the others, if there are any; only in what people and JSON are shown.
    pub replica: Option<Replica>,
    /// What the site runs, as hashes that another site can compare with its own; only in what people and JSON are shown.
    pub fingerprints: Vec<Fingerprint>,
    /// A newer configuration file that was not taken; only in what people and JSON are shown.
    pub refused: Option<Refused>,
}

/// A newer configuration file that was not taken: the one before stays in force.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Refused {
    /// When it was looked at.
    pub at: Timestamp,
    /// Every mistake with its place.
    pub why: Vec<String>,
    /// When the one that is in force was loaded.
    pub in_force_since: Timestamp,
}

/// One of several replicas of the exporter, of which one probes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Replica {
    /// How the others know it.
    pub name: String,
    /// It is the one that probes.
    pub leads: bool,
    /// What it is, in one sentence.
    pub says: String,
    /// What it was, oldest first.
    pub history: Vec<Happened>,
}

/// Something that happened to a replica.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What, in one sentence.
    pub what: String,
}

/// Everything we say about one system.
#[derive(Clone, Debug)]
pub struct SystemReport {
    /// What was declared of it.
    pub declared: DeclaredSystem,
    /// The role in force.
    pub role: Role,
    /// The judgement.
    pub verdict: Verdict,
    /// Since when it stands.
    pub since: Timestamp,
    /// The judgement in one sentence.
    pub sentence: String,
    /// What stands against `usable`, in the order to look at it.
    pub against: Vec<Against>,
    /// Unusable while a decisive surface claims health.
    pub healthy_but_unusable: bool,
    /// What the site claims.
    pub surfaces: Vec<SurfaceReport>,
    /// What happened when we tried.
    pub checks: Vec<CheckReport>,
    /// Changes of the verdict, oldest first.
    pub changes: Vec<(Timestamp, Verdict)>,
    /// What was learnt of its programs from the cluster, and where; only in what people and JSON are shown.
    pub learnt: Vec<LearntOf>,
    /// What was seen of the nodes of its databases; only in what people, JSON and peers are shown.
    pub databases: Vec<(Arc<str>, BTreeMap<Place, Sighting>)>,
}

/// What was learnt of one program from the cluster.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LearntOf {
    /// Its name in labels.
    #[serde(serialize_with = "json::text")]
    pub workload: Arc<str>,
    /// One by one.
    pub facts: Vec<Learnt>,
}

/// One thing that stands against `usable`.
#[derive(Clone, Debug)]
pub struct Against {
    /// Which check.
    pub check: Check,
    /// Of what.
    pub target: String,
    /// Failed or not known.
    pub status: Status,
    /// The reason; `other` if the check never ran.
    pub reason: Reason,
    /// What happened, in one sentence.
    pub detail: String,
}

/// What one surface claims, beside what we found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SurfaceReport {
    /// Its name.
    #[serde(serialize_with = "json::text")]
    pub name: Arc<str>,
    /// Somebody moves traffic because of it.
    pub decisive: bool,
    /// What it claims; `None` while that is not known.
    pub healthy: Option<bool>,
    /// It claims health while a fresh check of what it vouches for fails, and is not waived.
    pub contradicted: Option<bool>,
    /// What it answered, in one sentence.
    pub detail: String,
}

/// One check with its history.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Which.
    pub key: CheckKey,
    /// What stands.
    pub status: Status,
    /// Why it does not pass.
    pub reason: Option<Reason>,
    /// A verdict may rest on it.
    pub required: bool,
    /// The waiver in force.
    pub waiver: Option<Waiver>,
    /// What is remembered.
    pub record: Arc<Record>,
}

/// Everything about a site at a moment, from what is remembered and what was declared.
pub fn report(declared: &Arc<Declared>, pages: &Pages, now: Timestamp) -> Report {
    report_of(declared, pages, now, |_| true)
}

/// The same of these systems alone.
pub fn report_of(
    declared: &Arc<Declared>,
    pages: &Pages,
    now: Timestamp,
    is_meant: impl Fn(&DeclaredSystem) -> bool,
) -> Report {
    let meant = declared.systems.iter().filter(|system| is_meant(system));
    let systems: Vec<_> = meant.map(|system| SystemReport::of(declared, system, pages, now)).collect();
    let mut gaps: BTreeMap<GapReason, usize> = GapReason::ALL.iter().map(|reason| (*reason, 0)).collect();
    let blind =
        systems.iter().flat_map(|system| &system.checks).filter_map(|check| check.record.last.as_ref()?.gap);
    for gap in blind {
        *gaps.entry(gap).or_default() += 1;
    }
    Report {
        at: now,
        declared: declared.clone(),
        systems,
        gaps,
        replica: None,
        fingerprints: Vec::new(),
        refused: None,
    }
}

// === impl DeclaredWorkload ===

impl DeclaredWorkload {
    /// What is asked of it, and what was said instead.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            databases: self
                .databases
                .iter()
                .map(|(name, env, file)| AskedDatabase { name, env: env.as_deref(), file: file.as_deref() })
                .collect(),
            replicas_given: self.replicas_required.is_some(),
            metrics_given: self.metrics.is_some(),
        }
    }
}

// === impl SystemReport ===

impl SystemReport {
    fn of(site: &Declared, declared: &DeclaredSystem, pages: &Pages, now: Timestamp) -> Self {
        let intent = Intent { role: site.role, strategy: declared.strategy, primary_down: false };
        let first = CheckKey { system: declared.name.clone(), check: Check::ALL[0], target: Arc::from("") };
        let checks: Vec<CheckReport> = pages
            .records
            .range(first..)
            .take_while(|(key, _)| key.system == declared.name)
            .map(|(key, record)| CheckReport::of(key, record, declared, intent, now))
            .collect();
        let there = |surface: &&DeclaredSurface| {
            let skipped =
                |check: &CheckReport| check.key.target == surface.name && check.status == Status::Skipped;
            !(surface.found && checks.iter().any(|check| check.key.check == Check::Surface && skipped(check)))
        };
        let surfaces: Vec<_> = declared
            .surfaces
            .iter()
            .filter(there)
            .map(|surface| SurfaceReport::of(surface, &checks, now))
            .collect();
        let weighed: Vec<_> = checks.iter().map(CheckReport::weighed).collect();
        let claims: Vec<_> = surfaces
            .iter()
            .map(|surface| Claim { decisive: surface.decisive, healthy: surface.healthy })
            .collect();
        let Judgement { verdict, against, healthy_but_unusable } = judge(intent, &weighed, &claims);
        let against: Vec<_> = against.into_iter().map(|weighed| Against::of(weighed, &checks, now)).collect();
        let history: Option<&VerdictHistory> = pages.verdicts.get(&declared.name);
        SystemReport {
            role: intent.role,
            verdict,
            // A verdict that nobody has noted yet begins now.
            since: history.filter(|history| history.verdict == verdict).map_or(now, |history| history.since),
            sentence: words::sentence(site, verdict, healthy_but_unusable, &against, &checks),
            against,
            healthy_but_unusable,
            surfaces,
            checks,
            changes: history.map(|history| history.changes.iter().copied().collect()).unwrap_or_default(),
            learnt: Vec::new(),
            databases: Vec::new(),
            declared: declared.clone(),
        }
    }

    /// The windows that gate pages now: maintenance, drill.
    pub fn gates(&self, now: Timestamp) -> (bool, bool) {
        let open = |window: &Option<Window>| window.as_ref().is_some_and(|window| now < window.until);
        (open(&self.declared.maintenance), open(&self.declared.drill))
    }
}

// === impl CheckReport ===

impl CheckReport {
    fn of(
        key: &CheckKey,
        record: &Arc<Record>,
        system: &DeclaredSystem,
        intent: Intent,
        now: Timestamp,
    ) -> Self {
        let waiver = system.waivers.iter().find(|waiver| {
            waiver.check == key.check
                && waiver.target.as_ref().is_none_or(|target| **target == *key.target)
                && now < waiver.until
        });
        let outcome = record.last.as_ref().map(|last| last.outcome);
        let (status, reason) =
            weigh(key.check, Evidence { outcome, fresh: record.is_fresh(now), waived: waiver.is_some() });
        CheckReport {
            key: key.clone(),
            status,
            reason,
            required: is_required(key.check, intent.role, intent.strategy),
            waiver: waiver.cloned(),
            record: record.clone(),
        }
    }

    fn weighed(&self) -> Weighed {
        Weighed {
            check: self.key.check,
            target: self.key.target.to_string(),
            status: self.status,
            reason: self.reason,
        }
    }

    /// What happened last, in one sentence.
    pub fn detail(&self, now: Timestamp) -> String {
        match &self.record.last {
            None => format!("not asked yet; it is asked every {}", length(self.record.schedule.interval)),
            Some(last) if self.reason == Some(Reason::Stale) => {
                format!("the last answer is from {}: {}", ago(now, last.finished), last.detail)
            }
            Some(last) => last.detail.clone(),
        }
    }
}

// === impl SurfaceReport ===

impl SurfaceReport {
    fn of(declared: &DeclaredSurface, checks: &[CheckReport], now: Timestamp) -> Self {
        let DeclaredSurface { name, decisive, found: _, vouches_for } = declared;
        let own = checks.iter().find(|check| check.key.check == Check::Surface && check.key.target == *name);
        let healthy =
            own.and_then(|check| check.record.fact(&surface::HEALTHY, now)).map(|value| value > 0.5);
        let failing = checks
            .iter()
            .filter(|check| vouches_for.contains(&check.key))
            // What is waived is known and dated: who claims health in spite of it is not caught at anything.
            .any(|check| check.status == Status::Fail);
        SurfaceReport {
            name: name.clone(),
            decisive: *decisive,
            healthy,
            contradicted: healthy.map(|healthy| healthy && failing),
            detail: own.map(|check| check.detail(now)).unwrap_or_default(),
        }
    }
}

// === impl Against ===

impl Against {
    fn of(weighed: Weighed, checks: &[CheckReport], now: Timestamp) -> Self {
        let Weighed { check, target, status, reason } = weighed;
        let own = checks.iter().find(|report| report.key.check == check && *report.key.target == *target);
        Against {
            detail: own.map(|report| report.detail(now)).unwrap_or_default(),
            check,
            target,
            status,
            reason: reason.unwrap_or(Reason::Other),
        }
    }
}
