//! A Deployment or a `StatefulSet` with what its controllers would have made of it.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::Namespace;
use super::objects::before;

/// A workload that is described and then created, everything fine: as many ready pods as addresses, or as asked for.
#[derive(Clone)]
pub struct Workload {
    kind: &'static str,
    name: String,
    replicas: Option<usize>,
    container: Value,
    pod: Value,
    annotations: Value,
    addresses: Vec<IpAddr>,
    nodes: Vec<String>,
    age: Duration,
}

/// A workload of a test's cluster.
pub struct Running<'k> {
    ns: Namespace<'k>,
    kind: &'static str,
    name: String,
    pods: Vec<String>,
}

// === impl Workload ===

impl Workload {
    /// A Deployment of one container; its pods carry the label `app` = its name.
    pub fn deployment(name: &str) -> Self {
        Self::new("Deployment", name)
    }

    /// A `StatefulSet` of one container; its pods carry the label `app` = its name.
    pub fn stateful_set(name: &str) -> Self {
        Self::new("StatefulSet", name)
    }

    fn new(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            replicas: None,
            container: json!({
                "name": name,
                "image": format!("123456789012.dkr.ecr.us-west-2.amazonaws.com/{name}:2024.12.1"),
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "env": [],
            }),
            pod: json!({}),
            annotations: json!({}),
            addresses: Vec::new(),
            nodes: vec!["west-a".to_owned()],
            age: Duration::from_secs(3600),
        }
    }

    /// How many it wants (default: one for each address).
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// A running pod at each of these addresses.
    pub fn at(mut self, addresses: &[IpAddr]) -> Self {
        self.addresses = addresses.to_vec();
        self
    }

    /// The nodes of its pods, in turn (default: `west-a`).
    pub fn on(mut self, nodes: &[&str]) -> Self {
        self.nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        self
    }

    /// The image.
    pub fn image(self, image: &str) -> Self {
        self.container(json!({"image": image}))
    }

    /// A variable.
    pub fn env(self, name: &str, value: &str) -> Self {
        self.variable(json!({"name": name, "value": value}))
    }

    /// A variable whose value is a key of a Secret.
    pub fn env_from_secret(self, name: &str, secret: &str, key: &str) -> Self {
        self.variable(json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}))
    }

    /// A variable whose value is a key of a `ConfigMap`.
    pub fn env_from_config_map(self, name: &str, map: &str, key: &str) -> Self {
        self.variable(json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": map, "key": key}}}))
    }

    fn variable(mut self, variable: Value) -> Self {
        self.container["env"].as_array_mut().expect("variables").push(variable);
        self
    }

    /// A port of the container.
    pub fn port(self, name: &str, port: u16) -> Self {
        self.container(json!({"ports": [{"name": name, "containerPort": port}]}))
    }

    /// HTTP probes on these paths of the port.
    pub fn probes(self, readiness: &str, liveness: &str, port: u16) -> Self {
        let get = |path: &str| json!({"httpGet": {"path": path, "port": port}, "periodSeconds": 10});
        self.container(json!({"readinessProbe": get(readiness), "livenessProbe": get(liveness)}))
    }

    /// `prometheus.io/scrape` and its port and path.
    pub fn scraped(self, port: u16, path: &str) -> Self {
        self.annotation("prometheus.io/scrape", "true")
            .annotation("prometheus.io/port", &port.to_string())
            .annotation("prometheus.io/path", path)
    }

    /// An annotation of the pods.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations[name] = json!(value);
        self
    }

    /// Anything else of the container, as a merge patch: `{"envFrom": […]}`, `{"volumeMounts": […]}`.
    pub fn container(mut self, patch: Value) -> Self {
        merge(&mut self.container, patch);
        self
    }

    /// Anything else of the pod's `spec`, as a merge patch: `{"volumes": […]}`, `{"serviceAccountName": …}`. Further
    /// `containers` come behind the first.
    pub fn pod_spec(mut self, patch: Value) -> Self {
        merge(&mut self.pod, patch);
        self
    }

    /// How long its pods have been running.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The object as a user writes it, without a status; for tests that apply it in another way.
    pub fn object(&self) -> Value {
        let mut spec = json!({
            "replicas": self.wanted(),
            "selector": {"matchLabels": {"app": self.name}},
            "template": self.template(),
        });
        if self.kind == "StatefulSet" {
            spec["serviceName"] = json!(self.name);
        }
        json!({
            "apiVersion": "apps/v1", "kind": self.kind,
            "metadata": {"name": self.name, "labels": {"app": self.name}}, "spec": spec,
        })
    }

    /// Creates the workload, its `ReplicaSet`, its pods and all their statuses.
    pub async fn create<'k>(&self, ns: &Namespace<'k>) -> Running<'k> {
        let made = ns.apply(self.object()).await;
        // As in the seed: ten digits of the template's hash, five letters of the pod.
        let hash = format!("{:010x}", fnv(&self.template().to_string()) & 0xff_ffff_ffff);
        let owner = if self.kind == "Deployment" { self.replica_set(ns, &made, &hash).await } else { made };
        let mut pods = Vec::new();
        for (n, address) in self.addresses.iter().enumerate() {
            let name = match self.kind {
                "Deployment" => {
                    let letters = fnv(&address.to_string()) & 0xf_ffff;
                    format!("{}-{hash}-{letters:05x}", self.name)
                }
                _ => format!("{}-{n}", self.name),
            };
            let node = &self.nodes[n % self.nodes.len()];
            ns.apply(self.pod(&name, &hash, &owner, node, *address)).await;
            pods.push(name);
        }
        let running = Running { ns: ns.clone(), kind: self.kind, name: self.name.clone(), pods };
        running.count().await;
        running
    }

    async fn replica_set(&self, ns: &Namespace<'_>, deployment: &Value, hash: &str) -> Value {
        let mut template = self.template();
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let labels = template["metadata"]["labels"].clone();
        ns.apply(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", self.name), "labels": labels, "ownerReferences": [owner(deployment)],
            },
            "spec": {"replicas": self.wanted(), "selector": {"matchLabels": labels}, "template": template},
        }))
        .await
    }

    fn pod(&self, name: &str, hash: &str, by: &Value, node: &str, address: IpAddr) -> Value {
        let mut pod = self.template();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["ownerReferences"] = json!([owner(by)]);
        if self.kind == "Deployment" {
            pod["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        }
        pod["spec"]["nodeName"] = json!(node);
        let started = format!("{:.0}", before(self.age));
        let containers = pod["spec"]["containers"].as_array().expect("containers").clone();
        pod["status"] = status(&containers, true, &started);
        pod["status"]["podIP"] = json!(address);
        pod["status"]["podIPs"] = json!([{"ip": address}]);
        pod
    }

    fn template(&self) -> Value {
        let mut spec = self.pod.clone();
        let mut containers = vec![self.container.clone()];
        if let Some(Value::Array(more)) = spec.get_mut("containers").map(Value::take) {
            containers.extend(more);
        }
        spec["containers"] = Value::Array(containers);
        json!({"metadata": {"labels": {"app": self.name}, "annotations": self.annotations}, "spec": spec})
    }

    fn wanted(&self) -> usize {
        self.replicas.unwrap_or(self.addresses.len())
    }
}

// === impl Running ===

impl Running<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of its pods, in the order of their addresses.
    pub fn pods(&self) -> &[String] {
        &self.pods
    }

    /// A pod becomes ready or stops being so, and the workload counts again.
    pub async fn ready(&self, pod: usize, ready: bool) {
        let name = &self.pods[pod];
        let current = self.ns.get("Pod", name).await;
        let containers = current["spec"]["containers"].as_array().expect("containers").clone();
        let started = current["status"]["startTime"].as_str().expect("a start").to_owned();
        self.ns.patch_status("Pod", name, status(&containers, ready, &started)).await;
        self.count().await;
    }

    /// A pod goes away, and nobody makes another.
    pub async fn remove(&mut self, pod: usize) {
        self.ns.delete("Pod", &self.pods.remove(pod)).await;
        self.count().await;
    }

    /// Writes the workload's status from its pods, as its controller would; for tests that changed pods themselves.
    pub async fn count(&self) {
        let mut ready = 0;
        for name in &self.pods {
            let pod = self.ns.get("Pod", name).await;
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            ready += usize::from(conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
        }
        let made = self.ns.get(self.kind, &self.name).await;
        let all = self.pods.len();
        self.ns
            .patch_status(
                self.kind,
                &self.name,
                json!({
                    "observedGeneration": made["metadata"]["generation"],
                    "replicas": all, "updatedReplicas": all, "readyReplicas": ready, "availableReplicas": ready,
                }),
            )
            .await;
    }
}

/// What a kubelet says of a pod that runs.
fn status(containers: &[Value], ready: bool, started: &str) -> Value {
    let condition = |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": started});
    let containers: Vec<Value> = containers
        .iter()
        .map(|container| {
            let image = container["image"].as_str().expect("an image");
            let repository = image.split_once('@').map_or(image, |(name, _)| name);
            json!({
                "name": container["name"], "image": image, "ready": ready, "started": true, "restartCount": 0,
                "imageID": format!("{repository}@sha256:{:064x}", fnv(image)),
                "containerID": format!("containerd://{:064x}", fnv(started)),
                "state": {"running": {"startedAt": started}},
            })
        })
        .collect();
    json!({
        "phase": "Running", "startTime": started, "qosClass": "Burstable",
        "conditions": [
            condition("PodScheduled", true), condition("Initialized", true),
            condition("ContainersReady", ready), condition("Ready", ready),
        ],
        "containerStatuses": containers,
    })
}

fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// RFC 7396.
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => drop(into.as_object_mut().expect("an object").shift_remove(&key)),
            value if value.is_object() && into.get(&key).is_some_and(Value::is_object) => {
                merge(&mut into[&key], value);
            }
            value => into[&key] = value,
        }
    }
}

/// FNV-1a: names that are the same in every run.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
