//! `node_lease`: are the nodes alive on which pods are said to run? Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::look::{Look, counted, listed};
use crate::discovery::inventory::Pod;
use crate::discovery::objects::LeaseSpec;
use crate::discovery::{Feed, Gap, ObjectRef};
use crate::model::{Check, Reason, Resource, age, length};
use crate::probe::{Answer, Kind};

/// Where nodes have their Leases.
const NAMESPACE: &str = "kube-node-lease";
/// For how long a Lease holds that does not say so; what kubelets write.
const DURATION: u32 = 40;

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::NodeLease,
    about: "Every node that a running pod of the workload is on exists, is `Ready`, and renewed its Lease in \
            `kube-node-lease` in time. A pod stays listed as running when its node is gone, until somebody notices. A \
            Lease is judged at the moment of its last reading, so that it does not grow old while the API server is \
            away. Skipped while no pod runs.",
    example: "systems:\n  - name: orders\n    workloads: [{namespace: platform, deployment: api-server}]",
    metrics: &[],
    reasons: &[&[Reason::Stale, Reason::Missing, Reason::Unreachable, Reason::Misconfigured]],
};

/// What it needs to know: nodes only where pods run.
pub(super) fn feeds(look: &Look<'_>) -> Vec<Feed> {
    let mut feeds = look.pod_feeds();
    if running(look).next().is_some() {
        feeds.extend([Feed::all(Resource::Nodes, None), leases()]);
    }
    feeds
}

fn leases() -> Feed {
    Feed::all(Resource::NodeLeases, Some(&Arc::from(NAMESPACE)))
}

/// Looks at the nodes of the pods that are listed as running.
pub(super) fn judge(look: &Look<'_>) -> Answer {
    let mut nodes: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for (node, pod) in running(look) {
        nodes.entry(node).or_default().push(pod);
    }
    if nodes.is_empty() {
        return Answer::skipped(format!(
            "no pod of {} runs, so there is no node to look at",
            look.spec.workload
        ));
    }
    let Some(heard) = look.inventory.feeds.get(&leases()).and_then(|state| state.heard) else {
        return Gap::blind("the Leases of the nodes were not read yet").answer();
    };
    let pods: usize = nodes.values().map(Vec::len).sum();
    let mut faults: Vec<(Reason, String)> = Vec::new();
    let (mut hit, mut unleased): (Vec<&Pod>, Vec<&str>) = (Vec::new(), Vec::new());
    for (node, pods) in &nodes {
        match state(look, node, heard) {
            State::Alive => {}
            State::WithoutLease => unleased.push(node),
            State::Gone(reason, words) => {
                faults.push((reason, words));
                hit.extend(pods);
            }
        }
    }
    let unleased = match unleased.as_slice() {
        [] => String::new(),
        names => format!("; {} without a Lease: only the condition Ready speaks for it", listed(names)),
    };
    let Some((reason, _)) = faults.first() else {
        let on = counted(nodes.len(), "node");
        return Answer::pass(format!(
            "{} on {on} whose Lease is renewed{unleased}",
            counted(pods, "running pod")
        ));
    };
    let ready = hit.iter().filter(|pod| pod.ready).count();
    let faults: Vec<&str> = faults.iter().map(|(_, words)| words.as_str()).collect();
    // The moment of reading is by our clock, the moment of renewal by that of the node.
    let leases = &look.inventory.node_leases;
    let all_over = !leases.is_empty() && leases.values().all(|lease| is_over(lease, heard));
    let clocks =
        if all_over { "; no Lease of the cluster is in time: compare our clock with its nodes'" } else { "" };
    let detail = format!(
        "{} of {} ({ready} of them listed as ready) on a node that is gone: {}{unleased}",
        hit.len(),
        counted(pods, "running pod"),
        listed(&faults)
    );
    let detail = detail + clocks;
    Answer::fail(*reason, detail)
}

/// Nodes with the pods that are said to run there.
fn running<'a>(look: &Look<'a>) -> impl Iterator<Item = (&'a str, &'a Pod)> {
    look.own_pods()
        .filter(|(_, pod)| pod.phase.as_deref() == Some("Running") && !pod.deleting)
        .filter_map(|(_, pod)| Some((pod.node.as_deref()?, pod)))
}

enum State {
    Alive,
    /// Ready without a Lease, as some virtual nodes are.
    WithoutLease,
    Gone(Reason, String),
}

fn state(look: &Look<'_>, node: &str, heard: Timestamp) -> State {
    let Some((_, ready)) = look.inventory.nodes.get(&ObjectRef::new("", node)) else {
        return State::Gone(Reason::Missing, format!("node {node} does not exist"));
    };
    let lease = look.inventory.node_leases.get(&ObjectRef::new(NAMESPACE, node));
    let renewed = lease.and_then(|lease| Some((lease, lease.renew_time?)));
    if let Some((lease, renewed)) = renewed
        && is_over(lease, heard)
    {
        let holds = length(holds(lease));
        let words = format!("node {node} last renewed its Lease at {renewed:.0}, and it holds for {holds}");
        return State::Gone(Reason::Stale, words);
    }
    match (ready, renewed) {
        (false, _) => State::Gone(Reason::Stale, format!("node {node} is not Ready")),
        (true, Some(_)) => State::Alive,
        (true, None) => State::WithoutLease,
    }
}

