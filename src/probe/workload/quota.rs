//! `quota`: do the quotas of the namespace leave room for the pods that a failover still has to start? Pure.
//!
//! What a quota counts of a pod follows `pkg/quota/v1/evaluator/core/pods.go` of Kubernetes.

use super::look::{Look, counted, listed};
use super::quantity::Quantity;
use crate::discovery::objects::{Container, PodSpec, QuotaSpec, QuotaStatus};
use crate::discovery::{Feed, Gap, ObjectRef};
use crate::model::{Check, GapReason, Reason, Resource};
use crate::probe::{Answer, Kind};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Quota,
    about: "Every ResourceQuota of the namespace leaves room for the pods that are required and do not exist yet, by \
            number and by what their containers ask for and may use, and its use is computed. That a container \
            does not state what a quota counts is told, and is for `create_dry_run` to judge: a LimitRange may state it. \
            Where the scope of a quota \
            depends on what is not known, and it would be too small, the answer is a gap. Skipped without quotas.",
    example: "systems:\n  - name: orders\n    workloads: [{namespace: platform, deployment: api-server, replicas_required: 6}]",
    metrics: &[],
    reasons: &[&[Reason::Limit, Reason::Misconfigured, Reason::Unreachable]],
};

/// What a quota counts of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure<'a> {
    Pods,
    Request(&'a str),
    Limit(&'a str),
}

/// Whether a quota counts the workload's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Counts,
    DoesNot,
    /// It depends on what is not read, such as the priority of a pod.
    Unknown,
}

/// What stands in the way of new pods.
#[derive(Debug)]
enum Finding {
    /// Too little is left.
    Short(String),
    /// It is refused whatever is left.
    Refused(Reason, String),
    /// It would be refused, unless a LimitRange helps.
    Doubtful(String),
}

/// What it needs to know.
pub(super) fn feeds(look: &Look<'_>) -> Vec<Feed> {
    let mut feeds = vec![look.feed(Resource::ResourceQuotas)];
    feeds.extend(look.pod_feeds());
    feeds
}

/// Looks at every quota.
pub(super) fn judge(look: &Look<'_>) -> Answer {
    weighed(look).unwrap_or_else(Gap::answer)
}

fn weighed(look: &Look<'_>) -> Result<Answer, Gap> {
    let namespace = look.spec.workload.namespace();
    let quotas: Vec<_> = look.all(&look.inventory.quotas).collect();
    if quotas.is_empty() {
        return Ok(Answer::skipped(format!("there is no ResourceQuota in namespace {namespace}")));
    }
    // A pod that is being deleted makes room for the one that replaces it.
    let exist = look.own_pods().count();
    let missing = look.required().saturating_sub(u32::try_from(exist).unwrap_or(u32::MAX));
    let mut faults: Vec<(Reason, String)> = Vec::new();
    let (mut unsure, mut notes) = (Vec::new(), Vec::new());
    for (object, (spec, status)) in quotas {
        let scope = scope(spec, &look.controller.template.spec);
        if scope == Scope::DoesNot {
            continue;
        }
        for finding in findings(look, object, status, missing.max(1))? {
            match finding {
                Finding::Short(words) if missing == 0 => {
                    notes.push(format!("no room for one more pod during a roll-out: {words}"));
                }
                Finding::Doubtful(words) => notes.push(words),
                Finding::Short(words) | Finding::Refused(_, words) if scope == Scope::Unknown => {
                    unsure.push(words);
                }
                Finding::Short(words) => faults.push((Reason::Limit, words)),
                Finding::Refused(reason, words) => faults.push((reason, words)),
            }
        }
    }
    let wanted = match missing {
        0 => format!("all {} exist", counted(look.required() as usize, "required pod")),
        some => format!("{} still to be started", counted(some as usize, "required pod")),
    };
    if let Some((reason, _)) = faults.first() {
        let words: Vec<&str> = faults.iter().map(|(_, words)| words.as_str()).collect();
        return Ok(Answer::fail(*reason, format!("{wanted}: {}", listed(&words))));
    }
    if !unsure.is_empty() {
        let words = format!("{wanted}: {}, and whether it counts these pods is not known", listed(&unsure));
        return Err(Gap::new(GapReason::Unsupported, words));
    }
    let room = if missing == 0 { "" } else { ", and the quotas leave room" };
    notes.insert(0, format!("{wanted}{room}"));
    Ok(Answer::pass(notes.join("; ")))
}

