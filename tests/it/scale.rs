//! A thousand systems, nearly all of them dead.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::lab::{App, Exporter, Pg, SynBlackhole, free_port, scratch_dir, west_ip};

const SECOND: Duration = Duration::from_secs(1);
const SYSTEMS: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(5);

/// What the database of a system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Alive,
    Refused,
    /// The handshake of TCP hangs.
    Hole,
    /// The kernel accepts, nobody answers.
    Silent,
}

fn fate(system: usize) -> Fate {
    match system % 100 {
        0 => Fate::Alive,
        1..=40 => Fate::Refused,
        41..=70 => Fate::Hole,
        _ => Fate::Silent,
    }
}

#[tokio::test]
async fn a_thousand_systems_hold_their_schedule() {
    let node = Pg::single(west_ip()).await;
    let app = App::start("west", west_ip(), &node.dsn("app_write")).await;
    // On every address: each system has an endpoint of its own.
    let everywhere = IpAddr::from([0, 0, 0, 0]);
    let hole = SynBlackhole::start(everywhere);
    // Frozen, in the sense of the protocol: its queue is long enough for everybody.
    let silent = TcpListener::bind((everywhere, 0)).await.expect("a free port");
    let silent_port = silent.local_addr().expect("an address").port();
    let _holder = crate::lab::http::Task::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
            // Those that were given up are dropped after a while.
            if held.len() > 4_000 {
                held.drain(..2_000);
            }
        }
    });
    let refused = free_port(everywhere);

    let mut config = format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\nkubernetes: {{mode: disabled}}\n\
         defaults: {{interval: {}s, timeout: 2s}}\nsystems:\n",
        INTERVAL.as_secs()
    );
    for n in 0..SYSTEMS {
        let [high, low] = [n / 250, n % 250 + 1].map(|part| u8::try_from(part).expect("at most 250"));
        let at = |port: u16| SocketAddr::from(([127, 20, 251 + high, low], port));
        let (database, web) = match fate(n) {
            Fate::Alive => (node.address(), app.address()),
            Fate::Refused => (at(refused), at(refused)),
            Fate::Hole => (at(hole.address().port()), at(hole.address().port())),
            Fate::Silent => (at(silent_port), at(silent_port)),
        };
        let dsn = format!("postgresql://app:{}@{database}/orders", Pg::password("app"));
        writeln!(
            config,
            "- name: s{n}\n  surfaces: [{{name: health, url: \"http://{web}/health\", decisive: true}}]\n  \
             databases: [{{name: db, kind: postgres, endpoint: {{url: \"{dsn}\"}}, queries: [{{name: q, sql: \"select 1\"}}]}}]"
        )
        .expect("write to a string");
    }
    let began = Instant::now();
    // With a soft limit of open files that is too small for this, as shells and service managers set one.
    let dir = scratch_dir("scale");
    std::fs::write(dir.join("dr.yaml"), config).expect("write the configuration");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 256 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_dr-exporter")]);
    command.arg("--config.file").arg(dir.join("dr.yaml")).args(["--web.listen-address", "127.0.0.1:0"]);
    let exporter = Exporter::start_command(command, &dir).await;
    assert_eq!(exporter.get("/metrics").await.status, 200);
    assert!(began.elapsed() < 10 * SECOND, "{:?} to the first scrape", began.elapsed());

    tokio::time::sleep(INTERVAL + 3 * SECOND).await;
    let completed = async || {
        let metrics = exporter.metrics().await;
        let found = metrics.into_iter().filter(|s| s.name == "dr_check_last_completed_timestamp_seconds");
        let key = |labels: &BTreeMap<String, String>| {
            format!("{} {} {}", labels["system"], labels["check"], labels["target"])
        };
        found.map(|s| (key(&s.labels), s.value)).collect::<BTreeMap<_, _>>()
    };
    let mut lags = Vec::new();
    let mut slowest = Duration::ZERO;
    let first = completed().await;
    assert_eq!(first.len(), 3 * SYSTEMS);
    let turn = Instant::now();
    while turn.elapsed() < INTERVAL + 2 * SECOND {
        let asked = Instant::now();
        let text = exporter.metrics_text().await;
        slowest = slowest.max(asked.elapsed());
        let lag = text.lines().find_map(|line| line.strip_prefix("dr_exporter_scheduler_lag_seconds "));
        lags.push(lag.and_then(|lag| lag.parse::<f64>().ok()).expect("the lag"));
        tokio::time::sleep(SECOND / 2).await;
    }
    let second = completed().await;
    let stuck: Vec<_> = second.iter().filter(|(key, at)| first[*key] == 0.0 || first[*key] >= **at).collect();
    assert!(stuck.is_empty(), "{} checks missed a turn: {:?}", stuck.len(), &stuck[..stuck.len().min(5)]);
    assert!(lags.iter().all(|lag| *lag < 1.0), "{lags:?}");
    println!("lag {lags:?}, slowest scrape {slowest:?}");
    // Not optimized, and beside other tests; a release takes a tenth of it.
    assert!(slowest < 6 * SECOND, "a scrape took {slowest:?}");

    let metrics = exporter.metrics().await;
    let reasons = ["fine", "refused", "timeout", "timeout"];
    let fates = [Fate::Alive, Fate::Refused, Fate::Hole, Fate::Silent];
    for n in 0..SYSTEMS {
        let system = format!("s{n}");
        let labels = [("system", system.as_str())];
        let value = metrics.iter().find(|s| s.is("dr_synthetic_query_success", &labels)).map(|s| s.value);
        let alive = fate(n) == Fate::Alive;
        assert_eq!(value, Some(f64::from(u8::from(alive))), "{system} {:?}", fate(n));
        let place = fates.iter().position(|f| *f == fate(n)).expect("one of four");
        let failure = [("system", system.as_str()), ("check", "synthetic_query"), ("reason", reasons[place])];
        let failed = metrics.iter().any(|s| s.is("dr_check_failures_total", &failure) && s.value >= 1.0);
        let all = || metrics.iter().filter(|s| s.is("dr_check_failures_total", &labels)).collect::<Vec<_>>();
        assert_eq!(failed, !alive, "{system} {:?}: {:?}", fate(n), all());
    }
    let cpu = metrics.iter().find(|s| s.name == "process_cpu_seconds_total").map(|s| s.value);
    let files = metrics.iter().find(|s| s.name == "process_open_fds").map(|s| s.value);
    println!("cpu {cpu:?} s, {files:?} files");
    let exit = exporter.stop().await;
    assert_eq!(exit.code, 0);
    assert!(exit.took < 5 * SECOND, "{:?}", exit.took);
}
