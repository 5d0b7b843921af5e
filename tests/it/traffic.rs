//! Does anybody but us call this site? From real counters, lost, renamed, reset and refused.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::lab::{
    App, Claim, Config, Counting, Exporter, FixedServer, MetricsFormat, PromVersion, Prometheus, Scrape,
    Site, eventually, west_ip,
};

const SECOND: Duration = Duration::from_secs(1);
const ZERO: &str = "dr_traffic_zero_business_requests";
const COMPLETE: &str = "dr_traffic_window_complete";
const SUSPECT: &str = "dr_traffic_accounting_suspect";
const WIRED: &str = "handlers_required: [/api/v1/orders, /api/v1/users], errors: {metric: app_errors_total}";
const NOWHERE: &str = "postgresql://app@127.20.0.1:1/orders";

async fn wait(exporter: &Exporter, name: &str, value: f64) {
    exporter.wait_for_sample(name, &[("workload", "api")], value, 8 * SECOND).await;
}

async fn value(exporter: &Exporter, name: &str) -> Option<f64> {
    exporter.sample(name, &[("workload", "api")]).await
}

/// Holds over every scrape for this long.
async fn always(exporter: &Exporter, during: Duration, holds: impl Fn(&dyn Fn(&str) -> Option<f64>) -> bool) {
    let started = Instant::now();
    while started.elapsed() < during {
        let metrics = exporter.metrics().await;
        let of = |name: &str| metrics.iter().find(|s| s.name == name).map(|s| s.value);
        let traffic: Vec<_> = metrics.iter().filter(|s| s.name.starts_with("dr_traffic")).collect();
        assert!(holds(&of), "after {:?}: {traffic:#?}", started.elapsed());
        tokio::time::sleep(SECOND / 10).await;
    }
}

#[tokio::test]
async fn l51_nothing_but_probes_is_evidence_and_no_page() {
    let site = Site::start().await;
    let exporter = site.config().traffic("3s", WIRED).start().await;
    wait(&exporter, ZERO, 1.0).await;
    exporter.is_fine().await;
    assert_eq!(value(&exporter, COMPLETE).await, Some(1.0));
    assert_eq!(value(&exporter, SUSPECT).await, Some(0.0));
    assert_eq!(value(&exporter, "dr_traffic_last_business_request_timestamp_seconds").await, Some(0.0));
    assert!(value(&exporter, "dr_traffic_probe_requests_total").await > Some(1.0));

    // Beside a synthetic query that fails it stands in the evidence of the page.
    site.app.behave(|b| b.health = Claim::StaticOk);
    site.node.stop_immediate().await;
    exporter.pages().await;
    assert_eq!(value(&exporter, ZERO).await, Some(1.0));
    let report = exporter.report().await;
    let checks = report["systems"][0]["checks"].as_array().expect("checks");
    let traffic = checks.iter().find(|c| c["check"] == "traffic").expect("the traffic check");
    let detail = traffic["detail"].as_str().expect("a sentence");
    assert!(detail.contains("No business request in the whole window"), "{detail}");
}

#[tokio::test]
async fn l51_where_traffic_is_expected_silence_is_a_failed_check() {
    let site = Site::start().await;
    let exporter = site.config().traffic("3s", "expected: true").start().await;
    exporter.fails("traffic", "api", "missing").await;
    assert_eq!(exporter.sample("dr_traffic_expected", &[]).await, Some(1.0));
    assert_eq!(value(&exporter, ZERO).await, Some(1.0));
    exporter.is_fine().await;
    site.app.drive("/api/v1/orders", 1).await;
    exporter.status("traffic", "api", "pass").await;
}

#[tokio::test]
async fn l52_errors_grow_while_requests_stay_zero() {
    let site = Site::start().await;
    let exporter = site.config().traffic("3s", WIRED).start().await;
    wait(&exporter, ZERO, 1.0).await;
    site.app.behave(|b| (b.counting, b.health) = (Counting::SuccessOnly, Claim::StaticOk));
    site.node.stop_immediate().await;
    assert_eq!(site.app.drive("/api/v1/orders", 3).await, [503; 3]);
    wait(&exporter, SUSPECT, 1.0).await;
    assert_eq!(value(&exporter, ZERO).await, None);
    exporter.status("traffic", "api", "unknown").await;
    exporter.pages().await;
}

