//! The lab: real components for the integration tests, each on its own loopback address.
//!
//! | file | what it starts |
//! | --- | --- |
//! | `run.rs` | the directory of this test run, addresses, ports, `eventually`, `within`, and the reaper that leaves no orphan |
//! | `daemon.rs` | one child process: log, signals, freeze and thaw, killed on drop |
//! | `pg.rs`, `template.rs`, `tls.rs` | PostgreSQL: primary + streaming standby, unrelated nodes, certificates |
//! | `pgbouncer.rs` | `PgBouncer` in front of a node |
//! | `app.rs`, `app/` | a small application with real routes, real counters, and every lie it can be told to tell |
//! | `browser.rs` | a headless Chromium: what is wider than the screen, what a screen reader is told |
//! | `http.rs` | the HTTP server under the application, a server of fixed bodies, and the test's client |
//! | `proxy.rs` | TCP faults: refuse, black hole, reset, delay, trickle |
//! | `prometheus.rs` | the distribution's old Prometheus and a current one, `promtool` |
//! | `alertmanager.rs` | the distribution's Alertmanager, and a receiver for what it sends |
//! | `site.rs` | a site as most tests need it, and pieces of configuration for it |
//! | `exporter.rs`, `samples.rs` | the real `dr-exporter` binary and what it exposes |
//! | `kube.rs`, `kube/` | kube-apiserver and etcd, the objects of a cluster, `kubectl`, `helm` |
//! | `dns.rs` | a name server whose answers a test changes |
//!
//! East lives on 127.10.0.0/16, west on 127.20.0.0/16, everything else on 127.30.0.0/16. A component that is not
//! installed fails the test with a sentence that says so; nothing is skipped. `make lab` installs all of them.
// The product's bans (spawn, clocks, bare connects) keep the exporter honest; the lab stands outside of it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stderr)]
// A harness offers more than one test file uses.
#![allow(dead_code, unused_imports)]

pub mod alertmanager;
pub mod app;
pub mod browser;
pub mod daemon;
pub mod dns;
pub mod exporter;
pub mod http;
pub mod kube;
pub mod pg;
pub mod pgbouncer;
pub mod prometheus;
pub mod proxy;
pub mod run;
pub mod samples;
pub mod site;
mod template;
pub mod tls;

pub use alertmanager::{Alertmanager, Notification, Sink, Told};
pub use app::{App, Behaviour, Business, Claim, Counting, Fault, MetricsFormat};
pub use browser::{Browser, Heard, Screen};
pub use dns::{Answer, FakeDns};
pub use exporter::{Exit, Exporter, Reply};
pub use http::FixedServer;
pub use kube::{Kube, KubeApi, Namespace, Refused, SeedCluster, Workload};
pub use pg::{Pg, PgPair};
pub use pgbouncer::{PgBouncer, PoolMode};
pub use prometheus::{PromVersion, Prometheus, Scrape, promtool, promtool_check_metrics};
pub use proxy::{Proxy, ProxyMode, SynBlackhole};
pub use run::{east_ip, eventually, free_port, lab_ip, scratch_dir, west_ip, within};
pub use samples::{Sample, parse_samples};
pub use site::{Config, ORDERS, Site};
pub use tls::Validity;
