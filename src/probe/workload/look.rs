//! One look at a workload: what every judge here is given, and the words that they share. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Spec;
use crate::discovery::inventory::{Controller, Pod};
use crate::discovery::objects::{Pairs, ServiceSpec};
use crate::discovery::{ControllerKind, Feed, Inventory, ObjectRef, Only};
use crate::model::{Resource, Strategy};

/// How many names a sentence holds.
const NAMES: usize = 5;

/// A workload that exists, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    /// What was asked for.
    pub spec: &'a Spec,
    /// Everything that is known.
    pub inventory: &'a Inventory,
    /// The workload itself.
    pub controller: &'a Controller,
    /// When.
    pub now: Timestamp,
}

// === impl Look ===

impl<'a> Look<'a> {
    /// How many pods a failover needs. Zero only if the owner says so: a hot standby that was scaled to nothing must
    /// not be complete with nothing.
    pub fn required(&self) -> u32 {
        self.spec.required.unwrap_or(self.controller.replicas.max(1))
    }

    /// Nothing runs here because the owner promised to start it in a failover.
    pub fn waits_for_failover(&self) -> bool {
        let started_later = match self.spec.strategy {
            Strategy::PilotLight | Strategy::BackupRestore => true,
            Strategy::Hot | Strategy::Warm => false,
        };
        started_later && self.controller.replicas == 0
    }

    /// The pods with its labels that have not ended; its own ones, or those of somebody else.
    fn living(&self, own: bool) -> impl Iterator<Item = (&'a str, &'a Pod)> {
        let look = *self;
        self.inventory
            .pods_of(&self.spec.workload)
            .filter(|(_, pod)| !matches!(pod.phase.as_deref(), Some("Succeeded" | "Failed")))
            .filter(move |(_, pod)| look.owns(pod) == own)
    }

    /// Its own pods that have not ended, those that are being deleted included.
    pub fn own_pods(&self) -> impl Iterator<Item = (&'a str, &'a Pod)> {
        self.living(true)
    }

    /// Pods with its labels that it did not make: nobody replaces them.
    pub fn others_pods(&self) -> impl Iterator<Item = (&'a str, &'a Pod)> {
        self.living(false)
    }

    /// Whether its controller made the pod. A selector alone also finds what somebody started by hand with the same
    /// labels. The controller of a Deployment's pod is the `ReplicaSet` `<deployment>-<pod-template-hash>`.
    fn owns(&self, pod: &Pod) -> bool {
        let (Some(owner), name) = (pod.owner.as_deref(), &*self.spec.workload.object.name) else {
            return false;
        };
        match self.spec.workload.kind {
            ControllerKind::StatefulSet => owner == name,
            ControllerKind::Deployment => {
                let rest = owner.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
                match (rest, pod.labels.get("pod-template-hash")) {
                    (Some(rest), Some(hash)) => rest == &**hash,
                    (Some(rest), None) => !rest.contains('-'),
                    (None, _) => false,
                }
            }
        }
    }

    /// Everything of a resource in the workload's namespace.
    pub fn feed(&self, resource: Resource) -> Feed {
        Feed::all(resource, Some(self.spec.workload.namespace()))
    }

    /// The watches of its pods. There are two for a moment when it was created anew with other labels; there is none
    /// while nobody knows its labels, and then its pods are not known either.
    pub fn pod_feeds(&self) -> Vec<Feed> {
        let of_ours = |feed: &&Feed| match &feed.only {
            Only::Labelled { workload, selector: _ } => {
                feed.resource == Resource::Pods && *workload == self.spec.workload
            }
            Only::All | Only::Named(_) => false,
        };
        let found: Vec<Feed> = self.inventory.feeds.keys().filter(of_ours).cloned().collect();
        if found.is_empty() { vec![self.feed(Resource::Pods)] } else { found }
    }

    /// An object of the workload's namespace.
    pub fn beside(&self, name: &str) -> ObjectRef {
        ObjectRef { namespace: self.spec.workload.namespace().clone(), name: Arc::from(name) }
    }

    /// Every object of a kind in the workload's namespace.
    pub fn all<T>(
        &self,
        objects: &'a BTreeMap<ObjectRef, T>,
    ) -> impl Iterator<Item = (&'a ObjectRef, &'a T)> {
        in_namespace(objects, self.spec.workload.namespace())
    }

    /// Whether a Service sends requests to pods that the workload makes.
    pub fn is_selected_by(&self, service: &ServiceSpec) -> bool {
        let labels = &self.controller.template.metadata.labels;
        let selector = &service.selector;
        service.kind.as_deref() != Some("ExternalName")
            && !selector.is_empty()
            && selector
                .iter()
                .all(|(label, value)| labels.get(label) == Some(value) || self.numbers(label, value))
    }

    /// Whether it is one of the labels by which a StatefulSet tells its pods from each other, for a pod that is wanted.
    fn numbers(&self, label: &str, value: &str) -> bool {
        let ordinal = match (self.spec.workload.kind, label) {
            (ControllerKind::StatefulSet, "statefulset.kubernetes.io/pod-name") => {
                let rest = value.strip_prefix(&*self.spec.workload.object.name);
                rest.and_then(|rest| rest.strip_prefix('-'))
            }
            (ControllerKind::StatefulSet, "apps.kubernetes.io/pod-index") => Some(value),
            (ControllerKind::StatefulSet | ControllerKind::Deployment, _) => None,
        };
        let first = self.controller.first_ordinal;
        let wanted = first..first.saturating_add(self.controller.replicas.max(self.required()));
        ordinal.and_then(|ordinal| ordinal.parse().ok()).is_some_and(|ordinal| wanted.contains(&ordinal))
    }
}

/// Every object of a kind in that namespace.
pub(super) fn in_namespace<'a, T>(
    objects: &'a BTreeMap<ObjectRef, T>,
    namespace: &Arc<str>,
) -> impl Iterator<Item = (&'a ObjectRef, &'a T)> {
    let first = ObjectRef { namespace: namespace.clone(), name: Arc::from("") };
    let namespace = namespace.clone();
    objects.range(first..).take_while(move |(object, _)| object.namespace == namespace)
}

/// A number with its noun.
pub(super) fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Names in a sentence; the first ones of many.
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let shown = names.iter().take(NAMES).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Labels as selectors are written.
pub(super) fn labels(pairs: &Pairs) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if pairs.is_empty() { "no labels".to_owned() } else { listed(&pairs) }
}
