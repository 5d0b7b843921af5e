//! What two sites run, compared by their own exporters over a real API server.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::kube::objects::{config_map, secret};
use crate::lab::{Exporter, Kube, Namespace, Workload, eventually, west_ip};

const SECOND: Duration = Duration::from_secs(1);

/// A namespace of a site with one workload that is made of all that is compared.
async fn deployed<'k>(kube: &'k Kube, region: &str, host: &str) -> Namespace<'k> {
    let ns = kube.namespace("platform").await;
    ns.apply(secret("orders-db", &[("url", &format!("postgres://app:x@{host}/orders")), ("token", "t1")]))
        .await;
    ns.apply(config_map("platform", &[("mode", "fast"), ("home", &format!("bucket.{region}.example.com"))]))
        .await;
    Workload::deployment("api-server")
        .at(&[west_ip()])
        .image(&format!("registry.{region}.example.com/orders/api:1.0"))
        .env("HOME_REGION", region)
        .env("LOG_LEVEL", if region == "us-west-2" { "debug" } else { "info" })
        .env_from_secret("DATABASE_URL", "orders-db", "url")
        .env_from_secret("TOKEN", "orders-db", "token")
        .env_from_config_map("MODE", "platform", "mode")
        .create(&ns)
        .await;
    ns
}

fn config(kube: &Kube, site: &str, ns: &Namespace<'_>, peers: &str, more: &str) -> String {
    format!(
        "site: {{{site}}}\nkubernetes: {{kubeconfig: {:?}, create_dry_run: false, fingerprint_key: {{value: k3y}}}}\n\
         defaults: {{interval: 1s, timeout: 900ms}}\n{peers}systems:\n  - name: orders\n    \
         workloads: [{{namespace: {}, deployment: api-server}}]\n{more}",
        kube.kubeconfig_for_admin(),
        ns.name()
    )
}

/// How the check stands, and its sentence.
async fn drift(exporter: &Exporter) -> (String, String) {
    let report = exporter.report().await;
    let checks = report["systems"][0]["checks"].as_array().expect("checks").clone();
    let check = checks.into_iter().find(|check| check["check"] == "drift").expect("a planned check");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&check["status"]), text(&check["detail"]))
}

async fn stands(exporter: &Exporter, status: &str, words: &str, limit: Duration) {
    eventually(&format!("drift is {status}: {words}"), limit, async || {
        let (now, detail) = drift(exporter).await;
        if now == status && detail.contains(words) { Ok(()) } else { Err(format!("{now}: {detail}")) }
    })
    .await;
}

async fn roll_out(ns: &Namespace<'_>, image: &str) {
    let change = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
    ns.patch("Deployment", "api-server", change).await;
}

/// Two sites with the same application, each with an exporter; the west reads the east.
struct Sites {
    west_ns: Namespace<'static>,
    east_ns: Namespace<'static>,
    east: Exporter,
    west: Exporter,
}

const IGNORE: &str =
    "ignore: [\"configuration variable api-server/LOG_LEVEL\", \"secrets Secret orders-db key url\"]";
/// What stands in the sentence while nothing differs but what may.
const SAME: &str = "objects; may differ: 2 objects";

impl Sites {
    /// `drift` are the rules of the comparison, `more` further lines of the west's system.
    async fn start(drift: &str, more: &str) -> Self {
        let kube = Kube::shared().await;
        let west_ns = deployed(kube, "us-west-2", "pg-west").await;
        let east_ns = deployed(kube, "us-east-1", "pg-east").await;
        let east = config(kube, "name: primary-east, region: us-east-1, role: primary", &east_ns, "", "");
        let east = Exporter::start(&east).await;
        let peers =
            format!("peers: [{{site: primary-east, url: \"{}\", drift: {{{drift}}}}}]\n", east.url(""));
        let site = "name: dr-west, region: us-west-2, role: standby";
        let west = Exporter::start(&config(kube, site, &west_ns, &peers, more)).await;
        Self { west_ns, east_ns, east, west }
    }

    /// Waits until both are known. Secrets are read every half minute.
    async fn same(&self) {
        stands(&self.west, "pass", SAME, 40 * SECOND).await;
    }

    async fn objects(&self, kind: &str, state: &str) -> Option<f64> {
        let labels = [("peer_site", "primary-east"), ("object_kind", kind), ("state", state)];
        self.west.sample("dr_drift_objects", &labels).await
    }
}

