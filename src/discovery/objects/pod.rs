//! How a pod is.

use jiff::Timestamp;
use serde::Deserialize;

use super::nullable;

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
