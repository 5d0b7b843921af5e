//! What a run of a check leaves behind: an outcome, the facts learnt on the way, and when. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Check, GapReason, Reason, seconds};

/// Names one check of one system: the identity under which its history is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckKey {
    /// The system that is judged.
    pub system: Arc<str>,
    /// The question.
    pub check: Check,
    /// The configured name of what is asked, never an address.
    pub target: Arc<str>,
}

/// How one run ended. Three ends, never two: `Fail` is the target's fault, `Blind` is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The question was answered as it should be.
    Pass,
    /// What the workload itself would get is wrong.
    Fail(Reason),
    /// We could not see; accuses nobody and clears nobody.
    Blind(Reason),
    /// The question does not apply here.
    Skipped,
}

/// What a metric means, written once: the catalogue, `/metrics` and the documentation render this value.
#[derive(Debug)]
pub struct Metric {
    /// The full name, as it is searched for.
    pub name: &'static str,
    /// One line: what it says and how stale it may be.
    pub help: &'static str,
    /// Gauge, counter or histogram.
    pub shape: Shape,
    /// Every label in order; `site` and `system` come first where they apply.
    pub labels: &'static [&'static str],
    /// What becomes of the last value when the newest run did not renew it.
    pub unrenewed: Unrenewed,
}

/// The type of a metric as Prometheus knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// A value that goes up and down.
    Gauge,
    /// Only grows; the name ends in `_total`.
    Counter,
    /// Observations in buckets, with these upper bounds in seconds.
    Histogram(&'static [f64]),
}

/// Where the time of a run, of a query or of a request goes, in seconds.
pub const DURATION_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What becomes of a fact when the newest run of its check did not renew it, or when that run is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrenewed {
    /// The last value stays: a timestamp, a region, a duration.
    Stays,
    /// It is exposed as 0: a success that nobody repeated is not a success. Absent before the first run ended.
    BecomesZero,
    /// It is withheld: a 0/1 answer is absent while it is unknown.
    Withheld,
}

/// A number learnt on the way, as a sample of one metric.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Which metric.
    pub metric: &'static Metric,
    /// Labels after `site` and `system`, in the metric's order.
    pub labels: Vec<(&'static str, String)>,
    /// The value in the metric's unit: finite, always. For a histogram one observation.
    pub value: f64,
}

/// The recorded end of one run of one check.
#[derive(Clone, Debug)]
pub struct Observation {
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence for people. Holds neither secrets nor error text of others.
    pub detail: String,
    /// What was learnt.
    pub facts: Vec<Fact>,
    /// Promised facts that do not apply this time: withheld instead of 0.
    pub withheld: Vec<Fact>,
    /// Why the question could not be put at all, although it was planned.
    pub gap: Option<GapReason>,
    /// When the run began.
    pub started: Timestamp,
    /// When the run ended.
    pub finished: Timestamp,
    /// How long it took, all attempts of the run together.
    pub took: Duration,
}

// === impl Outcome ===

impl Outcome {
    /// The reason of a failure or of blindness.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Outcome::Fail(reason) | Outcome::Blind(reason) => Some(reason),
            Outcome::Pass | Outcome::Skipped => None,
        }
    }
}

// === impl Metric ===

impl Metric {
    /// A value that goes up and down, and stays while it is not renewed.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Metric { name, help, shape: Shape::Gauge, labels, unrenewed: Unrenewed::Stays }
    }

    /// A value that only grows; the name ends in `_total`.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Metric { name, help, shape: Shape::Counter, labels, unrenewed: Unrenewed::Stays }
    }

    /// Observations in buckets with these upper bounds, in seconds.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
        help: &'static str,
    ) -> Self {
        Metric { name, help, shape: Shape::Histogram(bounds), labels, unrenewed: Unrenewed::Stays }
    }

    /// The same, but 0 while it is not renewed.
    #[must_use]
    pub const fn becoming_zero(mut self) -> Self {
        self.unrenewed = Unrenewed::BecomesZero;
        self
    }

    /// The same, but withheld while it is not renewed.
    #[must_use]
    pub const fn withheld(mut self) -> Self {
        self.unrenewed = Unrenewed::Withheld;
        self
    }
}

// === impl Fact ===

impl Fact {
    /// A fact with the labels that follow `site` and `system`.
    pub fn new(metric: &'static Metric, labels: &[(&'static str, &str)], value: f64) -> Self {
        debug_assert!(
            metric
                .labels
                .iter()
                .filter(|l| !matches!(**l, "site" | "system"))
                .eq(labels.iter().map(|(name, _)| name)),
            "labels of {} are {:?}, not {labels:?}",
            metric.name,
            metric.labels,
        );
        debug_assert!(value.is_finite(), "{} is not finite", metric.name);
        Fact {
            metric,
            labels: labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            value,
        }
    }

    /// A yes or a no.
    pub fn flag(metric: &'static Metric, labels: &[(&'static str, &str)], yes: bool) -> Self {
        Fact::new(metric, labels, f64::from(u8::from(yes)))
    }

    /// A point in time, in seconds since 1970.
    pub fn time(metric: &'static Metric, labels: &[(&'static str, &str)], at: Timestamp) -> Self {
        Fact::new(metric, labels, seconds(at))
    }

    /// A length of time, in seconds.
    pub fn span(metric: &'static Metric, labels: &[(&'static str, &str)], length: Duration) -> Self {
        Fact::new(metric, labels, length.as_secs_f64())
    }

    /// Whether both are samples of one series.
    pub fn same_series(&self, other: &Fact) -> bool {
        std::ptr::eq(self.metric, other.metric) && self.labels == other.labels
    }
}
