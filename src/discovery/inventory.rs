//! What we know of the cluster: plain data, fed by watches, read by discovery and by the cluster checks. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::objects::{self, ContainerStatus, MonitorSpec, Pairs, Selector, Template, WireMeta};
use crate::model::Resource;

/// Namespace and name of an object; the namespace is empty for what has none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// A workload as the configuration names it: a Deployment or a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadRef {
    /// Which of the two.
    pub kind: ControllerKind,
    /// Which object.
    pub object: ObjectRef,
}

/// What controls the pods of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControllerKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
}

/// One watch or poll: what is read, and how narrowly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Feed {
    /// What is read.
    pub resource: Resource,
    /// Of which namespace; the whole cluster's, when absent.
    pub namespace: Option<Arc<str>>,
    /// Which of them; the server filters.
    pub only: Only,
}

/// Which objects of a feed are asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Only {
    /// All of them.
    All,
    /// The one of that name.
    Named(Arc<str>),
    /// Those with these labels, as Kubernetes writes selectors; kept under the name of the workload they belong to.
    Labelled {
        /// Whose pods they are.
        workload: WorkloadRef,
        /// The label selector.
        selector: Arc<str>,
    },
}

/// How a feed is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// What it can do now.
    pub sight: Sight,
    /// Since when.
    pub since: Timestamp,
    /// When the API server was last heard on it: a list, an event or a bookmark.
    pub heard: Option<Timestamp>,
    /// Objects that could not be read since the start.
    pub skipped: u64,
}

/// Whether what a feed holds is what the cluster says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The first list is not here yet.
    Starting,
    /// It is.
    Live,
    /// The API server does not serve this resource: there is none of it.
    NotServed,
    /// Our account may not read it.
    Forbidden,
    /// The API server does not accept our account's token.
    Unauthorized,
    /// The API server cannot be reached; what is held is what was before.
    Lost,
    /// There is no cluster to ask: [`Inventory::unavailable`] says why.
    NoCluster,
}

/// The parts of the metadata that we read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations.
    pub annotations: Pairs,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// It is being deleted.
    pub deleting: bool,
    /// Kind and name of its controller.
    pub owner: Option<(Box<str>, Box<str>)>,
    /// How often its spec was changed.
    pub generation: Option<i64>,
}

/// A Deployment or a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Controller {
    /// Its metadata.
    pub meta: Meta,
    /// Wanted pods.
    pub replicas: u32,
    /// Which pods are its own.
    pub selector: Selector,
    /// How a new pod looks.
    pub template: Template,
    /// The claims of each pod of a StatefulSet.
    pub claims: Vec<objects::ClaimTemplate>,
    /// The number of a StatefulSet's first pod.
    pub first_ordinal: u32,
    /// What is there.
    pub status: objects::ControllerStatus,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Its labels.
    pub labels: Pairs,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When the kubelet took it.
    pub started: Option<Timestamp>,
    /// It is being deleted.
    pub deleting: bool,
    /// Name of its ReplicaSet or StatefulSet.
    pub owner: Option<Box<str>>,
    /// Its node.
    pub node: Option<Box<str>>,
    /// Its address.
    pub ip: Option<Box<str>>,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<Box<str>>,
    /// Its condition `Ready`.
    pub ready: bool,
    /// Its containers, init containers last.
    pub containers: Vec<ContainerStatus>,
}

