//! `traffic`: does any business request reach this site? Evidence beside the verdict, never a part of it.

mod prometheus;
mod scrape;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use regex::Regex;
use url::Url;

use super::{Answer, Attempt, Kind, Probe, Question, Schedule, TRANSPORT, Tools};
use crate::config::{self, Anchored, PrometheusSource};
use crate::model::{Check, CheckKey, Fact, Metric, Reason, seconds};
use crate::traffic::{Judgement, Selectors, Suspicion, Window};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Traffic,
    about: "Whether users' requests reach the workload, from its own counters over a complete window, instance by \
            instance, with resets, our own requests subtracted. Zero is said only while the same scrapes prove the \
            counters alive; a missing instance, an incomplete window or dead counters make it unknown. The source is \
            the instances, or a Prometheus server that scrapes them already, so that a restart costs no window. It is \
            evidence: a verdict never rests on it.",
    example: "traffic:\n  - workload: api-server\n    expected: false\n    counter: http_requests_total\n    business: {handler: \"/api/.+\"}\n    probes: {handler: \"/health|/ready|/metrics\"}\n    handlers_required: [/api/v1/orders]\n    errors: {metric: app_errors_total}\n    window: 24h",
    metrics: &[&ZERO, &BUSINESS, &PROBES, &SYNTHETIC, &LAST, &SUSPECT, &COMPLETE],
    reasons: &[
        TRANSPORT,
        &[
            Reason::Missing,
            Reason::HttpStatus,
            Reason::BodyMismatch,
            Reason::Limit,
            Reason::Misconfigured,
            Reason::Other,
        ],
    ],
};

const WORKLOAD: &[&str] = &["site", "system", "workload"];

/// The product's third namesake.
pub static ZERO: Metric = Metric::gauge(
    "dr_traffic_zero_business_requests",
    WORKLOAD,
    "1 if no business request was counted over the complete window, our own taken off, while the \
     counters prove alive; absent while unknown; from a background check",
)
.withheld();

/// Business requests.
pub static BUSINESS: Metric = Metric::counter(
    "dr_traffic_business_requests_total",
    WORKLOAD,
    "Business requests that the workload counted since the exporter began to watch, our own taken \
     off",
);

/// Probe requests.
pub static PROBES: Metric = Metric::counter(
    "dr_traffic_probe_requests_total",
    WORKLOAD,
    "Probe requests that the workload counted since the exporter began to watch",
);

/// Our own requests.
pub static SYNTHETIC: Metric = Metric::counter(
    "dr_traffic_synthetic_requests_total",
    WORKLOAD,
    "Business requests of the exporter itself that the workload counted",
);

/// The last business request.
pub static LAST: Metric = Metric::gauge(
    "dr_traffic_last_business_request_timestamp_seconds",
    WORKLOAD,
    "When a business request was last counted, in seconds since 1970; 0 if none was ever seen",
);

/// Counters that are not to be believed.
pub static SUSPECT: Metric = Metric::gauge(
    "dr_traffic_accounting_suspect",
    WORKLOAD,
    "1 if the counters are not to be believed: a required handler is missing, errors grow while \
     requests do not, or nothing moves",
)
.withheld();

/// A complete window.
pub static COMPLETE: Metric = Metric::gauge(
    "dr_traffic_window_complete",
    WORKLOAD,
    "1 if every instance was read over the whole window, with no gap longer than two intervals",
)
.becoming_zero();

/// Business traffic of one workload as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and name of the workload.
    pub key: CheckKey,
    /// Where the counters are read.
    pub source: Source,
    /// What counts as what.
    pub traffic: config::Traffic,
    /// When to ask.
    pub schedule: Schedule,
}

/// Where the counters are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// From each instance: its name and the URL of its metrics.
    Instances(Vec<(String, Url)>),
    /// From a Prometheus server that scrapes them already.
    Prometheus(PrometheusSource),
}

/// A workload whose traffic is watched.
pub struct Traffic {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 1],
    /// The window, and up to when a Prometheus server's memory was read into it.
    state: Mutex<(Window, Option<Timestamp>)>,
}

