//! Each resource: what the API server sends of it, what is kept, and where in the inventory. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::{Rows, Table};
use crate::discovery::inventory::{
    Controller, ControllerKind, Feed, Inventory, Meta, ObjectRef, Only, Pod, WorkloadRef,
};
use crate::discovery::objects::{self, Condition, MonitorSpec, Pairs, Wire};
use crate::model::Resource;

/// One resource.
pub trait Kind: Send + 'static {
    /// What the API server sends.
    type Wire: Wire;
    /// Under which name it is kept.
    type Key: Key;
    /// What is kept.
    type Kept: PartialEq + Send + 'static;

    /// What is kept of an object.
    fn keep(wire: Self::Wire) -> Self::Kept;

    /// Where the objects of the feed are kept, others of their kind among them.
    fn shelf<'i>(feed: &Feed, inventory: &'i Inventory) -> Option<&'i BTreeMap<Self::Key, Self::Kept>>;

    /// The same, to write.
    fn shelf_mut<'i>(
        feed: &Feed,
        inventory: &'i mut Inventory,
    ) -> Option<&'i mut BTreeMap<Self::Key, Self::Kept>>;
}

/// A name under which objects are kept.
pub trait Key: Ord + Clone + Send + 'static {
    /// Of the object of that name that this feed brought.
    fn of(feed: &Feed, name: &str) -> Self;

    /// Whether this feed brings the object of that name.
    fn comes_from(&self, feed: &Feed) -> bool;
}

/// The table of a feed.
pub fn table(feed: &Feed) -> Box<dyn Table> {
    match feed.resource {
        Resource::Deployments => Rows::<Deployments>::boxed(feed),
        Resource::StatefulSets => Rows::<StatefulSets>::boxed(feed),
        Resource::Pods => Rows::<Pods>::boxed(feed),
        Resource::Services => Rows::<Services>::boxed(feed),
        Resource::EndpointSlices => Rows::<EndpointSlices>::boxed(feed),
        Resource::ConfigMaps => Rows::<ConfigMaps>::boxed(feed),
        Resource::PersistentVolumeClaims => Rows::<Claims>::boxed(feed),
        Resource::StorageClasses => Rows::<StorageClasses>::boxed(feed),
        Resource::ResourceQuotas => Rows::<Quotas>::boxed(feed),
        Resource::CronJobs => Rows::<CronJobs>::boxed(feed),
        Resource::HorizontalPodAutoscalers => Rows::<Autoscalers>::boxed(feed),
        Resource::Nodes => Rows::<Nodes>::boxed(feed),
        Resource::NodeLeases => Rows::<NodeLeases>::boxed(feed),
        Resource::CustomResourceDefinitions => Rows::<Definitions>::boxed(feed),
        Resource::ServiceMonitors => Rows::<ServiceMonitors>::boxed(feed),
        Resource::PodMonitors => Rows::<PodMonitors>::boxed(feed),
    }
}

/// One kind that is kept in a field of the inventory.
macro_rules! kind {
    ($name:ident: $wire:ident in $field:ident as $key:ty => $kept:ty, $keep:expr) => {
        struct $name;

        impl Kind for $name {
            type Wire = objects::$wire;
            type Key = $key;
            type Kept = $kept;

            fn keep(wire: objects::$wire) -> $kept {
                let keep: fn(objects::$wire) -> $kept = $keep;
                keep(wire)
            }

            fn shelf<'i>(_: &Feed, inventory: &'i Inventory) -> Option<&'i BTreeMap<$key, $kept>> {
                Some(&inventory.$field)
            }

            fn shelf_mut<'i>(
                _: &Feed,
                inventory: &'i mut Inventory,
            ) -> Option<&'i mut BTreeMap<$key, $kept>> {
                Some(&mut inventory.$field)
            }
        }
    };
}

kind!(Deployments: Deployment in controllers as WorkloadRef => Controller,
    |it| Controller::new(&it.metadata, it.spec, it.status));
kind!(StatefulSets: StatefulSet in controllers as WorkloadRef => Controller,
    |it| Controller::new(&it.metadata, it.spec, it.status));
kind!(Services: Service in services as ObjectRef => (Meta, objects::ServiceSpec, objects::ServiceStatus),
    |it| (Meta::from(it.metadata), it.spec, it.status));
