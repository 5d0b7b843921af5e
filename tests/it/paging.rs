//! From the fault to the page: applications, databases, an API server, exporters, Prometheus with the shipped rules,
//! Alertmanager with the shipped example, and somebody who is called. Only the clock is faster: see `scaled.rs`.
//!
//! All scenes share one Prometheus and one Alertmanager, as sites do, and run at the same time: they mostly wait.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stderr)]

mod claims;
mod clusters;
mod databases;
mod scaled;
mod stage;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use crate::lab::http::{respond, serve_at};
use crate::lab::kube::objects::secret;
use crate::lab::kube::{Kube, SeedCluster};
use crate::lab::run::repository;
use crate::lab::{Claim, Exporter, PgPair, ProxyMode, Site};
use claims::Claims;
use clusters::Clusters;
use databases::Databases;
use hyper::StatusCode;
use scaled::FACTOR;
use stage::{CHECKS, Joins, Scene, Stage, Watched};

const SECOND: Duration = Duration::from_secs(1);
const PAGE: &str = "DrSiteHealthyButUnusable";

/// The database as the design's section 6 has it: by the name of a Deployment and a variable.
const DATABASE: &str = "    databases:\n      - name: orders\n        endpoint: {workload: api-server, env: DATABASE_URL}\n        \
     queries: [{name: select_orders, sql: \"select id from orders limit 1\", min_rows: 1}]\n";

/// One notification as `Scene::sequence` has it.
fn told(firing: &[&str], resolved: &[&str]) -> [BTreeSet<String>; 2] {
    [firing, resolved].map(|names| names.iter().map(|name| (*name).to_owned()).collect())
}

/// A time to come, as a configuration has it.
fn in_hours(hours: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string()
}

async fn until(at: Instant) {
    sleep_until(at.into()).await;
}

// All applications, proxies and the sink are tasks of this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_fault_to_the_page() {
    let kube = Kube::shared().await;
    let seed = async {
        let pair = PgPair::start().await;
        let cluster = SeedCluster::start(kube, &pair.west.dsn("app")).await;
        (pair, cluster)
    };
    let ((seed_pair, seed_cluster), mut clusters, claims, databases, dying, honest, quiet) = tokio::join!(
        seed,
        Box::pin(Clusters::start(kube)),
        Box::pin(Claims::start()),
        Box::pin(Databases::start()),
        Site::start(),
        Site::start(),
        Site::start()
    );
    let soon = in_hours(1);
    let declared = format!("{}    maintenance: {{until: {soon}, because: moving}}\n", dying.config().yaml());
    let admin = kube.kubeconfig_for_admin();
    let sites = clusters.sites().await;
    let seed_at = Watched::new("dr-seed", &seed_cluster.config(&admin, DATABASE)).await;
    let claims_at = Watched::new("dr-claims", &claims.config()).await;
    let standby_at = Watched::new("dr-databases", &databases.standby()).await;
    let primary_at = Watched::new("primary-databases", &databases.primary()).await;
    let dying_at = Watched::new("dr-dying", &dying.config().yaml()).await;
    let gated_at = Watched::new("dr-gated", &declared).await;
    let honest_at = Watched::new("dr-honest", &honest.config().yaml()).await;
    let frozen_at = Watched::new("dr-frozen", &quiet.config().yaml()).await;
    let quiet_at = Watched::new("dr-quiet", &quiet.config().traffic("5s", "").yaml()).await;
    let started = [&seed_at, &claims_at, &standby_at, &primary_at, &gated_at, &honest_at];
    let others = [&dying_at, &frozen_at, &quiet_at];
    let watched: Vec<_> = started.into_iter().chain(others).chain(sites.all()).collect();
    let stage = Stage::start(&watched).await;
    let scene = |id, watched| Scene { stage: &stage, watched, system: None, id };

    let running = started.into_iter().chain(sites.all()).map(Watched::start);
    let _running = futures_util::future::join_all(running).await;
    let others = async {
        tokio::join!(
            the_seeds_incident(scene("L12", &seed_at), &seed_pair, &seed_cluster),
            // Boxed: all together they are more than a stack holds.
            Box::pin(clusters.play(&stage, &sites)),
            Box::pin(claims.play(&stage, &claims_at)),
            Box::pin(databases.play(&stage, &standby_at, &primary_at)),
            the_exporter_dies(scene("L92", &dying_at), scene("T07", &gated_at), &dying),
            an_honest_site(scene("L01", &honest_at), &honest),
            a_frozen_exporter(scene("L91", &frozen_at)),
        );
    };
    let quiet = a_quiet_site(scene("T01", &quiet_at));
    tokio::pin!(quiet);
    tokio::select! {
        biased;
        () = others => {}
        never = &mut quiet => match never {},
    }
    nothing_was_said(&scene("T01", &quiet_at));
    let table = stage.table();
    eprintln!("{table}");
    if std::env::var_os("DR_WRITE_DOCS").is_some() {
        let file = repository().join("docs/fault-to-page.md");
        let text = std::fs::read_to_string(&file).expect("docs/fault-to-page.md");
        let (head, _) = text.split_once("<!-- measured -->\n").expect("its mark");
        std::fs::write(file, format!("{head}<!-- measured -->\n{table}")).expect("write the table");
    }
}