/// What has to be the same in both, with another value.
async fn set_mode(ns: &Namespace<'_>, region: &str, mode: &str) {
    ns.apply(config_map("platform", &[("mode", mode), ("home", &format!("bucket.{region}.example.com"))]))
        .await;
}

#[tokio::test]
async fn l74_a_change_that_never_comes_is_told_by_its_name() {
    let sites = Sites::start(&format!("after: 3s, {IGNORE}"), "").await;
    sites.same().await;
    set_mode(&sites.east_ns, "us-east-1", "slow").await;
    stands(&sites.west, "fail", "ConfigMap platform key mode", 15 * SECOND).await;
    assert_eq!(sites.objects("configuration", "different").await, Some(1.0));
    set_mode(&sites.west_ns, "us-west-2", "slow").await;
    stands(&sites.west, "pass", SAME, 5 * SECOND).await;

    // Silence is not the same as no difference, and accuses nobody.
    let Sites { east, west, .. } = sites;
    drop(east);
    stands(&west, "unknown", "nothing to compare with", 10 * SECOND).await;
    let labels = [("object_kind", "configuration"), ("state", "different")];
    assert_eq!(west.sample("dr_drift_objects", &labels).await, None);
}

#[tokio::test]
async fn t12_a_rolling_deployment_is_not_drift() {
    let sites = Sites::start(&format!("after: 10m, {IGNORE}"), "").await;
    sites.same().await;
    roll_out(&sites.east_ns, "registry.us-east-1.example.com/orders/api:1.1").await;
    stands(&sites.west, "pass", "differing for less than 10m: 1 object", 5 * SECOND).await;
    assert_eq!(sites.objects("images", "settling").await, Some(1.0));
    roll_out(&sites.west_ns, "registry.us-west-2.example.com/orders/api:1.1").await;
    stands(&sites.west, "pass", SAME, 5 * SECOND).await;
}

#[tokio::test]
async fn t16_a_rotation_has_time_to_arrive_and_no_value_travels() {
    let sites = Sites::start(&format!("after: 10m, {IGNORE}"), "").await;
    sites.same().await;
    let rotated = [("url", "postgres://app:x@pg-east/orders"), ("token", "r0tated-c4n4ry")];
    sites.east_ns.apply(secret("orders-db", &rotated)).await;
    stands(&sites.west, "pass", "differing for less than 10m: 1 object", 50 * SECOND).await;
    assert_eq!(sites.objects("secrets", "settling").await, Some(1.0));
    let letter = sites.east.get("/api/v1/report?view=peer").await.text();
    for secret in ["r0tated-c4n4ry", "k3y", "pg-east", "app:x"] {
        assert!(!letter.contains(secret), "{secret} travels");
    }
}

#[tokio::test]
async fn t23_what_has_to_differ_is_no_drift_and_nothing_else_is_passed_over() {
    // Registry, region, log level and database are each site's own; the last two have to be named.
    let sites = Sites::start(&format!("after: 0s, {IGNORE}"), "").await;
    sites.same().await;
    assert_eq!(sites.objects("configuration", "ignored").await, Some(1.0));
    assert_eq!(sites.objects("secrets", "ignored").await, Some(1.0));
    let strict = Sites::start("after: 0s", "").await;
    stands(&strict.west, "fail", "configuration variable api-server/LOG_LEVEL", 10 * SECOND).await;
    stands(&strict.west, "fail", "secrets Secret orders-db key url", 40 * SECOND).await;
    assert_eq!(strict.objects("images", "different").await, Some(0.0));
}

#[tokio::test]
async fn t27_a_freeze_that_is_known_and_dated_is_waived() {
    let waiver = "    waivers: [{check: drift, target: primary-east, until: 2999-01-01, because: freeze}]\n";
    let sites = Sites::start("after: 0s", waiver).await;
    stands(&sites.west, "waived", "configuration variable api-server/LOG_LEVEL", 10 * SECOND).await;
    assert_eq!(sites.objects("configuration", "different").await, Some(1.0));
    let reasons = sites.west.report().await["systems"][0]["reasons"].clone();
    let reasons = reasons.as_array().expect("reasons");
    assert!(reasons.iter().all(|reason| reason["check"] != "drift"), "{reasons:?}");
}