/// Everything that is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Every feed with its state.
    pub feeds: BTreeMap<Feed, FeedState>,
    /// Why there is no cluster to ask, if there is none: one sentence.
    pub unavailable: Option<Box<str>>,
    /// Deployments and StatefulSets.
    pub controllers: BTreeMap<WorkloadRef, Controller>,
    /// The pods of each watched workload, by name.
    pub pods: BTreeMap<WorkloadRef, BTreeMap<Box<str>, Pod>>,
    /// Services.
    pub services: BTreeMap<ObjectRef, (Meta, objects::ServiceSpec, objects::ServiceStatus)>,
    /// The slices of endpoints; the Service is in the label `kubernetes.io/service-name`.
    pub endpoint_slices: BTreeMap<ObjectRef, (Meta, Vec<objects::Endpoint>)>,
    /// The ConfigMaps that workloads refer to.
    pub config_maps: BTreeMap<ObjectRef, Pairs>,
    /// Claims for volumes.
    pub claims: BTreeMap<ObjectRef, (objects::ClaimSpec, Option<Box<str>>)>,
    /// Classes of volumes, with their binding mode; the default one is marked by its annotation.
    pub storage_classes: BTreeMap<ObjectRef, (Meta, Option<Box<str>>)>,
    /// Quotas.
    pub quotas: BTreeMap<ObjectRef, (objects::QuotaSpec, objects::QuotaStatus)>,
    /// CronJobs.
    pub cron_jobs: BTreeMap<ObjectRef, objects::CronJobSpec>,
    /// Autoscalers.
    pub autoscalers: BTreeMap<ObjectRef, objects::AutoscalerSpec>,
    /// Nodes, with their labels and whether they are ready.
    pub nodes: BTreeMap<ObjectRef, (Pairs, bool)>,
    /// The Leases of nodes.
    pub node_leases: BTreeMap<ObjectRef, objects::LeaseSpec>,
    /// Custom resources.
    pub definitions: BTreeMap<ObjectRef, Vec<objects::DefinitionVersion>>,
    /// ServiceMonitors.
    pub service_monitors: BTreeMap<ObjectRef, MonitorSpec>,
    /// PodMonitors.
    pub pod_monitors: BTreeMap<ObjectRef, MonitorSpec>,
}

// === impl ObjectRef ===

impl ObjectRef {
    /// Of these names.
    pub fn new(namespace: &str, name: &str) -> Self {
        ObjectRef { namespace: Arc::from(namespace), name: Arc::from(name) }
    }

    /// Of an object that was read.
    pub fn of(meta: &WireMeta) -> Self {
        Self::new(&meta.namespace, &meta.name)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl WorkloadRef ===

impl WorkloadRef {
    /// The resource that holds it.
    pub fn resource(&self) -> Resource {
        match self.kind {
            ControllerKind::Deployment => Resource::Deployments,
            ControllerKind::StatefulSet => Resource::StatefulSets,
        }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Arc<str> {
        &self.object.namespace
    }
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ControllerKind::Deployment => "Deployment",
            ControllerKind::StatefulSet => "StatefulSet",
        };
        write!(f, "{kind} {}", self.object)
    }
}

// === impl Feed ===

impl Feed {
    /// Everything of a resource in a namespace, or in the cluster.
    pub fn all(resource: Resource, namespace: Option<&Arc<str>>) -> Self {
        Feed { resource, namespace: namespace.cloned(), only: Only::All }
    }

    /// One object.
    pub fn named(resource: Resource, object: &ObjectRef) -> Self {
        let namespace = Some(object.namespace.clone());
        Feed { resource, namespace, only: Only::Named(object.name.clone()) }
    }

    /// The pods of a workload; `None` while its selector selects everything or nothing that can be asked for.
    pub fn pods(workload: &WorkloadRef, controller: &Controller) -> Option<Self> {
        let selector = Arc::from(controller.selector.query()?);
        let only = Only::Labelled { workload: workload.clone(), selector };
        Some(Feed { resource: Resource::Pods, namespace: Some(workload.namespace().clone()), only })
    }

