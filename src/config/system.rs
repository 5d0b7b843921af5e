//! One system: what was promised about its failover, where it runs and where it claims to be well.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::database::Database;
use super::outside::{Certificate, Dns, Infrastructure};
use super::scalar::{self, Anchored, ConnectTo, HttpUrl, Moment, Pattern, Span};
use super::site::{Attempts, Tls};
use super::traffic::{Request, Traffic};
use crate::discovery::{ControllerKind, ObjectRef, WorkloadRef};
use crate::model::{Check, Strategy};
use crate::secret::SecretSource;

/// What has to survive the loss of a site, with its checks.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct System {
    /// Name of the system, as in the `system` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// What was promised about its failover; selects the required checks. Default: `hot`.
    pub strategy: Option<Strategy>,
    /// Recovery point objective: how much data, in time, may be lost.
    pub rpo: Option<Span>,
    /// Recovery time objective: how long a failover may take.
    pub rto: Option<Span>,
    /// Findings that are known and dated. A waiver never silences `split_brain` or `db_identity`.
    pub waivers: Vec<Waiver>,
    /// Announced work; gates pages, never the verdict.
    pub maintenance: Option<Announcement>,
    /// An announced failover exercise; gates pages, never the verdict.
    pub drill: Option<Announcement>,
    /// The programs of the system.
    pub workloads: Vec<Workload>,
    /// Where the site claims to be well. Probes of pods are discovered; these are added.
    pub surfaces: Vec<Surface>,
    /// The databases of the system.
    pub databases: Vec<Database>,
    /// What else the application needs: caches, queues, other services.
    pub dependencies: Vec<Dependency>,
    /// Business calls as a user makes them, through the same door.
    pub requests: Vec<Request>,
    /// Business requests counted over a window.
    pub traffic: Vec<Traffic>,
    /// The DNS records that move the traffic.
    pub dns: Vec<Dns>,
    /// The certificates that users would see.
    pub certificates: Vec<Certificate>,
    /// Infrastructure code that must be applied.
    pub infrastructure: Vec<Infrastructure>,
}

/// A finding that is known and dated.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["check", "until", "because"]))]
pub struct Waiver {
    /// Name of the check. `db_setting_drift` is another name of `db_settings`.
    #[serde(deserialize_with = "scalar::check")]
    #[schemars(schema_with = "scalar::check_schema")]
    pub check: Option<Check>,
    /// Its target, such as the name of a database; every target of the check, when absent.
    #[schemars(extend("format" = "not-blank"))]
    pub target: Option<String>,
    /// End of the waiver.
    pub until: Moment,
    /// Why it is accepted, for the people who read it.
    #[schemars(extend("format" = "not-blank"))]
    pub because: String,
}

/// Announced work with its end.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["until"]))]
pub struct Announcement {
    /// End of the announced work.
    pub until: Moment,
    /// What is done, for the people who read it.
    pub because: Option<String>,
}

/// A program of the system.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// Name in `workload` labels; default: that of the Deployment or StatefulSet.
    #[schemars(extend("format" = "name"))]
    pub name: Option<String>,
    /// Namespace in the cluster.
    #[schemars(extend("format" = "not-blank"))]
    pub namespace: Option<String>,
    /// Name of the Deployment.
    #[schemars(extend("format" = "not-blank"))]
    pub deployment: Option<String>,
    /// Name of the StatefulSet.
    #[schemars(extend("format" = "not-blank"))]
    pub statefulset: Option<String>,
    /// Replicas that a failover needs; default: those of the spec.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub replicas_required: Option<u32>,
    /// Where it shows its metrics. Default: `/metrics` on the port of the instance; in a cluster from
    /// `prometheus.io` annotations, a ServiceMonitor or a PodMonitor.
    pub metrics: Option<MetricsEndpoint>,
    /// Its running copies, outside Kubernetes.
    pub instances: Vec<Instance>,
    /// The CronJobs of its namespace.
    pub cron_jobs: CronJobs,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// The CronJobs of a namespace. Those of a standby site are expected to be suspended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CronJobs {
    /// Names of CronJobs that may be active on both sides, as anchored regular expressions.
    pub allowed: Vec<Anchored>,
}

/// Something else that the application needs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "endpoint"]))]
pub struct Dependency {
    /// Name of the dependency, as in the `dependency` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Where the application looks for it.
    pub endpoint: DependencyEndpoint,
    /// How it is asked. `auto`: by the scheme of its URL, else by a connection.
    pub kind: DependencyKind,
    /// Its password, when the address holds none.
    #[schemars(schema_with = "scalar::credential_schema")]
    pub password: Option<SecretSource>,
    /// How its certificate is verified.
    pub tls: Option<Tls>,
    /// Regions that its address may be in; default: the site's region.
    #[schemars(length(min = 1), extend("items" = {"type": "string", "format": "name"}))]
    pub expected_regions: Option<Vec<String>>,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// Where a dependency is: read from a workload (`workload` with `env` or `file`), or given (`url`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DependencyEndpoint {
    /// Name of the workload whose configuration is read.
    pub workload: Option<String>,
    /// Environment variable of the workload that holds the address: a URL, or host and port.
    #[schemars(extend("format" = "not-blank"))]
    pub env: Option<String>,
    /// Path in the workload's container of a file that holds the address.
    #[schemars(extend("format" = "not-blank"))]
    pub file: Option<String>,
    /// The address: a URL, or host and port; or where to read it.
    #[serde(deserialize_with = "scalar::text_or_credential")]
    #[schemars(schema_with = "scalar::text_or_credential_schema")]
    pub url: Option<SecretSource>,
}

