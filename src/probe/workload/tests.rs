//! The probe: what it asks, and when it wants to be asked again.

use serde_json::json;
use tokio::time::{Duration, Instant, timeout};

use super::fixture::{Scene, failed, passed};
use super::*;
use crate::discovery::Sight;
use crate::model::{Check, Outcome, Reason, Resource};

fn probe(scene: &Scene) -> (Arc<Cluster>, Workload) {
    let cluster = Arc::new(Cluster::of(scene.inventory()));
    (cluster.clone(), Workload::new(scene.spec.clone(), cluster))
}

async fn asked(probe: &Workload, now: Timestamp) -> Vec<Answer> {
    let attempt = Attempt::new(now, Instant::now() + Duration::from_secs(10), probe.questions().len());
    probe.ask(&attempt).await;
    attempt.into_answers().into_iter().map(|answer| answer.expect("an answer")).collect()
}

/// How long it takes until the probe wants to be asked; never within ten minutes, if none.
async fn stirs(probe: &Workload) -> Option<Duration> {
    let start = Instant::now();
    timeout(Duration::from_secs(600), probe.stirred()).await.ok().map(|()| start.elapsed())
}

fn checks(probe: &Workload) -> Vec<Check> {
    probe.questions().iter().map(|question| question.key.check).collect()
}

#[tokio::test(start_paused = true)]
async fn one_look_answers_every_question() {
    let scene = Scene::new();
    let (_, probe) = probe(&scene);
    assert_eq!(
        checks(&probe),
        [
            Check::WorkloadReplicas,
            Check::ReadinessProbe,
            Check::ServiceEndpoints,
            Check::NodeLease,
            Check::Storage,
            Check::Quota,
            Check::CronJobs,
        ]
    );
    assert!(probe.questions().iter().all(|question| &*question.key.target == "api-server"));
    let outcomes: Vec<_> = asked(&probe, scene.now).await.iter().map(|answer| answer.outcome).collect();
    let (pass, skipped) = (Outcome::Pass, Outcome::Skipped);
    assert_eq!(outcomes, [pass, pass, pass, pass, skipped, skipped, skipped]);
}