kind!(EndpointSlices: EndpointSlice in endpoint_slices as ObjectRef => (Meta, Vec<objects::Endpoint>),
    |it| (Meta::from(it.metadata), it.endpoints));
kind!(ConfigMaps: ConfigMap in config_maps as ObjectRef => Pairs, |it| it.data);
kind!(Claims: PersistentVolumeClaim in claims as ObjectRef => (objects::ClaimSpec, Option<Box<str>>),
    |it| (it.spec, it.status.phase));
kind!(StorageClasses: StorageClass in storage_classes as ObjectRef => (Meta, Option<Box<str>>),
    |it| (Meta::from(it.metadata), it.volume_binding_mode));
kind!(Quotas: ResourceQuota in quotas as ObjectRef => (objects::QuotaSpec, objects::QuotaStatus),
    |it| (it.spec, it.status));
kind!(CronJobs: CronJob in cron_jobs as ObjectRef => objects::CronJobSpec, |it| it.spec);
kind!(Autoscalers: HorizontalPodAutoscaler in autoscalers as ObjectRef => objects::AutoscalerSpec, |it| it.spec);
kind!(Nodes: Node in nodes as ObjectRef => (Pairs, bool),
    |it| (it.metadata.labels, it.status.conditions.iter().any(is_ready)));
kind!(NodeLeases: Lease in node_leases as ObjectRef => objects::LeaseSpec, |it| it.spec);
kind!(Definitions: CustomResourceDefinition in definitions as ObjectRef => Vec<objects::DefinitionVersion>,
    |it| it.spec.versions);
kind!(ServiceMonitors: Monitor in service_monitors as ObjectRef => MonitorSpec, |it| it.spec);
kind!(PodMonitors: Monitor in pod_monitors as ObjectRef => MonitorSpec, |it| it.spec);

/// Pods are kept by workload, because the pods of one may be asked for under several.
struct Pods;

impl Kind for Pods {
    type Wire = objects::Pod;
    type Key = Box<str>;
    type Kept = Pod;

    fn keep(wire: objects::Pod) -> Pod {
        Pod::from(wire)
    }

    fn shelf<'i>(feed: &Feed, inventory: &'i Inventory) -> Option<&'i BTreeMap<Box<str>, Pod>> {
        inventory.pods.get(workload(feed)?)
    }

    fn shelf_mut<'i>(feed: &Feed, inventory: &'i mut Inventory) -> Option<&'i mut BTreeMap<Box<str>, Pod>> {
        Some(inventory.pods.entry(workload(feed)?.clone()).or_default())
    }
}

/// Whose pods a feed brings.
fn workload(feed: &Feed) -> Option<&WorkloadRef> {
    match &feed.only {
        Only::Labelled { workload, selector: _ } => Some(workload),
        Only::All | Only::Named(_) => None,
    }
}

fn is_ready(condition: &Condition) -> bool {
    &*condition.kind == "Ready" && &*condition.status == "True"
}

impl Key for ObjectRef {
    fn of(feed: &Feed, name: &str) -> Self {
        ObjectRef { namespace: feed.namespace.clone().unwrap_or_default(), name: Arc::from(name) }
    }

    fn comes_from(&self, feed: &Feed) -> bool {
        let of_name = match &feed.only {
            Only::Named(name) => *name == self.name,
            Only::All | Only::Labelled { .. } => true,
        };
        of_name && *self.namespace == *feed.namespace.as_deref().unwrap_or_default()
    }
}

impl Key for WorkloadRef {
    fn of(feed: &Feed, name: &str) -> Self {
        let is_set = feed.resource == Resource::StatefulSets;
        let kind = if is_set { ControllerKind::StatefulSet } else { ControllerKind::Deployment };
        WorkloadRef { kind, object: <ObjectRef as Key>::of(feed, name) }
    }

    fn comes_from(&self, feed: &Feed) -> bool {
        self.resource() == feed.resource && self.object.comes_from(feed)
    }
}

impl Key for Box<str> {
    fn of(_: &Feed, name: &str) -> Self {
        name.into()
    }

    fn comes_from(&self, _: &Feed) -> bool {
        true
    }
}
