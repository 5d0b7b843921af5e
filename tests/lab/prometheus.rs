//! Real Prometheus servers, the distribution's old one and a current one, and their promtool.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::daemon::Daemon;
use super::http::client;
use super::run::{self, eventually, executable, free_port, lab_ip, scratch_dir};

/// Which end of what we support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromVersion {
    /// The distribution's package (2.42 on Debian 12).
    Old,
    /// A current 3.x, built into the cache by `make lab`.
    New,
}

/// One scrape job: its name, where it scrapes, and its path.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// The `job` label.
    pub job: String,
    /// Addresses.
    pub targets: Vec<SocketAddr>,
    /// Usually `/metrics`.
    pub path: String,
    /// Further lines of the job, such as how it logs in; flow style, one a line.
    pub more: String,
    /// Labels that every series of it gets, such as `cluster`.
    pub labels: Vec<(&'static str, &'static str)>,
}

/// A running server with its own storage; gone on drop.
pub struct Prometheus {
    address: SocketAddr,
    _daemon: Daemon,
}

/// The labels and the value of one series of an instant query.
pub type Series = (BTreeMap<String, String>, f64);

/// The labels and the values of one series of a range query.
pub type RangeSeries = (BTreeMap<String, String>, Vec<f64>);

/// What the server says about one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The `job` label.
    pub job: String,
    /// What was scraped.
    pub url: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Empty, or why the last scrape failed.
    pub last_error: String,
}

// === impl Scrape ===

impl Scrape {
    /// `/metrics` of these addresses.
    pub fn new(job: &str, targets: &[SocketAddr]) -> Self {
        Self {
            job: job.to_owned(),
            targets: targets.to_vec(),
            path: "/metrics".to_owned(),
            more: String::new(),
            labels: Vec::new(),
        }
    }

    /// The same with a label of the target.
    pub fn labelled(mut self, label: &'static str, value: &'static str) -> Self {
        self.labels.push((label, value));
        self
    }
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts a server that scrapes and evaluates `rules` every `interval`, and waits until it is ready.
    pub async fn start(version: PromVersion, interval: Duration, jobs: &[Scrape], rules: &[&Path]) -> Self {
        Self::start_alerting(version, interval, jobs, rules, None).await
    }

    /// The same; what fires goes to this Alertmanager, and again every second interval, as the defaults of 30 s and 1 min
    /// have it: that is how it learns of annotations that changed.
    pub async fn start_alerting(
        version: PromVersion,
        interval: Duration,
        jobs: &[Scrape],
        rules: &[&Path],
        alertmanager: Option<SocketAddr>,
    ) -> Self {
        let dir = scratch_dir("prometheus");
        let every = format!("{}ms", interval.as_millis());
        let mut config = format!(
            "global:\n  scrape_interval: {every}\n  scrape_timeout: {every}\n  evaluation_interval: {every}\n"
        );
        let list = |items: Vec<String>| items.join(", ");
        let files = list(rules.iter().map(|file| format!("{:?}", file.display().to_string())).collect());
        write!(config, "rule_files: [{files}]\nscrape_configs:\n").expect("write to a string");
        for Scrape { job, targets, path, more, labels } in jobs {
            let labels = list(labels.iter().map(|(label, value)| format!("{label}: {value:?}")).collect());
            let targets = list(targets.iter().map(|address| format!("{:?}", address.to_string())).collect());
            writeln!(
                config,
                "- job_name: {job}\n  metrics_path: {path}\n  static_configs:\n  - targets: [{targets}]\n    labels: {{{labels}}}"
            )
            .expect("write to a string");
            more.lines().for_each(|line| config += &format!("  {line}\n"));
        }
        if let Some(address) = alertmanager {
            writeln!(
                config,
                "alerting: {{alertmanagers: [{{static_configs: [{{targets: [\"{address}\"]}}]}}]}}"
            )
            .expect("write to a string");
        }
        std::fs::write(dir.join("prometheus.yml"), config).expect("write prometheus.yml");

        let ip = lab_ip();
        let address = SocketAddr::new(ip, free_port(ip));
        let mut command = Command::new(program(version, "prometheus"));
        command
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        if alertmanager.is_some() {
            command.arg(format!("--rules.alert.resend-delay={}ms", (2 * interval).as_millis()));
        }
        let mut daemon = Daemon::spawn(&format!("prometheus {version:?}"), command, &dir);
        daemon.until_ready(address).await;
        Self { address, _daemon: daemon }
    }

    /// Where its API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An instant query.
    pub async fn query(&self, expr: &str) -> Vec<Series> {
        let data = self.api("/api/v1/query", &[("query", expr)]).await;
        match data["resultType"].as_str() {
            Some("vector") => data["result"].as_array().expect("series").iter().map(series).collect(),
            Some("scalar") => vec![(BTreeMap::new(), number(&data["result"][1]))],
            other => panic!("{expr}: a result of type {other:?}"),
        }
    }

