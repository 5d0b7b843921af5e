//! The last results and the preserved failures: the only shared mutable state.
//!
//! The scheduler writes, everybody else reads a [`Ledger::read`]. A record is replaced, never mended, while
//! somebody may be reading it, so that a slow reader never makes a probe wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::{
    CheckKey, DURATION_BOUNDS, Fact, Observation, Outcome, Reason, Shape, Unrenewed, Verdict,
};
use crate::probe::{Question, Schedule};

/// How many of the newest runs are remembered for the page.
const RECENT: usize = 60;
/// How many of the newest episodes are remembered, so that last night's is still there after a thousand passes.
const PRESERVED: usize = 20;
/// How many changes of a verdict are remembered.
const VERDICT_CHANGES: usize = 50;

/// What is remembered of one check.
#[derive(Clone, Debug)]
pub struct Record {
    /// The question with what it promised.
    pub question: Arc<Question>,
    /// How often it is asked.
    pub schedule: Schedule,
    /// The newest run.
    pub last: Option<Arc<Observation>>,
    /// When a run last passed.
    pub last_success: Option<Timestamp>,
    /// Since when runs end as the newest one did.
    pub outcome_since: Option<Timestamp>,
    /// The newest runs, oldest first, without their facts.
    pub recent: VecDeque<Brief>,
    /// The newest times when it did not pass, oldest first.
    pub failures: VecDeque<Episode>,
    /// Attempts since the start of the process.
    pub attempts: u64,
    /// Runs that failed or were blind, by reason.
    pub failures_by_reason: BTreeMap<Reason, u64>,
    /// How long runs took.
    pub durations: Histogram,
    facts: Vec<(Fact, Option<Timestamp>)>,
    histograms: Vec<(Fact, Histogram)>,
    due: Option<Instant>,
}

/// A run without its facts.
#[derive(Clone, Debug)]
pub struct Brief {
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub finished: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// One sentence for people.
    pub detail: Arc<str>,
}

/// Runs, one after the other, that did not pass and ended alike.
#[derive(Clone, Debug)]
pub struct Episode {
    /// How they ended.
    pub outcome: Outcome,
    /// When the first one ended.
    pub began: Timestamp,
    /// When the last one ended.
    pub last: Timestamp,
    /// How many there were.
    pub runs: u64,
    /// What the last one says.
    pub detail: Arc<str>,
}

/// Observations in buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Upper bounds.
    pub bounds: &'static [f64],
    /// How many fell in each bucket; the last one is above every bound.
    pub counts: Vec<u64>,
    /// The sum of all.
    pub sum: f64,
}

/// A verdict with the time since when it stands, and those before it.
#[derive(Clone, Debug)]
pub struct VerdictHistory {
    /// What stands now.
    pub verdict: Verdict,
    /// Since when.
    pub since: Timestamp,
    /// The newest changes, oldest first.
    pub changes: VecDeque<(Timestamp, Verdict)>,
}

/// The scheduler is stuck, or far behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wedged {
    /// How many checks are overdue by more than three of their intervals.
    pub checks: usize,
    /// The one that is overdue the most.
    pub worst: CheckKey,
    /// By how much.
    pub late: Duration,
}

/// What everybody may read.
#[derive(Debug, Default)]
pub struct Pages {
    /// Every planned check, in order of its key.
    pub records: BTreeMap<CheckKey, Arc<Record>>,
    /// The verdict of every system.
    pub verdicts: BTreeMap<Arc<str>, VerdictHistory>,
}

/// The shared memory.
#[derive(Debug, Default)]
pub struct Ledger {
    pages: RwLock<Pages>,
}

// === impl Ledger ===

impl Ledger {
    /// Opens a record for a planned check; one that exists keeps its history.
    pub fn open(&self, question: &Question, schedule: Schedule) {
        let mut pages = self.write();
        let record = pages
            .records
            .entry(question.key.clone())
            .or_insert_with(|| Arc::new(Record::new(question, schedule)));
        let record = Arc::make_mut(record);
        record.question = Arc::new(question.clone());
        record.schedule = schedule;
    }

