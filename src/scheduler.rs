//! Asks every probe on its schedule: jittered start, deadline around the whole attempt, N of M, panic boundary,
//! record. One dead target never delays another: each probe has its own task, and the places in flight are
//! counted for each system by itself.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::Attempts;
use crate::leader::Leadership;
use crate::ledger::Ledger;
use crate::model::{Observation, Outcome, Reason, length};
use crate::probe::{Answer, Attempt, Probe, Schedule};
use crate::tasks::{Retire, Tasks};

/// First runs are spread over the interval, but nobody waits longer than this for a first answer.
pub const FIRST_WITHIN: Duration = Duration::from_secs(30);

/// The same for a replica that takes over, because until then nobody knows anything; and for what a reload began.
pub const SOON: Duration = Duration::from_secs(5);

/// How long telling the other side to stop may take.
const ABANDON_WITHIN: Duration = Duration::from_millis(500);

/// What the scheduler works with.
#[derive(Clone, Debug)]
pub struct Scheduler {
    ledger: Arc<Ledger>,
    now: fn() -> Timestamp,
    in_flight: usize,
    leadership: Leadership,
}

/// The count of one question's attempts in a run.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    last: Option<Answer>,
}

// === impl Scheduler ===

impl Scheduler {
    /// A scheduler that records into this ledger, and asks on schedule only while it leads. `in_flight` bounds the
    /// attempts of one system at a time.
    pub fn new(
        ledger: Arc<Ledger>,
        now: fn() -> Timestamp,
        in_flight: usize,
        leadership: Leadership,
    ) -> Self {
        Scheduler { ledger, now, in_flight, leadership }
    }

    /// Opens the records of a probe and begins a task for it, which counts its attempts against these places and first
    /// asks within `first_within`. Retiring the task aborts what is in flight and tells the other side.
    pub fn begin(
        &self,
        probe: Arc<dyn Probe>,
        places: Arc<Semaphore>,
        first_within: Duration,
        tasks: &mut Tasks,
    ) -> Retire {
        for question in probe.questions() {
            self.ledger.open(question, probe.schedule());
        }
        let (scheduler, mut stop) = (self.clone(), tasks.stop());
        let retired = probe.clone();
        let asking = async move {
            tokio::select! {
                () = scheduler.ask_while_leading(&*probe, &places, first_within) => {}
                () = stop.requested() => {}
            }
        };
        let farewell = async move {
            let _ = tokio::time::timeout(ABANDON_WITHIN, retired.abandon()).await;
        };
        tasks.spawn_retirable("probe", asking, farewell)
    }