#[tokio::test]
async fn l52_a_renamed_handler_is_not_silence() {
    let site = Site::start().await;
    let exporter = site.config().traffic("3s", WIRED).start().await;
    wait(&exporter, ZERO, 1.0).await;
    site.app.behave(|b| b.counting = Counting::Renamed("/v2".to_owned()));
    site.app.reset_counters();
    site.app.drive("/api/v1/orders", 2).await;
    wait(&exporter, SUSPECT, 1.0).await;
    exporter.ends("traffic", "api", "unknown", "missing").await;
    assert_eq!(value(&exporter, ZERO).await, None);
    exporter.is_fine().await;
}

#[tokio::test]
async fn l52_counters_that_are_not_wired_prove_nothing() {
    let site = Site::start().await;
    site.app.behave(|b| b.counting = Counting::Dead);
    let exporter = site.config().traffic("3s", WIRED).start().await;
    wait(&exporter, COMPLETE, 1.0).await;
    wait(&exporter, SUSPECT, 1.0).await;
    assert_eq!(value(&exporter, ZERO).await, None);
    exporter.never_sample(ZERO, &[], 1.0, SECOND).await;
}

#[tokio::test]
async fn l53_our_own_request_is_nobodys_business() {
    let site = Site::start().await;
    let exporter = site
        .config()
        .request("list_orders", &site.app.url("/api/v1/orders?limit=1"), "workload: api, timeout: 500ms")
        // A claim below a business path is counted as business, too, and is as little a user.
        .surface("shop", &site.app.url("/api/v1/users"), "expect: {status: [200]}")
        .traffic("3s", WIRED)
        .start()
        .await;
    wait(&exporter, ZERO, 1.0).await;
    let quiet = |of: &dyn Fn(&str) -> Option<f64>| {
        of(ZERO) == Some(1.0)
            && of("dr_traffic_business_requests_total") == Some(0.0)
            && of("dr_traffic_last_business_request_timestamp_seconds") == Some(0.0)
    };
    always(&exporter, 3 * SECOND, quiet).await;
    // The pod restarts: what it counts anew is ours again.
    site.app.reset_counters();
    always(&exporter, 3 * SECOND, quiet).await;
    assert!(value(&exporter, "dr_traffic_synthetic_requests_total").await >= Some(5.0));
    exporter.is_fine().await;
    // A user among our own requests is seen.
    site.app.drive("/api/v1/orders", 1).await;
    wait(&exporter, ZERO, 0.0).await;
    assert_eq!(value(&exporter, "dr_traffic_business_requests_total").await, Some(1.0));
}

#[tokio::test]
async fn t01_a_warm_standby_without_users_is_usable() {
    let site = Site::start().await;
    let exporter = site.config().traffic("3s", WIRED).start().await;
    wait(&exporter, ZERO, 1.0).await;
    exporter.is_fine().await;
    exporter.never_sample("dr_healthy_but_unusable", &[], 1.0, 2 * SECOND).await;
    assert_eq!(exporter.sample("dr_traffic_expected", &[]).await, Some(0.0));
    assert_eq!(exporter.sample("dr_db_endpoint_region", &[("db_region", "us-west-2")]).await, Some(1.0));
    exporter.status("traffic", "api", "pass").await;
}

#[tokio::test]
async fn t13_a_window_that_is_not_full_is_unknown_and_not_zero() {
    let site = Site::start().await;
    let exporter = site.config().traffic("60s", WIRED).start().await;
    exporter.is_fine().await;
    exporter.status("traffic", "api", "unknown").await;
    always(&exporter, 3 * SECOND, |of| of(ZERO).is_none() && of(COMPLETE) == Some(0.0)).await;
    site.app.drive("/api/v1/orders", 2).await;
    // What is counted is counted, but an incomplete window says neither zero nor not zero.
    wait(&exporter, "dr_traffic_business_requests_total", 2.0).await;
    assert_eq!(value(&exporter, ZERO).await, None);
    exporter.is_fine().await;
}

