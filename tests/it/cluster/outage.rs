//! The API server goes away: what is not known is never held against the site, and nothing else stops.

use std::time::{Duration, Instant};

use super::{Clustered, SECOND, incident};
use crate::lab::PgPair;
use crate::lab::kube::{Kube, SeedCluster};

/// Every verdict that a system has while the time runs.
async fn verdicts(exporter: &crate::lab::Exporter, during: Duration) -> Vec<String> {
    let (begun, mut seen) = (Instant::now(), Vec::new());
    while begun.elapsed() < during {
        let verdict =
            exporter.report().await["systems"][0]["verdict"].as_str().expect("a verdict").to_owned();
        if seen.last() != Some(&verdict) {
            seen.push(verdict);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    seen
}

#[tokio::test]
async fn a_minute_without_the_api_accuses_nobody_and_clears_nobody() {
    let kube = Kube::start().await;
    let pair = PgPair::start().await;
    let fine = SeedCluster::start(&kube, &pair.west.dsn("app")).await;
    let (_other, ill) = incident(&kube).await;
    let good = Clustered::new(&kube, fine.ns.name()).start().await;
    let bad = Clustered::new(&kube, ill.ns.name()).start().await;
    good.is_fine().await;
    let page = [("system", "orders")];
    bad.wait_for_sample("dr_healthy_but_unusable", &page, 1.0, 10 * SECOND).await;

    kube.kill();
    let minute = Duration::from_secs(60);
    let (good_verdicts, bad_verdicts) = tokio::join!(verdicts(&good, minute), verdicts(&bad, minute));
    assert!(good_verdicts.iter().all(|v| v == "usable" || v == "unknown"), "{good_verdicts:?}");
    assert!(bad_verdicts.iter().all(|v| v == "unusable" || v == "unknown"), "{bad_verdicts:?}");
    // Blindness shows: it is not mistaken for health.
    assert_eq!(good_verdicts.last().map(String::as_str), Some("unknown"));
    let pods = [("resource", "pods")];
    assert_eq!(good.sample("dr_exporter_watch_healthy", &pods).await, Some(0.0));

    kube.start_again().await;
    good.wait_for_sample("dr_exporter_watch_healthy", &pods, 1.0, 20 * SECOND).await;
    good.is_fine().await;
    bad.wait_for_sample("dr_healthy_but_unusable", &page, 1.0, 10 * SECOND).await;
}