/// What a quota says to so many new pods.
fn findings(
    look: &Look<'_>,
    object: &ObjectRef,
    status: &QuotaStatus,
    pods: u32,
) -> Result<Vec<Finding>, Gap> {
    let pod = &look.controller.template.spec;
    let quota = &object.name;
    let mut findings = Vec::new();
    for (resource, hard) in &status.hard {
        let Some(measure) = measure(resource) else { continue };
        let parse = |text: &str| {
            Quantity::parse(text).ok_or_else(|| {
                let words =
                    format!("ResourceQuota {object} has a quantity of {resource} that we cannot read");
                Gap::new(GapReason::Unparsable, words)
            })
        };
        let need = usage(pod, measure).and_then(|one| one.times(pods)).ok_or_else(|| {
            let words = format!("a container of {} has a quantity that we cannot read", look.spec.workload);
            Gap::new(GapReason::Unparsable, words)
        })?;
        let silent = silent(pod, measure);
        let Some(used) = status.used.get(resource) else {
            if need > Quantity::ZERO || !silent.is_empty() {
                let words = format!(
                    "ResourceQuota {quota} has not computed its use of {resource}, and refuses until then"
                );
                findings.push(Finding::Refused(Reason::Limit, words));
            }
            continue;
        };
        let (limit, used_now) = (parse(hard)?, parse(used)?);
        if !silent.is_empty() {
            // Whether a LimitRange states it is seen by who creates a pod: `create_dry_run`.
            findings.push(Finding::Doubtful(format!(
                "ResourceQuota {quota} counts {resource}, which {} does not state; a LimitRange has to",
                listed(&silent)
            )));
        }
        let left = limit.minus(used_now).unwrap_or_default();
        if need > Quantity::ZERO && need > left {
            let left = left.max(Quantity::ZERO);
            findings.push(Finding::Short(format!(
                "ResourceQuota {quota} leaves {left} of {resource} (used {used} of {hard}) and {need} is needed"
            )));
        }
    }
    Ok(findings)
}

/// What a resource of a quota counts of a pod; none for what pods do not use.
fn measure(resource: &str) -> Option<Measure<'_>> {
    match resource {
        "pods" | "count/pods" => Some(Measure::Pods),
        "cpu" | "memory" | "ephemeral-storage" => Some(Measure::Request(resource)),
        // That of claims.
        "requests.storage" => None,
        _ if resource.contains(".storageclass.storage.k8s.io/") => None,
        _ => match (resource.strip_prefix("requests."), resource.strip_prefix("limits.")) {
            (Some(name), _) => Some(Measure::Request(name)),
            (None, Some(name)) => Some(Measure::Limit(name)),
            (None, None) => resource.starts_with("hugepages-").then_some(Measure::Request(resource)),
        },
    }
}

/// What one container takes; none if it does not say. A request that is not stated is as large as the limit.
fn stated<'a>(container: &'a Container, measure: Measure<'_>) -> Option<&'a str> {
    let resources = &container.resources;
    match measure {
        Measure::Pods => None,
        Measure::Request(name) => {
            resources.requests.get(name).or_else(|| resources.limits.get(name)).map(|text| &**text)
        }
        Measure::Limit(name) => resources.limits.get(name).map(|text| &**text),
    }
}

