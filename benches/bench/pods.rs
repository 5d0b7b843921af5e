//! Thousands of pods as a cluster of some age has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::lab::kube::{Kube, KubeApi, Namespace, Workload};

/// Where all pods are.
pub const NAMESPACE: &str = "bench";
/// The Deployment that they belong to.
pub const OWN: &str = "api-server";
/// A Deployment without pods.
pub const EMPTY: &str = "worker";

const WORKERS: usize = 16;

/// The pods that there are so far.
pub struct Pods<'k> {
    ns: Namespace<'k>,
    api: KubeApi,
    count: usize,
}

// === impl Pods ===

impl<'k> Pods<'k> {
    /// The namespace with both Deployments, and no pod.
    pub async fn new(kube: &'k Kube) -> Self {
        let ns = kube.namespace_named(NAMESPACE).await;
        let pods = Self { ns, api: kube.busy(), count: 0 };
        pods.settle(EMPTY, 0).await;
        pods.settle(OWN, 0).await;
        pods
    }

    /// Creates what is missing to have so many ready pods.
    pub async fn grow_to(&mut self, count: usize) {
        let started = Instant::now();
        let deployment = self.settle(OWN, count).await;
        let next = Arc::new(AtomicUsize::new(self.count));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (api, next, deployment) = (self.api.clone(), Arc::clone(&next), deployment.clone());
                tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return;
                        }
                        create(&api, &deployment, n).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.expect("a worker");
        }
        eprintln!("{} pods more after {:?}", count - self.count, started.elapsed());
        self.count = count;
    }

    /// The average size of a pod in bytes of JSON.
    pub async fn size(&self) -> usize {
        let pods = self.ns.list("Pod").await;
        pods.iter().map(|pod| pod.to_string().len()).sum::<usize>() / pods.len()
    }

    /// Writes a Deployment that has what it wants.
    async fn settle(&self, name: &str, count: usize) -> Value {
        let mut deployment = workload(name, count).object();
        deployment["status"] = json!({
            "replicas": count, "updatedReplicas": count, "readyReplicas": count, "availableReplicas": count,
        });
        self.ns.apply(deployment).await
    }
}

async fn create(api: &KubeApi, deployment: &Value, n: usize) {
    let mut pod = deployment["spec"]["template"].clone();
    let name = deployment["metadata"]["name"].as_str().expect("a name");
    (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
    pod["metadata"]["name"] = json!(format!("{name}-6b8f9a7c43-{n:05}"));
    pod["metadata"]["namespace"] = json!(NAMESPACE);
    pod["metadata"]["labels"]["pod-template-hash"] = json!("6b8f9a7c43");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-6b8f9a7c43"),
        "uid": deployment["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }]);
    pod["spec"]["nodeName"] = json!(format!("ip-10-20-{}.us-west-2.compute.internal", n / 50));
    let address = format!("10.20.{}.{}", n / 250, n % 250 + 1);
    let started = "2024-09-19T14:22:03Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": started});
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(condition);
    let image = pod["spec"]["containers"][0]["image"].clone();
    pod["status"] = json!({
        "phase": "Running", "startTime": started, "qosClass": "Burstable", "hostIP": "10.20.250.1",
        "hostIPs": [{"ip": "10.20.250.1"}], "podIP": address, "podIPs": [{"ip": address}],
        "conditions": conditions,
        "containerStatuses": [{
            "name": name, "image": image, "ready": true, "started": true, "restartCount": 0,
            "imageID": format!("{}@sha256:{n:064x}", image.as_str().expect("an image")),
            "containerID": format!("containerd://{n:064x}"), "state": {"running": {"startedAt": started}},
        }],
    });
    if let Err(refused) = api.try_apply(pod).await {
        panic!("pod {n} of {name}: {refused}");
    }
}

/// Settings as an application collects them over the years; about 8 kB of JSON for each pod.
fn workload(name: &str, count: usize) -> Workload {
    let settings = (0..4).fold(Workload::deployment(name), |workload, n| {
        let value = format!("http://service-{n:02}.platform.svc.cluster.local:8080/api/v1");
        workload.env(&format!("SETTING_OF_THE_PLATFORM_{n:02}"), &value)
    });
    settings
        .replicas(count)
        .env("DATABASE_URL", "postgresql://app@pg-west.example:5432/orders")
        .env_from_secret("DATABASE_PASSWORD", "orders-db", "password")
        .env_from_config_map("CACHE_URL", "platform", "cache")
        .env_from_config_map("QUEUE_URL", "platform", "queue")
        .port("http", 8080)
        .probes("/ready", "/health", 8080)
        .scraped(8080, "/metrics")
        .annotation("checksum/config", &"0123456789abcdef".repeat(4))
        .annotation("kubectl.kubernetes.io/restartedAt", "2024-09-19T14:22:03Z")
        .container(json!({"volumeMounts": [
            {"name": "config", "mountPath": "/etc/app"}, {"name": "tls", "mountPath": "/etc/tls", "readOnly": true},
        ]}))
        .pod_spec(json!({
            "volumes": [
                {"name": "config", "configMap": {"name": "platform"}},
                {"name": "tls", "secret": {"secretName": "orders-tls"}},
            ],
            "terminationGracePeriodSeconds": 30,
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": name}},
            }],
        }))
}
