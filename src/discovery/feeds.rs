//! Which watches are needed: what the configuration names, and what follows from what is known already. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::inventory::{Feed, Inventory, Only, WorkloadRef};
use super::references::References;
use crate::model::Resource;

/// What of a cluster the configuration needs; nothing at all by default, and then no cluster is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The workloads that it names.
    pub workloads: Vec<WorkloadRef>,
    /// The namespaces of Services that are dialled, whether or not there is a workload.
    pub services: BTreeSet<Arc<str>>,
    /// Whether the labels of nodes say which site this is, even if no workload is named.
    pub site_identity: bool,
}

/// The namespace in which kubelets keep the Leases of their nodes.
pub const NODE_LEASES: &str = "kube-node-lease";

/// What is watched in every namespace that holds a workload, beside the workloads themselves.
const IN_A_NAMESPACE: [Resource; 8] = [
    Resource::Services,
    Resource::EndpointSlices,
    Resource::PersistentVolumeClaims,
    Resource::ResourceQuotas,
    Resource::CronJobs,
    Resource::HorizontalPodAutoscalers,
    Resource::ServiceMonitors,
    Resource::PodMonitors,
];

/// What is watched once if there is any workload.
const IN_THE_CLUSTER: [Resource; 3] =
    [Resource::Nodes, Resource::StorageClasses, Resource::CustomResourceDefinitions];

