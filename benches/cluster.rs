//! What watching a cluster costs, beside kube-state-metrics in the same run: `make bench`.
//!
//! A real API server holds pods of a realistic size. Each program is started against it and left alone until it uses
//! no processor time any more; then it is asked once whether it knows all pods. So nothing but its own work is in the
//! numbers. The table goes to the terminal and, with all there is to say about it, to `docs/benchmarks.md`.
// The product's bans (spawn, clocks, output) keep the exporter honest; a benchmark stands outside of it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "cluster/gauge.rs"]
mod gauge;
#[path = "../tests/lab/lab.rs"]
mod lab;
#[path = "cluster/pods.rs"]
mod pods;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};

use gauge::Cost;
use lab::daemon::Daemon;
use lab::http::client;
use lab::kube::Kube;
use lab::{Exporter, free_port, lab_ip, parse_samples, run, scratch_dir};
use pods::Pods;

/// How many pods the API server holds, all of one Deployment, and whether it is the one that is watched.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    pods: usize,
    watched: &'static str,
}

/// What both programs cost in one scenario.
struct Row {
    scenario: Scenario,
    exporter: Cost,
    kube_state_metrics: Cost,
}

/// What we want of dr-exporter, and whether it is so.
struct Aim {
    sentence: String,
    met: bool,
}

/// In this order, because pods are only ever added.
const SCENARIOS: [Scenario; 4] = [
    Scenario { pods: 0, watched: pods::OWN },
    Scenario { pods: 1_000, watched: pods::OWN },
    Scenario { pods: 10_000, watched: pods::OWN },
    Scenario { pods: 10_000, watched: pods::EMPTY },
];

/// Of each, what counts is the middle one.
const RUNS: usize = 3;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let kube = Kube::start().await;
    let mut pods = Pods::new(&kube).await;
    let mut rows = Vec::new();
    for scenario in SCENARIOS {
        pods.grow_to(scenario.pods).await;
        eprintln!("{scenario:?}");
        let (mut exporters, mut others) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            gauge::rest(kube.pid()).await;
            exporters.push(exporter(&kube, scenario).await);
            gauge::rest(kube.pid()).await;
            others.push(kube_state_metrics(&kube, scenario).await);
        }
        let (exporter, kube_state_metrics) = (Cost::middle(&exporters), Cost::middle(&others));
        rows.push(Row { scenario, exporter, kube_state_metrics });
    }
    print!("{}", table(&rows));
    let file = run::repository().join("docs/benchmarks.md");
    std::fs::write(&file, document(&rows, pods.size().await)).expect("write docs/benchmarks.md");
    println!("wrote {}", file.display());
    let missed: Vec<_> = aims(&rows).into_iter().filter(|aim| !aim.met).collect();
    for aim in &missed {
        eprintln!("missed: {}", aim.sentence);
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// === impl Scenario ===

impl Scenario {
    /// The pods of the watched Deployment.
    fn own(self) -> usize {
        if self.watched == pods::OWN { self.pods } else { 0 }
    }
}

/// `dr-exporter` that watches one Deployment: all is known when it counts the Deployment's ready pods.
async fn exporter(kube: &Kube, scenario: Scenario) -> Cost {
    let config = format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\n\
         kubernetes: {{kubeconfig: {:?}}}\n\
         systems: [{{name: orders, workloads: [{{namespace: {}, deployment: {}}}]}}]\n",
        kube.kubeconfig_for_admin(),
        pods::NAMESPACE,
        scenario.watched,
    );
    let exporter = Exporter::start(&config).await;
    gauge::measure("dr-exporter", exporter.pid(), async || {
        let metrics = exporter.metrics().await;
        let ready = metrics.iter().find(|sample| sample.name == "dr_k8s_workload_replicas_ready");
        match ready.map(|sample| sample.value) {
            Some(count) if count == scenario.own() as f64 => Ok(()),
            other => Err(format!("{other:?} ready pods; its log:\n{}", exporter.log())),
        }
    })
    .await
}

