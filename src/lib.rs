//! dr-exporter: catches disaster-recovery sites which look ready and are not.
//!
//! A site **claims** to be well on its surfaces; we **try** what a user would need and set both side by side.
//! The way of an answer through this crate:
//!
//! ```text
//! config ─► plan ─► scheduler ─► probe ─► ledger ─► report = weigh + judge ─► metrics, web, cli
//! ```
//!
//! Pure, held so by a test: [`model`], [`plan`], [`verdict`], [`report`], [`exposition`], [`traffic`],
//! [`metrics::catalogue`], [`web::page`]. The clock is read in [`clock`], tasks are spawned in [`tasks`], the
//! network is dialled in [`net`], everything is put together in [`app`].

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod discovery;
pub mod exposition;
pub mod fleet;
pub mod host;
pub mod leader;
pub mod ledger;
pub mod metrics;
pub mod model;
pub mod net;
pub mod plan;
pub mod probe;
#[cfg(test)]
mod purity;
pub mod rbac;
pub mod reload;
pub mod report;
pub mod scheduler;
pub mod secret;
pub mod shard;
pub mod sightings;
pub mod tasks;
pub mod traffic;
pub mod verdict;
pub mod view;
pub mod web;
