//! Business calls of our own.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;

use crate::lab::http::{respond, serve};
use crate::lab::{Claim, Config, Exporter, Fault, Site, eventually, scratch_dir, west_ip};

const SECOND: Duration = Duration::from_secs(1);

async fn succeeds(exporter: &Exporter, name: &str, value: f64) {
    let labels = [("request", name)];
    exporter.wait_for_sample("dr_synthetic_request_success", &labels, value, 5 * SECOND).await;
}

#[tokio::test]
async fn a_rotated_token_is_used_without_a_restart() {
    let site = Site::start().await;
    site.app.behave(|b| b.token = Some("first".to_owned()));
    let token = scratch_dir("token").join("token");
    // As editors and Secrets leave it: with a line end.
    std::fs::write(&token, "Bearer first\n").expect("write the token");
    let headers = format!("headers: {{authorization: {{file: \"{}\"}}}}", token.display());
    let exporter = Config::default()
        .surface("health", &site.app.url("/health"), "decisive: true")
        .request("list_orders", &site.app.url("/api/v1/orders"), &headers)
        .start()
        .await;
    exporter.is_fine().await;
    succeeds(&exporter, "list_orders", 1.0).await;

    site.app.behave(|b| b.token = Some("second".to_owned()));
    succeeds(&exporter, "list_orders", 0.0).await;
    exporter.fails("synthetic_request", "list_orders", "http_status").await;
    exporter.pages().await;
    let rotated = token.with_extension("new");
    std::fs::write(&rotated, "Bearer second").expect("write the token");
    std::fs::rename(&rotated, &token).expect("rotate");
    succeeds(&exporter, "list_orders", 1.0).await;
    exporter.is_fine().await;

    // Without its token the question cannot be put: our fault, nobody is accused.
    std::fs::remove_file(&token).expect("remove the token");
    exporter.ends("synthetic_request", "list_orders", "unknown", "misconfigured").await;
    // What is not proven now is not a success, and yet no failure.
    assert_eq!(exporter.sample("dr_synthetic_request_success", &[]).await, Some(0.0));
    assert_eq!(exporter.sample("dr_exporter_check_gaps", &[("reason", "not_found")]).await, Some(1.0));
    exporter.verdict("unknown").await;
    let everywhere =
        [exporter.log(), exporter.report().await.to_string(), exporter.metrics_text().await].concat();
    assert!(!everywhere.contains("Bearer"), "{everywhere}");
}

#[tokio::test]
async fn a_slow_answer_is_a_failed_one() {
    let site = Site::start().await;
    let exporter = Config::default()
        .surface("health", &site.app.url("/health"), "decisive: true")
        .request("list_orders", &site.app.url("/api/v1/orders"), "max_latency: 300ms")
        .start()
        .await;
    exporter.is_fine().await;
    site.app.behave(|b| b.latency = SECOND / 2);
    exporter.fails("synthetic_request", "list_orders", "timeout").await;
    exporter.pages().await;
    let report = exporter.report().await.to_string();
    assert!(report.contains("allowed are 300 ms"), "{report}");
    site.app.behave(|b| b.latency = Duration::ZERO);
    exporter.is_fine().await;
    let count = exporter.sample("dr_synthetic_request_duration_seconds_count", &[]).await;
    assert!(count.is_some_and(|n| n >= 3.0), "{count:?}");
}

#[tokio::test]
async fn a_post_carries_its_body_and_its_headers() {
    type Got = (String, String, String, Vec<String>, String);
    let seen: Arc<Mutex<Vec<Got>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let (address, _server) = serve(west_ip(), move |request: hyper::Request<hyper::body::Incoming>| {
        let noted = Arc::clone(&noted);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let all = |name| {
                let values = head.headers.get_all(name).iter();
                values.map(|v| v.to_str().expect("text").to_owned()).collect::<Vec<_>>()
            };
            noted.lock().unwrap().push((
                head.method.to_string(),
                head.uri.to_string(),
                String::from_utf8_lossy(&body).into_owned(),
                all("content-type"),
                all("content-length").join(","),
            ));
            respond(StatusCode::CREATED, "application/json", r#"{"id": "7"}"#)
        }
    })
    .await;
    let exporter = Config::default()
        .request(
            "create",
            &format!("http://{address}/api/v1/orders?dry=1"),
            "method: POST, body: '{\"customer\": \"probe\"}', headers: {content-type: application/json}, \
             expect: {status: [201], json: {/id: 7}}",
        )
        .start()
        .await;
    succeeds(&exporter, "create", 1.0).await;
    let (method, uri, body, kind, length) = seen.lock().unwrap().first().cloned().expect("a request");
    assert_eq!((method.as_str(), uri.as_str()), ("POST", "/api/v1/orders?dry=1"));
    assert_eq!((body.as_str(), length.as_str()), (r#"{"customer": "probe"}"#, "21"));
    assert_eq!(kind, ["application/json"]);
}

#[tokio::test]
async fn a_hanging_call_ends_at_its_deadline() {
    let site = Site::start().await;
    let exporter = Config::default()
        .surface("health", &site.app.url("/health"), "decisive: true")
        .request("list_orders", &site.app.url("/api/v1/orders"), "timeout: 500ms")
        .request("list_users", &site.app.url("/api/v1/users"), "timeout: 500ms")
        .start()
        .await;
    exporter.is_fine().await;
    site.app.behave(|b| drop(b.faults.insert("/api/v1/orders".to_owned(), Fault::Hang)));
    exporter.fails("synthetic_request", "list_orders", "timeout").await;
    exporter.pages().await;
    assert_eq!(
        exporter.sample("dr_synthetic_request_success", &[("request", "list_users")]).await,
        Some(1.0)
    );
    site.app.behave(|b| b.faults.clear());
    exporter.is_fine().await;
}

#[tokio::test]
async fn l91_success_is_never_older_than_three_intervals() {
    let site = Site::start().await;
    site.app.behave(|b| b.health = Claim::StaticOk);
    let config = site.config().request("list_orders", &site.app.url("/api/v1/orders"), "timeout: 500ms");
    let exporter = config.start().await;
    exporter.is_fine().await;
    succeeds(&exporter, "list_orders", 1.0).await;

    // While the exporter sleeps, everything that it asks dies. Right after it wakes it has seen nothing of that yet.
    exporter.freeze();
    site.node.freeze();
    site.app.behave(|b| drop(b.faults.insert("/api/v1/orders".to_owned(), Fault::Hang)));
    tokio::time::sleep(SECOND * 7 / 2).await;
    exporter.thaw();
    let first = exporter.metrics().await;
    for name in ["dr_synthetic_query_success", "dr_synthetic_request_success"] {
        let found = first.iter().find(|s| s.name == name);
        assert_eq!(found.map(|s| s.value), Some(0.0), "{name} right after the thaw: {found:?}");
    }
    assert!(first.iter().any(|s| s.is("dr_verdict", &[("verdict", "usable")]) && s.value == 0.0));
    // It may say that it was late, and it catches up by itself.
    eventually("the exporter is ready", 5 * SECOND, async || {
        let reply = exporter.get("/-/ready").await;
        match reply.status {
            200 => Ok(()),
            503 if reply.text().contains("overdue") => Err(reply.text()),
            other => panic!("{other}: {}", reply.text()),
        }
    })
    .await;
    site.node.thaw();
    site.app.behave(|b| b.faults.clear());
    exporter.is_fine().await;
}