/// What one pod takes: its containers together with the sidecars, or, if that is more, an init container together with
/// the sidecars that were started before it. None if that cannot be read.
fn usage(pod: &PodSpec, measure: Measure<'_>) -> Option<Quantity> {
    if measure == Measure::Pods {
        return Some(Quantity::whole(1));
    }
    let of = |container: &Container| stated(container, measure).map_or(Some(Quantity::ZERO), Quantity::parse);
    let (mut sidecars, mut most) = (Quantity::ZERO, Quantity::ZERO);
    for container in &pod.init_containers {
        let together = sidecars.plus(of(container)?)?;
        most = most.max(together);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = together;
        }
    }
    let running = pod.containers.iter().try_fold(sidecars, |sum, container| sum.plus(of(container)?))?;
    Some(most.max(running))
}

/// The containers that do not state what a quota counts, where that is refused: only for cpu and memory.
fn silent<'a>(pod: &'a PodSpec, measure: Measure<'_>) -> Vec<&'a str> {
    let (Measure::Request(name) | Measure::Limit(name)) = measure else { return Vec::new() };
    if !matches!(name, "cpu" | "memory") {
        return Vec::new();
    }
    let all = pod.containers.iter().chain(&pod.init_containers);
    all.filter(|container| stated(container, measure).is_none()).map(|container| &*container.name).collect()
}

