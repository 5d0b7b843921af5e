//! A small cluster for the tests of discovery, written as people write it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::inventory::{Controller, FeedState, Meta, Pod};
use super::objects::{ControllerSpec, ControllerStatus};
use super::recipe::Read;
use super::{ControllerKind, Feed, Inventory, ObjectRef, Only, Sight, WorkloadRef};
use crate::model::Resource;
use crate::secret::Secret;

/// The namespace of everything here.
pub const NAMESPACE: &str = "platform";

/// An inventory in the making, and the Secrets that a reader would find.
pub struct World {
    /// What is known of the cluster.
    pub inventory: Inventory,
    /// What the Secrets hold.
    pub read: Read,
}

/// The Deployment of that name.
pub fn deployment(name: &str) -> WorkloadRef {
    WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::new(NAMESPACE, name) }
}

impl World {
    /// Every feed of the namespace is live, and there is nothing.
    pub fn new() -> Self {
        let mut world = World { inventory: Inventory::default(), read: Read::default() };
        let namespace = Arc::from(NAMESPACE);
        for resource in Resource::ALL {
            world.sight(Feed::all(*resource, Some(&namespace)), Sight::Live);
        }
        world
    }

    /// Sets how a feed is.
    pub fn sight(&mut self, feed: Feed, sight: Sight) {
        let state = FeedState { sight, since: Timestamp::UNIX_EPOCH, heard: None, skipped: 0 };
        self.inventory.feeds.insert(feed, state);
    }

    /// The same, for a chain of calls.
    pub fn with_sight(mut self, feed: Feed, sight: Sight) -> Self {
        self.sight(feed, sight);
        self
    }

    /// A Deployment, by the YAML of its `spec.template`; its pods are watched.
    pub fn deployment(mut self, name: &str, template: &str) -> Self {
        let template: Json = serde_saphyr::from_str(template).unwrap();
        let spec: ControllerSpec = serde_json::from_value(json!({ "template": template })).unwrap();
        let workload = deployment(name);
        let controller = Controller {
            replicas: spec.replicas.unwrap_or(1),
            selector: spec.selector,
            template: spec.template,
            meta: Meta::default(),
            claims: vec![],
            first_ordinal: 0,
            status: ControllerStatus::default(),
        };
        let only = Only::Labelled { workload: workload.clone(), selector: "app=x".into() };
        let pods = Feed { resource: Resource::Pods, namespace: Some(NAMESPACE.into()), only };
        self.sight(pods, Sight::Live);
        self.inventory.controllers.insert(workload, controller);
        self
    }

    /// A Deployment of one container `api`, by the YAML of that container.
    pub fn container(self, container: &str) -> Self {
        let container: Json = serde_saphyr::from_str(container).unwrap();
        let mut api = json!({"name": "api"});
        api.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        self.deployment("api", &json!({"spec": {"containers": [api]}}).to_string())
    }

    /// A ConfigMap that is watched.
    pub fn config_map(mut self, name: &str, data: &[(&str, &str)]) -> Self {
        self.sight(Feed::named(Resource::ConfigMaps, &ObjectRef::new(NAMESPACE, name)), Sight::Live);
        let data = data.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.inventory.config_maps.insert(ObjectRef::new(NAMESPACE, name), data);
        self
    }

    /// A ConfigMap that is watched and not there.
    pub fn no_config_map(self, name: &str) -> Self {
        self.with_sight(Feed::named(Resource::ConfigMaps, &ObjectRef::new(NAMESPACE, name)), Sight::Live)
    }

    /// A Secret that can be read.
    pub fn secret(mut self, name: &str, data: &[(&str, &str)]) -> Self {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), Some(Secret::new(*value)))).collect();
        self.read.insert(ObjectRef::new(NAMESPACE, name), Ok(Some(data)));
        self
    }

    /// A Secret that is not there.
    pub fn no_secret(mut self, name: &str) -> Self {
        self.read.insert(ObjectRef::new(NAMESPACE, name), Ok(None));
        self
    }

    /// A Service with its annotations and labels, by the YAML of the whole object.
    pub fn service(mut self, name: &str, object: &str) -> Self {
        let mut object: Json = serde_saphyr::from_str(object).unwrap();
        if object.get("metadata").is_none() {
            object["metadata"] = json!({});
        }
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = NAMESPACE.into();
        object["apiVersion"] = "v1".into();
        object["kind"] = "Service".into();
        let service: super::objects::Service = serde_json::from_value(object).unwrap();
        let held = (Meta::from(&service.metadata), service.spec, service.status);
        self.inventory.services.insert(ObjectRef::new(NAMESPACE, name), held);
        self
    }

    /// A pod of a Deployment.
    pub fn pod(mut self, workload: &str, name: &str, pod: Pod) -> Self {
        self.inventory.pods.entry(deployment(workload)).or_default().insert(name.into(), pod);
        self
    }
}
