//! The Kubernetes of the lab.

use std::time::Instant;

use serde_json::json;

use super::SECOND;
use crate::lab::kube::{LOAD_BALANCER, objects};
use crate::lab::{Exporter, Kube, Proxy, SeedCluster, Workload, eventually, lab_ip, scratch_dir, west_ip};

#[tokio::test]
async fn kubernetes_keeps_what_it_is_told_and_survives_a_kill() {
    let started = Instant::now();
    let kube = Kube::start().await;
    println!("API server ready after {:?}", started.elapsed());
    let ns = kube.namespace("orders").await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api-1"},
        "spec": {"nodeName": "west-a", "containers": [{"name": "api", "image": "api:1"}]},
        "status": {"phase": "Running", "podIP": "127.20.1.1"},
    });
    let made = ns.apply(pod.clone()).await;
    assert_eq!(made["status"]["podIP"], "127.20.1.1", "{made}");
    let again = ns.apply(pod).await;
    assert_ne!(again["metadata"]["uid"], made["metadata"]["uid"], "a pod cannot be changed");

    kube.kill();
    assert_eq!(kube.try_get("Pod", ns.name(), "api-1").await.map_err(|refused| refused.code), Err(0));
    let started = Instant::now();
    kube.start_again().await;
    println!("API server ready again after {:?}", started.elapsed());
    assert_eq!(ns.get("Pod", "api-1").await["metadata"]["uid"], again["metadata"]["uid"]);

    // Who has missed a write has to list again.
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("/api/v1/pods?watch=true&timeoutSeconds=2&resourceVersion={version}");
    let watch = kube.send(reqwest::Method::GET, &path, "", None).await;
    assert_eq!(watch.map(|event| event["object"]["code"].clone()), Ok(json!(410)));

    kube.freeze();
    let get = kube.try_get("Pod", ns.name(), "api-1");
    assert!(tokio::time::timeout(SECOND / 2, get).await.is_err(), "a frozen server answered");
    kube.thaw();
    ns.delete("Pod", "api-1").await;
    assert_eq!(kube.try_get("Pod", ns.name(), "api-1").await.map_err(|refused| refused.code), Err(404));
}

#[tokio::test]
async fn kubernetes_judges_dry_runs_and_tells_watchers() {
    let kube = Kube::shared().await;
    let ns = kube.namespace("orders").await;
    let map = |data: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": data}});
    let judged = ns.dry_run(map("dry")).await.expect("a valid object");
    assert_eq!(judged["data"]["k"], "dry");
    assert!(ns.list("ConfigMap").await.is_empty(), "a dry run wrote");
    let empty = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}});
    assert_eq!(ns.dry_run(empty).await.map_err(|refused| refused.code), Err(422));

    let seen = ns.apply(map("one")).await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!(
        "/api/v1/namespaces/{}/configmaps?watch=true&timeoutSeconds=2&resourceVersion={seen}",
        ns.name()
    );
    let watch = kube.send(reqwest::Method::GET, &path, "", None);
    let (events, _) = tokio::join!(watch, ns.patch("ConfigMap", "m", json!({"data": {"k": "two"}})));
    let events = events.expect("a watch that ends after 2 s");
    assert_eq!((&events["type"], &events["object"]["data"]["k"]), (&json!("MODIFIED"), &json!("two")));
}

#[tokio::test]
async fn kubernetes_gives_a_service_account_its_rights_and_no_more() {
    let kube = Kube::shared().await;
    let ns = kube.namespace("orders").await;
    ns.service_account("reader").await;
    ns.grant("reader", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])).await;
    let reader = kube.as_service_account(ns.name(), "reader").await;
    eventually("the role is in force", 5 * SECOND, async || {
        reader.try_list("Pod", ns.name()).await.map_err(|refused| refused.to_string())
    })
    .await;
    for (kind, namespace) in [("Secret", ns.name()), ("Pod", "kube-system"), ("Node", "")] {
        let refused = reader.try_list(kind, namespace).await.expect_err(kind);
        assert_eq!(refused.code, 403, "{kind}: {refused}");
        assert!(
            refused.message.contains(&format!("system:serviceaccount:{}:reader", ns.name())),
            "{refused}"
        );
    }

    // By way of another address, where a test can stage faults.
    let proxy = Proxy::start(lab_ip(), kube.address()).await;
    let file = kube.kubeconfig_via(proxy.address(), reader.token());
    let file = format!("--kubeconfig={}", file.display());
    assert_eq!(kube.kubectl(&[&file, "get", "pods", "-n", ns.name(), "-o", "name"]).await, "");
    let said = kube.try_kubectl(&[&file, "get", "secrets", "-n", ns.name()], "").await.expect_err("no right");
    assert!(said.contains("Forbidden"), "{said}");
}

