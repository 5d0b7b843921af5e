//! In a cluster: what is learnt from a workload, and what the cluster's own claims are worth, on a real API server.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

mod checks;
mod outage;
mod rights;
mod seed;

use std::time::Duration;

use crate::lab::kube::{Kube, SeedCluster};
use crate::lab::{Claim, Exporter, PgPair};

const SECOND: Duration = Duration::from_secs(1);

/// The regions of every test: the primary's and the standby's networks of the lab.
const REGIONS: &str =
    "regions:\n  us-east-1: {cidrs: [127.10.0.0/16]}\n  us-west-2: {cidrs: [127.20.0.0/16]}\n";
/// The business query of the seed.
const QUERY: &str = "{name: select_orders, sql: \"select id from orders limit 1\", min_rows: 1}";

/// A configuration for a cluster, in pieces.
struct Clustered {
    kubeconfig: String,
    namespace: String,
    role: &'static str,
    strategy: &'static str,
    identity: Option<String>,
    /// Further YAML inside of the braces of the workload.
    workload: String,
    /// Whether a database is read from the workload.
    database: bool,
    /// Further lines of the system.
    system: String,
    /// Further lines at the top.
    top: String,
    interval: &'static str,
}

// === impl Clustered ===

impl Clustered {
    fn new(kube: &Kube, namespace: &str) -> Self {
        Clustered {
            kubeconfig: kube.kubeconfig_for_admin().display().to_string(),
            namespace: namespace.to_owned(),
            role: "standby",
            strategy: "hot",
            identity: None,
            workload: String::new(),
            database: true,
            system: String::new(),
            top: String::new(),
            interval: "1s",
        }
    }

    fn yaml(&self) -> String {
        let Self {
            kubeconfig,
            namespace,
            role,
            strategy,
            identity,
            workload,
            database,
            system,
            top,
            interval,
        } = self;
        let identity =
            identity.as_ref().map(|label| format!(", identity: {{node_label: {label}}}")).unwrap_or_default();
        let comma = if workload.is_empty() { "" } else { ", " };
        let database = if *database {
            format!(
                "    databases:\n      - {{name: orders, endpoint: {{workload: api-server, env: DATABASE_URL}}, queries: [{QUERY}]}}\n"
            )
        } else {
            String::new()
        };
        format!(
            "site: {{name: dr-west, region: us-west-2, role: {role}{identity}}}\n{REGIONS}\
             kubernetes: {{kubeconfig: \"{kubeconfig}\"}}\n\
             defaults: {{interval: {interval}, timeout: 900ms}}\n{top}\
             systems:\n  - name: orders\n    strategy: {strategy}\n    \
             workloads: [{{namespace: {namespace}, deployment: api-server{comma}{workload}}}]\n{database}{system}"
        )
    }

    async fn start(&self) -> Exporter {
        Exporter::start(&self.yaml()).await
    }
}

/// A cluster in which all is well: a database of the site's own, applications that tell the truth.
async fn healthy(kube: &'static Kube) -> (PgPair, SeedCluster<'static>) {
    let pair = PgPair::start().await;
    let cluster = SeedCluster::start(kube, &pair.west.dsn("app")).await;
    (pair, cluster)
}

/// The incident: everything says that it is well, and the applications are wired to the primary's database.
async fn incident(kube: &Kube) -> (PgPair, SeedCluster<'_>) {
    let pair = PgPair::start().await;
    let cluster = SeedCluster::start(kube, &pair.east.dsn("app")).await;
    for app in &cluster.apps {
        app.behave(|b| {
            b.health = Claim::StaticOk;
            b.ready = Claim::StaticOk;
        });
    }
    (pair, cluster)
}
