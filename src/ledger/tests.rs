//! What is remembered, what is shown of it, and what becomes of it when nobody renews it.

use super::*;
use crate::config::Attempts;
use crate::model::{Check, Metric};

const fn metric(name: &'static str, unrenewed: Unrenewed, shape: Shape) -> Metric {
    Metric { name, help: "", shape, labels: &["site", "system", "x"], unrenewed }
}

static STAYS: Metric = metric("stays", Unrenewed::Stays, Shape::Gauge);
static ZERO: Metric = metric("zero", Unrenewed::BecomesZero, Shape::Gauge);
static WITHHELD: Metric = metric("withheld", Unrenewed::Withheld, Shape::Gauge);
static SPREAD: Metric = metric("spread", Unrenewed::Stays, Shape::Histogram(&[1.0, 2.0]));

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn fact(metric: &'static Metric, x: &str, value: f64) -> Fact {
    Fact::new(metric, &[("x", x)], value)
}

/// Asked every 10 s; promises a success and a claim.
fn record() -> Record {
    let key = CheckKey { system: Arc::from("s"), check: Check::SyntheticQuery, target: Arc::from("t") };
    let promised = vec![fact(&ZERO, "q", 0.0), fact(&WITHHELD, "q", 0.0)];
    let question = Question { key, at_first: vec![fact(&STAYS, "unknown", 1.0)], promised };
    let schedule = Schedule {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        attempts: Attempts { pass: 1, of: 1 },
    };
    Record::new(&question, schedule)
}

fn run(record: &mut Record, outcome: Outcome, finished: i64, facts: &[Fact]) {
    record.add(
        1,
        Observation {
            outcome,
            detail: format!("at {finished}"),
            facts: facts.to_vec(),
            withheld: vec![],
            gap: None,
            started: at(finished),
            finished: at(finished),
            took: Duration::from_millis(1),
        },
    );
}

fn shown(record: &Record, now: i64) -> Vec<(&'static str, String, f64)> {
    let mut all: Vec<_> = record
        .facts(at(now))
        .map(|(fact, value)| (fact.metric.name, fact.labels[0].1.clone(), value))
        .collect();
    all.sort_by(|a, b| a.0.cmp(b.0));
    all
}

#[test]
fn before_the_first_run_only_what_is_true_at_first_is_shown() {
    assert_eq!(shown(&record(), 0), [("stays", "unknown".to_owned(), 1.0)]);
}

#[test]
fn each_fact_follows_its_own_rule_when_it_is_not_renewed() {
    let mut record = record();
    let facts = [fact(&STAYS, "us-west-2", 1.0), fact(&ZERO, "q", 1.0), fact(&WITHHELD, "q", 1.0)];
    let region = |value: &str| ("stays", value.to_owned(), 1.0);
    let zero = |value| ("zero", "q".to_owned(), value);
    let withheld = |value| ("withheld", "q".to_owned(), value);

    run(&mut record, Outcome::Pass, 0, &facts);
    assert_eq!(shown(&record, 29), [region("us-west-2"), withheld(1.0), zero(1.0)]);
    // Three intervals without a new run: the success is one no more, the claim is not known, the region stays.
    assert_eq!(shown(&record, 30), [region("us-west-2"), zero(0.0)]);

    run(&mut record, Outcome::Fail(Reason::Refused), 40, &[]);
    assert_eq!(shown(&record, 41), [region("us-west-2"), withheld(0.0), zero(0.0)]);
    run(&mut record, Outcome::Blind(Reason::Internal), 50, &[]);
    assert_eq!(shown(&record, 51), [region("us-west-2"), zero(0.0)]);
    run(&mut record, Outcome::Pass, 60, &[fact(&STAYS, "us-east-1", 1.0)]);
    assert_eq!(
        shown(&record, 61)[0],
        region("us-east-1"),
        "a metric is replaced as a whole: one series, ever"
    );
}

