//! The rights that are asked for are enough, and nothing beyond them is had.

use serde_json::json;

use super::{Clustered, SECOND, healthy};
use crate::lab::Exporter;
use crate::lab::kube::Kube;
use crate::lab::kube::objects::secret;

/// Applies what `dr-exporter rbac` prints for a configuration, bound to the account `dr-exporter` of the namespace.
async fn grant(kube: &Kube, namespace: &str, yaml: &str) -> String {
    let dir = crate::lab::scratch_dir("rbac");
    let file = dir.join("config.yaml");
    std::fs::write(&file, yaml).expect("write the configuration");
    // With the rights of whoever grants them, as kubectl would.
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_dr-exporter"))
        .env("KUBECONFIG", kube.kubeconfig_for_admin())
        .arg("rbac")
        .arg(&file)
        .args(["--namespace", namespace, "--service-account", "dr-exporter"])
        .output()
        .expect("run dr-exporter");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let text = String::from_utf8(printed.stdout).expect("text");
    kube.apply_yaml(&text).await;
    text
}

#[tokio::test]
async fn what_is_granted_is_enough_and_nothing_more_is_had() {
    // A server of its own: cluster-wide rights are granted here.
    let kube: &'static Kube = Box::leak(Box::new(Kube::start().await));
    let (_pair, cluster) = healthy(kube).await;
    let namespace = cluster.ns.name();
    let label = "topology.kubernetes.io/region".to_owned();
    let config = Clustered { identity: Some(label), ..Clustered::new(kube, namespace) };
    let rbac = grant(kube, namespace, &config.yaml()).await;
    assert!(rbac.contains("orders-db"), "the Secret is named:\n{rbac}");

    cluster.ns.service_account("dr-exporter").await;
    let own = kube.kubeconfig_for_service_account(namespace, "dr-exporter").await;
    let as_granted = Clustered { kubeconfig: own.display().to_string(), ..config };
    let exporter = Exporter::start(&as_granted.yaml()).await;
    exporter.is_fine().await;
    for check in [
        "workload_replicas",
        "readiness_probe",
        "service_endpoints",
        "node_lease",
        "storage",
        "quota",
        "image_origin",
        "cron_jobs",
        "create_dry_run",
    ] {
        let status = exporter.report().await["systems"][0]["checks"]
            .as_array()
            .expect("checks")
            .iter()
            .find(|found| found["check"] == check)
            .map(|found| found["status"].as_str().unwrap_or_default().to_owned());
        assert!(matches!(status.as_deref(), Some("pass" | "skipped")), "{check}: {status:?}");
    }
    let metrics = exporter.metrics().await;
    let watches: Vec<_> = metrics.iter().filter(|s| s.name == "dr_exporter_watch_healthy").collect();
    assert!(!watches.is_empty() && watches.iter().all(|s| s.value > 0.5), "{watches:#?}");

    // Nothing else.
    cluster.ns.apply(secret("payroll", &[("key", "x")])).await;
    let api = kube.as_service_account(namespace, "dr-exporter").await;
    let refused = |what: &str, code: Option<u16>| assert_eq!(code, Some(403), "{what} was not refused");
    refused("listing Secrets", api.try_list("Secret", namespace).await.err().map(|e| e.code));
    refused(
        "reading another Secret",
        api.try_get("Secret", namespace, "payroll").await.err().map(|e| e.code),
    );
    assert!(api.try_get("Secret", namespace, "orders-db").await.is_ok());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": namespace}});
    refused("writing a ConfigMap", api.try_create(&map).await.err().map(|e| e.code));
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other", "namespace": "kube-system"}});
    refused("writing somebody's Lease", api.try_create(&lease).await.err().map(|e| e.code));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "intruder", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "c"}]},
    });
    // The right to create pods is for dry runs: a policy refuses the rest. It needs a moment to be in force.
    crate::lab::eventually("a real pod is refused and a dry run passes", 20 * SECOND, async || {
        api.dry_run(&pod).await.map_err(|refused| refused.message)?;
        match api.try_create(&pod).await {
            Err(refused) if [403, 422].contains(&refused.code) => Ok(()),
            Err(refused) => Err(refused.message),
            Ok(_) => {
                kube.delete("Pod", namespace, "intruder").await;
                Err("a pod was created".to_owned())
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_missing_right_is_a_gap_that_names_it_and_its_grant_is_noticed() {
    let kube = Kube::shared().await;
    let (_pair, cluster) = healthy(kube).await;
    let namespace = cluster.ns.name();
    cluster.ns.service_account("blind").await;
    let own = kube.kubeconfig_for_service_account(namespace, "blind").await;
    let config = Clustered { kubeconfig: own.display().to_string(), ..Clustered::new(kube, namespace) };
    let exporter = config.start().await;
    exporter.verdict("unknown").await;
    exporter.ends("workload_replicas", "api-server", "unknown", "misconfigured").await;
    let report = exporter.report().await.to_string();
    assert!(report.contains(&format!("`list, watch` on `deployments` in namespace {namespace}")), "{report}");
    assert!(exporter.sample("dr_exporter_check_gaps", &[("reason", "forbidden")]).await > Some(5.0));
    assert_eq!(
        exporter.sample("dr_exporter_watch_healthy", &[("resource", "pods")]).await.unwrap_or(0.0),
        0.0
    );

    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch", "create"]}]);
    cluster.ns.grant("blind", all).await;
    let pass = [("check", "workload_replicas"), ("status", "pass")];
    exporter.wait_for_sample("dr_check_status", &pass, 1.0, 25 * SECOND).await;
    exporter.status("synthetic_query", "orders", "pass").await;
}
