//! What the exporter serves, to real servers of Prometheus and to clients of every kind.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::lab::http::client;
use crate::lab::{
    App, Claim, Config, Exporter, Fault, PromVersion, Prometheus, Scrape, Site, SynBlackhole, parse_samples,
    promtool_check_metrics, scratch_dir, west_ip,
};

const SECOND: Duration = Duration::from_secs(1);
const WIRED: &str = "handlers_required: [/api/v1/orders], errors: {metric: app_errors_total}";

type Headers = &'static [(&'static str, &'static str)];

/// Everything that a site can ask here.
fn whole(site: &Site) -> Config {
    site.config()
        .request("list_orders", &site.app.url("/api/v1/orders"), "workload: api, timeout: 500ms")
        .traffic("3s", WIRED)
}

/// One answer to raw bytes, read to its end or for two seconds.
fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(2 * SECOND)).expect("a timeout");
    // It may hang up before it has read everything.
    drop(stream.write_all(request));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut text).expect("gzip");
    text
}

#[tokio::test]
async fn the_exposition_is_what_was_asked_for() {
    let site = Site::start().await;
    let exporter = whole(&site).start().await;
    exporter.is_fine().await;
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let table: [(Headers, &str, bool); 7] = [
        (&[], text, false),
        (&[("accept", "*/*")], text, false),
        (&[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")], text, false),
        (&[("accept", "application/openmetrics-text; version=1.0.0")], open, false),
        (&[("accept", PROMETHEUS_3), ("accept-encoding", "gzip")], open, true),
        (&[("accept-encoding", "gzip, deflate")], text, true),
        (&[("accept-encoding", "gzip;q=0")], text, false),
    ];
    for (headers, content_type, gzip) in table {
        let reply = exporter.get_with("/metrics", headers).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, content_type), "{headers:?}");
        assert_eq!(reply.header("content-encoding") == "gzip", gzip, "{headers:?}");
        let body = if gzip { unpacked(&reply.body) } else { reply.text() };
        assert_eq!(body.ends_with("# EOF\n"), content_type == open, "{headers:?}");
        assert!(parse_samples(&body).iter().any(|s| s.is("dr_verdict", &[("verdict", "usable")])));
        if content_type == text {
            assert_eq!(promtool_check_metrics(&body), Ok(()), "{body}");
        }
    }
}

