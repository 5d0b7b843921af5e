//! The parts of Kubernetes objects that we read. Everything else is dropped while it is parsed: a whole Pod costs a
//! hundred times as much memory (ADR 0008).
//!
//! Each struct here is what the API server sends; what is kept of it is in [`super::inventory`], whose nouns the
//! specs below are already. A field that may be `null` on the wire is an `Option` or is read by `nullable`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

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

/// How a new pod looks.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Template {
    /// Its labels and annotations.
    pub metadata: TemplateMeta,
    /// Its containers and volumes.
    pub spec: PodSpec,
}

/// Labels and annotations of new pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TemplateMeta {
    /// Labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: Pairs,
    /// Annotations.
    #[serde(deserialize_with = "nullable")]
    pub annotations: Pairs,
}

/// Containers and volumes of a new pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The containers that run all the time.
    pub containers: Vec<Container>,
    /// The containers that run before them, sidecars (`restartPolicy: Always`) included.
    pub init_containers: Vec<Container>,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// The pod has the addresses of its node.
    pub host_network: bool,
    /// `false` leaves the variables of Services away.
    pub enable_service_links: Option<bool>,
}

/// A container of a new pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name in the pod.
    pub name: Box<str>,
    /// The image reference.
    pub image: Box<str>,
    /// Its variables, in order: a later one wins and may refer to an earlier one.
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<EnvVar>,
    /// Whole ConfigMaps and Secrets as variables; `env` wins over them, a later one over an earlier one.
    #[serde(deserialize_with = "nullable")]
    pub env_from: Vec<EnvFrom>,
    /// Its named ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ContainerPort>,
    /// Where volumes are mounted.
    #[serde(deserialize_with = "nullable")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Whether it may get requests.
    pub readiness_probe: Option<HealthProbe>,
    /// Whether it is started again.
    pub liveness_probe: Option<HealthProbe>,
    /// What it asks for and may use.
    pub resources: Resources,
    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<Box<str>>,
}

/// A variable of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// Its name.
    pub name: Box<str>,
    /// Its value, with `$(NAME)` for other variables.
    pub value: Option<Box<str>>,
    /// Where its value is instead.
    pub value_from: Option<EnvSource>,
}

/// Where the value of a variable is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvSource {
    /// A key of a ConfigMap.
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret.
    pub secret_key_ref: Option<KeyRef>,
    /// A field of the pod.
    pub field_ref: Option<FieldRef>,
}

/// A key of a ConfigMap or of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KeyRef {
    /// Name of the object.
    pub name: Box<str>,
    /// The key in it.
    pub key: Box<str>,
    /// Whether the container starts without it.
    pub optional: bool,
}

/// A field of the pod, such as `status.podIP`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldRef {
    /// Its path.
    pub field_path: Box<str>,
}

/// A whole ConfigMap or Secret as variables.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFrom {
    /// Put before each name.
    pub prefix: Box<str>,
    /// The ConfigMap.
    pub config_map_ref: Option<ObjectName>,
    /// The Secret.
    pub secret_ref: Option<ObjectName>,
}

/// The name of an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ObjectName {
    /// Its name.
    pub name: Box<str>,
    /// Whether the pod starts without it.
    pub optional: bool,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Its name, which probes and Services may use.
    pub name: Option<Box<str>>,
    /// Its number.
    pub container_port: u16,
}

/// Where a volume is mounted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// The volume.
    pub name: Box<str>,
    /// The directory or, with `sub_path`, the file in the container.
    pub mount_path: Box<str>,
    /// What of the volume.
    pub sub_path: Option<Box<str>>,
    /// The same, with variables in it.
    pub sub_path_expr: Option<Box<str>>,
}

/// A question that the kubelet puts to a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthProbe {
    /// By HTTP.
    pub http_get: Option<HttpGet>,
    /// By opening a connection.
    pub tcp_socket: Option<PortOf>,
    /// By gRPC's health protocol.
    pub grpc: Option<PortOf>,
    /// By a command in the container; we cannot run it.
    pub exec: Option<serde::de::IgnoredAny>,
    /// How long it may take, in seconds; 1 when absent.
    pub timeout_seconds: Option<u32>,
}

/// A question by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGet {
    /// The path; `/` when absent.
    pub path: Option<Box<str>>,
    /// The port.
    pub port: Port,
    /// Another host than the pod.
    pub host: Option<Box<str>>,
    /// `HTTP` or `HTTPS`, whose certificate the kubelet does not verify.
    pub scheme: Option<Box<str>>,
    /// Headers that are sent.
    #[serde(deserialize_with = "nullable")]
    pub http_headers: Vec<HttpHeader>,
}

/// A header that is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// Its name.
    pub name: Box<str>,
    /// Its value.
    pub value: Box<str>,
}

/// Something with a port.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PortOf {
    /// The port.
    pub port: Port,
}

/// A port by its number or by its name in the container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Port {
    /// By its number.
    Number(u16),
    /// By its name.
    Name(Box<str>),
}

/// What a container asks for and may use, as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// What it asks for.
    pub requests: Pairs,
    /// What it may use.
    pub limits: Pairs,
}

