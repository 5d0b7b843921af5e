//! `cron_jobs`: do jobs run on a side that should be waiting? Pure.

use super::Spec;
use super::look::{counted, in_namespace, listed};
use crate::discovery::{Feed, Inventory};
use crate::model::{Check, Reason, Resource, Role};
use crate::probe::{Answer, Kind};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::CronJobs,
    about: "The CronJobs of the workload's namespace are suspended on a standby, except those whose names \
            `cron_jobs.allowed` matches: what runs on both sides is done twice, or against the wrong database. On a \
            primary they may be active. Asked once a namespace, of the first workload there.",
    example: "systems:\n  - name: orders\n    workloads:\n      - {namespace: platform, deployment: api-server, cron_jobs: {allowed: [\"log-.*\"]}}",
    metrics: &[],
    reasons: &[&[Reason::Conflict, Reason::Unreachable, Reason::Misconfigured]],
};

/// What it needs to know.
pub(super) fn feeds(spec: &Spec) -> [Feed; 1] {
    [Feed::all(Resource::CronJobs, Some(spec.workload.namespace()))]
}

/// Compares what is active with what the site is for.
pub(super) fn judge(spec: &Spec, inventory: &Inventory) -> Answer {
    let namespace = spec.workload.namespace();
    let jobs: Vec<_> = in_namespace(&inventory.cron_jobs, namespace).collect();
    if jobs.is_empty() {
        return Answer::skipped(format!("there is no CronJob in namespace {namespace}"));
    }
    let is_allowed = |name: &str| spec.cron_jobs_allowed.iter().any(|allowed| allowed.0.is_match(name));
    let (suspended, active): (Vec<_>, Vec<_>) = jobs.iter().partition(|(_, job)| job.suspend);
    let (allowed, active): (Vec<_>, Vec<_>) =
        active.into_iter().partition(|(object, _)| is_allowed(&object.name));
    let suspended: Vec<&str> = suspended.iter().map(|(object, _)| &*object.name).collect();
    match spec.role {
        Role::Standby => {}
        Role::Primary => {
            let active = counted(active.len() + allowed.len(), "CronJob");
            return Answer::pass(match suspended.as_slice() {
                [] => format!("{active} active on a primary"),
                names => format!("{active} active on a primary; suspended: {}", listed(names)),
            });
        }
        Role::Retired | Role::Unknown => {
            return Answer::skipped(
                "nobody knows which CronJobs belong to a site that is neither primary nor standby",
            );
        }
    }
    if active.is_empty() {
        let allowed = match allowed.len() {
            0 => String::new(),
            some => format!(", {some} may be active on both sides"),
        };
        return Answer::pass(format!(
            "{} suspended on a standby{allowed}",
            counted(suspended.len(), "CronJob")
        ));
    }
    let named: Vec<String> =
        active.iter().map(|(object, job)| format!("{} ({})", object.name, job.schedule)).collect();
    Answer::fail(
        Reason::Conflict,
        format!(
            "{} active on a standby in namespace {namespace}: {}",
            counted(named.len(), "CronJob"),
            listed(&named)
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{Scene, failed, gap, passed, skipped};
    use super::super::part::Part;
    use super::*;
    use crate::config::Anchored;
    use crate::discovery::Sight;
    use crate::model::{GapReason, Outcome};

    fn answer(scene: &Scene) -> Answer {
        scene.answer(Part::CronJobs)
    }

    fn job(name: &str, suspend: &Value) -> Value {
        json!({"kind": "CronJob", "metadata": {"namespace": "platform", "name": name},
               "spec": {"schedule": "*/5 * * * *", "suspend": suspend}})
    }

    fn scene(role: Role) -> Scene {
        let mut scene = Scene::new();
        scene.spec.role = role;
        scene.put(job("billing", &json!(false)));
        scene.put(job("mailer", &json!(true)));
        let mut other = job("elsewhere", &json!(false));
        other["metadata"]["namespace"] = json!("platform2");
        scene.put(other);
        scene
    }

    #[test]
    fn l56_a_job_that_is_active_on_both_sides() {
        let mut scene = scene(Role::Standby);
        failed(
            &answer(&scene),
            Reason::Conflict,
            "1 CronJob active on a standby in namespace platform: billing (*/5 * * * *)",
        );
        scene.edit("CronJob", "billing", json!({"spec": {"suspend": true}}));
        passed(&answer(&scene), "2 CronJobs suspended on a standby");
    }

    #[test]
    fn its_twin_on_a_primary_passes() {
        let scene = scene(Role::Primary);
        passed(&answer(&scene), "1 CronJob active on a primary; suspended: mailer");
    }

    #[test]
    fn what_is_allowed_may_be_active() {
        let mut scene = scene(Role::Standby);
        let allowed = |text: &str| serde_json::from_value::<Anchored>(json!(text)).unwrap();
        scene.spec.cron_jobs_allowed = vec![allowed("bill")];
        failed(&answer(&scene), Reason::Conflict, "billing");
        scene.spec.cron_jobs_allowed = vec![allowed("x"), allowed("bill.*")];
        passed(&answer(&scene), "1 CronJob suspended on a standby, 1 may be active on both sides");
    }

    #[test]
    fn the_question_is_about_the_namespace() {
        let mut scene = scene(Role::Standby);
        scene.delete("Deployment");
        failed(&answer(&scene), Reason::Conflict, "billing");
        scene.delete("CronJob");
        skipped(&answer(&scene), "there is no CronJob in namespace platform");
    }

    #[test]
    fn what_is_out_of_sight_accuses_nobody() {
        let mut scene = scene(Role::Standby);
        scene.sight(Resource::CronJobs, Sight::Forbidden);
        gap(&answer(&scene), GapReason::Forbidden, "`list, watch` on `cronjobs` in namespace platform");
        scene.sight(Resource::CronJobs, Sight::Lost);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable));
    }
}
