//! Which feed shows an object: the one by which it must be judged whether what we hold is what the cluster says. Pure.

use super::inventory::{Feed, Inventory, ObjectRef, Only, WorkloadRef};
use crate::model::Resource;

/// The feed that shows this object: its own, else that of its namespace, else that of the cluster. Where nobody watches it, its
/// own, which is then still starting.
pub fn covering(inventory: &Inventory, resource: Resource, object: &ObjectRef) -> Feed {
    let own = Feed::named(resource, object);
    let wider = [Feed::all(resource, Some(&object.namespace)), Feed::all(resource, None)];
    if inventory.feeds.contains_key(&own) {
        return own;
    }
    wider.into_iter().find(|feed| inventory.feeds.contains_key(feed)).unwrap_or(own)
}

/// The feeds that show a workload and its pods.
pub fn of_workload(inventory: &Inventory, workload: &WorkloadRef) -> [Feed; 2] {
    let controller = covering(inventory, workload.resource(), &workload.object);
    let pods = inventory.feeds.keys().find(|feed| match &feed.only {
        Only::Labelled { workload: whose, selector: _ } => {
            feed.resource == Resource::Pods && whose == workload
        }
        Only::All | Only::Named(_) => false,
    });
    let pods = pods.cloned().unwrap_or_else(|| Feed::all(Resource::Pods, Some(workload.namespace())));
    [controller, pods]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::discovery::{ControllerKind, FeedState, Sight};

    fn live() -> FeedState {
        FeedState { sight: Sight::Live, since: Timestamp::UNIX_EPOCH, heard: None, skipped: 0 }
    }

    #[test]
    fn the_narrowest_feed_decides() {
        let object = ObjectRef::new("prod", "api");
        let own = Feed::named(Resource::Deployments, &object);
        let namespace = Feed::all(Resource::Deployments, Some(&object.namespace));
        let mut inventory = Inventory::default();
        assert_eq!(covering(&inventory, Resource::Deployments, &object), own);
        inventory.feeds.insert(namespace.clone(), live());
        assert_eq!(covering(&inventory, Resource::Deployments, &object), namespace);
        inventory.feeds.insert(own.clone(), live());
        assert_eq!(covering(&inventory, Resource::Deployments, &object), own);
    }

    #[test]
    fn pods_are_those_of_the_workload_only() {
        let workload =
            |name| WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::new("prod", name) };
        let feed = |name| Feed {
            resource: Resource::Pods,
            namespace: Some(Arc::from("prod")),
            only: Only::Labelled { workload: workload(name), selector: Arc::from("app=x") },
        };
        let mut inventory = Inventory::default();
        inventory.feeds.insert(feed("other"), live());
        let [_, pods] = of_workload(&inventory, &workload("api"));
        assert_eq!(inventory.sight(&pods), Sight::Starting);
        inventory.feeds.insert(feed("api"), live());
        assert_eq!(of_workload(&inventory, &workload("api"))[1], feed("api"));
    }
}
