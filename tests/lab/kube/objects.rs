//! The objects of a cluster, one function each, with the status that a controller would have written. What a test
//! wants otherwise it changes in the value, or with `patch` and `patch_status` afterwards.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::http::Task;
use super::super::run::eventually;
use super::{Kube, KubeApi};

/// A node whose kubelet renews its Lease every two seconds until this is dropped or `silent`.
pub struct Node {
    /// Its name.
    pub name: String,
    kubelet: Option<Task>,
}

/// A Service of type `ClusterIP` on this port, for the pods of a `Workload` of that name.
pub fn service(name: &str, workload: &str, port: u16, target: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": workload}},
        "spec": {"selector": {"app": workload}, "ports": [{"name": "http", "port": port, "targetPort": target}]},
    })
}

/// A Service of type `LoadBalancer` that has got this address, a DNS name.
pub fn load_balancer(name: &str, workload: &str, port: u16, target: u16, hostname: &str) -> Value {
    let mut service = service(name, workload, port, target);
    service["spec"]["type"] = json!("LoadBalancer");
    service["status"] = json!({"loadBalancer": {"ingress": [{"hostname": hostname}]}});
    service
}

/// The `EndpointSlice` of a Service: the pods, their addresses, and whether each is ready.
///
/// The API server refuses loopback addresses in it, so 127.20.1.2 stands there as 10.20.1.2; the reference to the pod
/// is the true one.
pub fn endpoint_slice(service: &str, port: u16, pods: &[(&str, IpAddr, bool)]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|(pod, address, ready)| {
            json!({
                "addresses": [routable(*address)],
                "conditions": {"ready": ready, "serving": ready, "terminating": false},
                "targetRef": {"kind": "Pod", "name": pod},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-x1y2z"), "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

/// A ready node with the labels of a cloud.
pub fn node(name: &str, region: &str, zone: &str) -> Value {
    let now = now();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "m6i.xlarge",
            "topology.kubernetes.io/region": region,
            "topology.kubernetes.io/zone": zone,
        }},
        "spec": {"providerID": format!("aws:///{zone}/i-0abc")},
        "status": {
            "capacity": {"cpu": "4", "memory": "16Gi", "pods": "58"},
            "allocatable": {"cpu": "3920m", "memory": "15Gi", "pods": "58"},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        },
    })
}

/// The Lease that a node's kubelet last renewed this long ago.
pub fn node_lease(node: &str, renewed: Duration) -> Value {
    // A MicroTime has exactly six digits.
    let renewed = format!("{:.6}", before(renewed));
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": renewed},
    })
}

/// A Secret.
pub fn secret(name: &str, entries: &[(&str, &str)]) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": map(entries)})
}

/// A `ConfigMap`.
pub fn config_map(name: &str, entries: &[(&str, &str)]) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": map(entries)})
}

/// A claim for 10 GiB; with a volume it is `Bound`, without it is `Pending`.
pub fn claim(name: &str, class: &str, volume: Option<&str>) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "10Gi"}},
        },
        "status": {"phase": "Pending"},
    });
    if let Some(volume) = volume {
        claim["spec"]["volumeName"] = json!(volume);
        claim["status"] =
            json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}});
    }
    claim
}

/// A storage class (of the whole cluster).
pub fn storage_class(name: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer",
    })
}

/// A quota with what is used of it: `[("pods", "10", "8")]`. From then on the server's admission keeps it.
pub fn quota(name: &str, limits: &[(&str, &str, &str)]) -> Value {
    let hard: Vec<(&str, &str)> = limits.iter().map(|(what, hard, _)| (*what, *hard)).collect();
    let used: Vec<(&str, &str)> = limits.iter().map(|(what, _, used)| (*what, *used)).collect();
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name},
        "spec": {"hard": map(&hard)}, "status": {"hard": map(&hard), "used": map(&used)},
    })
}

/// An admission webhook whose server is nowhere, for the pods of one namespace: none can be created.
pub fn webhook_to_nowhere(namespace: &str) -> Value {
    let name = format!("nowhere-{namespace}.lab.example");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": name, "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1, "clientConfig": {"url": "https://127.0.0.1:1/validate"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }],
    })
}

/// A `CronJob` that ran a minute ago unless it is suspended.
pub fn cron_job(name: &str, schedule: &str, suspended: bool) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {
            "schedule": schedule, "suspend": suspended,
            "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "job", "image": "registry.example/job:1"}],
            }}}},
        },
    });
    if !suspended {
        job["status"] = json!({"lastScheduleTime": before(Duration::from_secs(60)).to_string()});
    }
    job
}

/// An autoscaler of a Deployment.
pub fn autoscaler(deployment: &str, min: u32, max: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": deployment},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "minReplicas": min, "maxReplicas": max,
        },
    })
}

/// A `ServiceMonitor` for the Services with the label `app`; see [`Kube::monitoring_crds`].
pub fn service_monitor(name: &str, app: &str, endpoint: &Value) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": app}}, "endpoints": [endpoint]},
    })
}

/// A `PodMonitor` for the pods with the label `app`; see [`Kube::monitoring_crds`].
pub fn pod_monitor(name: &str, app: &str, endpoint: &Value) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": app}}, "podMetricsEndpoints": [endpoint]},
    })
}

/// A definition whose objects may hold anything.
pub fn crd(group: &str, kind: &str, plural: &str) -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": anything, "status": anything},
            }}}],
        },
    })
}

// === impl Kube ===

impl Kube {
    /// A node that is ready and stays so: its Lease is renewed as a kubelet does, only more often.
    pub async fn node(&self, name: &str, region: &str, zone: &str) -> Node {
        let api: KubeApi = (**self).clone();
        api.apply(node(name, region, zone)).await;
        api.apply(node_lease(name, Duration::ZERO)).await;
        let node = name.to_owned();
        let kubelet = Task::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                // The server may be away: then the Lease grows old, as in life.
                drop(api.try_apply(node_lease(&node, Duration::ZERO)).await);
            }
        });
        Node { name: name.to_owned(), kubelet: Some(kubelet) }
    }

    /// The kinds of the Prometheus operator, `ServiceMonitor`, `PodMonitor` and `PrometheusRule`; waits until they are
    /// served. They belong to the whole cluster.
    pub async fn monitoring_crds(&self) {
        for kind in ["ServiceMonitor", "PodMonitor", "PrometheusRule"] {
            if self.try_list(kind, "").await.is_err() {
                let plural = format!("{}s", kind.to_lowercase());
                self.apply(crd("monitoring.coreos.com", kind, &plural)).await;
            }
            eventually(&format!("{kind} is served"), Duration::from_secs(20), async || {
                self.try_list(kind, "").await.map_err(|refused| refused.to_string())
            })
            .await;
        }
    }
}

// === impl Node ===

impl Node {
    /// The kubelet stops: the Lease stays as old as it is now.
    pub fn silent(&mut self) {
        self.kubelet = None;
    }
}

/// 10.x for 127.x, everything else as it is.
fn routable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() => {
            let [_, region, high, low] = v4.octets();
            IpAddr::from([10, region, high, low])
        }
        other => other,
    }
}

/// This long ago.
pub(super) fn before(ago: Duration) -> Timestamp {
    Timestamp::now() - ago
}

/// The present second, as the API writes it.
pub(super) fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

fn map(entries: &[(&str, &str)]) -> Value {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
    Value::Object(entries.collect::<Map<String, Value>>())
}
