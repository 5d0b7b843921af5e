//! The only place that reads the wall clock. Everything else gets the time as an argument.

use jiff::Timestamp;

/// Now, by the wall clock. Steps of the clock are seen: an age may shrink, never below zero.
#[allow(clippy::disallowed_methods)] // this is the one place
pub fn now() -> Timestamp {
    Timestamp::now()
}
