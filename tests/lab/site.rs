//! A site as most tests need it: one database and one application in the west, and pieces of configuration for them.

use std::time::Duration;

use super::{App, Exporter, Pg, west_ip};

/// The labels that every series of these configurations has.
pub const ORDERS: [(&str, &str); 2] = [("site", "dr-west"), ("system", "orders")];

/// A database and an application that uses it, both in the west.
pub struct Site {
    /// The database.
    pub node: Pg,
    /// The application.
    pub app: App,
}

/// A configuration of one system, `orders`, in pieces.
#[derive(Debug, Clone, Default)]
pub struct Config {
    workloads: String,
    surfaces: String,
    databases: String,
    requests: String,
    traffic: String,
}

// === impl Site ===

impl Site {
    /// Starts both; the application can write.
    pub async fn start() -> Self {
        let node = Pg::single(west_ip()).await;
        let app = App::start("west", west_ip(), &node.dsn("app_write")).await;
        Self { node, app }
    }

    /// The application's workload with its decisive `/health`, and the business query of its database.
    pub fn config(&self) -> Config {
        Config::default()
            .workload("api", &[&self.app])
            .surface("health", &self.app.url("/health"), "decisive: true, expect: {json: {/status: ok}}")
            .database(&self.node)
    }
}

// === impl Config ===

impl Config {
    /// A workload `name` with these instances: `app-1`, `app-2`, …
    pub fn workload(mut self, name: &str, apps: &[&App]) -> Self {
        let instances: Vec<String> = (1..)
            .zip(apps)
            .map(|(n, app)| format!("{{name: app-{n}, url: \"{}\"}}", app.url("").trim_end_matches('/')))
            .collect();
        self.workloads += &format!("      - {{name: {name}, instances: [{}]}}\n", instances.join(", "));
        self
    }

    /// A surface; `more` is further YAML inside of its braces.
    pub fn surface(mut self, name: &str, url: &str, more: &str) -> Self {
        self.surfaces += &format!("      - {{name: {name}, url: \"{url}\", {more}}}\n");
        self
    }

    /// A surface of every instance of a workload.
    pub fn surface_of(mut self, name: &str, workload: &str, path: &str, more: &str) -> Self {
        self.surfaces += &format!("      - {{name: {name}, workload: {workload}, path: {path}, {more}}}\n");
        self
    }

    /// The business query of a node's database.
    pub fn database(self, node: &Pg) -> Self {
        self.database_at(&node.dsn("app"))
    }

    /// The business query of the database at this DSN.
    pub fn database_at(mut self, dsn: &str) -> Self {
        self.databases += &format!(
            "      - {{name: orders, kind: postgres, endpoint: {{url: \"{dsn}\"}}, expected_regions: [us-west-2],\n         \
             queries: [{{name: select_orders, sql: \"select id from orders limit 1\", min_rows: 1}}]}}\n"
        );
        self
    }

    /// A business request; `more` is further YAML inside of its braces.
    pub fn request(mut self, name: &str, url: &str, more: &str) -> Self {
        self.requests += &format!("      - {{name: {name}, url: \"{url}\", {more}}}\n");
        self
    }

    /// Business traffic of the workload `api` over this window; `more` is further YAML inside of its braces.
    pub fn traffic(mut self, window: &str, more: &str) -> Self {
        let comma = if more.is_empty() { "" } else { ", " };
        self.traffic += &format!(
            "      - {{workload: api, counter: http_requests_total, business: {{handler: \"/api/.+\"}}, window: {window},\n         \
             probes: {{handler: \"/health|/ready|/metrics\"}}{comma}{more}}}\n"
        );
        self
    }

    /// The whole file, every check each second.
    pub fn yaml(&self) -> String {
        self.yaml_every("1s", "900ms")
    }

    /// The whole file with other times.
    pub fn yaml_every(&self, interval: &str, timeout: &str) -> String {
        let Self { workloads, surfaces, databases, requests, traffic } = self;
        let mut text = format!(
            "site: {{name: dr-west, region: us-west-2, role: standby}}\n\
             regions:\n  us-east-1: {{cidrs: [127.10.0.0/16]}}\n  us-west-2: {{cidrs: [127.20.0.0/16]}}\n\
             kubernetes: {{mode: disabled}}\n\
             defaults: {{interval: {interval}, timeout: {timeout}}}\n\
             systems:\n  - name: orders\n    strategy: warm\n"
        );
        let sections = [
            ("workloads", workloads),
            ("surfaces", surfaces),
            ("databases", databases),
            ("requests", requests),
            ("traffic", traffic),
        ];
        for (name, entries) in sections.into_iter().filter(|(_, entries)| !entries.is_empty()) {
            text += &format!("    {name}:\n{entries}");
        }
        text
    }

    /// Starts an exporter with it.
    pub async fn start(&self) -> Exporter {
        Exporter::start(&self.yaml()).await
    }
}

// === impl Exporter ===

impl Exporter {
    /// Waits until the system's verdict is this one.
    pub async fn verdict(&self, verdict: &str) {
        let labels = [ORDERS[0], ORDERS[1], ("verdict", verdict)];
        self.wait_for_sample("dr_verdict", &labels, 1.0, Duration::from_secs(6)).await;
    }

    /// Waits until a check has this status.
    pub async fn status(&self, check: &str, target: &str, status: &str) {
        let labels = [("check", check), ("target", target), ("status", status)];
        self.wait_for_sample("dr_check_status", &labels, 1.0, Duration::from_secs(6)).await;
    }

    /// Waits until a check fails for this reason.
    pub async fn fails(&self, check: &str, target: &str, reason: &str) {
        self.ends(check, target, "fail", reason).await;
    }

    /// Waits until a check has this status for this reason, and is the only status.
    pub async fn ends(&self, check: &str, target: &str, status: &str, reason: &str) {
        super::eventually(
            &format!("{check} of {target} is {status} with {reason}"),
            Duration::from_secs(6),
            async || {
                let report = self.report().await;
                let all = report["systems"][0]["checks"].as_array().expect("checks").clone();
                let found = all.into_iter().find(|c| c["check"] == check && c["target"] == target);
                let found = found.expect("a planned check");
                if found["status"] == status && found["reason"] == reason {
                    return Ok(());
                }
                Err(format!("{} {} {}", found["status"], found["reason"], found["detail"]))
            },
        )
        .await;
    }

    /// Waits for the page: healthy but unusable.
    pub async fn pages(&self) {
        self.judged("unusable", 1.0).await;
    }

    /// Waits for a usable verdict; nothing pages.
    pub async fn is_fine(&self) {
        self.judged("usable", 0.0).await;
    }

    /// The verdict and the page of one and the same scrape.
    async fn judged(&self, verdict: &str, page: f64) {
        super::eventually(&format!("the verdict is {verdict}"), Duration::from_secs(6), async || {
            let metrics = self.metrics().await;
            let value = |name: &str, labels: &[(&str, &str)]| {
                metrics.iter().find(|s| s.is(name, &ORDERS) && s.is(name, labels)).map(|s| s.value)
            };
            if value("dr_verdict", &[("verdict", verdict)]) != Some(1.0) {
                return Err(format!("{}", self.report().await["systems"][0]["sentence"]));
            }
            assert_eq!(value("dr_healthy_but_unusable", &[]), Some(page), "the page beside {verdict}");
            Ok(())
        })
        .await;
    }
}
