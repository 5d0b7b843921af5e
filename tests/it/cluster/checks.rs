//! What the cluster claims, each lie with its twin.

use std::time::Duration;

use serde_json::json;

use super::{Clustered, SECOND, healthy};
use crate::lab::eventually;
use crate::lab::kube::Kube;
use crate::lab::kube::objects::{autoscaler, cron_job, quota, webhook_to_nowhere};

#[tokio::test]
async fn l75_ready_replicas_against_what_a_failover_needs() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.is_fine().await;
    exporter.wait_for_sample("dr_k8s_workload_replicas_required", &[], 3.0, 5 * SECOND).await;

    cluster.api.ready(1, false).await;
    exporter.fails("workload_replicas", "api-server", "missing").await;
    exporter.verdict("degraded").await;
    cluster.api.ready(1, true).await;
    exporter.is_fine().await;
}

#[tokio::test]
async fn l75_scaled_to_zero_needs_more_than_nothing() {
    let kube = Kube::shared().await;
    let (_pair, mut cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.is_fine().await;
    cluster.ns.patch("Deployment", "api-server", json!({"spec": {"replicas": 0}})).await;
    cluster.ns.apply(autoscaler("api-server", 1, 5)).await;
    for _ in 0..3 {
        cluster.api.remove(0).await;
    }
    cluster.endpoints(&[]).await;
    exporter.status("workload_replicas", "api-server", "fail").await;
    exporter.fails("service_endpoints", "api-server", "missing").await;
    exporter.verdict("unusable").await;
}

#[tokio::test]
async fn t09_a_pilot_light_runs_nothing_and_is_usable() {
    let kube = Kube::shared().await;
    let (_pair, mut cluster) = healthy(kube).await;
    cluster.ns.patch("Deployment", "api-server", json!({"spec": {"replicas": 0}})).await;
    for _ in 0..3 {
        cluster.api.remove(0).await;
    }
    cluster.endpoints(&[]).await;
    let pilot = Clustered { strategy: "pilot_light", ..Clustered::new(kube, cluster.ns.name()) };
    let exporter = pilot.start().await;
    exporter.is_fine().await;
}

#[tokio::test]
async fn l76_ready_by_default_is_not_ready() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.status("readiness_probe", "api-server", "pass").await;
    let none = json!([{"op": "remove", "path": "/spec/template/spec/containers/0/readinessProbe"}]);
    cluster.ns.api().patch("Deployment", cluster.ns.name(), "api-server", none).await;
    exporter.fails("readiness_probe", "api-server", "missing").await;
    let defined = exporter.sample("dr_k8s_readiness_probe_defined", &[("workload", "api-server")]).await;
    assert_eq!(defined, Some(0.0));
    exporter.verdict("degraded").await;
}

#[tokio::test]
async fn l77_a_service_with_nobody_behind_it() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.is_fine().await;
    exporter.wait_for_sample("dr_k8s_service_ready_endpoints", &[], 3.0, 5 * SECOND).await;

    cluster.endpoints(&[false; 3]).await;
    exporter.fails("service_endpoints", "api-server", "missing").await;
    // The pods go on saying that they are ready.
    exporter.pages().await;
    cluster.endpoints(&[true, false, false]).await;
    exporter.is_fine().await;

    // The load balancer is taken away.
    let pending = json!({"loadBalancer": {"ingress": null}});
    cluster.ns.patch_status("Service", "api-server", pending).await;
    exporter.fails("service_endpoints", "api-server", "missing").await;
    exporter.pages().await;
    let there = json!({"loadBalancer": {"ingress": [{"hostname": "a1b2c3.elb.amazonaws.com"}]}});
    cluster.ns.patch_status("Service", "api-server", there).await;
    exporter.is_fine().await;

    // It selects somebody else, and the controller of endpoints has taken note.
    cluster.ns.patch("Service", "api-server", json!({"spec": {"selector": {"app": "api-sever"}}})).await;
    cluster.ns.apply(crate::lab::kube::objects::endpoint_slice("api-server", cluster.port, &[])).await;
    exporter.fails("service_endpoints", "api-server", "misconfigured").await;
    exporter.pages().await;
}