/// One page with all reasons and no second one, no ticket beside it, and its end after the repair.
async fn the_seeds_incident(scene: Scene<'_>, pair: &PgPair, cluster: &SeedCluster<'_>) {
    scene.verdict("usable").await;
    let fault = Instant::now();
    for app in &cluster.apps {
        app.set_dsn(&pair.east.dsn("app")).await;
        app.behave(|b| (b.health, b.ready) = (Claim::StaticOk, Claim::StaticOk));
    }
    cluster.ns.apply(secret("orders-db", &[("url", &pair.east.dsn("app"))])).await;

    let page = scene.fires("page", PAGE, fault, Joins::New).await;
    let labels: Vec<_> = page.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [("alertname", PAGE), ("severity", "critical"), ("site", "dr-seed"), ("system", "orders")];
    assert_eq!(labels, expected);
    let reasons = &page.annotations["reasons"];
    for reason in [
        "db_endpoint_region (wrong_region).",
        "Database orders is in region us-east-1, expected us-west-2.",
        "Surface api-server-readiness claims health.",
    ] {
        assert!(reasons.contains(reason), "`{reason}` is not in `{reasons}`");
    }
    let description = &page.annotations["description"];
    assert!(description.contains("Site dr-seed") && description.contains("system orders"), "{description}");
    assert!(page.annotations["runbook_url"].ends_with(&format!("/{PAGE}.md")), "{page:?}");

    // The details fire by now, and the second page would: Alertmanager holds back the ones, the rules the other.
    scene.evaluates("DrDatabaseInWrongRegion").await;
    scene.evaluates("DrSurfaceContradicted").await;
    sleep(scaled::of_routes("group_wait") / FACTOR + 2 * SECOND).await;
    assert_eq!(scene.sequence("page"), [told(&[PAGE], &[])]);
    scene.hears_nothing("tickets", "the details of a page are in its text");

    let repair = Instant::now();
    for app in &cluster.apps {
        app.set_dsn(&pair.west.dsn("app")).await;
    }
    cluster.ns.apply(secret("orders-db", &[("url", &pair.west.dsn("app"))])).await;
    scene.resolves("page", PAGE, repair).await;
    // Details go on for longer than the page does. Whatever is said of them then, in the end nothing stands.
    until(repair + scaled::waits("DrDatabaseInWrongRegion").keeps / FACTOR).await;
    scene.ends_well().await;
    assert_eq!(scene.sequence("page"), [told(&[PAGE], &[]), told(&[], &[PAGE])]);
}

/// The page outlives the exporter, says so, and is told apart from the page that nobody watches; the twin is the same
/// application under declared maintenance.
async fn the_exporter_dies(scene: Scene<'_>, gated: Scene<'_>, site: &Site) {
    let exporter = scene.watched.start().await;
    scene.verdict("usable").await;
    gated.verdict("usable").await;
    let fault = Instant::now();
    site.app.behave(|b| b.health = Claim::StaticOk);
    site.node.stop_immediate().await;
    let page = scene.fires("page", PAGE, fault, Joins::New).await;
    assert!(page.annotations["reasons"].contains("synthetic_query (refused)."), "{page:?}");
    gated.verdict("unusable").await;

    let death = Instant::now();
    exporter.kill().await;
    scene.fires("page", "DrSystemUnwatched", death, Joins::Known).await;
    let both = scene.heard("page").pop().expect("a notification");
    let old = both.alerts.iter().find(|told| told.name() == PAGE).expect("the first page");
    assert!(old.fires(), "{old:?}");
    assert!(old.annotations["reasons"].contains("this page holds the last known verdict"), "{old:?}");
    scene.fires("tickets", "DrExporterDown", death, Joins::New).await;

    // It knows nothing at first, which takes nothing back either.
    let return_ = Instant::now();
    let _exporter = scene.watched.start().await;
    scene.verdict("unusable").await;
    until(return_ + scaled::waits(PAGE).keeps / FACTOR + 2 * SECOND).await;
    let resolved = scene.sequence("page").iter().any(|[_, resolved]| resolved.contains(PAGE));
    assert!(!resolved, "resolved without a repair: {:#?}", scene.sequence("page"));

    let repair = Instant::now();
    site.node.start().await;
    tokio::join!(scene.resolves("page", PAGE, repair), scene.resolves("page", "DrSystemUnwatched", return_),);
    gated.hears_nothing("page", "maintenance is declared");
    gated.hears_nothing("tickets", "maintenance is declared");
}