/// Every feed that is needed now. Pods and ConfigMaps follow from the workloads, so they are needed once these are
/// known, and no longer when a workload is gone.
pub fn feeds(wanted: &Wanted, inventory: &Inventory) -> BTreeSet<Feed> {
    let Wanted { workloads, services, site_identity } = wanted;
    let mut feeds = BTreeSet::new();
    if *site_identity {
        feeds.insert(Feed::all(Resource::Nodes, None));
    }
    if !workloads.is_empty() {
        feeds.extend(IN_THE_CLUSTER.map(|resource| Feed::all(resource, None)));
        feeds.insert(Feed::all(Resource::NodeLeases, Some(&Arc::from(NODE_LEASES))));
    }
    feeds.extend(services.iter().map(|namespace| Feed::all(Resource::Services, Some(namespace))));
    for workload in workloads {
        let namespace = workload.namespace();
        feeds.insert(Feed::all(workload.resource(), Some(namespace)));
        feeds.extend(IN_A_NAMESPACE.map(|resource| Feed::all(resource, Some(namespace))));
        if let Some(controller) = inventory.controllers.get(workload) {
            feeds.extend(Feed::pods(workload, controller));
            let references = References::of(&controller.template.spec);
            feeds.extend(references.config_maps.into_iter().map(|name| Feed {
                resource: Resource::ConfigMaps,
                namespace: Some(namespace.clone()),
                only: Only::Named(Arc::from(name)),
            }));
        }
    }
    feeds
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::discovery::inventory::Controller;
    use crate::discovery::objects::Deployment;
    use crate::discovery::{ControllerKind, ObjectRef};

    fn workload(kind: ControllerKind, namespace: &str, name: &str) -> WorkloadRef {
        WorkloadRef { kind, object: ObjectRef::new(namespace, name) }
    }

    fn described(feeds: &BTreeSet<Feed>) -> Vec<String> {
        feeds.iter().map(Feed::rule).collect()
    }

    fn with(workload: &WorkloadRef, spec: &serde_json::Value) -> Inventory {
        let wire: Deployment = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let controller = Controller::new(&wire.metadata, wire.spec, wire.status);
        Inventory { controllers: [(workload.clone(), controller)].into(), ..Inventory::default() }
    }

    #[test]
    fn nothing_is_watched_for_nothing() {
        assert_eq!(feeds(&Wanted::default(), &Inventory::default()), BTreeSet::new());
        let wanted = Wanted { site_identity: true, ..Wanted::default() };
        let rules = described(&feeds(&wanted, &Inventory::default()));
        assert_eq!(rules, ["`list, watch` on `nodes` in the whole cluster"]);
    }

    #[test]
    fn a_namespace_is_watched_once_and_only_for_the_kinds_that_are_named() {
        let workloads = vec![
            workload(ControllerKind::Deployment, "shop", "api"),
            workload(ControllerKind::Deployment, "shop", "worker"),
            workload(ControllerKind::StatefulSet, "data", "store"),
        ];
        let wanted = Wanted { workloads, site_identity: true, ..Wanted::default() };
        let feeds = feeds(&wanted, &Inventory::default());
        // Two namespaces with nine kinds each, three kinds of the cluster, and the Leases.
        assert_eq!(feeds.len(), 2 * 9 + 3 + 1);
        let rules = described(&feeds);
        let controllers: Vec<_> = rules.iter().filter(|rule| rule.contains("sets`")).collect();
        assert_eq!(controllers, ["`list, watch` on `statefulsets` in namespace data"]);
        assert!(rules.contains(&"`list` on `leases` in namespace kube-node-lease".to_owned()));
        assert!(!rules.iter().any(|rule| rule.contains("pods") || rule.contains("configmaps")), "{rules:?}");
    }

    #[test]
    fn pods_and_config_maps_follow_from_the_workload() {
        let api = workload(ControllerKind::Deployment, "shop", "api");
        let inventory = with(
            &api,
            &json!({
                "selector": {"matchLabels": {"app": "api"}, "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["a", "b"]},
                    {"key": "canary", "operator": "DoesNotExist"},
                ]},
                "template": {"spec": {
                    "containers": [{"name": "c",
                        "env": [
                            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "by-key", "key": "k"}}},
                            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "a-secret", "key": "k"}}},
                            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "", "key": "k"}}},
                        ],
                        "envFrom": [{"configMapRef": {"name": "whole"}}, {"secretRef": {"name": "a-secret"}}]}],
                    "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "of-init"}}]}],
                    "volumes": [
                        {"name": "v", "configMap": {"name": "files"}},
                        {"name": "w", "secret": {"secretName": "a-secret"}},
                        {"name": "p", "projected": {"sources": [
                            {"configMap": {"name": "among"}}, {"secret": {"name": "a-secret"}}]}},
                    ]}},
            }),
        );
        let wanted = Wanted { workloads: vec![api], ..Wanted::default() };
        let feeds = feeds(&wanted, &inventory);
        let named = feeds.iter().filter_map(|feed| match &feed.only {
            Only::Named(name) => Some((feed.resource, &**name)),
            Only::All | Only::Labelled { .. } => None,
        });
        let expected = ["among", "by-key", "files", "of-init", "whole"];
        assert_eq!(named.collect::<Vec<_>>(), expected.map(|name| (Resource::ConfigMaps, name)));
        let selectors: Vec<_> = feeds
            .iter()
            .filter_map(|feed| match &feed.only {
                Only::Labelled { selector, .. } => Some(&**selector),
                Only::All | Only::Named(_) => None,
            })
            .collect();
        assert_eq!(selectors, ["app=api,tier in (a,b),!canary"]);
    }

    #[test]
    fn a_selector_that_is_empty_or_not_understood_watches_no_pods_at_all() {
        let api = workload(ControllerKind::Deployment, "shop", "api");
        let wanted = Wanted { workloads: vec![api.clone()], ..Wanted::default() };
        let expressions = json!([{"key": "a", "operator": "Gt", "values": ["1"]}]);
        for selector in [json!({}), json!({"matchLabels": {"a": "b"}, "matchExpressions": expressions})] {
            let inventory = with(&api, &json!({"selector": selector}));
            assert!(!feeds(&wanted, &inventory).iter().any(|feed| feed.resource == Resource::Pods));
        }
    }

    #[test]
    fn a_workload_that_nobody_named_is_not_followed() {
        let api = workload(ControllerKind::Deployment, "shop", "api");
        let other = workload(ControllerKind::Deployment, "shop", "other");
        let inventory = with(&other, &json!({"selector": {"matchLabels": {"app": "other"}}}));
        let wanted = Wanted { workloads: vec![api], ..Wanted::default() };
        assert!(!feeds(&wanted, &inventory).iter().any(|feed| feed.resource == Resource::Pods));
    }
}
