//! A small cluster for the tests of the judges, as the API server writes it: objects become an inventory through the
//! wire types, so that these are proven too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Spec;
use super::part::Part;
use crate::config::{Attempts, Schedule};
use crate::discovery::inventory::{Controller, FeedState, Meta};
use crate::discovery::{ControllerKind, Feed, Inventory, ObjectRef, Only, Sight, WorkloadRef, objects};
use crate::model::{GapReason, Metric, Outcome, Reason, Resource, Role, Strategy};
use crate::probe::Answer;

/// The moment of the look; feeds were heard five seconds before.
pub(super) const NOW: &str = "2026-06-01T00:00:00Z";
const HEARD: &str = "2026-05-31T23:59:55Z";

/// A cluster, and what is asked about it.
pub(super) struct Scene {
    /// What is asked.
    pub spec: Spec,
    /// When.
    pub now: Timestamp,
    objects: BTreeMap<(String, String), Value>,
    feeds: BTreeMap<Feed, Sight>,
}

// === impl Scene ===

impl Scene {
    /// Deployment `api-server`: three ready pods on the nodes a and b, behind the Service of its name.
    pub fn new() -> Self {
        let workload = WorkloadRef {
            kind: ControllerKind::Deployment,
            object: ObjectRef::new("platform", "api-server"),
        };
        let mut scene = Scene::empty(workload);
        scene.put(json!({
            "kind": "Deployment",
            "metadata": {"namespace": "platform", "name": "api-server", "generation": 4},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "api-server"}},
                "template": {"metadata": {"labels": {"app": "api-server"}}, "spec": {"containers": [{
                    "name": "app", "image": "registry.example/api:1",
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                    "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
                }]}},
            },
            "status": {"replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "observedGeneration": 4},
        }));
        for number in 0..3 {
            let pod = format!("api-server-5d4f-{number}");
            scene.pod(&pod, ("ReplicaSet", "api-server-5d4f"), ["a", "b", "a"][number], number + 1);
            let labels = json!({"app": "api-server", "pod-template-hash": "5d4f"});
            scene.edit("Pod", &pod, json!({"metadata": {"labels": labels}}));
        }
        scene.service("api-server", &json!("10.96.0.1"), 3);
        scene
    }

    /// StatefulSet `ledger`: two ready pods with a bound claim each, behind a headless Service of its name.
    pub fn stateful() -> Self {
        let workload =
            WorkloadRef { kind: ControllerKind::StatefulSet, object: ObjectRef::new("platform", "ledger") };
        let mut scene = Scene::empty(workload);
        scene.put(json!({
            "kind": "StatefulSet",
            "metadata": {"namespace": "platform", "name": "ledger", "generation": 1},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "ledger"}}, "serviceName": "ledger",
                "template": {"metadata": {"labels": {"app": "ledger"}}, "spec": {"containers": [{"name": "app", "image": "x"}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                    "storageClassName": "gp3", "accessModes": ["ReadWriteOnce"],
                }}],
            },
            "status": {"replicas": 2, "readyReplicas": 2, "observedGeneration": 1},
        }));
        for number in 0..2 {
            scene.pod(&format!("ledger-{number}"), ("StatefulSet", "ledger"), "a", number + 1);
            scene.put(json!({
                "kind": "PersistentVolumeClaim",
                "metadata": {"namespace": "platform", "name": format!("data-ledger-{number}")},
                "spec": {"storageClassName": "gp3", "volumeName": format!("pv-{number}")}, "status": {"phase": "Bound"},
            }));
        }
        scene.service("ledger", &json!("None"), 2);
        scene
    }

    /// `api-server` of a pilot light: everything is there but the pods.
    pub fn pilot_light() -> Self {
        let mut scene = Scene::new();
        scene.spec.strategy = Strategy::PilotLight;
        scene.edit(
            "Deployment",
            "api-server",
            json!({"spec": {"replicas": 0}, "status": {"readyReplicas": 0}}),
        );
        scene.delete("Pod");
        scene.delete("EndpointSlice");
        scene
    }

    fn empty(workload: WorkloadRef) -> Self {
        let mut feeds = BTreeMap::new();
        let namespace = workload.namespace().clone();
        for resource in Resource::ALL {
            let mut feed = Feed::all(*resource, Some(&namespace));
            if *resource == Resource::Pods {
                feed.only = Only::Labelled { workload: workload.clone(), selector: Arc::from("app=x") };
            }
            if [Resource::Nodes, Resource::StorageClasses].contains(resource) {
                feed.namespace = None;
            }
            if *resource == Resource::NodeLeases {
                feed.namespace = Some(Arc::from("kube-node-lease"));
            }
            feeds.insert(feed, Sight::Live);
        }
        let spec = Spec {
            system: Arc::from("orders"),
            name: workload.object.name.clone(),
            workload,
            role: Role::Standby,
            strategy: Strategy::Hot,
            required: None,
            cron_jobs_allowed: vec![],
            asks_cron_jobs: true,
            schedule: Schedule {
                interval: Duration::from_secs(30),
                timeout: Duration::from_secs(10),
                attempts: Attempts { pass: 1, of: 1 },
            },
        };
        let mut scene = Scene { spec, now: NOW.parse().unwrap(), objects: BTreeMap::new(), feeds };
        for node in ["a", "b"] {
            scene.put(json!({
                "kind": "Node", "metadata": {"name": node},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }));
            scene.put(json!({
                "kind": "Lease", "metadata": {"namespace": "kube-node-lease", "name": node},
                "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": "2026-05-31T23:59:50.500000Z"},
            }));
        }
        scene
    }

    fn pod(&mut self, name: &str, owner: (&str, &str), node: &str, address: usize) {
        self.put(json!({
            "kind": "Pod",
            "metadata": {
                "namespace": "platform", "name": name, "creationTimestamp": "2026-05-31T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner.0, "name": owner.1, "uid": "u", "controller": true}],
            },
            "spec": {"nodeName": node},
            "status": {
                "phase": "Running", "podIP": format!("10.1.0.{address}"), "startTime": "2026-05-31T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }));
    }

    fn service(&mut self, name: &str, cluster_ip: &Value, endpoints: usize) {
        self.put(json!({
            "kind": "Service", "metadata": {"namespace": "platform", "name": name},
            "spec": {"selector": {"app": name}, "clusterIP": cluster_ip, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
            "status": {"loadBalancer": {}},
        }));
        let endpoints: Vec<Value> = (1..=endpoints)
            .map(|address| json!({"addresses": [format!("10.1.0.{address}")], "conditions": {"ready": true}}))
            .collect();
        self.put(json!({
            "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
            "metadata": {
                "namespace": "platform", "name": format!("{name}-x1y2z"), "labels": {"kubernetes.io/service-name": name},
            },
        }));
    }

    /// Writes an object, or writes it anew.
    pub fn put(&mut self, object: Value) {
        self.objects.insert((text(&object["kind"]), text(&object["metadata"]["name"])), object);
    }

    /// Changes an object by a merge patch (RFC 7386).
    pub fn edit(&mut self, kind: &str, name: &str, patch: Value) {
        let object = self.objects.get_mut(&(kind.to_owned(), name.to_owned()));
        merge(object.unwrap_or_else(|| panic!("no {kind} {name}")), patch);
    }

    /// Deletes every object of a kind.
    pub fn delete(&mut self, kind: &str) {
        self.objects.retain(|(found, _), _| found != kind);
    }

    /// Sets what the feeds of a resource can see.
    pub fn sight(&mut self, resource: Resource, sight: Sight) {
        self.feeds
            .iter_mut()
            .filter(|(feed, _)| feed.resource == resource)
            .for_each(|(_, state)| *state = sight);
    }

    /// Nobody asked for the resource.
    pub fn delete_feed(&mut self, resource: Resource) {
        self.feeds.retain(|feed, _| feed.resource != resource);
    }

    /// The answer to one question.
    pub fn answer(&self, part: Part) -> Answer {
        part.answer(&self.spec, &self.inventory(), self.now)
    }

    /// Everything, as it is known.
    pub fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::default();
        for (feed, sight) in &self.feeds {
            let state =
                FeedState { sight: *sight, since: self.now, heard: Some(HEARD.parse().unwrap()), skipped: 0 };
            inventory.feeds.insert(feed.clone(), state);
        }
        for ((kind, _), object) in &self.objects {
            self.add(&mut inventory, kind, object);
        }
        inventory
    }

    fn add(&self, inventory: &mut Inventory, kind: &str, object: &Value) {
        match kind {
            "Deployment" => {
                let objects::Deployment { metadata, spec, status } = read(object);
                let workload =
                    WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::of(&metadata) };
                inventory.controllers.insert(workload, Controller::new(&metadata, spec, status));
            }
            "StatefulSet" => {
                let objects::StatefulSet { metadata, spec, status } = read(object);
                let workload =
                    WorkloadRef { kind: ControllerKind::StatefulSet, object: ObjectRef::of(&metadata) };
                inventory.controllers.insert(workload, Controller::new(&metadata, spec, status));
            }
            "Pod" => {
                let pod: objects::Pod = read(object);
                let name = pod.metadata.name.clone();
                inventory.pods.entry(self.spec.workload.clone()).or_default().insert(name, pod.into());
            }
            "Service" => {
                let objects::Service { metadata, spec, status } = read(object);
                let service = (Meta::from(&metadata), spec, status);
                inventory.services.insert(ObjectRef::of(&metadata), service);
            }
            "EndpointSlice" => {
                let objects::EndpointSlice { metadata, endpoints } = read(object);
                let slice = (Meta::from(&metadata), endpoints);
                inventory.endpoint_slices.insert(ObjectRef::of(&metadata), slice);
            }
            "PersistentVolumeClaim" => {
                let objects::PersistentVolumeClaim { metadata, spec, status } = read(object);
                inventory.claims.insert(ObjectRef::of(&metadata), (spec, status.phase));
            }
            "StorageClass" => {
                let objects::StorageClass { metadata, volume_binding_mode } = read(object);
                let class = (Meta::from(&metadata), volume_binding_mode);
                inventory.storage_classes.insert(ObjectRef::of(&metadata), class);
            }
            "ResourceQuota" => {
                let objects::ResourceQuota { metadata, spec, status } = read(object);
                inventory.quotas.insert(ObjectRef::of(&metadata), (spec, status));
            }
            "CronJob" => {
                let objects::CronJob { metadata, spec } = read(object);
                inventory.cron_jobs.insert(ObjectRef::of(&metadata), spec);
            }
            "HorizontalPodAutoscaler" => {
                let objects::HorizontalPodAutoscaler { metadata, spec } = read(object);
                inventory.autoscalers.insert(ObjectRef::of(&metadata), spec);
            }
            "Node" => {
                let objects::Node { metadata, status } = read(object);
                let ready = status.conditions.iter().any(|is| &*is.kind == "Ready" && &*is.status == "True");
                inventory.nodes.insert(ObjectRef::of(&metadata), (Meta::from(&metadata).labels, ready));
            }
            "Lease" => {
                let objects::Lease { metadata, spec } = read(object);
                inventory.node_leases.insert(ObjectRef::of(&metadata), spec);
            }
            _ => panic!("no place for a {kind}"),
        }
    }
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

/// It passed, and says this.
#[track_caller]
pub(super) fn passed(answer: &Answer, words: &str) {
    ended(answer, Outcome::Pass, words);
}

/// It failed for that reason, and says this.
#[track_caller]
pub(super) fn failed(answer: &Answer, reason: Reason, words: &str) {
    ended(answer, Outcome::Fail(reason), words);
}

/// It does not apply, and says this.
#[track_caller]
pub(super) fn skipped(answer: &Answer, words: &str) {
    ended(answer, Outcome::Skipped, words);
}

/// It is a gap of that kind, and says this.
#[track_caller]
pub(super) fn gap(answer: &Answer, gap: GapReason, words: &str) {
    assert_eq!(answer.gap, Some(gap), "{}", answer.detail);
    ended(answer, Outcome::Blind(Reason::Misconfigured), words);
}

#[track_caller]
fn ended(answer: &Answer, outcome: Outcome, words: &str) {
    assert_eq!(answer.outcome, outcome, "{}", answer.detail);
    assert!(answer.detail.contains(words), "`{}` does not say `{words}`", answer.detail);
}

/// The value of a fact, if it was learnt.
pub(super) fn value(answer: &Answer, metric: &'static Metric) -> Option<f64> {
    answer.facts.iter().find(|fact| std::ptr::eq(fact.metric, metric)).map(|fact| fact.value)
}
