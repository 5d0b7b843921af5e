//! The cluster of the incident: everything in it looks ready.

use std::path::Path;

use super::super::{App, west_ip};
use super::objects::{Node, config_map, endpoint_slice, load_balancer, secret, service};
use super::{Kube, Namespace, Running, Workload};

/// The address that DNS fails over to.
pub const LOAD_BALANCER: &str = "a1b2c3-dr-west.us-west-2.elb.amazonaws.com";

/// The namespace `platform` of `dr-west`: `api-server` ×3 and `worker` ×2 for 90 days, all ready; the Services
/// `api-server` (load balancer, 443) and `health-check` (8080) with their endpoints; two nodes of us-west-2 with fresh
/// Leases.
///
/// The pods of `api-server` are real applications on addresses of the west, one port for all. Their `DATABASE_URL`
/// comes from the key `url` of the Secret `orders-db`; `CACHE_URL` and `QUEUE_URL` from the `ConfigMap` `platform`.
pub struct SeedCluster<'k> {
    /// Where it is.
    pub ns: Namespace<'k>,
    /// The applications of the pods of `api-server`, in their order.
    pub apps: Vec<App>,
    /// Where each of them listens; also the container's port.
    pub port: u16,
    /// `api-server`.
    pub api: Running<'k>,
    /// `worker`: pods at addresses where nobody listens.
    pub worker: Running<'k>,
    /// `NAMESPACE-a` and `NAMESPACE-b`, in the zones a and b.
    pub nodes: [Node; 2],
}

// === impl SeedCluster ===

impl<'k> SeedCluster<'k> {
    /// Builds it in a new namespace around the database at `dsn`; the applications tell the truth until told to lie.
    pub async fn start(kube: &'k Kube, dsn: &str) -> Self {
        Self::start_with(kube, dsn, |api| api).await
    }

    /// The same with another `api-server`: `|api| api.env("LOG_LEVEL", "debug")`.
    pub async fn start_with(kube: &'k Kube, dsn: &str, change: impl FnOnce(Workload) -> Workload) -> Self {
        let ns = kube.namespace("platform").await;
        let [a, b] = ["a", "b"].map(|zone| format!("{}-{zone}", ns.name()));
        let nodes =
            [kube.node(&a, "us-west-2", "us-west-2a").await, kube.node(&b, "us-west-2", "us-west-2b").await];
        ns.apply(secret("orders-db", &[("url", dsn)])).await;
        let places =
            [("cache", "redis://cache.west.internal:6379"), ("queue", "amqp://queue.west.internal:5672")];
        ns.apply(config_map("platform", &places)).await;

        let mut apps = vec![App::start("west", west_ip(), dsn).await];
        let port = apps[0].address().port();
        for _ in 1..3 {
            apps.push(App::start_at("west", (west_ip(), port).into(), dsn).await);
        }
        let addresses: Vec<_> = apps.iter().map(|app| app.address().ip()).collect();
        let ninety_days = std::time::Duration::from_secs(90 * 86_400);
        let api = Workload::deployment("api-server")
            .at(&addresses)
            .on(&[&a, &b])
            .age(ninety_days)
            .port("http", port)
            .probes("/ready", "/health", port)
            .scraped(port, "/metrics")
            .env_from_secret("DATABASE_URL", "orders-db", "url")
            .env_from_config_map("CACHE_URL", "platform", "cache")
            .env_from_config_map("QUEUE_URL", "platform", "queue");
        let api = change(api).create(&ns).await;
        let worker = Workload::deployment("worker")
            .at(&[west_ip(), west_ip()])
            .on(&[&a, &b])
            .age(ninety_days)
            .env_from_secret("DATABASE_URL", "orders-db", "url")
            .env_from_config_map("QUEUE_URL", "platform", "queue")
            .create(&ns)
            .await;

        ns.apply(load_balancer("api-server", "api-server", 443, port, LOAD_BALANCER)).await;
        ns.apply(service("health-check", "api-server", 8080, port)).await;
        let cluster = Self { ns, apps, port, api, worker, nodes };
        cluster.endpoints(&[true; 3]).await;
        cluster
    }

    /// The configuration of somebody who knows a Deployment's name and nothing else; every check each second. `more` is
    /// further YAML of the system, indented by four.
    pub fn config(&self, kubeconfig: &Path, more: &str) -> String {
        format!(
            "site: {{name: dr-west, region: us-west-2, role: standby}}\n\
             regions:\n  us-east-1: {{cidrs: [127.10.0.0/16]}}\n  us-west-2: {{cidrs: [127.20.0.0/16]}}\n\
             kubernetes: {{kubeconfig: {kubeconfig:?}}}\n\
             defaults: {{interval: 1s, timeout: 900ms}}\n\
             systems:\n  - name: orders\n    strategy: warm\n    \
             workloads: [{{namespace: {}, deployment: api-server}}]\n{more}",
            self.ns.name()
        )
    }

    /// Writes which pods of `api-server` are endpoints that are ready, in the slices of both Services.
    pub async fn endpoints(&self, ready: &[bool]) {
        let pods: Vec<_> = (self.api.pods().iter().zip(&self.apps))
            .zip(ready)
            .map(|((pod, app), ready)| (pod.as_str(), app.address().ip(), *ready))
            .collect();
        for service in ["api-server", "health-check"] {
            self.ns.apply(endpoint_slice(service, self.port, &pods)).await;
        }
    }
}
