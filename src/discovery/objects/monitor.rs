//! What the Prometheus operator scrapes.

use serde::Deserialize;

use super::{Port, Selector, nullable};

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