#[tokio::test]
async fn kubectl_and_helm_reach_the_api_server() {
    let kube = Kube::shared().await;
    let ns = kube.namespace("orders").await;
    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {k: v}}";
    let dry = ["apply", "-n", ns.name(), "-f", "-", "--dry-run=server", "-o", "name"];
    assert_eq!(kube.try_kubectl(&dry, manifest).await.as_deref(), Ok("configmap/m\n"));
    let typo = manifest.replace(" data:", " dada:");
    let said = kube.try_kubectl(&dry, &typo).await.expect_err("an unknown field");
    assert!(said.contains("unknown field \"dada\""), "{said}");
    assert_eq!(kube.helm(&["list", "-n", ns.name(), "-q"]).await, "");
    assert!(kube.helm(&["version", "--short"]).await.starts_with('v'));
}

#[tokio::test]
async fn a_cluster_laid_out_as_the_seed() {
    let kube = Kube::start().await;
    let started = Instant::now();
    let cluster = SeedCluster::start(&kube, "postgresql://app:lab-app@127.10.0.1:1/orders").await;
    println!("seed after {:?}", started.elapsed());
    let ns = &cluster.ns;
    let shown = kube.kubectl(&["get", "deploy,pods,svc,endpointslices", "-n", ns.name()]).await;
    println!("{shown}");
    assert_eq!(shown.matches("1/1     Running   0").count(), 5, "{shown}");
    assert!(
        shown.contains("api-server   3/3     3            3") && shown.contains(LOAD_BALANCER),
        "{shown}"
    );
    let (pod, app) = (&cluster.api.pods()[2], &cluster.apps[2]);
    let pod = ns.get("Pod", pod).await;
    assert_eq!(pod["status"]["podIP"], json!(app.address().ip()));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
    assert_eq!(app.drive("/health", 1).await, [503]);

    let file = scratch_dir("seed").join("config.yaml");
    std::fs::write(&file, cluster.config(&kube.kubeconfig_for_admin(), "")).unwrap();
    let said = Exporter::run(&["check", file.to_str().unwrap()]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));

    cluster.api.ready(0, false).await;
    cluster.endpoints(&[false, true, true]).await;
    let api = ns.get("Deployment", "api-server").await;
    assert_eq!((&api["status"]["readyReplicas"], &api["status"]["replicas"]), (&json!(2), &json!(3)));
    let slice = ns.get("EndpointSlice", "health-check-x1y2z").await;
    assert_eq!(slice["endpoints"][0]["conditions"]["ready"], false);

    let lease = async || {
        kube.get("Lease", "kube-node-lease", &cluster.nodes[0].name).await["spec"]["renewTime"].clone()
    };
    let first = lease().await;
    eventually("the lease is renewed", 10 * SECOND, async || {
        if lease().await == first { Err(first.to_string()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn every_object_of_the_lab_is_one_for_kubernetes() {
    let kube = Kube::shared().await;
    let ns = kube.namespace("objects").await;
    kube.monitoring_crds().await;
    let endpoint = json!({"port": "http", "path": "/metrics"});
    ns.apply(objects::service_monitor("api", "api", &endpoint)).await;
    ns.apply(objects::pod_monitor("api", "api", &endpoint)).await;
    ns.apply(objects::storage_class(ns.name())).await;
    let claim = ns.apply(objects::claim("data", ns.name(), Some("pv-1"))).await;
    assert_eq!(claim["status"]["phase"], "Bound");
    assert_eq!(ns.apply(objects::claim("new", ns.name(), None)).await["status"]["phase"], "Pending");
    assert!(
        ns.apply(objects::cron_job("report", "0 3 * * *", false)).await["status"]["lastScheduleTime"]
            .is_string()
    );
    ns.apply(objects::autoscaler("api", 3, 9)).await;

    // Why `endpoint_slice` writes other addresses.
    let mut slice = objects::endpoint_slice("api", 80, &[("api-1", west_ip(), true)]);
    ns.dry_run(slice.clone()).await.expect("a valid slice");
    slice["endpoints"][0]["addresses"] = json!(["127.20.1.1"]);
    assert!(ns.dry_run(slice).await.is_err_and(|refused| refused.message.contains("loopback")));

    let set = Workload::stateful_set("db").at(&[west_ip(), west_ip()]).create(&ns).await;
    assert_eq!(set.pods(), ["db-0", "db-1"]);
    assert_eq!(ns.get("StatefulSet", "db").await["status"]["readyReplicas"], 2);

    // The server keeps the quota that the test wrote.
    let pod = |name: &str| {
        let mut pod = Workload::deployment("api").object()["spec"]["template"].clone();
        (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) = (json!("v1"), json!("Pod"), json!(name));
        pod
    };
    ns.dry_run(pod("first")).await.expect("no quota yet");
    ns.apply(objects::quota("small", &[("pods", "2", "2")])).await;
    eventually("the quota is in force", 5 * SECOND, async || match ns.dry_run(pod("second")).await {
        Err(refused) if refused.message.contains("exceeded quota: small") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