/// Pods of a Deployment or StatefulSet have no deadline, so they never terminate in the sense of a quota.
fn scope(spec: &QuotaSpec, pod: &PodSpec) -> Scope {
    let zero = |text: &str| Quantity::parse(text) == Some(Quantity::ZERO);
    let asks = |container: &Container| {
        let pairs = container.resources.requests.iter().chain(&container.resources.limits);
        pairs.filter(|(name, _)| matches!(&***name, "cpu" | "memory")).any(|(_, text)| !zero(text))
    };
    let best_effort = !pod.containers.iter().chain(&pod.init_containers).any(asks);
    let mut scope = if spec.scope_selector.is_some() { Scope::Unknown } else { Scope::Counts };
    for name in &spec.scopes {
        match &**name {
            "NotTerminating" => {}
            "BestEffort" if best_effort => {}
            "NotBestEffort" if !best_effort => {}
            "Terminating" | "BestEffort" | "NotBestEffort" => return Scope::DoesNot,
            _ => scope = Scope::Unknown,
        }
    }
    scope
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{Scene, failed, gap, passed, skipped};
    use super::super::part::Part;
    use super::*;
    use crate::discovery::Sight;
    use crate::model::Outcome;

    fn answer(scene: &Scene) -> Answer {
        scene.answer(Part::Quota)
    }

    /// Three pods exist, six are required; each asks for 500m and 1Gi, and may use 1 and 1Gi.
    fn scene(hard: &Value, used: &Value) -> Scene {
        let mut scene = Scene::new();
        scene.spec.required = Some(6);
        scene.put(json!({"kind": "ResourceQuota", "metadata": {"namespace": "platform", "name": "compute"},
                         "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}));
        scene
    }

    fn resources(scene: &mut Scene, containers: &Value, init: &Value) {
        let spec = json!({"containers": containers, "initContainers": init});
        scene.edit("Deployment", "api-server", json!({"spec": {"template": {"spec": spec}}}));
    }

    fn scoped(scene: &mut Scene, spec: &Value) {
        scene.edit("ResourceQuota", "compute", json!({"spec": spec}));
    }

    #[test]
    fn without_quotas_there_is_nothing_to_ask() {
        skipped(&answer(&Scene::new()), "there is no ResourceQuota in namespace platform");
    }

    #[test]
    fn l81_too_little_is_left_for_the_failover() {
        for (resource, hard, used, words) in [
            ("pods", "5", "3", "leaves 2 of pods (used 3 of 5) and 3 is needed"),
            ("count/pods", "5", "3", "leaves 2 of count/pods"),
            (
                "requests.cpu",
                "2900m",
                "1.5",
                "leaves 1400m of requests.cpu (used 1.5 of 2900m) and 1500m is needed",
            ),
            ("cpu", "2", "1500m", "leaves 500m of cpu"),
            (
                "requests.memory",
                "5Gi",
                "3Gi",
                "leaves 2Gi of requests.memory (used 3Gi of 5Gi) and 3Gi is needed",
            ),
            ("memory", "6143Mi", "3072Mi", "leaves 3071Mi of memory"),
            ("limits.cpu", "5", "3", "leaves 2 of limits.cpu"),
            ("limits.memory", "5Gi", "3Gi", "leaves 2Gi of limits.memory"),
            ("pods", "2", "3", "leaves 0 of pods"),
        ] {
            let scene = scene(&json!({resource: hard}), &json!({resource: used}));
            failed(&answer(&scene), Reason::Limit, words);
            failed(
                &answer(&scene),
                Reason::Limit,
                "3 required pods still to be started: ResourceQuota compute",
            );
        }
    }

    #[test]
    fn exactly_enough_is_enough() {
        let hard = json!({"pods": "6", "requests.cpu": "3", "requests.memory": "6Gi", "limits.cpu": "6", "services": "0"});
        let used = json!({"pods": "3", "requests.cpu": "1500m", "requests.memory": "3Gi", "limits.cpu": "3", "services": "5"});
        passed(
            &answer(&scene(&hard, &used)),
            "3 required pods still to be started, and the quotas leave room",
        );
        // What pods do not use is not their matter.
        let storage =
            json!({"requests.storage": "1Gi", "gp3.storageclass.storage.k8s.io/requests.storage": "0"});
        passed(&answer(&scene(&storage, &storage)), "the quotas leave room");
    }

    #[test]
    fn pods_that_exist_need_no_more_room() {
        let mut scene = scene(&json!({"pods": "3"}), &json!({"pods": "3"}));
        scene.spec.required = None;
        passed(
            &answer(&scene),
            "all 3 required pods exist; no room for one more pod during a roll-out: ResourceQuota compute leaves 0 of pods",
        );
        // The one that goes makes room for the one that comes.
        scene.edit(
            "Pod",
            "api-server-5d4f-0",
            json!({"metadata": {"deletionTimestamp": "2026-06-01T00:00:00Z"}}),
        );
        passed(&answer(&scene), "all 3 required pods exist");
    }

    #[test]
    fn init_containers_and_sidecars_count_as_the_scheduler_counts_them() {
        let cpu = |name: &str, cpu: &str, always: bool| json!({"name": name, "resources": {"requests": {"cpu": cpu}}, "restartPolicy": always.then_some("Always")});
        // Sidecar 200m, then an init container of 900m beside it, and 500m + 300m + 200m while running: 1100m.
        let init = json!([cpu("proxy", "200m", true), cpu("migrate", "900m", false)]);
        let containers = json!([cpu("app", "500m", false), cpu("helper", "300m", false)]);
        let mut scene = scene(&json!({"requests.cpu": "3299m"}), &json!({"requests.cpu": "0"}));
        resources(&mut scene, &containers, &init);
        failed(&answer(&scene), Reason::Limit, "3300m is needed");
        // Started after it, the sidecar does not run beside it.
        let init = json!([cpu("migrate", "900m", false), cpu("proxy", "200m", true)]);
        resources(&mut scene, &containers, &init);
        passed(&answer(&scene), "the quotas leave room");
    }

    #[test]
    fn a_limit_is_the_request_where_none_is_stated() {
        let mut scene = scene(&json!({"requests.cpu": "5"}), &json!({"requests.cpu": "3"}));
        resources(&mut scene, &json!([{"name": "app", "resources": {"limits": {"cpu": "1"}}}]), &json!(null));
        failed(&answer(&scene), Reason::Limit, "leaves 2 of requests.cpu (used 3 of 5) and 3 is needed");
    }

    #[test]
    fn a_pod_that_does_not_say_what_is_counted_is_for_the_dry_run_to_judge() {
        let mut scene = scene(&json!({"limits.memory": "100Gi"}), &json!({"limits.memory": "0"}));
        resources(&mut scene, &json!([{"name": "app"}]), &json!(null));
        passed(&answer(&scene), "counts limits.memory, which app does not state; a LimitRange has to");
        scene.delete("Pod");
        passed(&answer(&scene), "which app does not state; a LimitRange has to");
        // Other resources need not be stated.
        scene.edit("ResourceQuota", "compute", json!({"status": {"hard": {"limits.memory": null, "requests.nvidia.com/gpu": "0"}, "used": {"requests.nvidia.com/gpu": "0"}}}));
        passed(&answer(&scene), "the quotas leave room");
    }

    #[test]
    fn a_use_that_is_not_computed_refuses() {
        failed(
            &answer(&scene(&json!({"pods": "100"}), &json!(null))),
            Reason::Limit,
            "ResourceQuota compute has not computed its use of pods, and refuses until then",
        );
    }

    #[test]
    fn scopes_say_which_pods_are_counted() {
        let (hard, used) = (json!({"pods": "3"}), json!({"pods": "3"}));
        for (scopes, counts) in [
            (json!(["NotTerminating"]), true),
            (json!(["NotBestEffort", "NotTerminating"]), true),
            (json!(["Terminating"]), false),
            (json!(["BestEffort"]), false),
        ] {
            let mut scene = scene(&hard, &used);
            scoped(&mut scene, &json!({"scopes": scopes}));
            let answer = answer(&scene);
            assert_eq!(answer.outcome == Outcome::Fail(Reason::Limit), counts, "{scopes}: {}", answer.detail);
        }
        let mut scene = scene(&hard, &used);
        resources(&mut scene, &json!([{"name": "app"}]), &json!(null));
        scoped(&mut scene, &json!({"scopes": ["BestEffort"]}));
        failed(&answer(&scene), Reason::Limit, "leaves 0 of pods");
    }

    #[test]
    fn a_scope_that_is_not_known_accuses_nobody() {
        let selector = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]});
        let mut small = scene(&json!({"pods": "3"}), &json!({"pods": "3"}));
        scoped(&mut small, &json!({"scopeSelector": selector}));
        gap(
            &answer(&small),
            GapReason::Unsupported,
            "leaves 0 of pods (used 3 of 3) and 3 is needed, and whether it counts these pods is not known",
        );
        let mut large = scene(&json!({"pods": "30"}), &json!({"pods": "3"}));
        scoped(&mut large, &json!({"scopeSelector": selector}));
        passed(&answer(&large), "the quotas leave room");
    }

    #[test]
    fn t09_a_pilot_light_needs_room_for_one() {
        let quota = |hard: &str| {
            json!({"kind": "ResourceQuota", "metadata": {"namespace": "platform", "name": "compute"},
                   "status": {"hard": {"pods": hard}, "used": {"pods": "0"}}})
        };
        let mut scene = Scene::pilot_light();
        scene.put(quota("1"));
        passed(&answer(&scene), "1 required pod still to be started, and the quotas leave room");
        scene.put(quota("0"));
        failed(&answer(&scene), Reason::Limit, "leaves 0 of pods (used 0 of 0) and 1 is needed");
    }

    #[test]
    fn what_cannot_be_read_accuses_nobody() {
        gap(
            &answer(&scene(&json!({"pods": "many"}), &json!({"pods": "0"}))),
            GapReason::Unparsable,
            "ResourceQuota platform/compute has a quantity of pods that we cannot read",
        );
        let mut scene = scene(&json!({"pods": "3"}), &json!({"pods": "3"}));
        scene.sight(Resource::ResourceQuotas, Sight::Forbidden);
        gap(&answer(&scene), GapReason::Forbidden, "`list, watch` on `resourcequotas` in namespace platform");
        scene.sight(Resource::ResourceQuotas, Sight::Lost);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable));
    }
}