#[test]
fn t02_a_promise_that_does_not_apply_is_withheld() {
    let mut record = record();
    let skipped = Observation {
        outcome: Outcome::Skipped,
        detail: String::new(),
        facts: vec![],
        withheld: vec![fact(&ZERO, "q", 0.0), fact(&WITHHELD, "q", 0.0)],
        gap: None,
        started: at(0),
        finished: at(0),
        took: Duration::ZERO,
    };
    record.add(1, skipped);
    assert_eq!(shown(&record, 1), [("stays", "unknown".to_owned(), 1.0)]);
}

#[test]
fn last_nights_failure_is_still_there_after_a_thousand_passes() {
    let mut record = record();
    run(&mut record, Outcome::Fail(Reason::Dns), 0, &[]);
    for second in 1..=1000 {
        run(&mut record, Outcome::Pass, second, &[]);
    }
    assert_eq!(record.failures.len(), 1);
    assert_eq!(&*record.failures[0].detail, "at 0");
    assert_eq!(record.recent.len(), RECENT);
    assert_eq!(record.failures_by_reason, BTreeMap::from([(Reason::Dns, 1)]));
    assert_eq!(
        (record.attempts, record.last_success, record.outcome_since),
        (1001, Some(at(1000)), Some(at(1)))
    );
    // A long failure is one episode, however many runs it had: it drives no other out.
    for second in 2000..3000 {
        run(&mut record, Outcome::Fail(Reason::Dns), second, &[]);
    }
    assert_eq!(record.failures.len(), 2);
    let Episode { outcome: _, began, last, runs, detail } = &record.failures[1];
    assert_eq!((*began, *last, *runs, &**detail), (at(2000), at(2999), 1000, "at 2999"));
    run(&mut record, Outcome::Fail(Reason::Refused), 3000, &[]);
    assert_eq!(record.failures.len(), 3, "another reason is another episode");
    for second in 4000..4100 {
        let outcome = if second % 2 == 0 { Outcome::Pass } else { Outcome::Fail(Reason::Dns) };
        run(&mut record, outcome, second, &[]);
    }
    assert_eq!(record.failures.len(), PRESERVED);
}

#[test]
fn observations_fall_into_their_buckets() {
    let mut record = record();
    for value in [0.5, 1.0, 1.5, 7.0] {
        run(&mut record, Outcome::Pass, 0, &[fact(&SPREAD, "q", value)]);
    }
    let (_, histogram) = record.histograms().next().unwrap();
    assert_eq!((histogram.counts.as_slice(), histogram.sum, histogram.count()), (&[2, 1, 1][..], 10.0, 4));
}

#[test]
fn a_step_of_the_clock_backwards_makes_nothing_negative() {
    let mut record = record();
    run(&mut record, Outcome::Pass, 100, &[fact(&ZERO, "q", 1.0)]);
    assert!(record.is_fresh(at(80)), "what ended in the near future is not old");
    assert!(!record.is_fresh(at(60)), "how old it is nobody knows once the clock was set back that far");
    assert!(record.is_fresh(at(129)) && !record.is_fresh(at(130)));
}

#[test]
fn verdicts_know_since_when_they_stand() {
    let ledger = Ledger::default();
    let system = Arc::from("s");
    assert_eq!(ledger.judged(&system, Verdict::Unknown, at(0)), (at(0), None));
    assert_eq!(ledger.judged(&system, Verdict::Unknown, at(5)), (at(0), None));
    assert_eq!(ledger.judged(&system, Verdict::Usable, at(6)), (at(6), Some(Verdict::Unknown)));
    assert_eq!(ledger.judged(&system, Verdict::Usable, at(9)), (at(6), None));
    let changes: Vec<_> = ledger.read().verdicts[&system].changes.iter().copied().collect();
    assert_eq!(changes, [(at(0), Verdict::Unknown), (at(6), Verdict::Usable)]);
}
