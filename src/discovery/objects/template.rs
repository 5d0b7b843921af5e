//! How a new pod looks: containers with their variables, files, ports and probes.

use serde::Deserialize;

use super::{Pairs, nullable};

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

// === impl Port ===

impl Default for Port {
    fn default() -> Self {
        Port::Number(0)
    }
}
