//! `workload_replicas`: are as many pods ready as a failover needs? Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Spec;
use super::look::{Look, counted, listed};
use crate::discovery::inventory::Pod;
use crate::discovery::{ControllerKind, Feed, Sight};
use crate::model::{Check, Fact, Metric, Reason, Resource, age, length};
use crate::probe::{Answer, Kind};

/// What was never re-scheduled for so long may not be able to start anywhere: images, Secrets and nodes changed since.
const OLD: Duration = Duration::from_secs(90 * 86_400);

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::WorkloadReplicas,
    about: "As many pods of the workload are ready as a failover needs: `replicas_required`, else the replicas of the \
            Deployment or StatefulSet, but at least one, so that nothing is never enough. Counted from the pods that \
            its own controller made and that are not being deleted, because a status is only as new as who writes it. \
            A workload that does not exist fails. The detail names what keeps it small, such as an autoscaler's \
            minimum, and pods that were not re-scheduled for 90 days. Not required of a pilot light.",
    example: "systems:\n  - name: orders\n    workloads: [{namespace: platform, deployment: api-server, replicas_required: 3}]",
    metrics: &[&READY, &REQUIRED, &OLDEST],
    reasons: &[&[Reason::Missing, Reason::Unreachable, Reason::Misconfigured]],
};

/// Ready pods.
pub static READY: Metric = Metric::gauge(
    "dr_k8s_workload_replicas_ready",
    &["site", "system", "workload"],
    "Pods of the workload that are ready and not being deleted; absent while unknown; from a background check",
)
.withheld();

/// Pods that a failover needs.
pub static REQUIRED: Metric = Metric::gauge(
    "dr_k8s_workload_replicas_required",
    &["site", "system", "workload"],
    "Pods of the workload that a failover needs: configured, else those of its spec and at least 1",
);

/// The oldest pod.
pub static OLDEST: Metric = Metric::gauge(
    "dr_k8s_workload_oldest_pod_timestamp_seconds",
    &["site", "system", "workload"],
    "When the oldest running pod of the workload came to its node, in seconds since 1970; absent \
     while none runs; from a background check",
)
.withheld();

/// What it needs to know. Autoscalers are evidence: without them the question is answered all the same.
pub(super) fn feeds(look: &Look<'_>) -> Vec<Feed> {
    look.pod_feeds()
}

/// There is nothing that a failover could start.
pub(super) fn absent(spec: &Spec, detail: &str) -> Answer {
    let required = spec.required.unwrap_or(1);
    Answer::fail(Reason::Missing, format!("a failover has nothing to start: {detail}"))
        .with(counts(spec, 0, required))
}

/// Counts.
pub(super) fn judge(look: &Look<'_>) -> Answer {
    let required = look.required();
    let own: Vec<(&str, &Pod)> = look.own_pods().collect();
    let ready = own.iter().filter(|(_, pod)| pod.ready && !pod.deleting).count();
    let mut words = vec![match required {
        0 => format!("no pod is required, {} ready", counted(ready, "pod")),
        _ => format!("{ready} of {} ready", counted(required as usize, "required pod")),
    }];
    words.extend(intent(look, required));
    words.extend(not_ready(&own));
    words.extend(strangers(look));
    words.extend(status(look, ready));
    let oldest =
        own.iter().filter(|(_, pod)| runs(pod)).filter_map(|(_, pod)| pod.started.or(pod.created)).min();
    if let Some(since) = oldest.filter(|since| age(look.now, *since) > OLD) {
        words.push(format!(
            "the oldest was never re-scheduled for {}: nobody knows whether it could start again",
            length(age(look.now, since))
        ));
    }
    let detail = words.join("; ");
    let enough = ready >= required as usize;
    let answer = if enough { Answer::pass(detail) } else { Answer::fail(Reason::Missing, detail) };
    answer
        .with(counts(look.spec, ready, required))
        .with(oldest.map(|since| Fact::time(&OLDEST, &look.spec.labels(), since)))
}

fn counts(spec: &Spec, ready: usize, required: u32) -> [Fact; 2] {
    let ready = u32::try_from(ready).unwrap_or(u32::MAX);
    [
        Fact::new(&READY, &spec.labels(), f64::from(ready)),
        Fact::new(&REQUIRED, &spec.labels(), f64::from(required)),
    ]
}

fn runs(pod: &Pod) -> bool {
    pod.phase.as_deref() == Some("Running") && !pod.deleting
}