    /// Room for the attempts of one system.
    pub fn places(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.in_flight))
    }

    /// Asks every probe once, side by side, and returns when all have answered or reached their deadlines.
    pub async fn once(&self, probes: &[Arc<dyn Probe>]) {
        let places = Semaphore::new(self.in_flight);
        let runs = probes.iter().map(|probe| {
            for question in probe.questions() {
                self.ledger.open(question, probe.schedule());
            }
            self.run(&**probe, &places)
        });
        futures_util::future::join_all(runs).await;
    }

    /// What was known when another replica takes over is that one's to say: here nothing is known any more.
    async fn ask_while_leading(&self, probe: &dyn Probe, places: &Semaphore, first_within: Duration) {
        let mut within = if self.leadership.is_alone() { first_within } else { SOON };
        loop {
            self.leadership.leads().await;
            if self.leadership.while_leading(self.keep_asking(probe, places, within)).await.is_some() {
                return;
            }
            let _ = tokio::time::timeout(ABANDON_WITHIN, probe.abandon()).await;
            probe.forget();
            self.ledger.clear(probe.questions());
            within = SOON;
        }
    }

    async fn keep_asking(&self, probe: &dyn Probe, places: &Semaphore, within: Duration) {
        let schedule = probe.schedule();
        let mut due = Instant::now() + first_offset(probe, within);
        loop {
            self.ledger.due(probe.questions(), Some(due));
            tokio::select! {
                () = sleep_until(due) => {}
                () = probe.stirred() => {
                    tracing::debug!(question = ?probe.questions().first().map(|question| &question.key), "asked early: what it looks up has changed");
                    due = Instant::now();
                }
            }
            self.run(probe, places).await;
            // A run that took too long skips the turns that it missed: it never makes up for them in a burst.
            let behind =
                Instant::now().saturating_duration_since(due).as_nanos() / schedule.interval.as_nanos();
            due += schedule.interval * (u32::try_from(behind).unwrap_or(u32::MAX - 1) + 1);
        }
    }

    /// One run, recorded.
    async fn run(&self, probe: &dyn Probe, places: &Semaphore) {
        let Schedule { interval: _, timeout, attempts: Attempts { pass, of } } = probe.schedule();
        let questions = probe.questions();
        let (started, clock) = ((self.now)(), Instant::now());
        let mut tallies: Vec<Tally> = questions.iter().map(|_| Tally::default()).collect();
        let mut attempts = 0;
        while attempts < of && tallies.iter().any(|tally| tally.is_open(pass, of)) {
            let answers = self.attempt(probe, places, Instant::now() + timeout).await;
            attempts += 1;
            for (tally, answer) in tallies.iter_mut().zip(answers) {
                tally.add(answer, pass);
            }
        }
        let (finished, took) = ((self.now)(), clock.elapsed());
        for (question, tally) in questions.iter().zip(tallies) {
            let Answer { outcome, detail, facts, withheld, gap } = tally.conclude(pass, of);
            let observation = Observation { outcome, detail, facts, withheld, gap, started, finished, took };
            tracing::debug!(
                system = %question.key.system, check = %question.key.check, target = %question.key.target,
                outcome = ?observation.outcome, took_ms = took.as_millis(), "run ended"
            );
            self.ledger.record(&question.key, attempts, observation);
        }
    }

    async fn attempt(&self, probe: &dyn Probe, places: &Semaphore, deadline: Instant) -> Vec<Answer> {
        let questions = probe.questions().len();
        let Ok(Ok(_place)) = timeout_at(deadline, places.acquire()).await else {
            let answer =
                Answer::blind(Reason::Limit, "no place was free among this system's attempts in flight");
            return vec![answer; questions];
        };
        // Should the work hold on to its thread, nobody drops it at the deadline: then this is what is overdue.
        self.ledger.due(probe.questions(), Some(deadline + ABANDON_WITHIN));
        let attempt = Attempt::new((self.now)(), deadline, questions);
        let ended = timeout_at(deadline, AssertUnwindSafe(probe.ask(&attempt)).catch_unwind()).await;
        if ended.is_err() {
            let _ = tokio::time::timeout(ABANDON_WITHIN, probe.abandon()).await;
        }
        let timeout = probe.schedule().timeout;
        attempt
            .into_answers()
            .into_iter()
            .map(|answer| match (&ended, answer) {
                (Ok(Err(_panic)), _) => Answer::blind(
                    Reason::Internal,
                    "the check itself crashed: this is a fault of dr-exporter",
                ),
                (_, Some(answer)) => answer,
                (Err(_elapsed), None) => {
                    Answer::fail(Reason::Timeout, format!("no answer within {}", length(timeout)))
                }
                (Ok(Ok(())), None) => Answer::blind(
                    Reason::Internal,
                    "the check gave no answer: this is a fault of dr-exporter",
                ),
            })
            .collect()
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, answer: Answer, pass: u32) {
        // Once enough passed, an attempt that was made for another question's sake changes nothing.
        if self.passed >= pass {
            return;
        }
        match answer.outcome {
            Outcome::Pass | Outcome::Skipped => self.passed += 1,
            Outcome::Fail(_) => self.failed += 1,
            Outcome::Blind(_) => {}
        }
        self.last = Some(answer);
    }

    fn is_open(&self, pass: u32, of: u32) -> bool {
        self.passed < pass && self.failed <= of - pass
    }

    /// `Fail` only if it would stand even had every blind attempt passed: blindness never accuses.
    fn conclude(self, pass: u32, of: u32) -> Answer {
        let Tally { passed, failed, last } = self;
        let Some(mut last) = last else {
            return Answer::blind(Reason::Internal, "no attempt was made");
        };
        if of > 1 && passed < pass {
            last.detail = format!("{} ({passed} of {of} attempts passed, {pass} needed)", last.detail);
            if let (Outcome::Fail(reason), true) = (last.outcome, failed <= of - pass) {
                last.outcome = Outcome::Blind(reason);
            }
        }
        last
    }
}

/// Where in the interval a probe begins: spread evenly by its names, the same after every restart.
fn first_offset(probe: &dyn Probe, within: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    for question in probe.questions() {
        question.key.hash(&mut hasher);
    }
    let spread = probe.schedule().interval.min(within);
    spread.mul_f64((hasher.finish() >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests;
