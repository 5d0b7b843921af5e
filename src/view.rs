//! What the web server, the terminal and the judging task look at: the report as of now, and how we are ourselves.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::discovery::Cluster;
use crate::discovery::learnt::learnt;
use crate::discovery::prints::Prints;
use crate::leader::{Leadership, Standing, TookOver};
use crate::ledger::{Ledger, Wedged};
use crate::metrics::{Own, Process, open_metrics};
use crate::model::{CheckKey, Verdict, ago, length, seconds};
use crate::report::{
    Declared, DeclaredSystem, DeclaredWorkload, Happened, LearntOf, Refused, Replica, Report, SystemReport,
    report_of,
};
use crate::shard::Shard;
use crate::sightings::Sightings;

/// One running exporter, seen from outside of its loops. Answers from memory; asks nobody. Clones look at the same, and
/// follow a reload.
#[derive(Clone, Debug)]
pub struct View {
    /// What follows from the configuration in force.
    generation: Arc<RwLock<Generation>>,
    /// What is remembered.
    ledger: Arc<Ledger>,
    /// Whether we are the one of several replicas that probes.
    leadership: Leadership,
    /// The clock.
    now: fn() -> Timestamp,
}

/// What follows from one configuration, and is replaced as a whole by the next.
#[derive(Debug)]
pub struct Generation {
    /// What was declared.
    pub declared: Arc<Declared>,
    /// What the cluster says.
    pub cluster: Arc<Cluster>,
    /// What was seen of the nodes of databases.
    pub sightings: Arc<Sightings>,
    /// What the site runs, as hashes.
    pub prints: Arc<Prints>,
    /// Which of several exporters this is, if they share the systems among them.
    pub shard: Option<Shard>,
    /// When the configuration was loaded.
    pub loaded: Timestamp,
    /// The configuration with its secrets masked.
    pub masked: Arc<str>,
    /// The paths that need no login.
    pub unauthenticated: Arc<[String]>,
    /// When a newer file was refused, and every mistake of it.
    pub refused: Option<(Timestamp, Vec<String>)>,
}

/// Of which systems it is told what was learnt of them from the cluster.
#[derive(Clone, Copy, Debug)]
pub enum Explained<'a> {
    /// Of each.
    All,
    /// Of the one with this name.
    Only(&'a str),
    /// Of none.
    None,
}

// === impl View ===

impl View {
    /// One that looks at these.
    pub fn new(
        generation: Generation,
        ledger: Arc<Ledger>,
        leadership: Leadership,
        now: fn() -> Timestamp,
    ) -> Self {
        View { generation: Arc::new(RwLock::new(generation)), ledger, leadership, now }
    }

    /// The same seen by one without others.
    #[must_use]
    pub fn alone(self) -> Self {
        View { leadership: Leadership::alone(), ..self }
    }

