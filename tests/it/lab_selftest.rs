//! The lab tests itself: a tool that lies makes every other test lie.
// The product's bans (clocks, bare connects) keep the exporter honest; this tests the lab.
#![allow(clippy::disallowed_methods)]

mod kube;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::daemon::Daemon;
use crate::lab::exporter::address_in;
use crate::lab::http::client;
use crate::lab::{
    Answer, App, Claim, Counting, Exporter, FakeDns, Fault, FixedServer, MetricsFormat, Pg, PgBouncer,
    PgPair, PoolMode, PromVersion, Prometheus, Proxy, ProxyMode, Scrape, SynBlackhole, Validity, east_ip,
    eventually, lab_ip, parse_samples, promtool_check_metrics, scratch_dir, west_ip,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_pair_streams_freezes_and_promotes() {
    let started = Instant::now();
    let pair = PgPair::start().await;
    println!("first pair, with initdb, after {:?}", started.elapsed());
    assert!(pair.east.host().to_string().starts_with("127.10."));
    assert!(pair.west.host().to_string().starts_with("127.20."));
    assert_eq!(pair.west.scalar("select pg_is_in_recovery()").await, "t");
    assert_eq!(pair.west.scalar("select status from pg_stat_wal_receiver").await, "streaming");
    assert_eq!(pair.east.system_identifier().await, pair.west.system_identifier().await);

    pair.east.sql("insert into orders (customer, amount) values ('streamed', 7)").await;
    pair.wait_until_caught_up().await;
    let seen =
        Pg::try_sql_with(&pair.west.dsn("app"), "select amount from orders where customer = 'streamed'")
            .await;
    assert_eq!(seen, Ok(vec![vec![Some("7.00".to_owned())]]));

    // Frozen: the kernel accepts, nobody answers. Thawed: as before.
    pair.west.freeze();
    let dsn = pair.west.dsn("app");
    let login = Pg::try_sql_with(&dsn, "select 1");
    assert!(tokio::time::timeout(SECOND, login).await.is_err(), "a frozen server answered");
    pair.west.thaw();
    assert!(Pg::try_sql_with(&pair.west.dsn("app"), "select 1").await.is_ok());

    pair.east.stop_immediate().await;
    assert!(Pg::try_sql_with(&pair.east.dsn("app"), "select 1").await.is_err());
    pair.west.promote().await;
    assert_eq!(pair.west.scalar("select pg_is_in_recovery()").await, "f");
    pair.east.start().await;
    assert_eq!(pair.east.scalar("select pg_is_in_recovery()").await, "f");
}

#[tokio::test]
async fn pairs_live_side_by_side() {
    let first = PgPair::start().await;
    let started = Instant::now();
    let second = PgPair::start().await;
    println!("second pair after {:?}", started.elapsed());
    assert_ne!(first.west.address(), second.west.address());
    first.east.sql("delete from orders").await;
    first.wait_until_caught_up().await;
    assert_eq!(first.west.scalar("select count(*) from orders").await, "0");
    assert_eq!(second.west.scalar("select count(*) from orders").await, "20");
}

#[tokio::test]
async fn a_node_refuses_who_it_is_told_to_refuse() {
    let node = Pg::single(west_ip()).await;
    assert!(Pg::try_sql_with(&node.dsn("app"), "select count(*) from orders").await.is_ok());
    let wrong = node.dsn("app").replace("lab-app", "old");
    assert!(Pg::try_sql_with(&wrong, "select 1").await.is_err_and(|e| e.contains("password")));

    node.hba(&["host all app 127.0.0.0/8 reject"]).await;
    assert!(Pg::try_sql_with(&node.dsn("app"), "select 1").await.is_err_and(|e| e.contains("pg_hba")));
    node.hba_open().await;

    node.set("statement_timeout", "50ms").await;
    let slow = Pg::try_sql_with(&node.dsn("app"), "select pg_sleep(1)").await;
    assert!(slow.is_err_and(|e| e.contains("statement timeout")));

    let dsn = format!("{}?application_name=somebody", node.dsn("app"));
    let session =
        Pg::try_sql_with(&dsn, "select application_name from pg_stat_activity where pid = pg_backend_pid()");
    assert_eq!(session.await, Ok(vec![vec![Some("somebody".to_owned())]]));
    eventually("the session has gone", 5 * SECOND, async || {
        let left = node.connections_of("somebody").await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;

    let ca = node.enable_tls("db.west.example", Validity::Expired).await;
    assert!(std::fs::read_to_string(ca).unwrap().contains("BEGIN CERTIFICATE"));
}

#[tokio::test]
async fn unrelated_nodes_have_other_identities() {
    let (one, other) = tokio::join!(Pg::standalone(east_ip()), Pg::standalone(west_ip()));
    assert_ne!(one.system_identifier().await, other.system_identifier().await);
}

#[tokio::test]
async fn a_pooler_carries_a_query() {
    let node = Pg::single(west_ip()).await;
    let pooler = PgBouncer::start(west_ip(), node.address(), PoolMode::Transaction).await;
    let rows = Pg::try_sql_with(&pooler.dsn("app"), "select inet_server_addr()::text").await;
    assert_eq!(rows, Ok(vec![vec![Some(format!("{}/32", node.host()))]]));
}

#[tokio::test]
async fn the_application_tells_the_truth_and_the_lies() {
    let node = Pg::single(west_ip()).await;
    let app = App::start("west", west_ip(), &node.dsn("app_write")).await;
    assert_eq!(app.drive("/api/v1/orders", 3).await, [200; 3]);
    assert_eq!(app.counted("/api/v1/orders"), 3);
    assert_eq!(app.drive("/health", 1).await, [200]);
    assert_eq!(app.drive("/no-such-route", 1).await, [404]);
    let made = client().post(app.url("/api/v1/orders")).send().await.unwrap();
    assert_eq!(made.status(), 201);

    node.stop_fast().await;
    assert_eq!(app.drive("/health", 1).await, [503]);
    assert_eq!(app.drive("/api/v1/users", 1).await, [503]);
    assert_eq!(app.errors(), 2);
    app.behave(|b| b.health = Claim::StaticOk);
    assert_eq!(app.drive("/health", 1).await, [200]);
    app.behave(|b| b.counting = Counting::SuccessOnly);
    let before = app.counted("/api/v1/users");
    assert_eq!(app.drive("/api/v1/users", 1).await, [503]);
    assert_eq!(app.counted("/api/v1/users"), before);
    node.start().await;
    assert_eq!(app.drive("/api/v1/users", 1).await, [200]);

    app.behave(|b| {
        b.faults.insert("/ready".to_owned(), Fault::Endless);
        b.faults.insert("/health".to_owned(), Fault::Hang);
    });
    assert_eq!(app.drive("/ready", 1).await, [200]);
    let hanging = client().get(app.url("/health")).send();
    assert!(tokio::time::timeout(SECOND / 2, hanging).await.is_err());
    app.behave(|b| b.catch_all = true);
    assert_eq!(app.drive("/no-such-route", 1).await, [200]);
}

#[tokio::test]
async fn both_versions_of_prometheus_scrape_both_formats() {
    let app = App::start("west", west_ip(), "postgresql://app@127.20.0.1:1/orders").await;
    app.pretend("/api/v1/orders", 41);
    let text = client().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert_eq!(promtool_check_metrics(&text), Ok(()));
    assert!(promtool_check_metrics("not exposition\n").is_err());
    let samples = parse_samples(&text);
    assert!(
        samples
            .iter()
            .any(|s| s.is("http_requests_total", &[("handler", "/api/v1/orders")]) && s.value == 41.0)
    );

    let open = App::start("east", east_ip(), "postgresql://app@127.10.0.1:1/orders").await;
    open.behave(|b| (b.metrics, b.gzip) = (MetricsFormat::OpenMetrics, true));
    open.pretend("/api/v1/orders", 5);
    let fixed = FixedServer::start(lab_ip()).await;
    fixed.page("/metrics", "text/plain; version=0.0.4", "broken{\n");
    let jobs = [
        Scrape::new("text", &[app.address()]),
        Scrape::new("open", &[open.address()]),
        Scrape::new("broken", &[fixed.address()]),
    ];
    let (old, new) = tokio::join!(
        Prometheus::start(PromVersion::Old, SECOND / 5, &jobs, &[]),
        Prometheus::start(PromVersion::New, SECOND / 5, &jobs, &[]),
    );
    for (server, major) in [(old, "2."), (new, "3.")] {
        server.wait_up("text", 10 * SECOND).await;
        server.wait_up("open", 10 * SECOND).await;
        let sum = server.query("sum by (job) (http_requests_total{handler=\"/api/v1/orders\"})").await;
        let mut values: Vec<f64> = sum.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        assert_eq!(values, [5.0, 41.0]);
        server
            .wait_for("up{job=\"broken\"}", 10 * SECOND, |up| up.iter().any(|(_, value)| *value == 0.0))
            .await;
        let broken = server.targets().await.into_iter().find(|t| t.job == "broken").unwrap();
        assert_eq!((broken.health.as_str(), broken.last_error.is_empty()), ("down", false), "{broken:?}");
        let info = client()
            .get(format!("http://{}/api/v1/status/buildinfo", server.address()))
            .send()
            .await
            .unwrap();
        let info: serde_json::Value = info.json().await.unwrap();
        assert!(info["data"]["version"].as_str().unwrap().starts_with(major), "{info}");
    }
}

#[tokio::test]
async fn the_proxy_has_every_fault() {
    let site = FixedServer::start(west_ip()).await;
    site.page("/", "text/plain", "0123456789");
    let proxy = Proxy::start(west_ip(), site.address()).await;
    let url = format!("http://{}/", proxy.address());
    let get = async |limit: Duration| {
        let started = Instant::now();
        let answer = async { client().get(&url).send().await?.text().await };
        (tokio::time::timeout(limit, answer).await, started.elapsed())
    };
    let passes = async || assert_eq!(get(SECOND * 5).await.0.unwrap().unwrap(), "0123456789");

    passes().await;
    proxy.set(ProxyMode::Refuse).await;
    assert!(get(SECOND).await.0.expect("a refusal is quick").unwrap_err().is_connect());
    proxy.set(ProxyMode::Blackhole).await;
    assert!(get(SECOND / 2).await.0.is_err());
    proxy.set(ProxyMode::Reset).await;
    assert!(get(SECOND).await.0.expect("a reset is quick").is_err());
    proxy.set(ProxyMode::Delay(SECOND / 5)).await;
    let (answer, took) = get(SECOND * 5).await;
    assert!(answer.unwrap().is_ok() && took >= SECOND * 2 / 5, "{took:?}");
    proxy.set(ProxyMode::Trickle(20)).await;
    assert!(get(SECOND / 2).await.0.is_err());
    proxy.set(ProxyMode::DropOnce).await;
    assert!(get(SECOND).await.0.expect("a reset is quick").is_err());
    passes().await;
}

#[tokio::test]
async fn a_full_queue_lets_connects_hang() {
    let hole = SynBlackhole::start(west_ip());
    let dial = tokio::time::timeout(SECOND / 2, tokio::net::TcpStream::connect(hole.address()));
    assert!(dial.await.is_err());
}

#[tokio::test]
async fn the_name_server_follows_the_test() {
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    let dns = FakeDns::start(lab_ip()).await;
    let (east, west): (IpAddr, IpAddr) = ([127, 10, 0, 1].into(), [127, 20, 0, 1].into());
    let mut udp = ConnectionConfig::udp();
    udp.port = dns.address().port();
    let server = NameServerConfig::new(dns.address().ip(), true, vec![udp]);
    let mut builder = hickory_resolver::Resolver::builder_with_config(
        ResolverConfig::from_parts(None, vec![], vec![server]),
        hickory_resolver::net::runtime::TokioRuntimeProvider::default(),
    );
    builder.options_mut().cache_size = 0;
    let resolver = builder.build().unwrap();
    let look =
        async |name: &str| resolver.lookup_ip(name).await.map(|found| found.iter().collect::<Vec<_>>());

    dns.addresses("db.west.example", &[west]);
    assert_eq!(look("db.west.example.").await.unwrap(), [west]);
    dns.alias("db.west.example", "db.east.example");
    dns.addresses("db.east.example", &[east]);
    assert_eq!(look("db.west.example.").await.unwrap(), [east]);
    dns.set("db.west.example", Answer::NoSuchName);
    assert!(look("db.west.example.").await.unwrap_err().is_nx_domain());
    assert!(dns.asked("DB.west.example") >= 3);
}

#[tokio::test]
async fn the_exporter_harness_finds_the_address_and_the_exit_code() {
    let address: SocketAddr = "127.0.0.1:4711".parse().unwrap();
    for line in [
        "2026-01-01T00:00:00Z  INFO dr_exporter: listening address=127.0.0.1:4711",
        "\u{1b}[32m INFO\u{1b}[0m listening \u{1b}[3maddress\u{1b}[0m\u{1b}[2m=\u{1b}[0m127.0.0.1:4711",
        "level=info msg=\"listening\" address=\"127.0.0.1:4711\" version=1",
        r#"{"level":"INFO","message":"listening","address":"127.0.0.1:4711"}"#,
        r#"{"address":"127.0.0.1:4711","message":"listening"}"#,
    ] {
        assert_eq!(address_in(line), Some(address), "{line}");
    }
    assert_eq!(address_in("WARN not yet: address=127.0.0.1:4711"), None);

    let dir = scratch_dir("fake-exporter");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap 'exit 7' TERM; echo listening address=127.0.0.1:4711 >&2; while :; do sleep 0.05; done",
    ]);
    let fake = Exporter::start_command(command, &dir).await;
    assert_eq!(fake.address(), address);
    let exit = fake.stop().await;
    assert_eq!(exit.code, 7);
    assert!(exit.took < 2 * SECOND && exit.log.contains("listening"));
}

/// Set for a second copy of this test binary: it starts a pair, freezes it and waits to be killed.
const VICTIM: &str = "DR_EXPORTER_LAB_VICTIM";

#[tokio::test]
async fn a_killed_run_leaves_nothing() {
    if std::env::var_os(VICTIM).is_some() {
        let pair = PgPair::start().await;
        pair.west.freeze();
        println!("frozen in {} END", pair.west.data().display());
        return std::future::pending().await;
    }
    let dir = scratch_dir("victim");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "lab_selftest::a_killed_run_leaves_nothing", "--nocapture"]).env(VICTIM, "1");
    let mut victim = Daemon::spawn("a second test run", command, &dir);
    let data = eventually("the second run has a frozen pair", 30 * SECOND, async || {
        victim.must_run();
        let log = victim.log();
        let data =
            log.split_once("frozen in ").and_then(|(_, rest)| Some(rest.split_once(" END")?.0.to_owned()));
        data.ok_or(log)
    })
    .await;
    let run = std::path::Path::new(&data).ancestors().nth(2).unwrap().to_owned();
    assert!(run.file_name().unwrap().to_str().unwrap().starts_with("drlab."));
    assert!(!processes_in(&run).is_empty());

    victim.signal(rustix::process::Signal::KILL);
    victim.wait(5 * SECOND).await;
    eventually("no process and no file is left", 10 * SECOND, async || {
        let left = processes_in(&run);
        if left.is_empty() && !run.exists() { Ok(()) } else { Err(format!("{left:?} in {}", run.display())) }
    })
    .await;
}

/// Processes that work in `dir`, by id.
fn processes_in(dir: &std::path::Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.filter(|p| std::fs::read_link(p.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .map(|p| p.file_name().to_string_lossy().into_owned())
        .collect()
}
