//! `storage`: are the volumes there that the workload's pods need? Pure.

use std::collections::BTreeSet;

use super::look::{Look, counted, listed};
use crate::discovery::objects::{ClaimSpec, Pairs};
use crate::discovery::{Feed, ObjectRef};
use crate::model::{Check, Reason, Resource};
use crate::probe::{Answer, Kind};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Storage,
    about: "Every claim that the workload's pods need is bound: those of its volumes, and those of a StatefulSet for \
            as many pods as a failover needs. A claim may wait for its first pod while none is wanted, and a claim of \
            a pod that is not wanted yet may be missing, if its storage class exists, or the cluster has a default one. \
            Skipped for a workload without claims.",
    example: "systems:\n  - name: orders\n    workloads: [{namespace: platform, statefulset: ledger}]",
    metrics: &[],
    reasons: &[&[Reason::Missing, Reason::Misconfigured, Reason::Unreachable]],
};

/// The marks of the default class, the old one included.
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// A claim that pods need.
#[derive(Debug)]
struct Needed<'a> {
    object: ObjectRef,
    /// What will be asked for, where the controller makes the claim together with its pod.
    template: Option<&'a ClaimSpec>,
    /// A pod that uses it is wanted now.
    wanted: bool,
}

/// What it needs to know: classes only where a claim is not bound.
pub(super) fn feeds(look: &Look<'_>) -> Vec<Feed> {
    let needed = needed(look);
    let mut feeds = Vec::new();
    if !needed.is_empty() {
        feeds.push(look.feed(Resource::PersistentVolumeClaims));
    }
    if needed.iter().any(|needed| phase(look, needed) != Some("Bound")) {
        feeds.push(Feed::all(Resource::StorageClasses, None));
    }
    feeds
}

/// Looks at every claim.
pub(super) fn judge(look: &Look<'_>) -> Answer {
    let needed = needed(look);
    if needed.is_empty() {
        return Answer::skipped(format!("{} uses no claims", look.spec.workload));
    }
    let faults: Vec<(Reason, String)> = needed.iter().filter_map(|needed| fault(look, needed)).collect();
    let Some((reason, _)) = faults.first() else {
        let later: Vec<&str> = needed
            .iter()
            .filter(|needed| phase(look, needed) != Some("Bound"))
            .map(|needed| &*needed.object.name)
            .collect();
        let bound = counted(needed.len() - later.len(), "claim");
        return Answer::pass(match later.as_slice() {
            [] => format!("{bound} bound"),
            names => format!("{bound} bound; made or bound when its pod is wanted: {}", listed(names)),
        });
    };
    let words: BTreeSet<&str> = faults.iter().map(|(_, words)| words.as_str()).collect();
    let words: Vec<&str> = words.into_iter().collect();
    Answer::fail(
        *reason,
        format!("{} of {}: {}", faults.len(), counted(needed.len(), "claim"), listed(&words)),
    )
}

fn needed<'a>(look: &Look<'a>) -> Vec<Needed<'a>> {
    let controller = look.controller;
    let volumes = controller.template.spec.volumes.iter();
    let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let mut needed: Vec<Needed<'a>> = claims
        .map(|claim| Needed {
            object: look.beside(&claim.claim_name),
            template: None,
            wanted: controller.replicas > 0,
        })
        .collect();
    for template in &controller.claims {
        for ordinal in 0..look.required() {
            let number = controller.first_ordinal.saturating_add(ordinal);
            let name = format!("{}-{}-{number}", template.metadata.name, look.spec.workload.object.name);
            needed.push(Needed {
                object: look.beside(&name),
                template: Some(&template.spec),
                wanted: ordinal < controller.replicas,
            });
        }
    }
    needed
}

fn phase<'a>(look: &Look<'a>, needed: &Needed<'_>) -> Option<&'a str> {
    let (_, phase) = look.inventory.claims.get(&needed.object)?;
    Some(phase.as_deref().unwrap_or("Pending"))
}