fn holds(lease: &LeaseSpec) -> Duration {
    let seconds = lease.lease_duration_seconds.filter(|seconds| *seconds > 0);
    Duration::from_secs(u64::from(seconds.unwrap_or(DURATION)))
}

fn is_over(lease: &LeaseSpec, heard: Timestamp) -> bool {
    lease.renew_time.is_some_and(|renewed| age(heard, renewed) > holds(lease))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{Scene, failed, gap, passed, skipped};
    use super::super::part::Part;
    use super::*;
    use crate::discovery::Sight;
    use crate::model::{GapReason, Outcome};

    fn answer(scene: &Scene) -> Answer {
        scene.answer(Part::NodeLease)
    }

    fn renewed(scene: &mut Scene, at: &str) {
        scene.edit("Lease", "b", json!({"spec": {"renewTime": at}}));
    }

    #[test]
    fn nodes_that_renew_their_leases_are_well() {
        passed(&answer(&Scene::new()), "3 running pods on 2 nodes whose Lease is renewed");
    }

    #[test]
    fn l78_pods_stay_listed_when_their_node_is_gone() {
        let mut scene = Scene::new();
        renewed(&mut scene, "2026-05-31T23:58:50.123456Z");
        failed(
            &answer(&scene),
            Reason::Stale,
            "1 of 3 running pods (1 of them listed as ready) on a node that is gone: node b last renewed its Lease at \
             2026-05-31T23:58:50Z, and it holds for 40 s",
        );
    }

    #[test]
    fn a_lease_is_as_old_as_it_was_when_it_was_read() {
        let mut scene = Scene::new();
        // Read at 23:59:55, an hour before this look.
        scene.now = "2026-06-01T01:00:00Z".parse().unwrap();
        renewed(&mut scene, "2026-05-31T23:59:15Z");
        passed(&answer(&scene), "3 running pods");
        renewed(&mut scene, "2026-05-31T23:59:14Z");
        failed(&answer(&scene), Reason::Stale, "node b last renewed");
        scene.edit("Lease", "b", json!({"spec": {"leaseDurationSeconds": 60}}));
        passed(&answer(&scene), "3 running pods");
        // A clock that is ahead of ours proves nothing.
        renewed(&mut scene, "2026-06-01T00:30:00Z");
        passed(&answer(&scene), "3 running pods");
    }

    #[test]
    fn when_every_lease_is_old_the_clocks_are_suspects_too() {
        let mut scene = Scene::new();
        renewed(&mut scene, "2026-05-31T20:00:00Z");
        assert!(!answer(&scene).detail.contains("clock"));
        scene.edit("Lease", "a", json!({"spec": {"renewTime": "2026-05-31T20:00:00Z"}}));
        failed(&answer(&scene), Reason::Stale, "no Lease of the cluster is in time: compare our clock");
    }

    #[test]
    fn a_node_that_does_not_exist_or_is_not_ready() {
        let mut scene = Scene::new();
        scene.edit("Node", "a", json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}));
        failed(
            &answer(&scene),
            Reason::Stale,
            "2 of 3 running pods (2 of them listed as ready) on a node that is gone: node a is not Ready",
        );
        let mut scene = Scene::new();
        scene.delete("Node");
        failed(
            &answer(&scene),
            Reason::Missing,
            "3 of 3 running pods (3 of them listed as ready) on a node that is gone: node a does not exist, node b does not exist",
        );
    }

    #[test]
    fn pods_that_leave_such_a_node_accuse_nobody() {
        let mut scene = Scene::new();
        renewed(&mut scene, "2026-05-31T20:00:00Z");
        scene.edit(
            "Pod",
            "api-server-5d4f-1",
            json!({"metadata": {"deletionTimestamp": "2026-06-01T00:00:00Z"}}),
        );
        passed(&answer(&scene), "2 running pods on 1 node");
    }

    #[test]
    fn a_node_without_a_lease_is_as_alive_as_it_says() {
        let mut scene = Scene::new();
        scene.delete("Lease");
        passed(&answer(&scene), "a, b without a Lease: only the condition Ready speaks for it");
        scene.edit("Node", "b", json!({"status": {"conditions": []}}));
        failed(&answer(&scene), Reason::Stale, "node b is not Ready; a without a Lease");
    }

    #[test]
    fn t09_where_nothing_runs_no_node_is_looked_at() {
        let mut scene = Scene::pilot_light();
        skipped(&answer(&scene), "no pod of Deployment platform/api-server runs");
        scene.sight(Resource::Nodes, Sight::Forbidden);
        skipped(&answer(&scene), "no pod of Deployment platform/api-server runs");
    }

    #[test]
    fn what_is_out_of_sight_accuses_nobody() {
        let mut scene = Scene::new();
        renewed(&mut scene, "2026-05-31T20:00:00Z");
        scene.sight(Resource::NodeLeases, Sight::Forbidden);
        gap(&answer(&scene), GapReason::Forbidden, "`list` on `leases` in namespace kube-node-lease");
        scene.sight(Resource::NodeLeases, Sight::Lost);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable));
        let mut scene = Scene::new();
        scene.sight(Resource::Nodes, Sight::Forbidden);
        gap(&answer(&scene), GapReason::Forbidden, "`list, watch` on `nodes` in the whole cluster");
    }
}