#[tokio::test]
async fn t14_a_restarted_pod_counts_on() {
    let site = Site::start().await;
    site.app.pretend("/api/v1/orders", 1_000_000);
    let exporter = site.config().traffic("5s", WIRED).start().await;
    wait(&exporter, COMPLETE, 1.0).await;
    assert_eq!(value(&exporter, ZERO).await, Some(1.0), "what was before us is not ours to count");
    site.app.drive("/api/v1/orders", 3).await;
    wait(&exporter, "dr_traffic_business_requests_total", 3.0).await;
    site.app.reset_counters();
    let counted = |of: &dyn Fn(&str) -> Option<f64>| {
        of(ZERO) == Some(0.0) && of("dr_traffic_business_requests_total") == Some(3.0)
    };
    always(&exporter, 2 * SECOND, counted).await;
    site.app.drive("/api/v1/users", 2).await;
    wait(&exporter, "dr_traffic_business_requests_total", 5.0).await;
    assert_eq!(value(&exporter, COMPLETE).await, Some(1.0));
}

#[tokio::test]
async fn t15_one_request_in_a_quiet_night_is_business() {
    let site = Site::start().await;
    let exporter = site.config().traffic("4s", WIRED).start().await;
    wait(&exporter, ZERO, 1.0).await;
    site.app.drive("/api/v1/users", 1).await;
    wait(&exporter, ZERO, 0.0).await;
    let seen = value(&exporter, "dr_traffic_last_business_request_timestamp_seconds").await;
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
    assert!(seen.is_some_and(|at| now - at < 3.0), "{seen:?} at {now}");
    always(&exporter, SECOND * 5 / 2, |of| of(ZERO) == Some(0.0)).await;
    exporter.is_fine().await;
    wait(&exporter, ZERO, 1.0).await;
    assert_eq!(value(&exporter, "dr_traffic_last_business_request_timestamp_seconds").await, seen);
}

/// An application that needs no database.
async fn app() -> App {
    let app = App::start("west", west_ip(), NOWHERE).await;
    app.behave(|b| b.health = Claim::StaticOk);
    app
}

fn watched(apps: &[&App]) -> Config {
    Config::default().workload("api", apps).surface_of("health", "api", "/health", "decisive: true")
}

#[tokio::test]
async fn a_missing_instance_makes_zero_unknown() {
    let (one, two) = tokio::join!(app(), app());
    let exporter = watched(&[&one, &two]).traffic("3s", "").start().await;
    wait(&exporter, ZERO, 1.0).await;
    two.pretend("/api/v1/orders", 4);
    wait(&exporter, "dr_traffic_business_requests_total", 4.0).await;
    wait(&exporter, ZERO, 0.0).await;
    drop(two);
    exporter.ends("traffic", "api", "unknown", "refused").await;
    wait(&exporter, COMPLETE, 0.0).await;
    eventually("zero is withheld", 3 * SECOND, async || match value(&exporter, ZERO).await {
        None => Ok(()),
        Some(value) => Err(value.to_string()),
    })
    .await;
    always(&exporter, SECOND, |of| of(ZERO).is_none()).await;
    assert_eq!(value(&exporter, "dr_traffic_business_requests_total").await, Some(4.0));
}

#[tokio::test]
async fn every_format_that_clients_expose_is_read() {
    let (one, two) = tokio::join!(app(), app());
    one.behave(|b| (b.metrics, b.gzip) = (MetricsFormat::OpenMetrics, true));
    two.behave(|b| b.gzip = true);
    let exporter = watched(&[&one, &two]).traffic("3s", "handlers_required: [/api/v1/orders]").start().await;
    wait(&exporter, ZERO, 1.0).await;
    one.pretend("/api/v1/orders", 2);
    two.pretend("/api/v1/users", 3);
    wait(&exporter, "dr_traffic_business_requests_total", 5.0).await;
    assert_eq!(value(&exporter, SUSPECT).await, Some(0.0));
}

