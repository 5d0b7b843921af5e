//! A Service, its load balancer and its endpoints.

use serde::Deserialize;

use super::{Pairs, Port, nullable};

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
