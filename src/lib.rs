//! dr-exporter: catches disaster-recovery sites which look ready and are not.

pub mod config;
pub mod demo;
pub mod exposition;
pub mod model;
pub mod net;
pub mod secret;
pub mod traffic;