#[tokio::test]
async fn l93_nothing_is_ever_nan_or_infinite() {
    let site = Site::start().await;
    // The application's own summaries say NaN, and nobody has called it yet.
    let exporter = whole(&site).start().await;
    let check = async |state: &str| {
        let text = exporter.metrics_text().await;
        for sample in parse_samples(&text) {
            assert!(sample.value.is_finite(), "{state}: {sample:?}");
            for (label, value) in &sample.labels {
                assert!(value != "NaN" && (label == "le" || !value.contains("Inf")), "{state}: {sample:?}");
            }
        }
        assert_eq!(promtool_check_metrics(&text), Ok(()), "{state}");
        text
    };
    let first = check("just started").await;
    assert!(first.contains("dr_check_status"), "every planned thing is there from the first scrape on");
    exporter.is_fine().await;
    check("fine").await;
    site.app.behave(|b| b.health = Claim::StaticOk);
    site.node.stop_immediate().await;
    exporter.pages().await;
    check("incident").await;
    site.app.behave(|b| {
        b.faults.insert("/metrics".to_owned(), Fault::Fixed(200, "http_requests_total NaN".to_owned()));
        b.faults.insert("/health".to_owned(), Fault::Fixed(200, r#"{"status": 1e999}"#.to_owned()));
    });
    exporter.status("surface", "health", "fail").await;
    exporter.status("traffic", "api", "unknown").await;
    check("nonsense").await;
    exporter.freeze();
    tokio::time::sleep(4 * SECOND).await;
    exporter.thaw();
    check("stale").await;
}

/// The labels of a metric as METRICS.md tells them, `instance` and `job` aside.
const LABELS: [(&str, &[&str]); 38] = [
    ("dr_synthetic_query_success", &["db", "query", "site", "system"]),
    ("dr_db_endpoint_region", &["db", "db_region", "evidence", "expected_region", "site", "system"]),
    ("dr_traffic_zero_business_requests", &["site", "system", "workload"]),
    ("dr_verdict", &["site", "system", "verdict"]),
    ("dr_verdict_reason", &["check", "reason", "site", "system"]),
    ("dr_healthy_but_unusable", &["site", "system"]),
    ("dr_verdict_last_change_timestamp_seconds", &["site", "system"]),
    ("dr_surface_healthy", &["decisive", "site", "surface", "system"]),
    ("dr_surface_contradicted", &["site", "surface", "system"]),
    ("dr_surface_claim_last_change_timestamp_seconds", &["site", "surface", "system"]),
    ("dr_check_status", &["check", "site", "status", "system", "target"]),
    ("dr_check_last_completed_timestamp_seconds", &["check", "site", "system", "target"]),
    ("dr_check_last_success_timestamp_seconds", &["check", "site", "system", "target"]),
    ("dr_check_interval_seconds", &["check", "site", "system", "target"]),
    ("dr_check_duration_seconds_count", &["check", "site", "system", "target"]),
    ("dr_check_duration_seconds_bucket", &["check", "le", "site", "system", "target"]),
    ("dr_check_attempts_total", &["check", "site", "system", "target"]),
    ("dr_check_failures_total", &["check", "reason", "site", "system", "target"]),
    ("dr_site_info", &["declared_role", "site", "site_region"]),
    ("dr_system_info", &["site", "strategy", "system"]),
    ("dr_role", &["role", "site", "system"]),
    ("dr_role_conflict", &["site", "system"]),
    ("dr_traffic_expected", &["site", "system"]),
    ("dr_traffic_business_requests_total", &["site", "system", "workload"]),
    ("dr_traffic_probe_requests_total", &["site", "system", "workload"]),
    ("dr_traffic_synthetic_requests_total", &["site", "system", "workload"]),
    ("dr_traffic_last_business_request_timestamp_seconds", &["site", "system", "workload"]),
    ("dr_traffic_accounting_suspect", &["site", "system", "workload"]),
    ("dr_traffic_window_complete", &["site", "system", "workload"]),
    ("dr_synthetic_request_success", &["request", "site", "system"]),
    ("dr_maintenance_active", &["site", "system"]),
    ("dr_drill_active", &["site", "system"]),
    ("dr_exporter_build_info", &["version"]),
    ("dr_exporter_config_last_reload_successful", &[]),
    ("dr_exporter_config_last_reload_success_timestamp_seconds", &[]),
    ("dr_exporter_leader", &[]),
    ("dr_exporter_scheduler_lag_seconds", &[]),
    ("dr_exporter_checks_planned", &[]),
];

#[tokio::test]
async fn prometheus_old_and_new_scrape_exactly_what_the_contract_says() {
    let site = Site::start().await;
    site.app.behave(|b| b.health = Claim::StaticOk);
    let exporter = whole(&site).start().await;
    exporter.wait_for_sample("dr_traffic_zero_business_requests", &[], 1.0, 8 * SECOND).await;
    site.node.stop_immediate().await;
    exporter.pages().await;
    let jobs = [Scrape::new("dr", &[exporter.address()])];
    let (old, new) = tokio::join!(
        Prometheus::start(PromVersion::Old, SECOND / 2, &jobs, &[]),
        Prometheus::start(PromVersion::New, SECOND / 2, &jobs, &[]),
    );
    for server in [old, new] {
        server.wait_up("dr", 10 * SECOND).await;
        let target = server.targets().await.into_iter().next().expect("a target");
        assert_eq!((target.health.as_str(), target.last_error.as_str()), ("up", ""));
        let all = server.query("{job=\"dr\"}").await;
        let mut seen: BTreeMap<String, BTreeSet<Vec<String>>> = BTreeMap::new();
        let forbidden = ["region", "cluster", "zone", "env", "service", "namespace", "pod", "type"];
        for (labels, value) in &all {
            assert!(value.is_finite(), "{labels:?}");
            let own: Vec<String> = labels
                .keys()
                .filter(|k| !["__name__", "instance", "job"].contains(&k.as_str()))
                .cloned()
                .collect();
            // A label of ours that collides with the target's comes back as `exported_…`.
            for label in &own {
                assert!(
                    !forbidden.contains(&label.as_str()) && !label.starts_with("exported_"),
                    "{labels:?}"
                );
            }
            seen.entry(labels["__name__"].clone()).or_default().insert(own);
        }
        for (name, labels) in LABELS {
            let wanted: Vec<String> = labels.iter().map(|l| (*l).to_owned()).collect();
            assert_eq!(seen.get(name), Some(&BTreeSet::from([wanted])), "{name}");
        }
        let count = async |query: &str| server.query(query).await.len();
        assert_eq!(count("dr_verdict == 1").await, 1);
        assert_eq!(count("dr_verdict").await, 5);
        assert_eq!(count("dr_role == 1").await, 1);
        assert_eq!(count("dr_db_endpoint_region").await, 1);
        assert_eq!(count("dr_healthy_but_unusable == 1").await, 1);
        // Each check is in exactly one of five states.
        let states = server.query("sum by (check, target) (dr_check_status)").await;
        assert!(states.len() == 5 && states.iter().all(|(_, one)| *one == 1.0), "{states:?}");
        assert_eq!(count("dr_check_status").await, 5 * states.len());
        assert_eq!(server.query("dr_exporter_checks_planned").await[0].1, 5.0);
        assert_eq!(count("dr_verdict_reason{check=\"synthetic_query\", reason=\"refused\"} == 1").await, 1);
    }
}

#[tokio::test]
async fn a_scrape_starts_no_probe_and_waits_for_none() {
    let app = App::start("west", west_ip(), "postgresql://app@127.20.0.1:1/orders").await;
    app.behave(|b| b.health = Claim::StaticOk);
    app.behave(|b| drop(b.faults.insert("/hang".to_owned(), Fault::Hang)));
    let hole = SynBlackhole::start(west_ip());
    let config = Config::default()
        .surface("health", &app.url("/health"), "decisive: true, interval: 60s, timeout: 1s")
        .surface("hang", &app.url("/hang"), "expect: {json: {/a: b}}")
        .database_at(&format!("postgresql://app:x@{}/orders", hole.address()))
        .request("hole", &format!("http://{}/", hole.address()), "");
    // Everything hangs until its deadline, and so is under way nearly all the time.
    let exporter = Exporter::start(&config.yaml_every("2s", "1900ms")).await;
    exporter.fails("surface", "hang", "timeout").await;
    let (before, mut slowest) = (app.counted("/health"), Duration::ZERO);
    for _ in 0..200 {
        let began = Instant::now();
        assert_eq!(exporter.get("/metrics").await.status, 200);
        slowest = slowest.max(began.elapsed());
    }
    assert!(app.counted("/health") - before <= 1, "{} probes", app.counted("/health") - before);
    assert!(slowest < SECOND / 5, "{slowest:?}");
    for path in ["/", "/api/v1/report", "/config", "/-/healthy", "/-/ready"] {
        let began = Instant::now();
        assert_eq!(exporter.get(path).await.status, 200, "{path}");
        assert!(began.elapsed() < SECOND / 2, "{path}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn the_report_agrees_with_the_metrics() {
    let site = Site::start().await;
    site.app.behave(|b| b.health = Claim::StaticOk);
    let exporter = whole(&site).start().await;
    exporter.is_fine().await;
    site.node.stop_immediate().await;
    exporter.pages().await;
    exporter.fails("synthetic_request", "list_orders", "http_status").await;
    let (report, metrics) = (exporter.report().await, exporter.metrics().await);
    assert_eq!((&report["version"], &report["site"]), (&1.into(), &"dr-west".into()));
    let one = |name: &str, labels: &[(&str, &str)]| {
        metrics.iter().find(|s| s.is(name, labels)).map(|s| s.value).unwrap_or_default()
    };
    let system = &report["systems"][0];
    assert_eq!(system["name"], "orders");
    assert_eq!(one("dr_verdict", &[("verdict", system["verdict"].as_str().expect("a verdict"))]), 1.0);
    assert_eq!(system["healthy_but_unusable"], one("dr_healthy_but_unusable", &[]) == 1.0);
    let checks = system["checks"].as_array().expect("checks");
    assert_eq!(checks.len(), 5);
    for check in checks {
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        let labels = [("check", text("check")), ("target", text("target")), ("status", text("status"))];
        assert_eq!(one("dr_check_status", &labels), 1.0, "{check}");
        assert!(!text("detail").is_empty(), "{check}");
    }
    for reason in system["reasons"].as_array().expect("reasons") {
        let labels = [
            ("check", reason["check"].as_str().expect("a check")),
            ("reason", reason["reason"].as_str().expect("a reason")),
        ];
        assert_eq!(one("dr_verdict_reason", &labels), 1.0, "{reason}");
    }
    let page = exporter.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(page.text().contains("orders") && page.text().to_lowercase().contains("unusable"));
}

#[tokio::test]
async fn no_credential_ever_comes_out() {
    let dir = scratch_dir("canaries");
    let place = |name: &str| {
        let file = dir.join(name);
        std::fs::write(&file, format!("canary-file-{name}")).expect("write a credential");
        file.display().to_string()
    };
    let app = App::start("west", west_ip(), "postgresql://app@127.20.0.1:1/orders").await;
    app.behave(|b| (b.health, b.token) = (Claim::StaticOk, Some("else".to_owned())));
    let node = crate::lab::Pg::single(west_ip()).await;
    let config = format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\n\
         kubernetes: {{mode: disabled}}\n\
         defaults: {{interval: 1s, timeout: 900ms}}\n\
         systems:\n\
         - name: orders\n  \
           workloads: [{{name: api, instances: [{{name: a, url: \"{base}\"}}]}}]\n  \
           surfaces:\n  \
           - {{name: health, url: \"{base}/health?token=canary-surface\", decisive: true}}\n  \
           databases:\n  \
           - {{name: inline, kind: postgres, endpoint: {{url: \"postgresql://app:canary-inline@{db}/orders\"}},\n     \
               queries: [{{name: q, sql: \"select 1\"}}]}}\n  \
           - {{name: beside, kind: postgres, endpoint: {{url: \"postgresql://app@{db}/orders?password=canary-query\"}},\n     \
               queries: [{{name: q, sql: \"select 1\"}}]}}\n  \
           - {{name: pairs, kind: postgres, endpoint: {{url: \"host={host} port={port} user=app password='canary pairs' dbname=orders\"}},\n     \
               queries: [{{name: q, sql: \"select 1\"}}]}}\n  \
           - {{name: over, kind: postgres, endpoint: {{url: \"postgresql://{db}/orders\"}},\n     \
               credentials: {{user: app, password: {{value: canary-override}}}}, queries: [{{name: q, sql: \"select 1\"}}]}}\n  \
           - {{name: filed, kind: postgres, endpoint: {{url: \"postgresql://app@{db}/orders\", password: {{file: \"{password}\"}}}},\n     \
               queries: [{{name: q, sql: \"select 1\"}}]}}\n  \
           requests:\n  \
           - {{name: orders, url: \"{base}/api/v1/orders?key=canary-request\", method: POST, body: canary-body,\n     \
               headers: {{authorization: {{value: Bearer canary-header}}, x-key: {{file: \"{header}\"}}, x-env: {{env: DR_CANARY}}}}}}\n  \
           traffic:\n  \
           - {{workload: api, counter: http_requests_total, business: {{handler: \"/api/.+\"}}, window: 3s,\n     \
               source: {{prometheus: {{url: \"{base}/prometheus?key=canary-prometheus\", authorization: {{file: \"{token}\"}}}}}}}}\n",
        base = app.url("").trim_end_matches('/'),
        db = node.address(),
        host = node.host(),
        port = node.port(),
        password = place("password"),
        header = place("header"),
        token = place("token"),
    );
    let dir = scratch_dir("canary-exporter");
    let file = dir.join("dr.yaml");
    std::fs::write(&file, &config).expect("write the configuration");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
    command.arg("--config.file").arg(&file).args([
        "--web.listen-address",
        "127.0.0.1:0",
        "--log.level",
        "trace",
    ]);
    command.env("DR_CANARY", "canary-env");
    let exporter = Exporter::start_command(command, &dir).await;
    exporter.fails("synthetic_query", "inline", "auth").await;
    exporter.status("synthetic_query", "filed", "fail").await;
    exporter.status("traffic", "api", "unknown").await;
    exporter.fails("synthetic_request", "orders", "http_status").await;
    let mut everything = vec![("log", exporter.log())];
    for path in ["/", "/metrics", "/config", "/api/v1/report", "/-/ready", "/nothing"] {
        everything.push((path, exporter.get(path).await.text()));
    }
    // The same file with an error in it: the error may not tell either.
    std::fs::write(&file, config.replace("window: 3s", "window: canary-window-less")).expect("write");
    let refused = Exporter::run(&["check", file.to_str().expect("a path")]);
    assert_eq!(refused.status.code(), Some(64));
    let said = String::from_utf8_lossy(&refused.stderr).replace("canary-window-less", "");
    everything.push(("errors", said));
    let diagnosed = Exporter::run(&["diagnose", file.to_str().expect("a path"), "--log.level", "trace"]);
    everything
        .push(("diagnose", String::from_utf8_lossy(&diagnosed.stderr).replace("canary-window-less", "")));
    for (place, text) in &everything {
        let found = text.lines().find(|line| {
            let line = line.replace("canaries", "").replace("canary-exporter", "");
            line.contains("canary")
        });
        assert!(found.is_none(), "{place} tells: {found:?}");
    }
    let config = &everything.iter().find(|(place, _)| *place == "/config").expect("the configuration").1;
    assert!(
        config.contains("[masked]") && config.contains("select 1") && config.contains("DR_CANARY"),
        "{config}"
    );
}

#[tokio::test]
async fn methods_paths_and_health() {
    let exporter = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    let send = async |method: reqwest::Method, path: &str| {
        let answer = client().request(method, exporter.url(path)).send().await.expect("an answer");
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (status, allow, length) = (answer.status().as_u16(), header("allow"), header("content-length"));
        (status, allow, length, answer.text().await.expect("a text"))
    };
    for path in ["/", "/metrics", "/api/v1/report", "/config", "/-/healthy", "/-/ready"] {
        let (status, _, length, body) = send(reqwest::Method::HEAD, path).await;
        assert_eq!((status, body.as_str()), (200, ""), "HEAD {path}");
        assert!(length.parse::<u64>().is_ok_and(|n| n > 0), "HEAD {path}: {length}");
        for method in [reqwest::Method::POST, reqwest::Method::DELETE, reqwest::Method::PUT] {
            let (status, allow, _, _) = send(method.clone(), path).await;
            assert_eq!((status, allow.as_str()), (405, "GET, HEAD"), "{method} {path}");
        }
        let reply = exporter.get(path).await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("cache-control"), "no-store", "{path}");
    }
    for path in ["/nothing", "/metrics/", "//metrics", "/-/", "/api/v1", "/probe?target=http://127.0.0.1/"] {
        assert_eq!(exporter.get(path).await.status, 404, "{path}");
    }
    assert_eq!(exporter.get("/metrics?name=x").await.status, 200);
    // Answers to what is not HTTP as we speak it.
    let address = exporter.address();
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let answer = raw(address, nonsense);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let exporter = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    let address = exporter.address();
    let large =
        [&b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Large: "[..], &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
    let many = (0..1_000).fold(String::from("GET /metrics HTTP/1.1\r\nHost: x\r\n"), |text, n| {
        text + &format!("X-{n}: y\r\n")
    }) + "\r\n";
    for flood in [large, many.into_bytes()] {
        let answer = raw(address, &flood);
        // A reset may overtake the answer when the rest of the flood was never read.
        let refused = ["HTTP/1.1 431", "HTTP/1.1 400"].iter().any(|status| answer.starts_with(status));
        assert!(refused || answer.is_empty(), "{answer}");
    }
    assert_eq!(exporter.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_client_that_dribbles_is_dropped() {
    let exporter = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    let address = exporter.address();
    let dribble = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(SECOND / 5)).expect("a timeout");
        drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n"));
        let began = Instant::now();
        while began.elapsed() < 15 * SECOND {
            drop(stream.write_all(b"X"));
            match stream.read(&mut [0; 512]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return Some(began.elapsed()),
            }
        }
        None
    });
    let dropped = dribble.await.expect("the client ends");
    assert!(dropped.is_some_and(|after| after < 12 * SECOND), "{dropped:?}");
}

#[tokio::test]
async fn idle_connections_do_not_keep_a_scrape_out() {
    let exporter = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    let mut idle = Vec::new();
    for n in 0..600 {
        let mut stream = TcpStream::connect(exporter.address()).expect("connect");
        match n % 3 {
            0 => {}
            1 => stream.write_all(b"GET /metr").expect("write"),
            _ => stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").expect("write"),
        }
        idle.push(stream);
        if n % 100 == 99 {
            let began = Instant::now();
            assert_eq!(exporter.get("/metrics").await.status, 200);
            assert!(began.elapsed() < SECOND / 2, "{n}: {:?}", began.elapsed());
        }
    }
    drop(idle);
    assert_eq!(exporter.get("/metrics").await.status, 200);
}