#[tokio::test]
async fn l78_pods_run_on_a_node_that_is_gone() {
    let kube = Kube::shared().await;
    let (_pair, mut cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.status("node_lease", "api-server", "pass").await;
    cluster.nodes[0].silent();
    let old = crate::lab::kube::objects::node_lease(&cluster.nodes[0].name, Duration::from_secs(90));
    kube.apply(old).await;
    // Leases are polled, and a silent one is judged at the time of the poll.
    let gone = [("check", "node_lease"), ("status", "fail")];
    exporter.wait_for_sample("dr_check_status", &gone, 1.0, 40 * SECOND).await;
    exporter.verdict("degraded").await;
}

#[tokio::test]
async fn l79_a_volume_that_cannot_be_had() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.is_fine().await;
    let class = format!("fast-{}", cluster.ns.name());
    kube.apply(crate::lab::kube::objects::storage_class(&class)).await;
    let volume = json!({"spec": {"template": {"spec": {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "orders-data"}}],
    }}}});
    cluster.ns.patch("Deployment", "api-server", volume).await;
    exporter.fails("storage", "api-server", "missing").await;
    let claim = |volume| crate::lab::kube::objects::claim("orders-data", &class, volume);
    cluster.ns.apply(claim(None)).await;
    exporter.status("storage", "api-server", "fail").await;
    exporter.verdict("degraded").await;
    // Bound: written anew, because a claim's volume cannot be changed.
    cluster.ns.delete("PersistentVolumeClaim", "orders-data").await;
    cluster.ns.apply(claim(Some("pv-1"))).await;
    exporter.is_fine().await;
}

#[tokio::test]
async fn l80_no_new_pod_can_be_created() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.status("create_dry_run", "api-server", "pass").await;
    let count = cluster.ns.list("Pod").await.len();
    let hook = kube.apply(webhook_to_nowhere(cluster.ns.name())).await;
    exporter.status("create_dry_run", "api-server", "fail").await;
    let success = [("workload", "api-server")];
    exporter.wait_for_sample("dr_k8s_dry_run_create_success", &success, 0.0, 5 * SECOND).await;
    exporter.verdict("degraded").await;
    kube.delete("ValidatingWebhookConfiguration", "", hook["metadata"]["name"].as_str().expect("a name"))
        .await;
    exporter.is_fine().await;
    assert_eq!(cluster.ns.list("Pod").await.len(), count, "nothing was ever created");
}

#[tokio::test]
async fn l81_a_quota_that_forbids_the_failover() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let more = Clustered {
        workload: "replicas_required: 6".to_owned(),
        strategy: "warm",
        ..Clustered::new(kube, cluster.ns.name())
    };
    let exporter = more.start().await;
    exporter.status("quota", "api-server", "skipped").await;
    // Three run, six are needed, four fit.
    cluster.ns.apply(quota("small", &[("pods", "4", "3")])).await;
    exporter.fails("quota", "api-server", "limit").await;
    cluster.ns.apply(quota("small", &[("pods", "9", "3")])).await;
    exporter.status("quota", "api-server", "pass").await;
    cluster.ns.apply(quota("small", &[("requests.cpu", "500m", "300m")])).await;
    exporter.fails("quota", "api-server", "limit").await;
}

#[tokio::test]
async fn l73_images_of_the_primary_s_registry() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    exporter.is_fine().await;
    let from = |image: &str| json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
    let patch =
        |image: &str| cluster.ns.api().patch("Deployment", cluster.ns.name(), "api-server", from(image));
    patch("123456789012.dkr.ecr.us-east-1.amazonaws.com/api-server:2024.12.1").await;
    exporter.fails("image_origin", "api-server", "wrong_region").await;
    exporter.verdict("degraded").await;
    patch("docker.io/megacorp/api-server:2024.12.1").await;
    exporter.is_fine().await;
}

