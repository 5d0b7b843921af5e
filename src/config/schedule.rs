//! When a check runs: what its section says, completed by the defaults.

use std::time::Duration;

use super::database::{Database, Standby};
use super::outside::{Certificate, Dns, Infrastructure};
use super::scalar::Span;
use super::site::{Attempts, Defaults, Peer};
use super::system::{Dependency, Surface, Workload};
use super::traffic::{Request, Traffic};

/// When a check runs, completely resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Time from the start of one run to the start of the next.
    pub interval: Duration,
    /// Deadline of one attempt.
    pub timeout: Duration,
    /// How many attempts of one run must pass.
    pub attempts: Attempts,
}

/// A section of the configuration that a check runs from.
pub trait Scheduled {
    /// What the section itself says: interval, timeout, attempts.
    fn timing(&self) -> (Option<Span>, Option<Span>, Option<Attempts>);

    /// When the check runs.
    fn schedule(&self, defaults: &Defaults) -> Schedule {
        let (interval, timeout, attempts) = self.timing();
        Schedule {
            interval: interval.unwrap_or(defaults.interval).0,
            timeout: timeout.unwrap_or(defaults.timeout).0,
            attempts: attempts.unwrap_or(defaults.attempts),
        }
    }
}

macro_rules! scheduled {
    ($($section:ty),+ $(,)?) => {
        $(impl Scheduled for $section {
            fn timing(&self) -> (Option<Span>, Option<Span>, Option<Attempts>) {
                (self.interval, self.timeout, self.attempts)
            }
        })+
    };
}

scheduled!(
    Workload,
    Dependency,
    Surface,
    Database,
    Standby,
    Request,
    Traffic,
    Dns,
    Certificate,
    Infrastructure,
    Peer
);