    /// What is remembered.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Whether we are the one that probes.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// The clock.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// What the cluster says.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.read().cluster.clone()
    }

    /// Which of several exporters this is, if they share the systems among them.
    pub fn shard(&self) -> Option<Shard> {
        self.read().shard
    }

    /// How many systems are configured.
    pub fn systems(&self) -> usize {
        self.read().declared.systems.len()
    }

    /// The configuration in force, its secrets masked.
    pub fn masked(&self) -> Arc<str> {
        self.read().masked.clone()
    }

    /// The paths that need no login.
    pub fn unauthenticated(&self) -> Arc<[String]> {
        self.read().unauthenticated.clone()
    }

    /// Puts another generation in force. Nobody looks while `change` works, so that no report is of both.
    pub fn replace(&self, change: impl FnOnce() -> Generation) {
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        *generation = change();
    }

    /// Notes that a newer file was refused.
    pub fn refuse(&self, why: Vec<String>) {
        let refused = Some(((self.now)(), why));
        self.generation.write().unwrap_or_else(PoisonError::into_inner).refused = refused;
    }

    /// Everything that is to be said, as of now. Notes verdicts, so that they know since when they stand; but not while
    /// standing by, when nothing is known and nothing is judged.
    pub fn report(&self) -> Report {
        self.report_on(&self.read())
    }

    /// The same of the one system of that name, if there is one: as cheap as a health check should be.
    pub fn report_of(&self, system: &str) -> Report {
        self.report_where(&self.read(), |declared| *declared.name == *system)
    }

    fn report_on(&self, generation: &Generation) -> Report {
        self.report_where(generation, |_| true)
    }

    fn report_where(&self, generation: &Generation, is_meant: impl Fn(&DeclaredSystem) -> bool) -> Report {
        let now = (self.now)();
        let mut report = report_of(&generation.declared, &self.ledger.read(), now, is_meant);
        let judged = if self.leadership.is_leading() { report.systems.as_mut_slice() } else { &mut [] };
        for system in judged {
            let (since, before) = self.ledger.judged(&system.declared.name, system.verdict, now);
            system.since = since;
            if let Some(before) = before {
                log_change(&system.declared.name, before, system.verdict, &system.sentence);
            }
        }
        report
    }

    /// The same with what was learnt of these systems from the cluster, and what this replica is to the others: for people
    /// and for JSON. A scrape needs none of it. One that stands by knows nothing of the systems, and says nothing of them.
    pub fn explained(&self, of: Explained<'_>) -> Report {
        let generation = self.read();
        let mut report = self.report_on(&generation);
        report.refused = generation.refused.as_ref().map(|(at, why)| Refused {
            at: *at,
            why: why.clone(),
            in_force_since: generation.loaded,
        });
        report.replica = self.replica(report.at);
        if report.replica.as_ref().is_some_and(|replica| !replica.leads) {
            report.systems.clear();
            return report;
        }
        generation.cluster.read(|inventory| {
            let wanted = |system: &&mut SystemReport| match of {
                Explained::All => true,
                Explained::Only(name) => *system.declared.name == *name,
                Explained::None => false,
            };
            for system in report.systems.iter_mut().filter(wanted) {
                let of = |workload: &DeclaredWorkload| LearntOf {
                    workload: workload.name.clone(),
                    facts: learnt(inventory, &workload.reference, &workload.asked()),
                };
                system.learnt = system.declared.workloads.iter().map(of).collect();
            }
        });
        for system in &mut report.systems {
            let name = &system.declared.name;
            let seen = |db: &Arc<str>| (db.clone(), generation.sightings.ours(name, db));
            system.databases = system.declared.databases.iter().map(seen).collect();
        }
        report.fingerprints = generation.prints.now();
        report
    }

    /// What we are among several, in words.
    fn replica(&self, now: Timestamp) -> Option<Replica> {
        let (leads, says) = match self.leadership.standing() {
            Standing::Alone => return None,
            Standing::Leading { since, previous, how } => {
                let words = match (previous, how) {
                    (Some(previous), TookOver::Released | TookOver::Expired { .. }) => {
                        format!("This replica probes; it took over from {previous} {}.", ago(now, since))
                    }
                    (
                        _,
                        TookOver::First | TookOver::Again | TookOver::Released | TookOver::Expired { .. },
                    ) => {
                        format!("This replica probes; it began {}.", ago(now, since))
                    }
                };
                (true, words)
            }
            Standing::StandingBy { holder, since: _, obstacle } => {
                let probes = match holder {
                    Some(holder) => format!("{holder} probes"),
                    None => "nobody is known to probe".to_owned(),
                };
                let trouble = obstacle
                    .map(|why| format!(" The Lease could not be asked for: {why}."))
                    .unwrap_or_default();
                (
                    false,
                    format!(
                        "Standing by: {probes}. This replica asks nothing, and takes over within 15 s.{trouble}"
                    ),
                )
            }
        };
        let history = self.leadership.history().into_iter().map(|(at, what)| Happened { at, what }).collect();
        Some(Replica { name: self.leadership.me().to_string(), leads, says, history })
    }

    /// `/metrics` in OpenMetrics; whether the web configuration was last read without an error is the front's to know.
    ///
    /// # Errors
    ///
    /// Never in practice: writing into a `String` does not fail.
    pub fn open_metrics(&self, web_config_ok: Option<bool>) -> Result<String, std::fmt::Error> {
        let generation = self.read();
        let own = Own {
            config_loaded: seconds(generation.loaded),
            config_ok: generation.refused.is_none(),
            web_config_ok,
            leads: self.leadership.is_leading(),
            shard: generation.shard,
            scheduler_lag: self.ledger.lag(Instant::now()).as_secs_f64(),
            watches: generation.cluster.watch_health(),
            process: Process::read(),
        };
        let report = self.report_on(&generation);
        drop(generation);
        open_metrics(report, own)
    }

    /// Whether our own loops are alive; says nothing of the sites that we watch.
    ///
    /// # Errors
    ///
    /// The sentence for the one who asks why not.
    pub fn ready(&self) -> Result<(), String> {
        let Some(Wedged { checks, worst, late }) = self.ledger.wedged(Instant::now()) else { return Ok(()) };
        let CheckKey { system, check, target } = &worst;
        Err(format!(
            "the scheduler is stuck or far behind: overdue by more than three of their intervals are {checks} checks; {check} of \
             {target} in {system} by {}",
            length(late)
        ))
    }

    fn read(&self) -> RwLockReadGuard<'_, Generation> {
        self.generation.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_change(system: &str, before: Verdict, verdict: Verdict, sentence: &str) {
    match verdict {
        Verdict::Unusable => tracing::error!(system, %before, %verdict, sentence, "the verdict changed"),
        Verdict::Degraded | Verdict::Unknown => {
            tracing::warn!(system, %before, %verdict, sentence, "the verdict changed");
        }
        Verdict::Usable | Verdict::NotApplicable => {
            tracing::info!(system, %before, %verdict, sentence, "the verdict changed");
        }
    }
}
