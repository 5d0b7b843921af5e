//! The configuration of the design's section 6, a Deployment's name and nothing else, on the cluster of the seed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Clustered, REGIONS, SECOND, healthy, incident};
use crate::lab::kube::objects::{config_map, secret};
use crate::lab::kube::{Kube, Workload};
use crate::lab::{Exporter, eventually};

/// What the report says was learnt about `api-server`: what, value, where.
async fn learnt(exporter: &Exporter) -> Vec<[String; 3]> {
    let report = exporter.report().await;
    let all = report["systems"][0]["learnt"].as_array().expect("what was learnt").clone();
    let text = |fact: &Value, key: &str| fact[key].as_str().unwrap_or_default().to_owned();
    all.iter()
        .flat_map(|workload| workload["facts"].as_array().expect("facts").clone())
        .map(|fact| [text(&fact, "what"), text(&fact, "value"), text(&fact, "from")])
        .collect()
}

#[tokio::test]
async fn the_incident_is_caught_by_a_deployments_name() {
    let kube = Kube::shared().await;
    let (pair, cluster) = incident(kube).await;
    // Word for word, but for the lab's addresses: no ports, no paths, no connection string.
    let yaml = format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\n{REGIONS}\
         kubernetes: {{kubeconfig: \"{}\"}}\ndefaults: {{interval: 1s, timeout: 900ms}}\n\
         systems:\n  - name: orders\n    workloads: [{{namespace: {}, deployment: api-server}}]\n    databases:\n      \
         - name: orders\n        endpoint: {{workload: api-server, env: DATABASE_URL}}\n        queries:\n          \
         - {{name: select_orders, sql: \"select id, created_at from orders order by created_at desc limit 1\", min_rows: 1}}\n",
        kube.kubeconfig_for_admin().display(),
        cluster.ns.name(),
    );
    let exporter = Exporter::start(&yaml).await;
    exporter.fails("db_endpoint_region", "orders", "wrong_region").await;
    let region = [("db", "orders"), ("db_region", "us-east-1"), ("expected_region", "us-west-2")];
    assert_eq!(exporter.sample("dr_db_endpoint_region", &region).await, Some(1.0));
    let readiness = [("surface", "api-server-readiness"), ("decisive", "true")];
    exporter.wait_for_sample("dr_surface_healthy", &readiness, 1.0, 6 * SECOND).await;
    let liveness = [("surface", "api-server-liveness"), ("decisive", "false")];
    exporter.wait_for_sample("dr_surface_healthy", &liveness, 1.0, 6 * SECOND).await;
    exporter.pages().await;
    for check in ["workload_replicas", "readiness_probe", "service_endpoints", "create_dry_run", "node_lease"]
    {
        exporter.status(check, "api-server", "pass").await;
    }

    let learnt = learnt(&exporter).await;
    let says = |what: &str, value: &str, from: &str| {
        assert!(
            learnt.iter().any(|[w, v, f]| w.contains(what) && v.contains(value) && f.contains(from)),
            "{what} {value} {from} is not among {learnt:#?}"
        );
    };
    says("database", "Secret orders-db", "DATABASE_URL");
    says("readiness", &format!("/ready by HTTP on port {}", cluster.port), "readiness probe");
    says("liveness", &format!("/health by HTTP on port {}", cluster.port), "liveness probe");
    says("metrics", &format!("/metrics by HTTP on port {}", cluster.port), "annotations of the pods");
    says("Service", "a1b2c3-dr-west.us-west-2.elb.amazonaws.com", "api-server");
    says("Service health-check", "3 of 3 endpoints ready", "health-check");
    assert!(!exporter.report().await.to_string().contains("lab-app"), "the password");

    // The repair: the Secret is read again at the next attempt, nothing is restarted.
    cluster.ns.apply(secret("orders-db", &[("url", &pair.west.dsn("app"))])).await;
    exporter.is_fine().await;
}

#[tokio::test]
async fn a_change_is_in_force_within_five_seconds_whatever_the_interval() {
    let kube = Kube::shared().await;
    let (pair, cluster) = healthy(kube).await;
    cluster.ns.apply(config_map("database", &[("url", &pair.west.dsn("app"))])).await;
    let by_map = |key: &str| {
        json!({"spec": {"template": {"spec": {"containers": [{
            "name": "api-server", "image": "registry.us-west-2.example/api-server:1", "env": [
                {"name": "DATABASE_URL", "valueFrom": {"configMapKeyRef": {"name": "database", "key": key}}},
            ],
        }]}}}})
    };
    cluster.ns.patch("Deployment", "api-server", by_map("url")).await;
    let exporter = Clustered { interval: "1h", ..Clustered::new(kube, cluster.ns.name()) }.start().await;
    let west = [("db_region", "us-west-2")];
    // First answers are spread over half a minute; a change is not.
    exporter.wait_for_sample("dr_db_endpoint_region", &west, 1.0, 35 * SECOND).await;
    exporter.wait_for_sample("dr_k8s_workload_replicas_ready", &[], 3.0, 35 * SECOND).await;

    let in_force = |took: Duration| assert!(took <= 5 * SECOND, "in force after {took:?}");
    cluster.ns.apply(config_map("database", &[("url", &pair.east.dsn("app"))])).await;
    let east = [("db_region", "us-east-1")];
    in_force(exporter.wait_for_sample("dr_db_endpoint_region", &east, 1.0, 5 * SECOND).await);
    cluster.api.ready(0, false).await;
    in_force(exporter.wait_for_sample("dr_k8s_workload_replicas_ready", &[], 2.0, 5 * SECOND).await);
    // The workload looks elsewhere: a variable of another name in the same map.
    cluster.ns.apply(config_map("database", &[("url", "nonsense"), ("other", &pair.west.dsn("app"))])).await;
    cluster.ns.patch("Deployment", "api-server", by_map("other")).await;
    in_force(exporter.wait_for_sample("dr_db_endpoint_region", &west, 1.0, 5 * SECOND).await);
}

#[tokio::test]
async fn without_a_name_the_database_is_found_and_two_are_never_guessed() {
    let kube = Kube::shared().await;
    let (pair, cluster) = healthy(kube).await;
    let found = Clustered {
        database: false,
        system: format!(
            "    databases:\n      - {{name: orders, endpoint: {{workload: api-server}}, queries: [{}]}}\n",
            super::QUERY
        ),
        ..Clustered::new(kube, cluster.ns.name())
    };
    let exporter = found.start().await;
    exporter.is_fine().await;

    let second = json!({"spec": {"template": {"spec": {"containers": [{
        "name": "api-server", "image": "registry.us-west-2.example/api-server:1", "env": [
            {"name": "DATABASE_URL", "value": pair.west.dsn("app")},
            {"name": "REPORTS_DATABASE_URL", "value": pair.east.dsn("app")},
        ],
    }]}}}});
    cluster.ns.patch("Deployment", "api-server", second).await;
    exporter.ends("synthetic_query", "orders", "unknown", "misconfigured").await;
    assert_eq!(exporter.sample("dr_exporter_check_gaps", &[("reason", "ambiguous")]).await, Some(2.0));
    let report = exporter.report().await.to_string();
    assert!(report.contains("REPORTS_DATABASE_URL"), "the candidates are named");
    exporter.verdict("unknown").await;
}

#[tokio::test]
async fn business_traffic_is_read_from_the_pods_that_there_are() {
    let kube = Kube::shared().await;
    let (_pair, mut cluster) = healthy(kube).await;
    let exporter = Clustered {
        system: "    traffic:\n      - {workload: api-server, counter: http_requests_total, business: {handler: \"/api/.+\"}, \
                 probes: {handler: \"/health|/ready|/metrics\"}, window: 3s}\n"
            .to_owned(),
        ..Clustered::new(kube, cluster.ns.name())
    }
    .start()
    .await;
    let zero = "dr_traffic_zero_business_requests";
    exporter.wait_for_sample(zero, &[("workload", "api-server")], 1.0, 10 * SECOND).await;
    cluster.apps[1].drive("/api/v1/orders", 3).await;
    exporter.wait_for_sample(zero, &[("workload", "api-server")], 0.0, 5 * SECOND).await;
    // A pod that goes away takes no window with it.
    cluster.api.remove(2).await;
    exporter.wait_for_sample(zero, &[("workload", "api-server")], 1.0, 10 * SECOND).await;
}

#[tokio::test]
async fn dependencies_are_found_where_the_application_looks_for_them() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let listener = tokio::net::TcpListener::bind((crate::lab::east_ip(), 0)).await.expect("a port");
    let queue = listener.local_addr().expect("an address");
    let near = tokio::net::TcpListener::bind((crate::lab::west_ip(), 0)).await.expect("a port");
    let cache = near.local_addr().expect("an address");
    let places =
        [("cache", format!("tcp://{cache}")), ("queue", format!("amqp://user:sesame@{queue}/vhost"))];
    let places: Vec<_> = places.iter().map(|(key, value)| (*key, value.as_str())).collect();
    cluster.ns.apply(config_map("platform", &places)).await;
    let exporter = Clustered {
        system: "    dependencies:\n      - {name: cache, endpoint: {workload: api-server, env: CACHE_URL}}\n      \
                 - {name: queue, endpoint: {workload: api-server, env: QUEUE_URL}}\n"
            .to_owned(),
        ..Clustered::new(kube, cluster.ns.name())
    }
    .start()
    .await;
    exporter.status("dependency", "cache", "pass").await;
    exporter.fails("dependency", "queue", "wrong_region").await;
    exporter.verdict("degraded").await;
    let west =
        [("dependency", "cache"), ("dependency_region", "us-west-2"), ("expected_region", "us-west-2")];
    assert_eq!(exporter.sample("dr_dependency_endpoint_region", &west).await, Some(1.0));
    let east = [("dependency", "queue"), ("dependency_region", "us-east-1")];
    assert_eq!(exporter.sample("dr_dependency_endpoint_region", &east).await, Some(1.0));
    for name in ["cache", "queue"] {
        let reached = exporter.sample("dr_dependency_connect_success", &[("dependency", name)]).await;
        assert_eq!(reached, Some(1.0), "{name}");
    }
    drop(listener);
    let queue = [("dependency", "queue")];
    exporter.wait_for_sample("dr_dependency_connect_success", &queue, 0.0, 5 * SECOND).await;
    assert!(!exporter.report().await.to_string().contains("sesame"));
}

