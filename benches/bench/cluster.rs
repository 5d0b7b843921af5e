//! What watching a cluster costs.
//!
//! A real API server holds pods of a realistic size. Each program is started against it and left alone until it uses
//! no processor time any more; then it is asked once whether it knows all pods. So nothing but its own work is in the
//! numbers.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::gauge::{self, Cost};
use super::lab::daemon::Daemon;
use super::lab::http::client;
use super::lab::kube::Kube;
use super::lab::{free_port, lab_ip, parse_samples, run, scratch_dir};
use super::pods::{self, Pods};
use super::programs;
use super::table::{Row, Section, show};

pub const TITLE: &str = "Watching a cluster";

/// How many pods the API server holds, all of one Deployment, and whether it is the one that is watched.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    pods: usize,
    watched: &'static str,
}

/// In this order, because pods are only ever added.
const SCENARIOS: [Scenario; 4] = [
    Scenario { pods: 0, watched: pods::OWN },
    Scenario { pods: 1_000, watched: pods::OWN },
    Scenario { pods: 10_000, watched: pods::OWN },
    Scenario { pods: 10_000, watched: pods::EMPTY },
];

/// Every scenario, both programs one after the other.
pub async fn measure() -> Section {
    let kube = Kube::start().await;
    let mut pods = Pods::new(&kube).await;
    let mut rows = Vec::new();
    let mut without_pods = 0.0;
    for scenario in SCENARIOS {
        pods.grow_to(scenario.pods).await;
        eprintln!("{scenario:?}");
        gauge::rest(kube.pid()).await;
        let ours = exporter(&kube, scenario).await;
        gauge::rest(kube.pid()).await;
        let theirs = kube_state_metrics(&kube, scenario).await;
        let (own, others) = (scenario.own(), scenario.pods - scenario.own());
        if scenario.pods == 0 {
            without_pods = ours.peak;
        }
        let what = |number: &str| format!("{number}, {own} pods of the Deployment and {others} of others");
        let (peak, resident) = (what("peak"), what("resident after 10 s"));
        let (cpu, known) = (what("CPU until all is known"), what("all is known after"));
        let seconds = |time: Duration| time.as_secs_f64();
        match (own, others) {
            (10_000, _) => {
                rows.push(Row::at_most(&peak, "dr-exporter", ours.peak, 64.0, "MiB"));
                rows.push(Row::at_most(&cpu, "dr-exporter", seconds(ours.cpu), 1.0, "s"));
            }
            (_, 10_000) => {
                let more = format!("{peak}: above that of no pods");
                rows.push(Row::at_most(&more, "dr-exporter", ours.peak - without_pods, 2.0, "MiB"));
                rows.push(Row::new(&cpu, "dr-exporter", show(seconds(ours.cpu), "s")));
            }
            (_, _) => {
                rows.push(Row::new(&peak, "dr-exporter", show(ours.peak, "MiB")));
                rows.push(Row::new(&cpu, "dr-exporter", show(seconds(ours.cpu), "s")));
            }
        }
        rows.push(Row::new(&resident, "dr-exporter", show(ours.resident, "MiB")));
        rows.push(Row::new(&known, "dr-exporter", show(seconds(ours.known), "s")));
        let name = kube_name();
        rows.push(Row::new(&peak, &name, show(theirs.peak, "MiB")));
        rows.push(Row::new(&cpu, &name, show(seconds(theirs.cpu), "s")));
        rows.push(Row::new(&resident, &name, show(theirs.resident, "MiB")));
        rows.push(Row::new(&known, &name, show(seconds(theirs.known), "s")));
    }
    Section {
        title: TITLE,
        before: "dr-exporter watches one Deployment, kube-state-metrics runs with `--resources=pods`. The API server is a real \
                 one (kube-apiserver 1.36 on etcd)."
            .to_owned(),
        rows,
        after: format!(
            "A pod is {:.1} kB of JSON: 8 variables, three volumes, conditions, managed fields. A program is started, left \
             alone until it uses no processor time for a second, and then scraped once to see that it counts every pod; CPU is \
             all it used until then, the time is that of the last moment in which it worked. Peak is `VmHWM`, resident `VmRSS` \
             of `/proc/PID/status`, that scrape included.\n\nThe two do different things: kube-state-metrics tells of every \
             pod, dr-exporter watches only those of the workloads it is asked about, by their label selector, and keeps of \
             each what its checks need. That is why pods of others cost it next to nothing.",
            pods.size().await as f64 / 1000.0
        ),
    }
}

/// kube-state-metrics with its version, as tables have it.
pub fn kube_name() -> String {
    format!("kube-state-metrics {}", gauge::version_of("kube-state-metrics", "k8s.io/kube-state-metrics/v2"))
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
    let exporter = programs::exporter(&config, None).await;
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
pub fn start_kube_state_metrics(kube: &Kube) -> (Daemon, SocketAddr) {
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
    (Daemon::spawn("kube-state-metrics", command, &dir), metrics)
}

async fn kube_state_metrics(kube: &Kube, scenario: Scenario) -> Cost {
    let (daemon, metrics) = start_kube_state_metrics(kube);
    gauge::measure("kube-state-metrics", daemon.pid(), async || {
        let answer = client().get(format!("http://{metrics}/metrics")).send().await;
        let text = answer.map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())?;
        let known = parse_samples(&text).iter().filter(|sample| sample.name == "kube_pod_info").count();
        if known == scenario.pods { Ok(()) } else { Err(format!("{known} pods")) }
    })
    .await
}