#[test]
fn one_workload_of_a_namespace_asks_about_its_cron_jobs() {
    let mut scene = Scene::new();
    scene.spec.asks_cron_jobs = false;
    let (_, probe) = probe(&scene);
    assert!(!checks(&probe).contains(&Check::CronJobs));
    assert_eq!(probe.questions().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn every_outcome_has_a_reason_that_is_documented() {
    let mut scenes = vec![Scene::new(), Scene::stateful(), Scene::pilot_light()];
    let mut gone = Scene::new();
    gone.delete("Deployment");
    scenes.push(gone);
    for resource in Resource::ALL {
        for sight in [Sight::Forbidden, Sight::Lost, Sight::Starting] {
            let mut scene = Scene::stateful();
            scene.sight(*resource, sight);
            scenes.push(scene);
        }
    }
    for scene in scenes {
        for part in Part::ALL {
            let answer = scene.answer(*part);
            let known = part.kind().reasons.concat();
            if let Some(reason) = answer.outcome.reason() {
                assert!(known.contains(&reason), "{:?} with {reason}: {}", part, answer.detail);
            }
            for fact in &answer.facts {
                assert!(part.kind().metrics.iter().any(|own| std::ptr::eq(*own, fact.metric)), "{part:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_answered_within_five_seconds() {
    let mut scene = Scene::new();
    let (cluster, probe) = probe(&scene);
    asked(&probe, scene.now).await;
    scene.delete("EndpointSlice");
    let (stirred, ()) = tokio::join!(stirs(&probe), async {
        sleep(Duration::from_secs(120)).await;
        cluster.write(|inventory| *inventory = scene.inventory());
    });
    let after = stirred.expect("stirred") - Duration::from_secs(120);
    assert!(after < Duration::from_secs(5), "{after:?}");
    failed(&asked(&probe, scene.now).await[2], Reason::Missing, "no ready endpoint");
    assert_eq!(stirs(&probe).await, None, "what was answered stirs nobody");
}

#[tokio::test(start_paused = true)]
async fn a_change_between_two_waits_is_not_missed() {
    let mut scene = Scene::new();
    let (cluster, probe) = probe(&scene);
    asked(&probe, scene.now).await;
    scene.sight(Resource::Services, Sight::Forbidden);
    cluster.write(|inventory| *inventory = scene.inventory());
    assert!(stirs(&probe).await.expect("stirred") < Duration::from_secs(5));
}

/// Changes of what nobody judges, and time itself, are no news.
#[tokio::test(start_paused = true)]
async fn what_changes_nothing_stirs_nobody() {
    let mut scene = Scene::new();
    scene.edit("Pod", "api-server-5d4f-2", json!({"status": {"startTime": "2026-02-01T00:00:00Z"}}));
    let (cluster, probe) = probe(&scene);
    passed(&asked(&probe, scene.now).await[0], "120 days");
    let (stirred, ()) = tokio::join!(stirs(&probe), async {
        for second in 0..500 {
            sleep(Duration::from_secs(1)).await;
            let renewed = format!("2026-05-31T23:59:{:02}Z", 30 + second % 25);
            scene.edit("Lease", "a", json!({"spec": {"renewTime": renewed}}));
            cluster.write(|inventory| *inventory = scene.inventory());
        }
    });
    assert_eq!(stirred, None);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_stirred_before_the_first_attempt() {
    let scene = Scene::new();
    let (cluster, probe) = probe(&scene);
    cluster.write(|inventory| inventory.pods.clear());
    assert_eq!(stirs(&probe).await, None);
}

/// The API server is away for a while: what was seen stays out of the judgement, and comes back by itself.
#[tokio::test(start_paused = true)]
async fn blindness_comes_and_goes_without_accusing() {
    let mut scene = Scene::new();
    let (cluster, probe) = probe(&scene);
    asked(&probe, scene.now).await;
    for sight in [Sight::Lost, Sight::Live] {
        Resource::ALL.iter().for_each(|resource| scene.sight(*resource, sight));
        cluster.write(|inventory| *inventory = scene.inventory());
        assert!(stirs(&probe).await.is_some());
        // A minute later, by the clock.
        let answers = asked(&probe, scene.now + Duration::from_secs(60)).await;
        for answer in answers {
            let blind = answer.outcome == Outcome::Blind(Reason::Unreachable) && answer.gap.is_none();
            let well = matches!(answer.outcome, Outcome::Pass | Outcome::Skipped);
            assert!(if sight == Sight::Live { well } else { blind }, "{}", answer.detail);
        }
    }
}

/// T09 next to L75: the same cluster, and what the owner promised decides.
#[test]
fn t09_a_pilot_light_is_usable_and_a_hot_site_is_not() {
    use crate::model::{Status, Verdict};
    use crate::verdict::{Evidence, Intent, Weighed, judge, weigh};
    for (strategy, expected) in [(Strategy::PilotLight, Verdict::Usable), (Strategy::Hot, Verdict::Unusable)]
    {
        let mut scene = Scene::pilot_light();
        scene.spec.strategy = strategy;
        let mut checks: Vec<Weighed> = Part::ALL
            .iter()
            .map(|part| {
                let check = part.kind().check;
                let outcome = Some(scene.answer(*part).outcome);
                let (status, reason) = weigh(check, Evidence { outcome, fresh: true, waived: false });
                Weighed { check, target: "api-server".to_owned(), status, reason }
            })
            .collect();
        let (check, target) = (Check::SyntheticQuery, "orders".to_owned());
        checks.push(Weighed { check, target, status: Status::Pass, reason: None });
        let intent = Intent { role: Role::Standby, strategy, primary_down: false };
        let judgement = judge(intent, &checks, &[]);
        assert_eq!(judgement.verdict, expected, "{:?}", judgement.against);
    }
}
