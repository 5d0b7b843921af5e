//! What the site claims, against every way to claim it wrongly.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::io::Write;
use std::time::Duration;

use hyper::StatusCode;

use crate::lab::http::{Task, respond, serve, whole};
use crate::lab::{
    App, Business, Claim, Config, Exporter, Fault, Proxy, ProxyMode, Site, SynBlackhole, eventually,
    free_port, west_ip,
};

const SECOND: Duration = Duration::from_secs(1);
const NOWHERE: &str = "postgresql://app@127.20.0.1:1/orders";

fn surface(name: &str) -> [(&str, &str); 1] {
    [("surface", name)]
}

async fn healthy(exporter: &Exporter, name: &str, value: f64) {
    exporter.wait_for_sample("dr_surface_healthy", &surface(name), value, 5 * SECOND).await;
}

#[tokio::test]
async fn l05_code_and_body_disagree() {
    let site = Site::start().await;
    let exporter = site.config().start().await;
    exporter.is_fine().await;
    healthy(&exporter, "health", 1.0).await;

    site.app.behave(|b| b.health = Claim::OkButDegraded);
    healthy(&exporter, "health", 0.0).await;
    exporter.fails("surface", "health", "body_mismatch").await;
    // A place that does not claim health misleads nobody: a ticket and no page.
    exporter.verdict("degraded").await;
    assert_eq!(exporter.sample("dr_healthy_but_unusable", &[]).await, Some(0.0));

    site.app.behave(|b| b.health = Claim::UnavailableButOk);
    exporter.fails("surface", "health", "http_status").await;
    assert_eq!(exporter.sample("dr_surface_healthy", &surface("health")).await, Some(0.0));
    site.app.behave(|b| b.health = Claim::Honest);
    exporter.is_fine().await;
}

#[tokio::test]
async fn l06_a_catch_all_answers_for_the_application() {
    let site = Site::start().await;
    let exporter = Config::default()
        .surface("health", &site.app.url("/health"), "decisive: true")
        .request(
            "list_orders",
            &site.app.url("/api/v1/orders?limit=1"),
            "expect: {json_exists: [/orders/0/id]}",
        )
        .start()
        .await;
    exporter.is_fine().await;
    site.app.behave(|b| b.catch_all = true);
    exporter.fails("synthetic_request", "list_orders", "body_mismatch").await;
    exporter.pages().await;
    assert_eq!(exporter.sample("dr_surface_contradicted", &surface("health")).await, Some(1.0));
    assert_eq!(exporter.sample("dr_synthetic_request_success", &[]).await, Some(0.0));
    site.app.behave(|b| b.catch_all = false);
    exporter.is_fine().await;
}

/// A server that has plausible JSON for everybody.
async fn plausible() -> (std::net::SocketAddr, Task) {
    serve(west_ip(), |_| async {
        respond(StatusCode::OK, "application/json", r#"{"status": "ok", "orders": [{"id": 1}]}"#)
    })
    .await
}

#[tokio::test]
async fn l06_a_catch_all_with_plausible_json_knows_too_many_paths() {
    let site = Site::start().await;
    let (address, _server) = plausible().await;
    let expect = "expect: {json_exists: [/orders/0/id], unknown_path_status: [404]}";
    let start = async |base: String| {
        Config::default()
            .surface("health", &format!("{base}/health"), "decisive: true, expect: {json: {/status: ok}}")
            .surface("front", &format!("{base}/health"), "expect: {unknown_path_status: [404]}")
            .request("list_orders", &format!("{base}/api/v1/orders"), expect)
            .start()
            .await
    };
    let (right, wrong) = tokio::join!(start(site.app.url("")), start(format!("http://{address}")));
    right.is_fine().await;
    wrong.fails("synthetic_request", "list_orders", "wrong_identity").await;
    wrong.fails("surface", "front", "wrong_identity").await;
    wrong.pages().await;
}

#[tokio::test]
async fn l09_answers_from_memory_hide_the_dead_database() {
    let site = Site::start().await;
    let newest = "expect: {json_exists: [/orders/0/id], newest: {pointer: /as_of, max_age: 2s}}";
    let exporter = site
        .config()
        .surface("checked", &site.app.url("/health"), "expect: {newest: {pointer: /checked_at, max_age: 2s}}")
        .request("list_orders", &site.app.url("/api/v1/orders"), newest)
        .start()
        .await;
    exporter.is_fine().await;
    site.app.behave(|b| (b.health, b.business) = (Claim::StaticOk, Business::Memory));
    site.node.stop_immediate().await;
    exporter.fails("synthetic_query", "orders", "refused").await;
    exporter.pages().await;
    exporter.fails("synthetic_request", "list_orders", "stale_data").await;
    // The static claim is always current; the frozen one ages.
    assert_eq!(exporter.sample("dr_surface_healthy", &surface("checked")).await, Some(1.0));
    assert_eq!(exporter.sample("dr_surface_contradicted", &surface("health")).await, Some(1.0));
    site.app.behave(|b| b.health = Claim::Frozen);
    exporter.fails("surface", "checked", "stale_data").await;
}

/// Serves a gzip bomb: a gigabyte of zeros in a megabyte.
async fn bomb() -> (std::net::SocketAddr, Task) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&zeros).expect("compress in memory");
    }
    // The same member many times over: a decoder of several members reads them all.
    let packed = bytes::Bytes::from(encoder.finish().expect("compress in memory").repeat(16));
    serve(west_ip(), move |_| {
        let packed = packed.clone();
        async move {
            let mut answer = hyper::Response::new(whole(packed));
            answer.headers_mut().insert("content-encoding", "gzip".parse().expect("a header"));
            answer
        }
    })
    .await
}