fn fault(look: &Look<'_>, needed: &Needed<'_>) -> Option<(Reason, String)> {
    let name = &needed.object.name;
    match (look.inventory.claims.get(&needed.object), phase(look, needed), needed.template) {
        (_, Some("Bound"), _) => None,
        (_, Some("Lost"), _) => Some((Reason::Missing, format!("claim {name} has lost its volume"))),
        (Some((spec, _)), _, _) => {
            let class = match class(look, name, spec) {
                Ok(class) => class,
                Err(fault) => return Some(fault),
            };
            let waits = class.is_some_and(|mode| mode == "WaitForFirstConsumer");
            // Then the scheduler picks the volume's place together with that of the pod.
            let fine = waits && !needed.wanted;
            (!fine).then(|| (Reason::Missing, format!("claim {name} is pending: it has no volume")))
        }
        (None, _, Some(template)) if !needed.wanted => class(look, name, template).err(),
        (None, _, Some(_) | None) => Some((Reason::Missing, format!("claim {name} does not exist"))),
    }
}

/// The binding mode of the claim's class, or what is wrong with the class; none where volumes are made by hand.
fn class<'a>(look: &Look<'a>, claim: &str, spec: &ClaimSpec) -> Result<Option<&'a str>, (Reason, String)> {
    let classes = &look.inventory.storage_classes;
    let mode = |mode: &'a Option<Box<str>>| mode.as_deref().unwrap_or("Immediate");
    match spec.storage_class_name.as_deref() {
        Some("") => Ok(None),
        Some(name) => match classes.get(&ObjectRef::new("", name)) {
            Some((_, binding)) => Ok(Some(mode(binding))),
            None => Err((
                Reason::Missing,
                format!("StorageClass {name}, which claim {claim} names, does not exist"),
            )),
        },
        None => match classes.values().find(|(meta, _)| is_default(&meta.annotations)) {
            Some((_, binding)) => Ok(Some(mode(binding))),
            None => Err((
                Reason::Misconfigured,
                format!("claim {claim} names no StorageClass, and the cluster has no default one"),
            )),
        },
    }
}

