//! Killed, frozen, tarpitted: noticed in time, mended in time, and nobody else is touched.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{INTERVAL, TIMEOUT, at, liar, list, start, system, usable, west};
use crate::lab::{Exporter, Pg, PgPair, Proxy, ProxyMode, SynBlackhole, west_ip};

/// The promise, with what the second look at `/metrics` may take on a busy machine.
const IN_TIME: Duration = Duration::from_millis(1000 + 900 + 1000);

async fn turns(exporter: &Exporter, system: &str, success: f64) -> Duration {
    let began = Instant::now();
    let own = [("system", system)];
    exporter.wait_for_sample("dr_synthetic_query_success", &own, success, super::PATIENCE).await;
    let took = began.elapsed();
    assert!(took <= IN_TIME, "{system} turned to {success} after {took:?}, allowed are {IN_TIME:?}");
    took
}

#[tokio::test]
async fn killed_frozen_and_tarpitted_in_time() {
    assert_eq!(IN_TIME, INTERVAL + TIMEOUT + Duration::from_secs(1));
    let (pair, other) = tokio::join!(PgPair::start(), Pg::single(west_ip()));
    let proxy = Proxy::start(west_ip(), pair.west.address()).await;
    let through = pair.west.dsn_at("app", &proxy.address().ip().to_string(), proxy.address().port());
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let exporter = start(&west(&[
        system("direct", &app, at(&pair.west.dsn("app")), &[list()]),
        system("proxied", &app, at(&through), &[list()]),
        system("other", &app, at(&other.dsn("app")), &[list()]),
    ]))
    .await;
    for system in ["direct", "proxied", "other"] {
        usable(&exporter, system).await;
    }
    let others_are_well = async || {
        let seen = usable(&exporter, "other").await;
        assert_eq!(seen.success("other"), Some(1.0));
    };

    proxy.set(ProxyMode::Blackhole).await;
    turns(&exporter, "proxied", 0.0).await;
    let seen = super::pages(&exporter, "proxied", "synthetic_query", "timeout").await;
    assert_eq!(seen.success("direct"), Some(1.0));
    others_are_well().await;
    proxy.set(ProxyMode::Pass).await;
    turns(&exporter, "proxied", 1.0).await;

    // A byte a while is as good as none.
    proxy.set(ProxyMode::Trickle(20)).await;
    turns(&exporter, "proxied", 0.0).await;
    proxy.set(ProxyMode::Pass).await;
    turns(&exporter, "proxied", 1.0).await;

    pair.west.freeze();
    turns(&exporter, "direct", 0.0).await;
    super::pages(&exporter, "direct", "synthetic_query", "timeout").await;
    others_are_well().await;
    pair.west.thaw();
    turns(&exporter, "direct", 1.0).await;

    pair.west.stop_immediate().await;
    turns(&exporter, "direct", 0.0).await;
    super::pages(&exporter, "direct", "synthetic_query", "refused").await;
    others_are_well().await;
    pair.west.start().await;
    turns(&exporter, "direct", 1.0).await;
    let failed = exporter.metrics().await;
    let never = |s: &&crate::lab::Sample| s.is("dr_check_failures_total", &[("system", "other")]);
    assert!(!failed.iter().any(|sample| never(&sample)), "the other system was touched");
}

#[tokio::test]
async fn many_systems_on_one_server_take_turns() {
    let node = Pg::single(west_ip()).await;
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let slow = json!({"name": "slow", "sql": "select id, pg_sleep(0.05) from orders limit 1"});
    let systems: Vec<_> = (0..5)
        .map(|n| system(&format!("s{n}"), &app, at(&node.dsn("app")), std::slice::from_ref(&slow)))
        .collect();
    let mut site = west(&systems);
    site["defaults"]["interval"] = json!("2s");
    site["defaults"]["timeout"] = json!("2s");
    let exporter = start(&site).await;
    for n in 0..5 {
        usable(&exporter, &format!("s{n}")).await;
    }
    let began = Instant::now();
    let mut seen_at_work = 0;
    while began.elapsed() < Duration::from_secs(3) {
        let sessions = node.connections_of("dr-exporter").await;
        // One that has said goodbye may still be on its way out.
        let at_work: Vec<_> = sessions.iter().filter(|session| session.state == "active").collect();
        assert!(at_work.len() <= 1, "{at_work:?}");
        assert!(sessions.len() <= 2, "{sessions:?}");
        seen_at_work += at_work.len();
    }
    assert!(seen_at_work > 5, "they were hardly ever seen: {seen_at_work}");
    for n in 0..5 {
        usable(&exporter, &format!("s{n}")).await;
    }
}

#[tokio::test]
async fn a_dead_first_system_does_not_keep_the_others_from_starting() {
    let node = Pg::single(west_ip()).await;
    let hole = SynBlackhole::start(west_ip());
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let dead = node.dsn_at("app", &hole.address().ip().to_string(), hole.address().port());
    let mut systems: Vec<_> =
        (0..8).map(|n| system(&format!("dead{n}"), &app, at(&dead), &[list()])).collect();
    systems.push(system("alive", &app, at(&node.dsn("app")), &[list()]));
    let exporter = start(&west(&systems)).await;
    usable(&exporter, "alive").await;
    let limit = Duration::from_secs(3);
    exporter.never_sample("dr_synthetic_query_success", &[("system", "alive")], 0.0, limit).await;
    // Only one of them dials at a time; those behind it share what it met, and nobody stays in the dark.
    for n in 0..8 {
        super::pages(&exporter, &format!("dead{n}"), "synthetic_query", "timeout").await;
    }
}

#[tokio::test]
async fn our_own_queue_accuses_nobody() {
    let node = Pg::single(west_ip()).await;
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    // One that always takes the whole of its time, and others that are always behind it.
    let sleep = json!({"name": "sleep", "sql": "select pg_sleep(60)"});
    let mut systems = vec![system("greedy", &app, at(&node.dsn("app")), &[sleep])];
    systems.extend((0..3).map(|n| system(&format!("behind{n}"), &app, at(&node.dsn("app")), &[list()])));
    let mut site = west(&systems);
    site["defaults"]["interval"] = json!("2s");
    site["defaults"]["timeout"] = json!("2s");
    let exporter = start(&site).await;
    super::pages(&exporter, "greedy", "synthetic_query", "timeout").await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let seen = super::Seen::at(&exporter).await;
        for n in 0..3 {
            let system = format!("behind{n}");
            assert_ne!(seen.status(&system, "synthetic_query"), "fail", "{}", seen.about(&system));
            assert_eq!(seen.get("dr_healthy_but_unusable", &system, &[]), Some(0.0));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
