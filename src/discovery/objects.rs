//! The parts of Kubernetes objects that we read. Everything else is dropped while it is parsed: a whole Pod costs a
//! hundred times as much memory (ADR 0008).
//!
//! Each struct here is what the API server sends; what is kept of it is in [`super::inventory`], whose nouns the
//! specs below are already. A field that may be `null` on the wire is an `Option` or is read by `nullable`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

mod monitor;
mod pod;
mod service;
mod template;

pub use monitor::{MonitorEndpoint, MonitorSpec, NamespaceSelector};
pub use pod::{Condition, ContainerState, ContainerStatus, PodPlace, PodStatus, Waiting};
pub use service::{
    Endpoint, EndpointConditions, Ingress, LoadBalancer, ServicePort, ServiceSpec, ServiceStatus,
};
pub use template::{
    ClaimName, ConfigMapFiles, Container, ContainerPort, EnvFrom, EnvSource, EnvVar, FieldRef, HealthProbe,
    HttpGet, HttpHeader, KeyRef, KeyToPath, ObjectName, PodSpec, Port, PortOf, Projected, Projection,
    Resources, SecretFiles, Template, TemplateMeta, Volume, VolumeMount,
};

/// Labels, annotations and other pairs of names and values.
pub type Pairs = BTreeMap<Box<str>, Box<str>>;

/// What the API server sends of one object.
pub trait Wire: DeserializeOwned {
    /// Its standard metadata.
    fn metadata(&self) -> &WireMeta;
}

/// The parts of the standard metadata that we read. Above all not `managedFields`, which is half of a Pod's text and
/// would be built in memory before it is dropped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireMeta {
    /// Its name; absent in a bookmark.
    pub name: Box<str>,
    /// Its namespace; empty for what has none.
    pub namespace: Box<str>,
    /// The version of the object, which says where in the history a watch goes on.
    pub resource_version: Box<str>,
    /// Its labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: Pairs,
    /// Its annotations.
    #[serde(deserialize_with = "nullable")]
    pub annotations: Pairs,
    /// When it was created; `null` in a template.
    pub creation_timestamp: Option<Timestamp>,
    /// When its deletion was asked for.
    pub deletion_timestamp: Option<Timestamp>,
    /// Who owns it.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<OwnerReference>,
    /// How often its spec was changed.
    pub generation: Option<i64>,
}

/// Who owns an object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// Kind of the owner.
    pub kind: Box<str>,
    /// Name of the owner.
    pub name: Box<str>,
    /// It is the one that controls it.
    pub controller: bool,
}

/// One wire struct: standard metadata, and a spec and a status of ours.
macro_rules! wire {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// The standard metadata.
            pub metadata: WireMeta,
            $($(#[$fmeta])* #[serde(default, deserialize_with = "nullable")] pub $field: $type,)*
        }

        impl Wire for $name {
            fn metadata(&self) -> &WireMeta {
                &self.metadata
            }
        }
    };
}

wire! {
    /// A Deployment.
    Deployment {
        /// What is wanted.
        spec: ControllerSpec,
        /// What is there.
        status: ControllerStatus,
    }
}

wire! {
    /// A StatefulSet.
    StatefulSet {
        /// What is wanted.
        spec: ControllerSpec,
        /// What is there.
        status: ControllerStatus,
    }
}

wire! {
    /// A Pod.
    Pod {
        /// Where it was put.
        spec: PodPlace,
        /// How it is.
        status: PodStatus,
    }
}

wire! {
    /// A Service.
    Service {
        /// What it selects.
        spec: ServiceSpec,
        /// Its load balancer.
        status: ServiceStatus,
    }
}

wire! {
    /// A part of the endpoints of a Service.
    EndpointSlice {
        /// Its endpoints; the API server writes `null` for none.
        endpoints: Vec<Endpoint>,
    }
}

wire! {
    /// A ConfigMap.
    ConfigMap {
        /// Its texts. Binary data is never a setting that we understand.
        data: Pairs,
    }
}

wire! {
    /// A claim for a volume.
    PersistentVolumeClaim {
        /// What is wanted.
        spec: ClaimSpec,
        /// What is there.
        status: Phase,
    }
}

wire! {
    /// A class of volumes.
    StorageClass {
        /// `Immediate` or `WaitForFirstConsumer`.
        volume_binding_mode: Option<Box<str>>,
    }
}

wire! {
    /// A quota of a namespace.
    ResourceQuota {
        /// Which pods it counts.
        spec: QuotaSpec,
        /// What is allowed and used.
        status: QuotaStatus,
    }
}

wire! {
    /// A CronJob.
    CronJob {
        /// Whether it runs, and when.
        spec: CronJobSpec,
    }
}

wire! {
    /// A horizontal autoscaler.
    HorizontalPodAutoscaler {
        /// What it scales.
        spec: AutoscalerSpec,
    }
}

wire! {
    /// A Node.
    Node {
        /// Its conditions.
        status: NodeStatus,
    }
}