    /// The rule that our account needs for it, as a sentence says it.
    pub fn rule(&self) -> String {
        let verbs = if self.resource == Resource::NodeLeases { "list" } else { "list, watch" };
        let named = match &self.only {
            Only::Named(name) => format!(" with resourceNames [{name}]"),
            Only::All | Only::Labelled { .. } => String::new(),
        };
        let place = match &self.namespace {
            Some(namespace) => format!(" in namespace {namespace}"),
            None => " in the whole cluster".to_owned(),
        };
        format!("`{verbs}` on `{}`{named}{place}", self.resource.plural())
    }
}

// === impl Meta ===

impl From<WireMeta> for Meta {
    fn from(meta: WireMeta) -> Self {
        let WireMeta {
            name: _,
            namespace: _,
            resource_version: _,
            labels,
            mut annotations,
            creation_timestamp,
            deletion_timestamp,
            owner_references,
            generation,
        } = meta;
        // kubectl keeps a copy of the whole object here: nothing that we need, and it may hold anything.
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        let owner = owner_references.into_iter().find(|owner| owner.controller);
        Meta {
            labels,
            annotations,
            created: creation_timestamp,
            deleting: deletion_timestamp.is_some(),
            owner: owner.map(|owner| (owner.kind, owner.name)),
            generation,
        }
    }
}

impl From<&WireMeta> for Meta {
    fn from(meta: &WireMeta) -> Self {
        Meta::from(meta.clone())
    }
}

// === impl Controller ===

impl Controller {
    /// From what the API server sends.
    pub fn new(meta: &WireMeta, spec: objects::ControllerSpec, status: objects::ControllerStatus) -> Self {
        let objects::ControllerSpec { replicas, selector, template, volume_claim_templates, ordinals } = spec;
        Controller {
            meta: Meta::from(meta),
            replicas: replicas.unwrap_or(1),
            selector,
            template,
            claims: volume_claim_templates,
            first_ordinal: ordinals.start,
            status,
        }
    }
}

// === impl Pod ===

impl From<objects::Pod> for Pod {
    fn from(pod: objects::Pod) -> Self {
        let objects::Pod { metadata, spec, status } = pod;
        let Meta { labels, annotations: _, created, deleting, owner, generation: _ } = Meta::from(metadata);
        let ready = status.conditions.iter().any(|is| &*is.kind == "Ready" && &*is.status == "True");
        let mut containers = status.container_statuses;
        containers.extend(status.init_container_statuses);
        // There are thousands of pods, and serde leaves room for more containers than there are.
        containers.shrink_to_fit();
        Pod {
            labels,
            created,
            started: status.start_time,
            deleting,
            owner: owner.map(|(_, name)| name),
            node: spec.node_name,
            ip: status.pod_ip,
            phase: status.phase,
            ready,
            containers,
        }
    }
}

// === impl Inventory ===

impl Inventory {
    /// How a feed is; one that was never asked for is starting.
    pub fn sight(&self, feed: &Feed) -> Sight {
        self.feeds.get(feed).map_or(Sight::Starting, |state| state.sight)
    }

    /// The first of these feeds that does not show what the cluster says, with its state.
    pub fn blind_spot<'f>(&self, feeds: impl IntoIterator<Item = &'f Feed>) -> Option<(&'f Feed, Sight)> {
        feeds.into_iter().map(|feed| (feed, self.sight(feed))).find(|(_, sight)| match sight {
            Sight::Live | Sight::NotServed => false,
            Sight::Starting | Sight::Forbidden | Sight::Unauthorized | Sight::Lost | Sight::NoCluster => true,
        })
    }

    /// Takes note of how a feed is; says whether that is news. Only a feed that is kept has a state.
    pub fn note(&mut self, feed: &Feed, sight: Sight, now: Timestamp) -> bool {
        let Some(state) = self.feeds.get_mut(feed) else { return false };
        if sight == Sight::Live {
            state.heard = Some(now);
        }
        let news = state.sight != sight;
        if news {
            (state.sight, state.since) = (sight, now);
        }
        news
    }

    /// The pods of a workload, those that are being deleted or have ended included.
    pub fn pods_of(&self, workload: &WorkloadRef) -> impl Iterator<Item = (&str, &Pod)> {
        self.pods.get(workload).into_iter().flatten().map(|(name, pod)| (&**name, pod))
    }
}