#[tokio::test]
async fn bad_answers_end_in_their_reason_and_delay_nobody() {
    let app = App::start("west", west_ip(), NOWHERE).await;
    let refused = free_port(west_ip());
    let hole = SynBlackhole::start(west_ip());
    let (bomb, _bomb) = bomb().await;
    let ok = || Fault::Fixed(200, r#"{"status":"ok","nested":{"n":[1,2]}}"#.to_owned());
    app.behave(|b| {
        b.faults = [
            ("/ok", ok()),
            ("/redirect", Fault::Redirect("/ok".to_owned())),
            ("/endless", Fault::Endless),
            ("/trickle", Fault::Trickle(SECOND / 10)),
            ("/huge", Fault::Huge(64 << 20)),
            ("/hang", Fault::Hang),
            ("/cut", Fault::Cut),
            ("/text", Fault::Fixed(200, "all is well".to_owned())),
            ("/half", Fault::Fixed(200, r#"{"status":"ok""#.to_owned())),
            ("/nothing", Fault::Fixed(200, String::new())),
        ]
        .map(|(path, fault)| (path.to_owned(), fault))
        .into();
    });
    let json = "expect: {json: {/status: ok}}";
    let at = |address: std::net::SocketAddr| format!("http://{address}/");
    // Name, URL, expectation, and the reason; none: it claims health.
    let table = [
        ("redirect", app.url("/redirect"), "decisive: true", Some("http_status")),
        ("endless", app.url("/endless"), json, Some("body_mismatch")),
        ("trickle", app.url("/trickle"), json, Some("timeout")),
        ("huge", app.url("/huge"), json, Some("body_mismatch")),
        ("hang", app.url("/hang"), json, Some("timeout")),
        ("cut", app.url("/cut"), json, Some("other")),
        ("text", app.url("/text"), json, Some("body_mismatch")),
        ("half", app.url("/half"), json, Some("body_mismatch")),
        ("nothing", app.url("/nothing"), json, Some("body_mismatch")),
        ("bomb", at(bomb), json, Some("body_mismatch")),
        ("refused", format!("http://127.20.0.1:{refused}/"), json, Some("refused")),
        ("silent", at(hole.address()), json, Some("timeout")),
        ("no_such_name", "http://no-such-name.invalid/".to_owned(), json, Some("dns")),
        ("no_tls", app.url("/ok").replace("http:", "https:"), json, Some("tls")),
        ("header", app.url("/ok"), "expect: {header: {x-service: orders}}", None),
        ("header_other", app.url("/ok"), "expect: {header: {X-Service: users}}", Some("body_mismatch")),
        ("header_missing", app.url("/ok"), "expect: {header: {x-none: orders}}", Some("body_mismatch")),
        ("regex", app.url("/text"), "expect: {body_regex: 'is w.ll$'}", None),
        ("regex_other", app.url("/text"), "expect: {body_regex: '^is well'}", Some("body_mismatch")),
        ("pointer", app.url("/ok"), "expect: {json: {/nested/n/1: 2}}", None),
        ("pointer_other", app.url("/ok"), "expect: {json: {/nested/n/2: 2}}", Some("body_mismatch")),
        ("status", app.url("/no-such-route"), "expect: {status: [404]}", None),
        // Nobody asks for the body, so nobody reads it.
        ("endless_unread", app.url("/endless"), "expect: {status: [200]}", None),
    ];
    let config =
        table.iter().fold(Config::default(), |config, (name, url, more, _)| config.surface(name, url, more));
    let exporter = config.start().await;
    for (name, _, _, reason) in &table {
        match reason {
            Some(reason) => {
                exporter.fails("surface", name, reason).await;
                healthy(&exporter, name, 0.0).await;
            }
            None => {
                exporter.status("surface", name, "pass").await;
                healthy(&exporter, name, 1.0).await;
            }
        }
        let decisive = if *name == "redirect" { "true" } else { "false" };
        let labels = [("surface", *name), ("decisive", decisive)];
        assert!(exporter.sample("dr_surface_healthy", &labels).await.is_some(), "{name}");
    }
    // Nothing of what hangs makes the others late, and nothing that is endless fills the memory.
    let lag = exporter.sample("dr_exporter_scheduler_lag_seconds", &[]).await.expect("the lag");
    assert!(lag < 1.0, "{lag}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("/proc");
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 200_000, "{peak} kB");
}

#[tokio::test]
async fn one_bad_instance_is_enough() {
    let (one, two) =
        tokio::join!(App::start("west", west_ip(), NOWHERE), App::start("west", west_ip(), NOWHERE));
    for app in [&one, &two] {
        app.behave(|b| b.health = Claim::StaticOk);
    }
    let exporter = Config::default()
        .workload("api", &[&one, &two])
        .surface_of("health", "api", "/health", "decisive: true, expect: {json: {/status: ok}}")
        .start()
        .await;
    healthy(&exporter, "health", 1.0).await;
    two.behave(|b| b.health = Claim::OkButDegraded);
    healthy(&exporter, "health", 0.0).await;
    let report = exporter.report().await.to_string();
    assert!(report.contains("app-2: /status is"), "{report}");
    drop(two);
    exporter.fails("surface", "health", "refused").await;
    assert_eq!(exporter.sample("dr_surface_healthy", &surface("health")).await, Some(0.0));
}

#[tokio::test]
async fn a_claim_is_dated_by_its_last_change() {
    let app = App::start("west", west_ip(), NOWHERE).await;
    app.behave(|b| b.health = Claim::StaticOk);
    let proxy = Proxy::start(west_ip(), app.address()).await;
    let url = format!("http://{}/health", proxy.address());
    let exporter = Config::default().surface("health", &url, "expect: {json: {/status: ok}}").start().await;
    healthy(&exporter, "health", 1.0).await;
    let changed = async || {
        let at = exporter.sample("dr_surface_claim_last_change_timestamp_seconds", &surface("health")).await;
        at.expect("the time of the change")
    };
    let first = changed().await;
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
    assert!((now - first).abs() < 5.0, "{first} at {now}");
    tokio::time::sleep(SECOND * 5 / 2).await;
    assert_eq!(changed().await, first, "it moved without a change");
    // Silence claims nothing: that is a change.
    proxy.set(ProxyMode::Refuse).await;
    healthy(&exporter, "health", 0.0).await;
    let second = changed().await;
    assert!(second >= first + 2.0, "{first} {second}");
    // Another kind of silence is the same claim.
    proxy.set(ProxyMode::Blackhole).await;
    exporter.fails("surface", "health", "timeout").await;
    assert_eq!(changed().await, second);
    proxy.set(ProxyMode::Pass).await;
    healthy(&exporter, "health", 1.0).await;
    assert!(changed().await > second);
}

#[tokio::test]
async fn connect_to_keeps_the_name_in_the_request() {
    let (address, _server) = serve(west_ip(), |request: hyper::Request<hyper::body::Incoming>| async move {
        let host = request.headers().get("host").and_then(|v| v.to_str().ok()).unwrap_or_default();
        respond(StatusCode::OK, "text/plain", format!("{host} {}", request.uri()))
    })
    .await;
    let exporter = Config::default()
        .surface(
            "public",
            "http://api.megacorp.example/health?deep=1",
            &format!(
                "connect_to: \"{address}\", expect: {{body_regex: '^api\\.megacorp\\.example /health\\?deep=1$'}}"
            ),
        )
        .start()
        .await;
    healthy(&exporter, "public", 1.0).await;
}

#[tokio::test]
async fn a_claim_is_absent_only_while_blind() {
    let app = App::start("west", west_ip(), NOWHERE).await;
    app.behave(|b| b.health = Claim::StaticOk);
    // Our own trust store is missing: nothing was seen, nobody is accused.
    let exporter = Config::default()
        .surface("ours", &app.url("/health").replace("http:", "https:"), "tls: {ca_file: /nowhere/ca.crt}")
        .surface("fine", &app.url("/health"), "decisive: true")
        .start()
        .await;
    healthy(&exporter, "fine", 1.0).await;
    exporter.ends("surface", "ours", "unknown", "misconfigured").await;
    assert_eq!(exporter.sample("dr_surface_healthy", &surface("ours")).await, None);
    assert_eq!(exporter.sample("dr_verdict", &[("verdict", "unusable")]).await, Some(0.0));
}

#[tokio::test]
async fn a_surface_gets_no_more_than_its_turns() {
    let app = App::start("west", west_ip(), NOWHERE).await;
    app.behave(|b| b.health = Claim::StaticOk);
    let exporter = Config::default().surface("health", &app.url("/health"), "decisive: true").start().await;
    healthy(&exporter, "health", 1.0).await;
    let before = app.counted("/health");
    tokio::time::sleep(3 * SECOND).await;
    let asked = app.counted("/health") - before;
    assert!((2..=4).contains(&asked), "{asked} requests in 3 s");
    eventually("its attempts are counted", SECOND, async || {
        let labels = [("check", "surface"), ("target", "health")];
        let counted = exporter.sample("dr_check_attempts_total", &labels).await;
        if counted.is_some_and(|n| n >= 3.0) { Ok(()) } else { Err(format!("{counted:?}")) }
    })
    .await;
}