/// The same for a site that says that it is not well: the other page, and only that one.
async fn an_honest_site(scene: Scene<'_>, site: &Site) {
    const HONEST: &str = "DrSiteUnusable";
    scene.verdict("usable").await;
    let fault = Instant::now();
    site.node.stop_immediate().await;
    let page = scene.fires("page", HONEST, fault, Joins::New).await;
    assert_eq!(page.label("severity"), "critical");
    let reasons = &page.annotations["reasons"];
    assert!(
        reasons.contains("synthetic_query (refused).") && !reasons.contains("claims health"),
        "{reasons}"
    );
    // Now it lies: the same page goes on.
    site.app.behave(|b| b.health = Claim::StaticOk);
    sleep(scaled::waits(PAGE).pending / FACTOR + 4 * SECOND).await;
    scene.hears_nothing("tickets", "the details of a page are in its text");
    let repair = Instant::now();
    site.node.start().await;
    scene.resolves("page", HONEST, repair).await;
    assert_eq!(scene.sequence("page"), [told(&[HONEST], &[]), told(&[], &[HONEST])]);
    scene.ends_well().await;
}

/// The exporter answers every scrape with what it knew when its checks stopped.
async fn a_frozen_exporter(scene: Scene<'_>) {
    const STALE: &str = "DrObservationsStale";
    let exporter = scene.watched.start().await;
    scene.verdict("usable").await;
    let known = exporter.metrics_text().await;
    exporter.kill().await;
    let frozen = Instant::now();
    let (_, server) = serve_at(scene.watched.address(), move |_| {
        let known = known.clone();
        async move { respond(StatusCode::OK, "text/plain; version=0.0.4", known) }
    })
    .await;
    // Ten of its intervals long it could be a slow schedule; the last check ended one before the freeze.
    let page = scene.fires("page", STALE, frozen + 9 * CHECKS / FACTOR, Joins::New).await;
    assert_eq!(["severity", "system"].map(|label| page.label(label)), ["critical", "orders"]);
    scene.hears_nothing("tickets", "why nobody looks is a detail of the page");

    drop(server);
    let repair = Instant::now();
    let _exporter = scene.watched.start().await;
    scene.resolves("page", STALE, repair).await;
    assert_eq!(scene.sequence("page"), [told(&[STALE], &[]), told(&[], &[STALE])]);
}

/// A warm standby that is fine and has no user, restarted, killed, and out of reach for Prometheus, over and over.
async fn a_quiet_site(scene: Scene<'_>) -> std::convert::Infallible {
    let mut exporter: Exporter = scene.watched.start().await;
    scene.verdict("usable").await;
    let zero = format!("dr_traffic_zero_business_requests{{site={:?}}} == 1", scene.watched.site);
    scene.stage.prometheus.wait_for(&zero, 20 * SECOND, |found| found.len() == 1).await;
    loop {
        sleep(5 * SECOND).await;
        let exit = exporter.stop().await;
        assert_eq!(exit.code, 0, "{}", exit.log);
        exporter = scene.watched.start().await;
        sleep(8 * SECOND).await;
        scene.watched.proxy.set(ProxyMode::Refuse).await;
        sleep(5 * SECOND).await;
        scene.watched.proxy.set(ProxyMode::Pass).await;
        sleep(5 * SECOND).await;
        exporter.kill().await;
        sleep(SECOND).await;
        exporter = scene.watched.start().await;
    }
}

/// Nobody was called, and the heartbeat came all the time.
fn nothing_was_said(scene: &Scene<'_>) {
    scene.hears_nothing("page", "nothing is wrong");
    scene.hears_nothing("tickets", "nothing is wrong");
    let beats: Vec<_> = scene.heard("dead-mans-switch").iter().map(|n| n.at).collect();
    let longest = beats.windows(2).map(|pair| pair[1] - pair[0]).max().expect("some heartbeats");
    assert!(longest < 15 * SECOND, "no heartbeat for {longest:?} of {}", beats.len());
}