#[tokio::test]
async fn a_hundred_thousand_lines_are_read_in_time() {
    let server = FixedServer::start(west_ip()).await;
    let page = |business: u64, probes: u64| {
        let mut text = String::from("# TYPE http_requests_total counter\n");
        writeln!(text, "http_requests_total{{handler=\"/api/v1/orders\"}} {business}").expect("a string");
        writeln!(text, "http_requests_total{{handler=\"/health\"}} {probes}").expect("a string");
        text += "# TYPE other_seconds gauge\n";
        for n in 0..100_000 {
            writeln!(text, "other_seconds{{part=\"p{n}\",state=\"a \\\"quoted\\\" one\"}} {n}.5")
                .expect("a string");
        }
        server.page("/metrics", "text/plain; version=0.0.4", text);
    };
    page(10, 10);
    let url = format!("http://{}", server.address());
    let config = one_instance(&url);
    let exporter = Exporter::start(&config).await;
    wait(&exporter, "dr_traffic_business_requests_total", 0.0).await;
    page(17, 20);
    wait(&exporter, "dr_traffic_business_requests_total", 7.0).await;
    wait(&exporter, ZERO, 0.0).await;
}

/// The traffic of a workload whose one instance answers at this URL.
fn one_instance(url: &str) -> String {
    format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\ndefaults: {{interval: 1s, timeout: 900ms}}\n\
         systems: [{{name: orders, workloads: [{{name: api, instances: [{{name: a, url: \"{url}\"}}]}}],\n  \
         traffic: [{{workload: api, counter: http_requests_total, business: {{handler: \"/api/.+\"}}, window: 3s}}]}}]\n"
    )
}

#[tokio::test]
async fn broken_metrics_are_blindness() {
    let server = FixedServer::start(west_ip()).await;
    let url = format!("http://{}", server.address());
    let config = one_instance(&url);
    let exporter = Exporter::start(&config).await;
    exporter.ends("traffic", "api", "unknown", "http_status").await;
    server.page("/metrics", "text/html", "<html>");
    exporter.ends("traffic", "api", "unknown", "body_mismatch").await;
    server.page("/metrics", "text/plain", "http_requests_total{handler=\"/api/x\"} NaN\n");
    wait(&exporter, SUSPECT, 1.0).await;
    assert_eq!(value(&exporter, ZERO).await, None);
    assert!(!exporter.metrics_text().await.contains("NaN"));
}

#[tokio::test]
async fn prometheus_remembers_what_was_before_a_restart() {
    let (one, two) = tokio::join!(app(), app());
    let prometheus = Prometheus::start(
        PromVersion::New,
        SECOND,
        &[Scrape::new("api", &[one.address(), two.address()])],
        &[],
    )
    .await;
    // It takes up new targets every five seconds.
    prometheus.wait_up("api", 10 * SECOND).await;
    let url = format!("http://{}", prometheus.address());
    let source =
        format!("source: {{prometheus: {{url: \"{url}\", matchers: {{job: api}}, scrape_interval: 1s}}}}");
    let config = watched(&[&one, &two]).traffic("4s", &source);
    let exporter = config.start().await;
    wait(&exporter, ZERO, 1.0).await;
    one.pretend("/api/v1/orders", 2);
    wait(&exporter, ZERO, 0.0).await;
    wait(&exporter, "dr_traffic_business_requests_total", 2.0).await;

    exporter.kill().await;
    let exporter = config.start().await;
    let took = exporter.wait_for_sample(COMPLETE, &[], 1.0, 3 * SECOND).await;
    assert!(took < 3 * SECOND, "{took:?}");
    assert!(value(&exporter, ZERO).await.is_some());

    // A target that is down makes the window incomplete; it is still wanted.
    drop(two);
    wait(&exporter, COMPLETE, 0.0).await;
    assert_eq!(value(&exporter, ZERO).await, None);
    drop(prometheus);
    exporter.ends("traffic", "api", "unknown", "refused").await;
}
