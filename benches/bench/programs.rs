//! The programs that are compared, each started with the same targets to ask.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::gauge::version_of;
use super::lab::daemon::Daemon;
use super::lab::{Exporter, eventually, free_port, lab_ip, run, scratch_dir};
use super::target::Target;

/// How often all targets are asked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many there are.
    pub targets: usize,
    /// The time between two questions to the same.
    pub every: Duration,
}

/// A peer that runs, and where it answers.
pub struct Peer {
    /// The process.
    pub daemon: Daemon,
    /// Its web server.
    pub address: SocketAddr,
}

/// Drives a blackbox_exporter, which asks only when it is asked.
pub struct Driver(tokio::task::JoinSet<()>);

/// How many surfaces a system has.
const SURFACES: usize = 10;

/// The names with their versions, as tables have them.
pub fn blackbox_name() -> String {
    format!(
        "blackbox_exporter {}",
        version_of("blackbox_exporter", "github.com/prometheus/blackbox_exporter")
    )
}

/// The same of cloudprober.
pub fn cloudprober_name() -> String {
    format!("cloudprober {}", version_of("cloudprober", "github.com/cloudprober/cloudprober"))
}

/// A command that runs on these processors only, if any are named.
pub fn on(processors: Option<&str>, program: &Path) -> Command {
    assert!(program.is_file(), "{} is missing: run `make bench`", program.display());
    match processors {
        None => Command::new(program),
        Some(processors) => {
            let mut command = Command::new("taskset");
            command.args(["-c", processors]).arg(program);
            command
        }
    }
}

/// The program that `cargo build --profile dist` made, as it is published, and not the one that Cargo builds beside a benchmark: that one has
/// the features of the tests.
fn binary() -> &'static Path {
    static BINARY: OnceLock<std::path::PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        std::env::var_os("DR_EXPORTER").expect("DR_EXPORTER names the program: run `make bench`").into()
    })
}

/// dr-exporter with this configuration.
pub async fn exporter(config: &str, processors: Option<&str>) -> Exporter {
    let dir = scratch_dir("exporter");
    std::fs::write(dir.join("config.yaml"), config).expect("write the configuration");
    let mut command = on(processors, binary());
    command.arg("--config.file").arg(dir.join("config.yaml")).args(["--web.listen-address", "127.0.0.1:0"]);
    Exporter::start_command(command, &dir).await
}

/// A configuration with so many surfaces, ten to a system.
pub fn surfaces(target: &Target, Load { targets, every }: Load, path: &str) -> String {
    let mut config = frame(every);
    for n in 0..targets {
        if n % SURFACES == 0 {
            writeln!(config, "- name: s{}\n  surfaces:", n / SURFACES).expect("write to a string");
        }
        let url = target.url(n, path);
        writeln!(
            config,
            "  - {{name: t{n}, url: \"{url}\", decisive: true, expect: {{status: [200], json: {{/database: connected}}}}}}"
        )
        .expect("write to a string");
    }
    config
}

/// What stands before the systems.
pub fn frame(every: Duration) -> String {
    format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\nkubernetes: {{mode: disabled}}\n\
         defaults: {{interval: {}ms, timeout: 1s, limits: {{connections_per_endpoint: 16}}}}\nsystems:\n",
        every.as_millis()
    )
}

/// cloudprober with these probes; statistics are exported every second.
pub async fn cloudprober(probes: &str, processors: Option<&str>) -> Peer {
    let dir = scratch_dir("cloudprober");
    let address = SocketAddr::new(lab_ip(), 0);
    let address = SocketAddr::new(address.ip(), free_port(address.ip()));
    let config = format!(
        "host: \"{}\"\nport: {}\nsurfacer {{ type: PROMETHEUS }}\n{probes}\n",
        address.ip(),
        address.port()
    );
    std::fs::write(dir.join("cloudprober.cfg"), config).expect("write the configuration");
    let mut command = on(processors, &run::component("cloudprober").join("cloudprober"));
    command.arg("--config_file").arg(dir.join("cloudprober.cfg")).arg("--disable_cloud_logging");
    listening("cloudprober", command, &dir, address).await
}

/// So many HTTP probes of cloudprober; it spreads the targets of a probe over the interval.
pub fn cloudprober_http(target: &Target, Load { targets, every }: Load) -> String {
    let mut probe = format!(
        "probe {{ name: \"http\" type: HTTP interval_msec: {every} timeout_msec: {timeout}\n\
         http_probe {{ interval_between_targets_msec: 0 }}\n\
         validator {{ name: \"database\" json_validator {{ jq_filter: \".database == \\\"connected\\\"\" }} }}\ntargets {{\n",
        every = every.as_millis(),
        timeout = every.as_millis().min(1000),
    );
    for n in 0..targets {
        writeln!(probe, "endpoint {{ name: \"t{n}\" url: \"{}\" }}", target.url(n, "/health"))
            .expect("write to a string");
    }
    probe.push_str("} }");
    probe
}

/// blackbox_exporter with one module that checks the same.
pub async fn blackbox(processors: Option<&str>) -> Peer {
    let dir = scratch_dir("blackbox");
    let ip = lab_ip();
    let address = SocketAddr::new(ip, free_port(ip));
    let module = "modules:\n  json:\n    prober: http\n    timeout: 1s\n    http:\n      valid_status_codes: [200]\n      \
                  preferred_ip_protocol: ip4\n      fail_if_body_json_not_matches_cel: \"body.database == 'connected'\"\n";
    std::fs::write(dir.join("blackbox.yml"), module).expect("write the configuration");
    let mut command = on(processors, &run::component("blackbox_exporter").join("blackbox_exporter"));
    command
        .arg(format!("--config.file={}", dir.join("blackbox.yml").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=error");
    listening("blackbox_exporter", command, &dir, address).await
}

async fn listening(name: &str, command: Command, dir: &Path, address: SocketAddr) -> Peer {
    let mut daemon = Daemon::spawn(name, command, dir);
    eventually(&format!("{name} listens"), Duration::from_secs(20), async || {
        daemon.must_run();
        tokio::net::TcpStream::connect(address).await.map(drop).map_err(|e| e.to_string())
    })
    .await;
    Peer { daemon, address }
}

// === impl Driver ===

impl Driver {
    /// Has every target asked through blackbox_exporter as Prometheus does it: on schedule, over connections that stay open.
    /// An interval of nothing means as fast as it answers.
    pub fn start(peer: &Peer, target: &Target, Load { targets, every }: Load) -> Self {
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().expect("a client");
        let mut tasks = tokio::task::JoinSet::new();
        let workers = targets.min(32);
        let next = std::sync::Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let urls: std::sync::Arc<Vec<String>> = (0..targets)
            .map(|n| format!("http://{}/probe?module=json&target={}", peer.address, target.url(n, "/health")))
            .collect::<Vec<_>>()
            .into();
        for _ in 0..workers {
            let (client, next, urls) = (client.clone(), next.clone(), urls.clone());
            tasks.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let due = begun + every.mul_f64(n as f64 / targets as f64);
                    tokio::time::sleep_until(due.into()).await;
                    // On a busy machine a probe may be late and fail; what counts is what the target answered.
                    if let Ok(answer) = client.get(&urls[n % targets]).send().await {
                        drop(answer.bytes().await);
                    }
                }
            });
        }
        Self(tasks)
    }

    /// Nobody is asked any more.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
    }
}