/// A volume of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Its name in the pod.
    pub name: Box<str>,
    /// Files from a ConfigMap.
    pub config_map: Option<ConfigMapFiles>,
    /// Files from a Secret.
    pub secret: Option<SecretFiles>,
    /// Files from several sources.
    pub projected: Option<Projected>,
    /// A claim.
    pub persistent_volume_claim: Option<ClaimName>,
}

/// Files from a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigMapFiles {
    /// Name of the ConfigMap.
    pub name: Box<str>,
    /// Which keys under which names; all under their own, when empty.
    pub items: Vec<KeyToPath>,
    /// Whether the pod starts without it.
    pub optional: bool,
}

/// Files from a Secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretFiles {
    /// Name of the Secret; `name` in a projected volume.
    #[serde(alias = "name")]
    pub secret_name: Box<str>,
    /// Which keys under which names; all under their own, when empty.
    pub items: Vec<KeyToPath>,
    /// Whether the pod starts without it.
    pub optional: bool,
}

/// A key that becomes a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KeyToPath {
    /// The key.
    pub key: Box<str>,
    /// The path of the file in the volume.
    pub path: Box<str>,
}

/// Files from several sources; a later one wins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Projected {
    /// The sources.
    pub sources: Vec<Projection>,
}

/// One source of a projected volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Projection {
    /// A ConfigMap.
    pub config_map: Option<ConfigMapFiles>,
    /// A Secret.
    pub secret: Option<SecretFiles>,
}

/// A claim that a volume uses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimName {
    /// Name of the claim.
    pub claim_name: Box<str>,
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

/// Where a pod was put.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodPlace {
    /// Its node; absent while it is not scheduled.
    pub node_name: Option<Box<str>>,
}

/// How a pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<Box<str>>,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<Box<str>>,
    /// What is true of it.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// Its containers, the init containers not among them.
    #[serde(deserialize_with = "nullable")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Its init containers.
    #[serde(deserialize_with = "nullable")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// When the kubelet took it, RFC 3339.
    pub start_time: Option<Timestamp>,
}

/// Something that is true of an object, or not.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: Box<str>,
    /// Its image with the digest that runs.
    #[serde(rename = "imageID")]
    pub image_id: Box<str>,
    /// Why it waits, such as `ErrImagePull`.
    pub state: ContainerState,
}

/// What a container does now.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It waits.
    pub waiting: Option<Waiting>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// One word, such as `ImagePullBackOff`.
    pub reason: Option<Box<str>>,
}

/// What a Service selects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`; `ClusterIP` when absent.
    #[serde(rename = "type")]
    pub kind: Option<Box<str>>,
    /// The labels of its pods; without any, somebody else writes its endpoints.
    #[serde(deserialize_with = "nullable")]
    pub selector: Pairs,
    /// Its ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ServicePort>,
    /// Its address, `None` for a headless one.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<Box<str>>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its number.
    pub port: u16,
    /// The port of the pods; the same number when absent.
    pub target_port: Option<Port>,
}

/// The load balancer of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// The load balancer.
    pub load_balancer: LoadBalancer,
}

/// A load balancer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Its addresses; none while it is pending.
    #[serde(deserialize_with = "nullable")]
    pub ingress: Vec<Ingress>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// As a number.
    pub ip: Option<Box<str>>,
    /// As a name.
    pub hostname: Option<Box<str>>,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Its addresses, alternatives of each other.
    pub addresses: Vec<Box<str>>,
    /// Whether it may get requests.
    pub conditions: EndpointConditions,
}

/// How an endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// It gets requests; absent counts as yes.
    pub ready: Option<bool>,
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

/// A ServiceMonitor or a PodMonitor of the Prometheus operator: where it finds what, and which ports it scrapes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitorSpec {
    /// Which Services or pods.
    pub selector: Selector,
    /// In which namespaces; its own, when empty.
    pub namespace_selector: NamespaceSelector,
    /// What a ServiceMonitor scrapes.
    #[serde(deserialize_with = "nullable")]
    pub endpoints: Vec<MonitorEndpoint>,
    /// What a PodMonitor scrapes.
    #[serde(deserialize_with = "nullable")]
    pub pod_metrics_endpoints: Vec<MonitorEndpoint>,
}

/// Namespaces of a monitor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelector {
    /// Every namespace.
    pub any: bool,
    /// These.
    #[serde(deserialize_with = "nullable")]
    pub match_names: Vec<Box<str>>,
}

/// One endpoint that a monitor scrapes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitorEndpoint {
    /// Name of the port: of the Service, or of the container for a PodMonitor.
    pub port: Option<Box<str>>,
    /// The port of the pod instead.
    pub target_port: Option<Port>,
    /// The number of the container's port, for a PodMonitor.
    pub port_number: Option<u16>,
    /// The path; `/metrics` when absent.
    pub path: Option<Box<str>>,
    /// `http` or `https`.
    pub scheme: Option<Box<str>>,
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

// === impl Port ===

impl Default for Port {
    fn default() -> Self {
        Port::Number(0)
    }
}

/// `null` is the same as absent.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