#[tokio::test]
async fn l56_cron_jobs_that_run_on_both_sides() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    cluster.ns.apply(cron_job("log-rotation", "0 4 * * *", false)).await;
    cluster.ns.apply(cron_job("invoices", "0 6 * * *", true)).await;
    let allowed = "cron_jobs: {allowed: [\"log-.+\"]}".to_owned();
    let config = Clustered { workload: allowed, ..Clustered::new(kube, cluster.ns.name()) };
    let exporter = config.start().await;
    exporter.is_fine().await;
    cluster.ns.patch("CronJob", "invoices", json!({"spec": {"suspend": false}})).await;
    exporter.fails("cron_jobs", "api-server", "conflict").await;
    exporter.verdict("degraded").await;
    let primary = Clustered { role: "primary", ..Clustered::new(kube, cluster.ns.name()) }.start().await;
    primary.status("cron_jobs", "api-server", "pass").await;
}

#[tokio::test]
async fn l97_east_s_values_deployed_in_west() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    // A label of this test's own: the nodes of the shared cluster belong to every test.
    let label = format!("lab.example/region-{}", cluster.ns.name());
    let mark = |region: &str| json!({"metadata": {"labels": {label.as_str(): region}}});
    for node in &cluster.nodes {
        kube.patch("Node", "", &node.name, mark("us-west-2")).await;
    }
    let config = Clustered { identity: Some(label.clone()), ..Clustered::new(kube, cluster.ns.name()) };
    let exporter = config.start().await;
    exporter.is_fine().await;
    let verified = "dr_site_identity_verified";
    exporter.wait_for_sample(verified, &[("site", "dr-west")], 1.0, 5 * SECOND).await;
    for node in &cluster.nodes {
        kube.patch("Node", "", &node.name, mark("us-east-1")).await;
    }
    exporter.fails("site_identity", "dr-west", "wrong_identity").await;
    exporter.wait_for_sample(verified, &[("site", "dr-west")], 0.0, 5 * SECOND).await;
}

#[tokio::test]
async fn old_pods_are_dated_and_a_deployment_that_is_not_there_has_its_word() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    let oldest = "dr_k8s_workload_oldest_pod_timestamp_seconds";
    eventually("the oldest pod is known", 6 * SECOND, async || {
        exporter.sample(oldest, &[]).await.map(drop).ok_or_else(|| "absent".to_owned())
    })
    .await;
    let started = exporter.sample(oldest, &[]).await.expect("known");
    assert!(started > 0.0);

    let typo = Clustered::new(kube, cluster.ns.name())
        .yaml()
        .replace("deployment: api-server", "name: api-server, deployment: api-sever");
    let exporter = crate::lab::Exporter::start(&typo).await;
    exporter.fails("workload_replicas", "api-server", "missing").await;
    let report = exporter.report().await.to_string();
    assert!(report.contains("api-server"), "the name that was meant is offered");
    exporter.ends("synthetic_query", "orders", "unknown", "misconfigured").await;
}

#[tokio::test]
async fn fingerprints_are_the_same_for_the_same_and_not_for_another() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let exporter = Clustered::new(kube, cluster.ns.name()).start().await;
    let of = async |kind: &str| -> String {
        eventually("fingerprints", 6 * SECOND, async || {
            let report = exporter.report().await;
            let all = report["fingerprints"].as_array().cloned().unwrap_or_default();
            let found = all.iter().find(|print| print["kind"] == kind);
            let hash = found.and_then(|print| print["hash"].as_str()).map(str::to_owned);
            hash.ok_or_else(|| format!("{kind} is not among {all:#?}"))
        })
        .await
    };
    let (images, configuration, crds) = (of("images").await, of("configuration").await, of("crds").await);
    assert_eq!((images.len(), crds.len()), (configuration.len(), images.len()));
    let patch = json!([{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "LIMIT", "value": "5"}}]);
    cluster.ns.api().patch("Deployment", cluster.ns.name(), "api-server", patch).await;
    eventually("the configuration differs", 6 * SECOND, async || {
        let now = of("configuration").await;
        if now == configuration { Err(now) } else { Ok(()) }
    })
    .await;
    assert_eq!(of("images").await, images);
    assert_eq!(of("secrets").await.len(), images.len());
}
