//! Shared clients: where an application connects, and one fresh connection to there.
//!
//! Every call resolves again and dials again, because a pooled connection hides a failover. Nothing here spawns a
//! task: dropping the future that a function returned ends the work and closes the socket.

pub mod api;
pub mod dial;
pub mod dsn;
pub mod http;
pub mod postgres;
pub mod region;
pub mod resolve;
pub mod tls;
