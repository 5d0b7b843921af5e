//! Does business traffic reach this site? Accounting over the counters of a workload's instances. Pure.
//!
//! [`Selectors`] say what counts; [`Selectors::read`] turns an exposition into a [`Scrape`]; a [`Window`] adds
//! scrapes up; [`Window::judge`] says what they prove. DESIGN section 10 "Traffic", METRICS `dr_traffic_*`.
//!
//! "Zero business requests" is a strong claim, so everything doubtful withholds it: an instance without samples
//! over the whole window, an instance on which nothing moves, a required handler that is nowhere, a counter that
//! holds NaN. And because our own synthetic requests go through the same counters, they are taken off handler by
//! handler, each at most once and never more than the counter grew.

mod judgement;
mod own;
mod selectors;
#[cfg(test)]
mod tests;
mod window;

pub use judgement::{Judgement, Suspicion};
pub use selectors::{Class, Scrape, Selectors};
pub use window::Window;