/// Who wants fewer pods than are required.
fn intent(look: &Look<'_>, required: u32) -> Vec<String> {
    let wanted = look.controller.replicas;
    let mut words = Vec::new();
    if wanted < required {
        words.push(format!("{} wants {wanted}", look.spec.workload));
    }
    let feed = look.feed(Resource::HorizontalPodAutoscalers);
    match look.inventory.sight(&feed) {
        Sight::Live => {}
        Sight::NotServed => return words,
        Sight::Forbidden | Sight::Unauthorized | Sight::Lost | Sight::Starting | Sight::NoCluster => {
            words.push("whether an autoscaler changes that is not known".to_owned());
            return words;
        }
    }
    let kind = match look.spec.workload.kind {
        ControllerKind::Deployment => "Deployment",
        ControllerKind::StatefulSet => "StatefulSet",
    };
    for (object, scaler) in look.all(&look.inventory.autoscalers) {
        let target = &scaler.scale_target_ref;
        if &*target.kind != kind || *target.name != *look.spec.workload.object.name {
            continue;
        }
        let (least, most) = (scaler.min_replicas.unwrap_or(1), scaler.max_replicas);
        if most < required {
            words.push(format!("HorizontalPodAutoscaler {} allows at most {most}", object.name));
        } else if least < required {
            words.push(format!("HorizontalPodAutoscaler {} may keep as few as {least}", object.name));
        }
    }
    words
}

/// What the other pods do instead, with the kubelet's one word for it.
fn not_ready(own: &[(&str, &Pod)]) -> Vec<String> {
    let deleting = own.iter().filter(|(_, pod)| pod.deleting).count();
    let late: Vec<&(&str, &Pod)> = own.iter().filter(|(_, pod)| !pod.ready && !pod.deleting).collect();
    let mut words = Vec::new();
    if !late.is_empty() {
        let why: BTreeSet<&str> = late.iter().filter_map(|(_, pod)| reason(pod)).collect();
        let why: Vec<&str> = why.into_iter().collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", listed(&why)) };
        let names: Vec<&str> = late.iter().map(|(name, _)| *name).collect();
        words.push(format!("not ready{why}: {}", listed(&names)));
    }
    if deleting > 0 {
        words.push(format!("{} being deleted", counted(deleting, "pod")));
    }
    words
}

fn reason(pod: &Pod) -> Option<&str> {
    let word = |text: &&str| !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric());
    let waiting =
        pod.containers.iter().find_map(|container| container.state.waiting.as_ref()?.reason.as_deref());
    let unscheduled = pod.node.is_none().then_some("not scheduled");
    waiting.filter(word).or(unscheduled)
}

fn strangers(look: &Look<'_>) -> Option<String> {
    let names: Vec<&str> = look.others_pods().map(|(name, _)| name).collect();
    (!names.is_empty()).then(|| format!("not counted, because something else made them: {}", listed(&names)))
}

