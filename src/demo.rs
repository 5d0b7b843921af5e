//! The stand-ins of `dr-exporter demo`: the incident on loopback, in one process, with nothing to install.
//!
//! `database` speaks the real PostgreSQL protocol, `application` is the service that claims to be healthy, and
//! `incident` wires them as they were found that day, writes the exporter's configuration for them and applies the
//! repairs one by one. The exporter knows nothing of this module: it looks at the stand-ins as it looks at a real site.

pub mod application;
pub mod database;
pub mod incident;

mod client;
mod session;
mod sql;

/// Where the stand-ins read the time: an argument, as everywhere.
pub type Now = fn() -> jiff::Timestamp;
