//! What a window proves, in numbers and in plain words.

use jiff::Timestamp;

/// A reason not to believe the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// No instance counts this handler: the label was renamed, or it never got wired (L52).
    RequiredHandlerMissing(String),
    /// Errors grew while not one business request was counted (L52).
    ErrorsGrowWithoutRequests,
    /// Over a whole window nothing moved on this instance, not even probes.
    NothingMoves(String),
    /// The "counter" is declared a gauge, or another type that does not count.
    DeclaredNotCounter,
    /// A value that no counter has: negative, NaN, infinite; or the same series twice (L93).
    InvalidValue,
    /// More series than we follow.
    TooManySeries,
}

/// The accounting of one workload at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Whether every current instance was read over the whole window.
    pub complete: bool,
    /// Business requests in the window, our own taken off.
    pub business_increase: f64,
    /// Probe requests in the window.
    pub probe_increase: f64,
    /// Our own business requests in the window that the counters showed.
    pub synthetic_increase: f64,
    /// Whether there were no business requests; `None` while that cannot be told.
    pub zero: Option<bool>,
    /// Reasons to distrust the counters; none: `dr_traffic_accounting_suspect` is 0.
    pub suspect: Vec<Suspicion>,
    /// The scrape that last showed business requests.
    pub last_business: Option<Timestamp>,
    /// `dr_traffic_business_requests_total`: since we started, never falls.
    pub business_total: f64,
    /// `dr_traffic_probe_requests_total`.
    pub probe_total: f64,
    /// `dr_traffic_synthetic_requests_total`.
    pub synthetic_total: f64,
    /// Since when this workload is watched.
    pub window_started: Option<Timestamp>,
    /// All of it in a sentence or two.
    pub explanation: String,
}

// === impl Suspicion ===

impl std::fmt::Display for Suspicion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RequiredHandlerMissing(name) => {
                write!(f, "no instance counts the required handler `{name}`")
            }
            Self::ErrorsGrowWithoutRequests => {
                f.write_str("errors grow while no business request is counted")
            }
            Self::NothingMoves(name) => {
                write!(f, "no counter of instance `{name}` moved, not even for probes")
            }
            Self::DeclaredNotCounter => f.write_str("the metric is not declared as a counter"),
            Self::InvalidValue => f.write_str("the counter holds a value that no counter can have"),
            Self::TooManySeries => f.write_str("the counter has more series than are followed"),
        }
    }
}
