//! Finds a workload, and tells which labels a selector means. Pure.

use super::objects::{Container, PodSpec, Selector};
use super::{Feed, Gap, Inventory, ObjectRef, WorkloadRef, in_sight};
use crate::discovery::inventory::Controller;
use crate::discovery::objects::Pairs;
use crate::model::GapReason;

/// How many names an error lists.
const NAMES: usize = 8;

/// The Deployment or StatefulSet of that name.
///
/// # Errors
///
/// It cannot be seen, or there is none; then the most similar names of its namespace are told.
pub fn controller<'i>(inventory: &'i Inventory, workload: &WorkloadRef) -> Result<&'i Controller, Gap> {
    in_sight(inventory, [&Feed::all(workload.resource(), Some(workload.namespace()))])?;
    inventory.controllers.get(workload).ok_or_else(|| {
        let others = inventory.controllers.keys();
        let others = others.filter(|other| other.namespace() == workload.namespace());
        let others: Vec<String> =
            others.map(|other| format!("{} {}", kind(other), other.object.name)).collect();
        let wanted = format!("{} {}", kind(workload), workload.object.name);
        Gap::new(
            GapReason::NotFound,
            format!("there is no {workload}; {}", there_is(&wanted, others, &workload.object)),
        )
    })
}

/// The containers of a pod, then its init containers and sidecars.
pub fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.containers.iter().chain(&pod.init_containers)
}

/// Whether a label selector means these labels; an empty one means all.
pub fn selects(selector: &Selector, labels: &Pairs) -> bool {
    let Selector { match_labels, match_expressions } = selector;
    has_all(labels, match_labels)
        && match_expressions.iter().all(|demand| {
            let value = labels.get(&demand.key);
            let listed = value.is_some_and(|value| demand.values.contains(value));
            match &*demand.operator {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                // A demand that nobody knows cannot be met.
                _ => false,
            }
        })
}

/// Whether these are among the labels.
pub fn has_all(labels: &Pairs, wanted: &Pairs) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// What there is instead of something that there is not: the most similar names first.
pub fn there_is(wanted: &str, mut others: Vec<String>, object: &ObjectRef) -> String {
    if others.is_empty() {
        return format!("namespace {} has none", object.namespace);
    }
    others
        .sort_by_cached_key(|name| strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase()));
    let more = others.len().saturating_sub(NAMES);
    others.truncate(NAMES);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("namespace {} has {}{more}", object.namespace, others.join(", "))
}

fn kind(workload: &WorkloadRef) -> &'static str {
    match workload.kind {
        super::ControllerKind::Deployment => "Deployment",
        super::ControllerKind::StatefulSet => "StatefulSet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::objects::Requirement;
    use crate::discovery::testing::{World, deployment};

    #[test]
    fn a_name_that_is_not_there_is_answered_with_those_that_are() {
        let world = World::new().deployment("api-server", "{}").deployment("worker", "{}");
        let gap = controller(&world.inventory, &deployment("api-sever")).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::NotFound));
        assert_eq!(
            gap.detail,
            "there is no Deployment platform/api-sever; namespace platform has Deployment api-server, Deployment worker"
        );
        let empty = controller(&World::new().inventory, &deployment("x")).unwrap_err();
        assert_eq!(empty.detail, "there is no Deployment platform/x; namespace platform has none");
        let blind = controller(&Inventory::default(), &deployment("x")).unwrap_err();
        assert_eq!(blind.reason, None, "{}", blind.detail);
    }

    #[test]
    fn selectors_mean_what_kubernetes_means() {
        let labels: Pairs = [("app".into(), "api".into()), ("tier".into(), "web".into())].into();
        let demand = |key: &str, operator: &str, values: &[&str]| Selector {
            match_expressions: vec![Requirement {
                key: key.into(),
                operator: operator.into(),
                values: values.iter().map(|value| (*value).into()).collect(),
            }],
            ..Selector::default()
        };
        for (selector, expected) in [
            (Selector::default(), true),
            (Selector { match_labels: [("app".into(), "api".into())].into(), ..Selector::default() }, true),
            (Selector { match_labels: [("app".into(), "x".into())].into(), ..Selector::default() }, false),
            (demand("app", "In", &["x", "api"]), true),
            (demand("app", "NotIn", &["x"]), true),
            (demand("gone", "NotIn", &["x"]), true),
            (demand("gone", "In", &["x"]), false),
            (demand("app", "Exists", &[]), true),
            (demand("gone", "DoesNotExist", &[]), true),
            (demand("app", "Gt", &["1"]), false),
        ] {
            assert_eq!(selects(&selector, &labels), expected, "{selector:?}");
        }
    }
}