/// What hindered us from reading everything; the rest was read.
type Hindrance = (Reason, String);

// === impl Traffic ===

impl Traffic {
    /// Ready to watch; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let window = empty_window(&spec);
        let label = [("workload", &*spec.key.target)];
        let at_first = vec![Fact::new(&LAST, &label, 0.0), Fact::flag(&COMPLETE, &label, false)];
        let question = Question { key: spec.key.clone(), at_first, promised: vec![] };
        Traffic { spec, tools, questions: [question], state: Mutex::new((window, None)) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, (Window, Option<Timestamp>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the window of our own requests. They must be known before the scrape that counted them is added.
    fn note_own(&self, window: &mut Window) {
        for own in self.tools.own_requests.take(&self.spec.key.system, &self.spec.key.target) {
            window.own(&own.handler, own.sent, own.answered);
        }
    }

    fn answer(&self, judgement: &Judgement, hindrance: Option<Hindrance>) -> Answer {
        let words = judgement.explanation.clone();
        let answer = match (judgement.zero, judgement.suspect.first(), hindrance) {
            (_, _, Some((reason, hindrance))) => Answer::blind(reason, format!("{hindrance}. {words}")),
            (Some(true), ..) if self.spec.traffic.expected => Answer::fail(Reason::Missing, words),
            (Some(_), ..) => Answer::pass(words),
            (None, Some(Suspicion::RequiredHandlerMissing(_)), None) => Answer::blind(Reason::Missing, words),
            (None, ..) => Answer::blind(Reason::Other, words),
        };
        answer.with(self.facts(judgement))
    }

    fn facts(&self, judgement: &Judgement) -> Vec<Fact> {
        let label = [("workload", &*self.spec.key.target)];
        let mut facts = vec![
            Fact::flag(&COMPLETE, &label, judgement.complete),
            Fact::flag(&SUSPECT, &label, !judgement.suspect.is_empty()),
            Fact::new(&BUSINESS, &label, judgement.business_total),
            Fact::new(&PROBES, &label, judgement.probe_total),
            Fact::new(&SYNTHETIC, &label, judgement.synthetic_total),
            Fact::new(&LAST, &label, judgement.last_business.map_or(0.0, seconds)),
        ];
        facts.extend(judgement.zero.map(|zero| Fact::flag(&ZERO, &label, zero)));
        facts
    }
}

#[async_trait]
impl Probe for Traffic {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        // A little earlier than the deadline, so that what did answer is not lost with what did not.
        let patience = attempt.left().mul_f64(0.9);
        let hindrance = match &self.spec.source {
            Source::Instances(instances) => self.read_instances(instances, attempt.now, patience).await,
            Source::Prometheus(server) => self.read_prometheus(server, attempt.now, patience).await,
        };
        let judgement = self.state().0.judge(attempt.now);
        attempt.answer(0, self.answer(&judgement, hindrance));
    }

    /// The requests of another replica would be counted as business.
    fn forget(&self) {
        *self.state() = (empty_window(&self.spec), None);
        drop(self.tools.own_requests.take(&self.spec.key.system, &self.spec.key.target));
    }
}

fn empty_window(spec: &Spec) -> Window {
    let config::Traffic { counter, business, probes, handlers_required, errors, window, .. } = &spec.traffic;
    let errors = errors.as_ref().map(|errors| errors.metric.as_str());
    let selectors = Selectors::new(counter, patterns(business), patterns(probes), handlers_required, errors);
    let interval = match &spec.source {
        Source::Instances(_) => spec.schedule.interval,
        Source::Prometheus(server) => server.interval(spec.schedule.interval),
    };
    Window::new(selectors, window.0, interval)
}

fn patterns(anchored: &BTreeMap<String, Anchored>) -> Vec<(String, Regex)> {
    anchored.iter().map(|(label, pattern)| (label.clone(), pattern.0.clone())).collect()
}

/// The sentence for a wait that ended without an answer.
fn too_slow(patience: Duration) -> Hindrance {
    (Reason::Timeout, format!("no answer within {}", crate::model::length(patience)))
}