/// How a dependency is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, extend("enum" = ["auto", "tcp", "tls", "redis"]), transform = super::site::plain_enum)]
pub enum DependencyKind {
    /// By the scheme of its URL, else by a connection.
    #[default]
    Auto,
    /// By a connection.
    Tcp,
    /// By a connection and a TLS handshake.
    Tls,
    /// By Redis' PING and ROLE.
    Redis,
}

/// Where a program shows its metrics.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsEndpoint {
    /// Port; default: that of the instance's URL.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Path.
    #[schemars(extend("format" = "url-path"))]
    pub path: String,
}

/// One running copy of a program.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "url"]))]
pub struct Instance {
    /// Name of the copy, as in the `instance` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Where it answers.
    pub url: HttpUrl,
}

/// A place where the site claims to be well.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Surface {
    /// Name of the surface, as in the `surface` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Where it answers. Or `workload` and `path`.
    pub url: Option<HttpUrl>,
    /// Where the connection goes instead of to the host of `url`: `host:port` or `{service: namespace/name, port}`.
    pub connect_to: Option<ConnectTo>,
    /// Name of the workload whose instances are asked; also what the surface vouches for.
    pub workload: Option<String>,
    /// Path on each instance of the workload.
    #[schemars(extend("format" = "url-path"))]
    pub path: Option<String>,
    /// Port on each instance of the workload; default: that of the instance's URL.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Whether a failover decision rests on this surface.
    pub decisive: bool,
    /// What a healthy answer looks like.
    pub expect: Expect,
    /// How its certificate is verified.
    pub tls: Option<Tls>,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// What an expected HTTP answer looks like; all of it must hold.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Accepted statuses.
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    pub status: Vec<u16>,
    /// JSON pointers into the body, each with the exact value that must stand there.
    #[schemars(extend("propertyNames" = {"type": "string", "format": "json-pointer"}))]
    pub json: BTreeMap<String, Value>,
    /// JSON pointers that must lead to a value other than null.
    #[schemars(extend("items" = {"type": "string", "format": "json-pointer"}))]
    pub json_exists: Vec<String>,
    /// Regular expression that must be found in the body.
    pub body_regex: Option<Pattern>,
    /// Headers of the answer, each with its exact value.
    #[schemars(extend("propertyNames" = {"type": "string", "format": "header-name"}))]
    pub header: BTreeMap<String, String>,
    /// A moment in the body, and how old it may be: an answer from memory is not an answer.
    pub newest: Option<NewestInBody>,
    /// Accepted statuses of a path beside this one that cannot exist. What answers everything is not the application.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub unknown_path_status: Vec<u16>,
}

/// A moment in the body of an answer, and how old it may be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["pointer", "max_age"]))]
pub struct NewestInBody {
    /// JSON pointer to an RFC 3339 text or to seconds since 1970.
    #[schemars(extend("format" = "json-pointer"))]
    pub pointer: String,
    /// How old it may be.
    pub max_age: Span,
}

// === impl System ===

impl System {
    /// The promise about the failover, `hot` unless the file says otherwise.
    pub fn strategy(&self) -> Strategy {
        self.strategy.unwrap_or(Strategy::Hot)
    }

    /// The workload of that name.
    pub fn workload(&self, name: &str) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.label() == Some(name))
    }
}

impl Workload {
    /// The name in `workload` labels. Every workload of a configuration that was loaded has one.
    pub fn label(&self) -> Option<&str> {
        self.name.as_deref().or(self.deployment.as_deref()).or(self.statefulset.as_deref())
    }

    /// Its object in the cluster, if it has one. Every workload of a loaded configuration that names one has a namespace.
    pub fn reference(&self) -> Option<WorkloadRef> {
        let (kind, name) = match (&self.deployment, &self.statefulset) {
            (Some(name), _) => (ControllerKind::Deployment, name),
            (None, Some(name)) => (ControllerKind::StatefulSet, name),
            (None, None) => return None,
        };
        Some(WorkloadRef {
            kind,
            object: ObjectRef::new(self.namespace.as_deref().unwrap_or_default(), name),
        })
    }

    /// Whether nothing says where it runs: neither instances nor an object of a cluster.
    pub fn is_bare(&self) -> bool {
        self.instances.is_empty() && self.deployment.is_none() && self.statefulset.is_none()
    }
}

// === impl Default ===

impl Default for MetricsEndpoint {
    fn default() -> Self {
        Self { port: None, path: "/metrics".to_owned() }
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            status: vec![200],
            json: BTreeMap::new(),
            json_exists: Vec::new(),
            body_regex: None,
            header: BTreeMap::new(),
            newest: None,
            unknown_path_status: Vec::new(),
        }
    }
}
