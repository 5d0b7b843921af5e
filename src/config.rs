//! The configuration file: read whole, judged whole, and taken only when nothing is wrong with it.
//!
//! Four steps, each of which reports everything it finds, so that one run shows every mistake:
//! YAML to a tree that knows its places ([`yaml`]) → the tree against the JSON Schema of the structs ([`schema`])
//! → the structs → what only the whole can tell ([`rules`], [`support`]).

mod database;
mod outside;
mod problem;
mod scalar;
mod schedule;
mod site;
mod system;
mod traffic;

pub use database::{
    Credentials, Database, DatabaseCloud, DatabaseKind, Endpoint, ExpectColumn, Heartbeat, Identity, Newest,
    Query, Rds, Replication, Standby,
};
pub use outside::{Certificate, Dns, Infrastructure, RecordType};
pub use problem::{Problem, Problems};
pub use scalar::{Anchored, ConnectTo, HostPort, HttpUrl, Moment, NameServer, Pattern, Span};
pub use schedule::{Schedule, Scheduled, schedule};
pub use site::{
    Attempts, Aws, Cloud, Config, Defaults, HighAvailability, Kubernetes, KubernetesMode, Lease, Limits,
    Peer, Region, Site, SiteIdentity, Tls, Web,
};
pub use system::{Announcement, Expect, Instance, MetricsEndpoint, NewestInBody, Surface, System, Waiver, Workload};
pub use traffic::{ErrorCounter, PrometheusSource, Request, Traffic, TrafficSource};