/// kube-state-metrics that watches pods and nothing else, as it is started by default otherwise.
async fn kube_state_metrics(kube: &Kube, scenario: Scenario) -> Cost {
    let dir = scratch_dir("kube-state-metrics");
    let [metrics, telemetry] = [lab_ip(), lab_ip()].map(|ip| SocketAddr::new(ip, free_port(ip)));
    let program = run::component("kube-state-metrics").join("kube-state-metrics");
    assert!(program.is_file(), "{} is missing: run `make bench`", program.display());
    let mut command = Command::new(program);
    command
        .arg(format!("--kubeconfig={}", kube.kubeconfig_for_admin().display()))
        .args([
            "--resources=pods",
            &format!("--host={}", metrics.ip()),
            &format!("--port={}", metrics.port()),
        ])
        .arg(format!("--telemetry-host={}", telemetry.ip()))
        .arg(format!("--telemetry-port={}", telemetry.port()));
    let daemon = Daemon::spawn("kube-state-metrics", command, &dir);
    gauge::measure("kube-state-metrics", daemon.pid(), async || {
        let answer = client().get(format!("http://{metrics}/metrics")).send().await;
        let text = answer.map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())?;
        let known = parse_samples(&text).iter().filter(|sample| sample.name == "kube_pod_info").count();
        if known == scenario.pods { Ok(()) } else { Err(format!("{known} pods")) }
    })
    .await
}

/// The table in Markdown.
fn table(rows: &[Row]) -> String {
    let mut text = "| pods of the Deployment | pods of others | program | peak resident | resident after 10 s | CPU until all is known | all known after |\n\
                    | ---: | ---: | --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for Row { scenario, exporter, kube_state_metrics } in rows {
        let own = scenario.own();
        let others = scenario.pods - own;
        for (program, cost) in [("dr-exporter", exporter), ("kube-state-metrics", kube_state_metrics)] {
            let Cost { peak, resident, cpu, known } = cost;
            writeln!(
                text,
                "| {own} | {others} | {program} | {peak:.1} MiB | {resident:.1} MiB | {:.2} s | {:.1} s |",
                cpu.as_secs_f64(),
                known.as_secs_f64()
            )
            .expect("write to a string");
        }
    }
    text
}

/// The aims that these rows show, the last of them relative to a cluster without pods.
fn aims(rows: &[Row]) -> Vec<Aim> {
    let find = |pods: usize, watched: &str| {
        let row = rows.iter().find(|row| row.scenario.pods == pods && row.scenario.watched == watched);
        row.expect("a measured scenario").exporter
    };
    let (none, own, others) = (find(0, pods::OWN), find(10_000, pods::OWN), find(10_000, pods::EMPTY));
    let aim = |what: &str, seen: f64, most: f64, unit: &str| {
        let met = seen <= most;
        let word = if met { "met" } else { "missed" };
        Aim { sentence: format!("{what}: at most {most:.0} {unit}; {seen:.2} {unit}, {word}"), met }
    };
    vec![
        aim("10,000 pods of the Deployment, peak", own.peak, 64.0, "MiB"),
        aim("10,000 pods of the Deployment, CPU until all is known", own.cpu.as_secs_f64(), 1.0, "s"),
        aim("10,000 pods of others, peak above that of no pods", others.peak - none.peak, 2.0, "MiB"),
    ]
}

/// The whole of `docs/benchmarks.md`.
fn document(rows: &[Row], size: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let today = jiff::Timestamp::now().to_string();
    let today = today.split('T').next().unwrap_or_default();
    let aims: String = aims(rows).iter().map(|aim| format!("- {}\n", aim.sentence)).collect();
    format!(
        "<!-- Written by `make bench`. -->\n\
         # Benchmarks\n\n\
         What it costs to watch a Deployment, beside kube-state-metrics {version} with `--resources=pods` in the same run.\n\
         Measured on {today} on {cores} processors; numbers of another machine differ, their proportions less.\n\n\
         {table}\n\
         What we want:\n\n\
         {aims}\n\
         A pod is {kilobytes:.1} kB of JSON: 8 variables, three volumes, conditions, managed fields. The API server is a real\n\
         one (kube-apiserver 1.36 on etcd). A program is started, left alone until it uses no processor time for a second, and\n\
         then scraped once to see that it counts every pod; CPU is all it used until then, the time is that of the last moment\n\
         in which it worked. Peak is `VmHWM`, resident `VmRSS` of `/proc/PID/status`, that scrape included. Each number is the\n\
         middle one of three runs.\n\n\
         The two do different things: kube-state-metrics tells of every pod, dr-exporter watches only those of the workloads\n\
         it is asked about, by their label selector, and keeps of each what its checks need. That is why pods of\n\
         others cost it next to nothing.\n\n\
         `make bench` builds kube-state-metrics once, builds dr-exporter with optimisation, and writes this file again.\n",
        version = gauge::version_of("kube-state-metrics"),
        table = table(rows),
        kilobytes = size as f64 / 1000.0,
    )
}
