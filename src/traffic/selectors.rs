//! What counts as business, and one scrape seen through it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use regex::Regex;

use crate::exposition::{Format, MetricType, SyntaxError, samples};

/// When the process of the instance started, in seconds since the epoch (Prometheus client libraries).
const START_TIME: &str = "process_start_time_seconds";
/// More series of the counter than this on one instance are not followed.
const MAX_SERIES: usize = 20_000;

/// Which kind of request a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A user's call, or our synthetic one.
    Business,
    /// Health checks and scrapes.
    Probe,
    /// Neither pattern matches; proves the counter alive.
    Other,
}

/// The `traffic:` section of the configuration.
#[derive(Clone, Debug)]
pub struct Selectors {
    counter: String,
    business: Vec<(String, Regex)>,
    probes: Vec<(String, Regex)>,
    required: Vec<String>,
    errors: Option<String>,
}

/// The wanted part of one exposition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    pub(super) requests: HashMap<u128, Requests>,
    pub(super) errors: HashMap<u128, f64>,
    pub(super) start_time: Option<f64>,
    pub(super) required_present: Vec<bool>,
    pub(super) has_invalid: bool,
    pub(super) is_gauge: bool,
    pub(super) is_too_large: bool,
}

/// One series of the counter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Requests {
    pub(super) class: Class,
    pub(super) handler: String,
    pub(super) value: f64,
}

// === impl Selectors ===

impl Selectors {
    /// Takes the section. The patterns come anchored at both ends, as in PromQL.
    pub fn new(
        counter: &str,
        business: Vec<(String, Regex)>,
        probes: Vec<(String, Regex)>,
        required: &[String],
        errors: Option<&str>,
    ) -> Self {
        let (counter, required, errors) = (counter.to_owned(), required.to_vec(), errors.map(str::to_owned));
        Self { counter, business, probes, required, errors }
    }

    /// The handlers that must be counted somewhere.
    pub(super) fn required(&self) -> &[String] {
        &self.required
    }

    /// Whether a metric of that name is needed; the filter for [`samples`] or for a query.
    pub fn wants(&self, metric: &str) -> bool {
        metric == self.counter || self.errors.as_deref() == Some(metric) || metric == START_TIME
    }

    /// The names of all metrics that are needed.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        [self.counter.as_str()].into_iter().chain(self.errors.as_deref()).chain([START_TIME])
    }

    /// The class of a series of the counter, and the value that names its handler.
    ///
    /// Several label names are alternatives: one match suffices. Probes win over business: `/api/.+` is meant
    /// without the `/api/health` that is listed beside it. The handler is the value that matched, else that of the
    /// first label name that the series has, else empty.
    pub fn classify<'a>(&self, labels: &'a [(impl AsRef<str>, impl AsRef<str>)]) -> (Class, &'a str) {
        let value =
            |name: &str| labels.iter().find(|(key, _)| key.as_ref() == name).map(|(_, value)| value.as_ref());
        let matched = |patterns: &[(String, Regex)]| {
            patterns.iter().find_map(|(name, regex)| value(name).filter(|text| regex.is_match(text)))
        };
        if let Some(handler) = matched(&self.probes) {
            return (Class::Probe, handler);
        }
        if let Some(handler) = matched(&self.business) {
            return (Class::Business, handler);
        }
        let names = self.business.iter().chain(&self.probes).map(|(name, _)| name);
        (Class::Other, names.into_iter().find_map(|name| value(name)).unwrap_or_default())
    }

    /// Reads an exposition.
    ///
    /// # Errors
    /// The first unreadable line of a wanted metric, or a cut body. Such a scrape proves nothing (Prometheus drops
    /// it whole, too): record it as [`super::Window::missed`].
    pub fn read(&self, body: &[u8], format: Format) -> Result<Scrape, SyntaxError> {
        let mut scrape = Scrape::default();
        for sample in samples(body, format, |name| self.wants(name)) {
            let sample = sample?;
            let labels: Vec<_> = sample.labels.collect();
            scrape.add(self, &sample.name, &labels, sample.value, sample.kind);
        }
        Ok(scrape)
    }
}

// === impl Scrape ===

impl Scrape {
    /// Adds one sample, from an exposition or from the answer of a Prometheus server.
    ///
    /// `labels` must be those that tell the series of one instance apart, in any order. A value that no counter can
    /// have and a series that is there twice make the scrape suspect.
    pub fn add<N, V>(
        &mut self,
        selectors: &Selectors,
        name: &str,
        labels: &[(N, V)],
        value: f64,
        kind: MetricType,
    ) where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        if name == START_TIME && value.is_finite() && value > 0.0 {
            self.start_time = Some(value);
        }
        let (is_counter, is_error) = (name == selectors.counter, selectors.errors.as_deref() == Some(name));
        if !is_counter && !is_error {
            return;
        }
        self.required_present.resize(selectors.required.len(), false);
        if !(value.is_finite() && value >= 0.0) {
            self.has_invalid = true;
            return;
        }
        if self.requests.len() + self.errors.len() >= MAX_SERIES {
            self.is_too_large = true;
            return;
        }
        let key = series_key(labels);
        if is_error {
            self.has_invalid |= self.errors.insert(key, value).is_some();
        }
        if is_counter {
            self.is_gauge |= match kind {
                MetricType::Gauge | MetricType::GaugeHistogram | MetricType::Info | MetricType::StateSet => {
                    true
                }
                MetricType::Counter | MetricType::Histogram | MetricType::Summary | MetricType::Unknown => {
                    false
                }
            };
            let (class, handler) = selectors.classify(labels);
            for (required, present) in selectors.required.iter().zip(&mut self.required_present) {
                let names = selectors.business.iter().chain(&selectors.probes);
                let is_it = |(name, _): &(String, Regex)| {
                    labels.iter().any(|(key, value)| key.as_ref() == name && value.as_ref() == required)
                };
                *present |= names.into_iter().any(is_it);
            }
            let series = Requests { class, handler: handler.to_owned(), value };
            self.has_invalid |= self.requests.insert(key, series).is_some();
        }
    }
}

/// 128 bits that stand for a label set whatever its order, so that a window need not keep the labels.
fn series_key(labels: &[(impl AsRef<str>, impl AsRef<str>)]) -> u128 {
    let mut sorted: Vec<_> = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    sorted.sort_unstable();
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &sorted).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    (half(0) << 64) | half(1)
}