    /// Forgets these checks; what they had planned is due no more.
    pub fn close<'a>(&self, keys: impl IntoIterator<Item = &'a CheckKey>) {
        let mut pages = self.write();
        for key in keys {
            pages.records.remove(key);
        }
    }

    /// Forgets the verdicts of all but these systems.
    pub fn keep_verdicts_of(&self, is_known: impl Fn(&str) -> bool) {
        self.write().verdicts.retain(|system, _| is_known(system));
    }

    /// Notes when a check is asked next or, while it is being asked, when that must be over.
    pub fn due(&self, questions: &[Question], at: Option<Instant>) {
        let mut pages = self.write();
        for question in questions {
            if let Some(record) = pages.records.get_mut(&question.key) {
                Arc::make_mut(record).due = at;
            }
        }
    }

    /// Forgets what was ever answered to these questions, and the verdicts that rested on it.
    pub fn clear(&self, questions: &[Question]) {
        let mut pages = self.write();
        for question in questions {
            if let Some(record) = pages.records.get_mut(&question.key) {
                *record = Arc::new(Record::new(question, record.schedule));
            }
            pages.verdicts.remove(&question.key.system);
        }
    }

    /// Records the end of a run.
    pub fn record(&self, key: &CheckKey, attempts: u32, observation: Observation) {
        if let Some(record) = self.write().records.get_mut(key) {
            Arc::make_mut(record).add(attempts, observation);
        }
    }

    /// Notes the verdict of a system and returns since when it stands.
    pub fn judged(
        &self,
        system: &Arc<str>,
        verdict: Verdict,
        now: Timestamp,
    ) -> (Timestamp, Option<Verdict>) {
        let mut pages = self.write();
        if let Some(history) = pages.verdicts.get_mut(system) {
            if history.verdict == verdict {
                return (history.since, None);
            }
            let before = std::mem::replace(&mut history.verdict, verdict);
            history.since = now;
            push_bounded(&mut history.changes, (now, verdict), VERDICT_CHANGES);
            return (now, Some(before));
        }
        let history = VerdictHistory { verdict, since: now, changes: VecDeque::from([(now, verdict)]) };
        pages.verdicts.insert(system.clone(), history);
        (now, None)
    }

    /// Reads; hold it briefly.
    pub fn read(&self) -> RwLockReadGuard<'_, Pages> {
        self.pages.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How far the scheduler is behind: the time by which the most overdue check is overdue.
    pub fn lag(&self, now: Instant) -> Duration {
        let pages = self.read();
        let overdue = pages.records.values().filter_map(|record| record.due);
        overdue.map(|due| now.saturating_duration_since(due)).max().unwrap_or_default()
    }

    /// The checks that are overdue by more than three of their intervals, if there are any.
    pub fn wedged(&self, now: Instant) -> Option<Wedged> {
        let pages = self.read();
        let late = pages.records.iter().filter_map(|(key, record)| {
            let late = now.saturating_duration_since(record.due?);
            (late > record.schedule.interval * 3).then_some((key, late))
        });
        late.fold(None, |wedged, (key, late)| match wedged {
            Some(Wedged { checks, worst, late: most }) if most >= late => {
                Some(Wedged { checks: checks + 1, worst, late: most })
            }
            Some(Wedged { checks, worst: _, late: _ }) => {
                Some(Wedged { checks: checks + 1, worst: key.clone(), late })
            }
            None => Some(Wedged { checks: 1, worst: key.clone(), late }),
        })
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Pages> {
        self.pages.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

// === impl Record ===

impl Record {
    /// A record in which nothing has happened yet.
    pub fn new(question: &Question, schedule: Schedule) -> Self {
        Record {
            question: Arc::new(question.clone()),
            schedule,
            last: None,
            last_success: None,
            outcome_since: None,
            recent: VecDeque::new(),
            failures: VecDeque::new(),
            attempts: 0,
            failures_by_reason: BTreeMap::new(),
            durations: Histogram::new(DURATION_BOUNDS),
            facts: question.at_first.iter().map(|fact| (fact.clone(), None)).collect(),
            histograms: Vec::new(),
            due: None,
        }
    }

    /// Adds the end of a run.
    pub fn add(&mut self, attempts: u32, observation: Observation) {
        let Observation { outcome, detail, facts, withheld: _, gap: _, started: _, finished, took } =
            &observation;
        self.attempts += u64::from(attempts);
        self.durations.observe(took.as_secs_f64());
        if let Some(reason) = outcome.reason() {
            *self.failures_by_reason.entry(reason).or_default() += 1;
        }
        if *outcome == Outcome::Pass {
            self.last_success = Some(*finished);
        }
        if self.last.as_ref().is_none_or(|last| last.outcome != *outcome) {
            self.outcome_since = Some(*finished);
        }
        // Sixty runs mostly end with the same sentence: it is kept once.
        let before = self.recent.back().map(|before| &before.detail).filter(|before| ***before == **detail);
        let detail = before.cloned().unwrap_or_else(|| Arc::from(detail.as_str()));
        let brief = Brief { outcome: *outcome, finished: *finished, took: *took, detail };
        if outcome.reason().is_some() {
            self.remember(&brief);
        }
        push_bounded(&mut self.recent, brief, RECENT);
        self.learn(facts, *finished);
        self.last = Some(Arc::new(observation));
    }

    /// Adds a run that did not pass to its episode, or begins one.
    fn remember(&mut self, run: &Brief) {
        let before = self.recent.back().map(|before| before.outcome);
        match self.failures.back_mut().filter(|_| before == Some(run.outcome)) {
            Some(episode) => {
                episode.last = run.finished;
                episode.runs += 1;
                episode.detail = run.detail.clone();
            }
            None => {
                let Brief { outcome, finished, took: _, detail } = run.clone();
                let episode = Episode { outcome, began: finished, last: finished, runs: 1, detail };
                push_bounded(&mut self.failures, episode, PRESERVED);
            }
        }
    }

    /// Whether the newest run is younger than three intervals. One that lies as far ahead is not: the clock was set back
    /// since, and nobody knows how old it is.
    ///
    /// What the clocks do to it: timers run on CLOCK_MONOTONIC, which goes on while the process is stopped and stands still
    /// while the machine sleeps; ages are differences of the wall clock. After SIGCONT what was due is asked at once, after
    /// a sleep at its next turn; until then it is stale in both cases. A wall clock that jumps makes everything stale
    /// either way, for one interval at most.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| now.duration_since(last.finished).unsigned_abs() < self.schedule.interval * 3)
    }

    /// The facts as they are to be shown now, by each metric's own rule.
    pub fn facts(&self, now: Timestamp) -> impl Iterator<Item = (&Fact, f64)> {
        self.known(now).map(|(fact, value, _)| (fact, value))
    }

    /// The same, each with when a run last said so; `None` if none has yet.
    pub fn known(&self, now: Timestamp) -> impl Iterator<Item = (&Fact, f64, Option<Timestamp>)> {
        let fresh = self.is_fresh(now);
        let promised = self.question.promised.iter().filter(move |promised| {
            let Some(last) = &self.last else { return false };
            let unknown = !fresh || matches!(last.outcome, Outcome::Blind(_));
            let withheld = unknown && promised.metric.unrenewed == Unrenewed::Withheld;
            let is_it = |fact: &Fact| fact.same_series(promised);
            !(withheld || last.withheld.iter().any(is_it) || self.facts.iter().any(|(fact, _)| is_it(fact)))
        });
        let known = self.facts.iter().filter_map(move |(fact, at)| match fact.metric.unrenewed {
            Unrenewed::Withheld if !fresh => None,
            Unrenewed::BecomesZero if !fresh => Some((fact, 0.0, *at)),
            Unrenewed::Stays | Unrenewed::BecomesZero | Unrenewed::Withheld => Some((fact, fact.value, *at)),
        });
        // What was promised and not renewed is 0 because of the newest run.
        let finished = self.last.as_ref().map(|last| last.finished);
        known.chain(promised.map(move |fact| (fact, 0.0, finished)))
    }

    /// The newest value of a metric in this record, by the same rule.
    pub fn fact(&self, metric: &'static crate::model::Metric, now: Timestamp) -> Option<f64> {
        self.facts(now).find(|(fact, _)| std::ptr::eq(fact.metric, metric)).map(|(_, value)| value)
    }

    /// The histograms that this check's facts made, by series.
    pub fn histograms(&self) -> impl Iterator<Item = (&Fact, &Histogram)> {
        self.histograms.iter().map(|(fact, histogram)| (fact, histogram))
    }

    /// Facts of a metric that the newest run speaks of are replaced as a whole; of the others those stay whose
    /// metric says so.
    fn learn(&mut self, facts: &[Fact], at: Timestamp) {
        let renewed = |metric| facts.iter().any(|fact| std::ptr::eq(fact.metric, metric));
        self.facts.retain(|(fact, _)| fact.metric.unrenewed == Unrenewed::Stays && !renewed(fact.metric));
        for fact in facts {
            let Shape::Histogram(bounds) = fact.metric.shape else {
                self.facts.push((fact.clone(), Some(at)));
                continue;
            };
            let place = match self.histograms.iter().position(|(known, _)| known.same_series(fact)) {
                Some(place) => place,
                None => {
                    self.histograms.push((fact.clone(), Histogram::new(bounds)));
                    self.histograms.len() - 1
                }
            };
            self.histograms[place].1.observe(fact.value);
        }
    }
}

// === impl Histogram ===

impl Histogram {
    /// Empty buckets.
    pub fn new(bounds: &'static [f64]) -> Self {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Adds one observation.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, bound: usize) {
    if queue.len() == bound {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests;