fn is_default(annotations: &Pairs) -> bool {
    DEFAULT.iter().any(|mark| annotations.get(*mark).is_some_and(|value| &**value == "true"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{Scene, failed, gap, passed, skipped};
    use super::super::part::Part;
    use super::*;
    use crate::discovery::Sight;
    use crate::model::{GapReason, Outcome};

    fn answer(scene: &Scene) -> Answer {
        scene.answer(Part::Storage)
    }

    fn claim(name: &str, class: Option<&str>, phase: &str) -> Value {
        json!({"kind": "PersistentVolumeClaim", "metadata": {"namespace": "platform", "name": name},
               "spec": {"storageClassName": class}, "status": {"phase": phase}})
    }

    fn class(name: &str, mode: &str, default: bool) -> Value {
        json!({"kind": "StorageClass", "volumeBindingMode": mode, "metadata": {
            "name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()},
        }})
    }

    /// A Deployment whose pods use the claim `uploads`.
    fn uploads(phase: &str) -> Scene {
        let mut scene = Scene::new();
        let volumes = json!([{"name": "u", "persistentVolumeClaim": {"claimName": "uploads"}}, {"name": "tmp", "emptyDir": {}}]);
        scene.edit("Deployment", "api-server", json!({"spec": {"template": {"spec": {"volumes": volumes}}}}));
        scene.put(claim("uploads", Some("gp3"), phase));
        scene.put(class("gp3", "WaitForFirstConsumer", false));
        scene
    }

    #[test]
    fn a_workload_without_claims_needs_no_rights() {
        let mut scene = Scene::new();
        scene.sight(Resource::PersistentVolumeClaims, Sight::Forbidden);
        skipped(&answer(&scene), "Deployment platform/api-server uses no claims");
    }

    #[test]
    fn l79_pending_lost_or_missing() {
        passed(&answer(&uploads("Bound")), "1 claim bound");
        failed(
            &answer(&uploads("Pending")),
            Reason::Missing,
            "1 of 1 claim: claim uploads is pending: it has no volume",
        );
        failed(&answer(&uploads("Lost")), Reason::Missing, "claim uploads has lost its volume");
        let mut scene = uploads("Bound");
        scene.delete("PersistentVolumeClaim");
        failed(&answer(&scene), Reason::Missing, "claim uploads does not exist");
        scene.edit("Deployment", "api-server", json!({"spec": {"replicas": 0}}));
        failed(&answer(&scene), Reason::Missing, "claim uploads does not exist");
    }

    #[test]
    fn a_claim_may_wait_for_its_first_pod() {
        let mut scene = uploads("Pending");
        scene.edit("Deployment", "api-server", json!({"spec": {"replicas": 0}}));
        passed(&answer(&scene), "0 claims bound; made or bound when its pod is wanted: uploads");
        // An immediate one waits for nothing.
        scene.put(class("gp3", "Immediate", false));
        failed(&answer(&scene), Reason::Missing, "claim uploads is pending");
    }

    #[test]
    fn l79_a_class_that_is_missing() {
        let mut scene = uploads("Pending");
        scene.delete("StorageClass");
        failed(
            &answer(&scene),
            Reason::Missing,
            "StorageClass gp3, which claim uploads names, does not exist",
        );
        // What is bound needs its class no more.
        let mut scene = uploads("Bound");
        scene.delete("StorageClass");
        scene.sight(Resource::StorageClasses, Sight::Forbidden);
        passed(&answer(&scene), "1 claim bound");
    }

    #[test]
    fn no_class_is_the_default_one_if_there_is_one() {
        let mut scene = uploads("Pending");
        scene.put(claim("uploads", None, "Pending"));
        scene.edit("Deployment", "api-server", json!({"spec": {"replicas": 0}}));
        failed(
            &answer(&scene),
            Reason::Misconfigured,
            "claim uploads names no StorageClass, and the cluster has no default one",
        );
        scene.put(class("gp3", "WaitForFirstConsumer", true));
        passed(&answer(&scene), "made or bound when its pod is wanted: uploads");
        // The empty name asks for a volume that somebody makes by hand.
        scene.put(claim("uploads", Some(""), "Pending"));
        failed(&answer(&scene), Reason::Missing, "claim uploads is pending: it has no volume");
    }

    #[test]
    fn a_stateful_set_has_claims_for_every_pod_that_is_required() {
        let mut scene = Scene::stateful();
        passed(&answer(&scene), "2 claims bound");
        scene.spec.required = Some(3);
        failed(
            &answer(&scene),
            Reason::Missing,
            "1 of 3 claims: StorageClass gp3, which claim data-ledger-2 names, does not exist",
        );
        scene.put(class("gp3", "WaitForFirstConsumer", false));
        passed(&answer(&scene), "2 claims bound; made or bound when its pod is wanted: data-ledger-2");
        scene.edit("StatefulSet", "ledger", json!({"spec": {"replicas": 3}}));
        failed(&answer(&scene), Reason::Missing, "claim data-ledger-2 does not exist");
        // One that stayed from a larger set is nobody's trouble.
        scene.put(claim("data-ledger-9", Some("gone"), "Lost"));
        scene.put(claim("data-ledger-2", Some("gp3"), "Bound"));
        passed(&answer(&scene), "3 claims bound");
    }

    #[test]
    fn a_stateful_set_need_not_count_from_nothing() {
        let mut scene = Scene::stateful();
        scene.edit("StatefulSet", "ledger", json!({"spec": {"ordinals": {"start": 1}}}));
        failed(&answer(&scene), Reason::Missing, "1 of 2 claims: claim data-ledger-2 does not exist");
        scene.put(claim("data-ledger-2", Some("gp3"), "Bound"));
        scene.put(claim("data-ledger-0", Some("gp3"), "Lost"));
        passed(&answer(&scene), "2 claims bound");
    }

    #[test]
    fn what_is_out_of_sight_accuses_nobody() {
        let mut scene = uploads("Pending");
        scene.sight(Resource::StorageClasses, Sight::Forbidden);
        gap(&answer(&scene), GapReason::Forbidden, "`list, watch` on `storageclasses` in the whole cluster");
        scene.sight(Resource::PersistentVolumeClaims, Sight::Lost);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable));
    }
}