wire! {
    /// A Lease; those of nodes are in the namespace `kube-node-lease`.
    Lease {
        /// When it was renewed.
        spec: LeaseSpec,
    }
}

wire! {
    /// The definition of a custom resource.
    CustomResourceDefinition {
        /// Its versions.
        spec: DefinitionSpec,
    }
}

wire! {
    /// A ServiceMonitor or a PodMonitor.
    Monitor {
        /// What it scrapes.
        spec: MonitorSpec,
    }
}

/// What a Deployment or a StatefulSet wants.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControllerSpec {
    /// Wanted pods; 1 when absent.
    pub replicas: Option<u32>,
    /// Which pods are its own.
    pub selector: Selector,
    /// How a new pod looks.
    pub template: Template,
    /// The claims of each pod of a StatefulSet.
    pub volume_claim_templates: Vec<ClaimTemplate>,
    /// How the pods of a StatefulSet are numbered.
    #[serde(deserialize_with = "nullable")]
    pub ordinals: Ordinals,
}

/// How the pods of a StatefulSet are numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The number of the first one.
    pub start: u32,
}

/// What is there of a Deployment or a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControllerStatus {
    /// Pods that are ready.
    pub ready_replicas: u32,
    /// Pods that are there.
    pub replicas: u32,
    /// Pods of the newest template.
    pub updated_replicas: u32,
    /// Which generation of the spec this speaks of.
    pub observed_generation: Option<i64>,
}

/// A selector by labels; all of it must hold. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// Labels with their values.
    pub match_labels: Pairs,
    /// Other demands.
    pub match_expressions: Vec<Requirement>,
}

/// A demand on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirement {
    /// The label.
    pub key: Box<str>,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: Box<str>,
    /// The values that the operator speaks of.
    pub values: Vec<Box<str>>,
}

/// A claim that each pod of a StatefulSet gets: `<name>-<set>-<ordinal>`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClaimTemplate {
    /// Its name.
    pub metadata: NameOnly,
    /// What is wanted.
    pub spec: ClaimSpec,
}

/// A name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NameOnly {
    /// The name.
    pub name: Box<str>,
}

/// What a claim wants.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// Its class: absent is the cluster's default one, empty is none.
    pub storage_class_name: Option<Box<str>>,
    /// The volume that it is bound to.
    pub volume_name: Option<Box<str>>,
}

/// The phase of an object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Phase {
    /// `Bound`, `Pending` or `Lost`, for a claim.
    pub phase: Option<Box<str>>,
}

/// Which pods a quota counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    /// Kinds of pods; every pod, when empty.
    #[serde(deserialize_with = "nullable")]
    pub scopes: Vec<Box<str>>,
    /// Other kinds of pods, such as those of a priority class.
    pub scope_selector: Option<serde::de::IgnoredAny>,
}

/// What a quota allows and what is used, as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QuotaStatus {
    /// What is allowed.
    #[serde(deserialize_with = "nullable")]
    pub hard: Pairs,
    /// What is used.
    #[serde(deserialize_with = "nullable")]
    pub used: Pairs,
}

/// Whether a CronJob runs, and when.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CronJobSpec {
    /// It starts nothing.
    pub suspend: bool,
    /// When, as cron writes it.
    pub schedule: Box<str>,
}

/// What an autoscaler scales.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerSpec {
    /// The object.
    pub scale_target_ref: TargetRef,
    /// Fewest pods; 1 when absent.
    pub min_replicas: Option<u32>,
    /// Most pods.
    pub max_replicas: u32,
}

/// An object by kind and name, in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// The conditions of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// What is true of it.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

/// When a Lease was renewed, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Who holds it.
    pub holder_identity: Option<Box<str>>,
    /// When it was renewed.
    pub renew_time: Option<Timestamp>,
    /// For how long it holds, in seconds.
    pub lease_duration_seconds: Option<u32>,
}

/// The versions of a custom resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DefinitionSpec {
    /// The versions.
    pub versions: Vec<DefinitionVersion>,
}

/// A version of a custom resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DefinitionVersion {
    /// Its name, such as `v1`.
    pub name: Box<str>,
    /// It can be asked for.
    pub served: bool,
    /// It is the one that is stored.
    pub storage: bool,
}

// === impl Selector ===

impl Selector {
    /// As the API server takes it in a query; `None` for one that selects everything, or that we do not understand:
    /// an unknown operator left out would select too much.
    pub fn query(&self) -> Option<String> {
        let labels = self.match_labels.iter().map(|(key, value)| Some(format!("{key}={value}")));
        let demands = self.match_expressions.iter().map(|Requirement { key, operator, values }| {
            let values = values.join(",");
            Some(match &**operator {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_string(),
                "DoesNotExist" => format!("!{key}"),
                _ => return None,
            })
        });
        let parts: Vec<String> = labels.chain(demands).collect::<Option<_>>()?;
        (!parts.is_empty()).then(|| parts.join(","))
    }
}

/// `null` is the same as absent.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