#[tokio::test]
async fn metrics_and_connections_are_found_through_monitors_and_services() {
    let kube = Kube::shared().await;
    kube.monitoring_crds().await;
    let (_pair, cluster) = healthy(kube).await;
    // No annotation: a ServiceMonitor says where the metrics are.
    let plain = Workload::deployment("plain")
        .at(&[cluster.apps[0].address().ip()])
        .on(&[cluster.nodes[0].name.as_str()])
        .port("web", cluster.port)
        .create(&cluster.ns)
        .await;
    assert_eq!(plain.pods().len(), 1);
    let service = crate::lab::kube::objects::service("plain", "plain", 80, cluster.port);
    cluster.ns.apply(service).await;
    let endpoint = json!({"port": "http", "path": "/metrics"});
    cluster.ns.apply(crate::lab::kube::objects::service_monitor("plain", "plain", &endpoint)).await;
    let yaml =
        Clustered::new(kube, cluster.ns.name()).yaml().replace("deployment: api-server", "deployment: plain");
    let yaml = yaml.replace("workload: api-server", "workload: plain");
    let exporter = Exporter::start(&yaml).await;
    let wanted = format!("/metrics by HTTP on port {}", cluster.port);
    eventually("the metrics are found", 6 * SECOND, async || {
        let learnt = learnt(&exporter).await;
        let found = learnt.iter().any(|[what, value, from]| {
            what.contains("metrics") && value.contains(&wanted) && from.contains("ServiceMonitor")
        });
        if found { Ok(()) } else { Err(format!("{learnt:#?}")) }
    })
    .await;
}