    /// The labels of each series of a range query, and those of its values that are numbers.
    pub async fn query_range(&self, expr: &str, past: Duration, step: Duration) -> Vec<RangeSeries> {
        let end = self.query("time()").await[0].1;
        let data = self
            .api(
                "/api/v1/query_range",
                &[
                    ("query", expr),
                    ("start", &(end - past.as_secs_f64()).to_string()),
                    ("end", &end.to_string()),
                    ("step", &step.as_secs_f64().to_string()),
                ],
            )
            .await;
        assert_eq!(data["resultType"], "matrix", "{expr}");
        let all = data["result"].as_array().expect("series").iter();
        all.map(|item| {
            let values = item["values"].as_array().expect("values").iter().map(|point| number(&point[1]));
            (labels(item), values.filter(|value| !value.is_nan()).collect())
        })
        .collect()
    }

    /// The values of a label among the series of a selector.
    pub async fn label_values(&self, label: &str, selector: &str) -> Vec<String> {
        let data = self.api(&format!("/api/v1/label/{label}/values"), &[("match[]", selector)]).await;
        data.as_array().expect("values").iter().map(|v| v.as_str().expect("a text").to_owned()).collect()
    }

    /// Asks until the answer satisfies the predicate; panics with the last answer.
    pub async fn wait_for(
        &self,
        expr: &str,
        limit: Duration,
        holds: impl Fn(&[Series]) -> bool,
    ) -> Vec<Series> {
        eventually(&format!("prometheus: {expr}"), limit, async || {
            let answer = self.query(expr).await;
            if holds(&answer) {
                return Ok(answer);
            }
            let targets = self.targets().await;
            // It knows nothing new before its next scrape.
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err(format!("{answer:?}; targets: {targets:?}"))
        })
        .await
    }

    /// Waits until every target of the job is up.
    pub async fn wait_up(&self, job: &str, limit: Duration) {
        self.wait_for(&format!("up{{job={job:?}}}"), limit, |up| {
            !up.is_empty() && up.iter().all(|(_, v)| *v == 1.0)
        })
        .await;
    }

    /// The values of `up` for a job, by instance.
    pub async fn up(&self, job: &str) -> Vec<f64> {
        self.query(&format!("up{{job={job:?}}}")).await.into_iter().map(|(_, value)| value).collect()
    }

    /// All active targets.
    pub async fn targets(&self) -> Vec<Target> {
        let data = self.api("/api/v1/targets", &[("state", "active")]).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let active = data["activeTargets"].as_array().expect("targets").iter();
        active
            .map(|t| Target {
                job: text(&t["labels"]["job"]),
                url: text(&t["scrapeUrl"]),
                health: text(&t["health"]),
                last_error: text(&t["lastError"]),
            })
            .collect()
    }

    /// The alerts that are pending or firing, as the API tells them.
    pub async fn alerts(&self) -> Vec<Value> {
        self.api("/api/v1/alerts", &[]).await["alerts"].as_array().expect("alerts").clone()
    }

    async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut url = url::Url::parse(&format!("http://{}{path}", self.address)).expect("a URL");
        url.query_pairs_mut().extend_pairs(parameters);
        let answer = client().get(url).send().await.expect("prometheus answers");
        let body: Value = answer.json().await.expect("JSON of prometheus");
        assert_eq!(body["status"], "success", "{path} {parameters:?}: {body}");
        body["data"].clone()
    }
}

fn series(item: &Value) -> Series {
    (labels(item), number(&item["value"][1]))
}

fn labels(item: &Value) -> BTreeMap<String, String> {
    let labels = item["metric"].as_object().expect("labels").iter();
    labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
}

fn number(value: &Value) -> f64 {
    // Rust reads `NaN`, `+Inf` and `-Inf` as Prometheus writes them.
    value.as_str().and_then(|text| text.parse().ok()).expect("a number as text")
}

/// The promtool of a version.
pub fn promtool(version: PromVersion) -> PathBuf {
    program(version, "promtool")
}

/// `promtool check metrics`, both versions: what either complains about, or `Ok`.
pub fn promtool_check_metrics(text: &str) -> Result<(), String> {
    for version in [PromVersion::Old, PromVersion::New] {
        let mut child = Command::new(promtool(version))
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        let mut input = child.stdin.take().expect("a pipe");
        let text = text.to_owned();
        // It may complain before it has read everything: then the pipe breaks, and its message is what counts.
        let writer = std::thread::spawn(move || drop(input.write_all(text.as_bytes())));
        let out = child.wait_with_output().expect("promtool ends");
        writer.join().expect("the writer ends");
        if !out.status.success() {
            let said =
                [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            return Err(format!("promtool {version:?}: {said}"));
        }
    }
    Ok(())
}

fn program(version: PromVersion, name: &str) -> PathBuf {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    match version {
        PromVersion::Old => executable(name),
        PromVersion::New => {
            let cache = CACHE.get_or_init(|| run::component("prometheus"));
            let file = cache.join(name);
            assert!(file.is_file(), "{} is missing: run `make lab`", file.display());
            file
        }
    }
}