/// What its status says otherwise: evidence of a control plane that does not work, or of pods that have just changed.
fn status(look: &Look<'_>, ready: usize) -> Option<String> {
    let status = &look.controller.status;
    let (generation, observed) =
        (look.controller.meta.generation.unwrap_or_default(), status.observed_generation.unwrap_or_default());
    if observed < generation {
        return Some(format!(
            "its controller has not acted on generation {generation} yet, only on {observed}"
        ));
    }
    (status.ready_replicas as usize != ready)
        .then(|| format!("its status says {} ready", status.ready_replicas))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{NOW, Scene, failed, gap, passed, value};
    use super::super::part::Part;
    use super::*;
    use crate::discovery::Sight;
    use crate::model::{GapReason, Outcome};

    fn answer(scene: &Scene) -> Answer {
        scene.answer(Part::Replicas)
    }

    #[test]
    fn as_many_as_the_spec_wants_are_enough() {
        let answer = answer(&Scene::new());
        passed(&answer, "3 of 3 required pods ready");
        assert_eq!((value(&answer, &READY), value(&answer, &REQUIRED)), (Some(3.0), Some(3.0)));
        let start = "2026-05-31T00:00:00Z".parse().unwrap();
        assert_eq!(value(&answer, &OLDEST), Some(crate::model::seconds(start)));
    }

    #[test]
    fn l75_scaled_to_nothing_is_not_nothing_of_nothing() {
        let mut scene = Scene::new();
        scene.edit("Deployment", "api-server", json!({"spec": {"replicas": 0}}));
        scene.delete("Pod");
        let answer = answer(&scene);
        failed(&answer, Reason::Missing, "0 of 1 required pod ready; Deployment platform/api-server wants 0");
        assert_eq!((value(&answer, &READY), value(&answer, &REQUIRED)), (Some(0.0), Some(1.0)));
        assert_eq!(value(&answer, &OLDEST), None);
    }

    #[test]
    fn l75_an_autoscaler_with_a_low_minimum_is_named() {
        let mut scene = Scene::new();
        scene.spec.required = Some(5);
        scene.put(json!({
            "kind": "HorizontalPodAutoscaler", "metadata": {"namespace": "platform", "name": "api"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "api-server"}, "minReplicas": 0, "maxReplicas": 9},
        }));
        failed(
            &answer(&scene),
            Reason::Missing,
            "3 of 5 required pods ready; Deployment platform/api-server wants 3; HorizontalPodAutoscaler api may keep \
             as few as 0",
        );
        scene.edit("HorizontalPodAutoscaler", "api", json!({"spec": {"maxReplicas": 4}}));
        failed(&answer(&scene), Reason::Missing, "api allows at most 4");
        scene.edit("HorizontalPodAutoscaler", "api", json!({"spec": {"scaleTargetRef": {"name": "other"}}}));
        assert!(!answer(&scene).detail.contains("Autoscaler"));
    }

    #[test]
    fn autoscalers_out_of_sight_do_not_hide_the_answer() {
        let mut scene = Scene::new();
        scene.sight(Resource::HorizontalPodAutoscalers, Sight::Forbidden);
        passed(&answer(&scene), "whether an autoscaler changes that is not known");
    }

    #[test]
    fn the_owner_may_require_nothing() {
        let mut scene = Scene::new();
        scene.spec.required = Some(0);
        scene.edit("Deployment", "api-server", json!({"spec": {"replicas": 0}}));
        scene.delete("Pod");
        passed(&answer(&scene), "no pod is required, 0 pods ready");
    }

    #[test]
    fn what_is_deleted_waits_or_has_ended_is_not_ready() {
        let mut scene = Scene::new();
        scene.edit("Pod", "api-server-5d4f-0", json!({"metadata": {"deletionTimestamp": NOW}}));
        scene.edit(
            "Pod",
            "api-server-5d4f-1",
            json!({"status": {
                "phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
            }}),
        );
        scene.edit("Pod", "api-server-5d4f-2", json!({"status": {"phase": "Failed"}}));
        let answer = answer(&scene);
        failed(
            &answer,
            Reason::Missing,
            "0 of 3 required pods ready; not ready (ImagePullBackOff): api-server-5d4f-1; 1 pod being deleted; its \
             status says 3 ready",
        );
        assert_eq!(value(&answer, &READY), Some(0.0));
    }

    #[test]
    fn pods_of_others_with_the_same_labels_are_not_counted() {
        let mut scene = Scene::new();
        scene.edit("Pod", "api-server-5d4f-0", json!({"metadata": {"ownerReferences": null}}));
        let job = json!([{"kind": "Job", "name": "api-server-migrate-1", "controller": true}]);
        scene.edit("Pod", "api-server-5d4f-1", json!({"metadata": {"ownerReferences": job}}));
        failed(
            &answer(&scene),
            Reason::Missing,
            "1 of 3 required pods ready; not counted, because something else made them: api-server-5d4f-0, \
             api-server-5d4f-1",
        );
    }

    #[test]
    fn the_pods_of_a_stateful_set_are_its_own() {
        let mut scene = Scene::stateful();
        passed(&answer(&scene), "2 of 2 required pods ready");
        let other = json!([{"kind": "StatefulSet", "name": "ledger-canary", "controller": true}]);
        scene.edit("Pod", "ledger-1", json!({"metadata": {"ownerReferences": other}}));
        failed(&answer(&scene), Reason::Missing, "1 of 2 required pods ready");
    }

    #[test]
    fn an_old_status_is_told_and_not_believed() {
        let mut scene = Scene::new();
        scene.edit("Deployment", "api-server", json!({"metadata": {"generation": 9}}));
        passed(&answer(&scene), "its controller has not acted on generation 9 yet, only on 4");
        scene.delete("Pod");
        failed(&answer(&scene), Reason::Missing, "0 of 3 required pods ready");
    }

    #[test]
    fn ninety_days_are_told_and_are_no_failure() {
        let mut scene = Scene::new();
        scene.edit("Pod", "api-server-5d4f-2", json!({"status": {"startTime": "2026-02-01T00:00:00Z"}}));
        passed(&answer(&scene), "the oldest was never re-scheduled for 120 days");
    }

    #[test]
    fn a_workload_that_is_not_there_cannot_be_started() {
        let mut scene = Scene::new();
        scene.spec.workload.object.name = "api-sever".into();
        failed(
            &answer(&scene),
            Reason::Missing,
            "a failover has nothing to start: Deployment platform/api-sever does not exist; the nearest names there: \
             api-server",
        );
        gap(&scene.answer(Part::Quota), GapReason::NotFound, "the nearest names there: api-server");
        let mut scene = Scene::stateful();
        scene.spec.workload.kind = ControllerKind::Deployment;
        failed(&answer(&scene), Reason::Missing, "does not exist, but StatefulSet platform/ledger does");
        let mut scene = Scene::new();
        scene.edit("Deployment", "api-server", json!({"metadata": {"deletionTimestamp": NOW}}));
        failed(&answer(&scene), Reason::Missing, "Deployment platform/api-server is being deleted");
    }

    #[test]
    fn what_is_out_of_sight_accuses_nobody() {
        let mut scene = Scene::new();
        scene.sight(Resource::Deployments, Sight::Forbidden);
        gap(
            &answer(&scene),
            GapReason::Forbidden,
            "our account needs the rule `list, watch` on `deployments` in namespace platform",
        );
        let mut scene = Scene::new();
        scene.delete("Pod");
        scene.sight(Resource::Pods, Sight::Lost);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable));
        scene.delete_feed(Resource::Pods);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable), "nobody asked for pods yet");
    }
}
