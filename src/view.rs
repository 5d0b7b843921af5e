//! What the web server, the terminal and the judging task look at: the report as of now, and how we are ourselves.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::discovery::Cluster;
use crate::discovery::learnt::learnt;
use crate::discovery::prints::Prints;
use crate::leader::{Leadership, Standing, TookOver};
use crate::ledger::Ledger;
use crate::metrics::{Own, Process, open_metrics};
use crate::model::{Verdict, ago, length, seconds};
use crate::report::{Declared, DeclaredWorkload, Happened, LearntOf, Replica, Report, report};
use crate::shard::Shard;

/// One running exporter, seen from outside of its loops. Answers from memory; asks nobody.
#[derive(Clone, Debug)]
pub struct View {
    /// What was declared.
    pub declared: Arc<Declared>,
    /// What is remembered.
    pub ledger: Arc<Ledger>,
    /// What the cluster says.
    pub cluster: Arc<Cluster>,
    /// What the site runs, as hashes.
    pub prints: Arc<Prints>,
    /// Whether we are the one of several replicas that probes.
    pub leadership: Leadership,
    /// Which of several exporters this is, if they share the systems among them.
    pub shard: Option<Shard>,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// When the configuration was loaded.
    pub loaded: Timestamp,
    /// The configuration with its secrets masked.
    pub masked: Arc<str>,
}

// === impl View ===

impl View {
    /// Everything that is to be said, as of now. Notes verdicts, so that they know since when they stand; but not while
    /// standing by, when nothing is known and nothing is judged.
    pub fn report(&self) -> Report {
        let now = (self.now)();
        let mut report = report(&self.declared, &self.ledger.read(), now);
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

    /// The same with what was learnt from the cluster, and what this replica is to the others: for people and for JSON. A
    /// scrape needs none of it. One that stands by knows nothing of the systems, and says nothing of them.
    pub fn explained(&self) -> Report {
        let mut report = self.report();
        report.replica = self.replica(report.at);
        if report.replica.as_ref().is_some_and(|replica| !replica.leads) {
            report.systems.clear();
            return report;
        }
        self.cluster.read(|inventory| {
            for system in &mut report.systems {
                let of = |workload: &DeclaredWorkload| LearntOf {
                    workload: workload.name.clone(),
                    facts: learnt(inventory, &workload.reference, &workload.asked()),
                };
                system.learnt = system.declared.workloads.iter().map(of).collect();
            }
        });
        report.fingerprints = self.prints.now();
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

    /// `/metrics` in OpenMetrics.
    ///
    /// # Errors
    ///
    /// Never in practice: writing into a `String` does not fail.
    pub fn open_metrics(&self) -> Result<String, std::fmt::Error> {
        let own = Own {
            config_loaded: seconds(self.loaded),
            config_ok: true,
            leads: self.leadership.is_leading(),
            shard: self.shard,
            scheduler_lag: self.ledger.lag(Instant::now()).as_secs_f64(),
            watches: self.cluster.watch_health(),
            process: Process::read(),
        };
        open_metrics(self.report(), own)
    }

    /// Whether our own loops are alive; says nothing of the sites that we watch.
    ///
    /// # Errors
    ///
    /// The sentence for the one who asks why not.
    pub fn ready(&self) -> Result<(), String> {
        self.ledger.wedged(Instant::now()).map_or(Ok(()), |(key, late)| {
            let (check, target, system) = (key.check, &key.target, &key.system);
            Err(format!("the check {check} of {target} in {system} is overdue by {}", length(late)))
        })
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
