//! The real binary, started as an operator starts it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::daemon::{self, Daemon};
use super::http::client;
use super::run::{eventually, scratch_dir};
use super::samples::{Sample, parse_samples};

/// A running `dr-exporter`; killed on drop, with its log on a failed test.
pub struct Exporter {
    address: SocketAddr,
    daemon: Daemon,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body as it came, not decompressed.
    pub body: Vec<u8>,
}

/// How the process ended after it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, or 128 + the signal.
    pub code: i32,
    /// From the signal to the end.
    pub took: Duration,
    /// All it wrote.
    pub log: String,
}

// === impl Exporter ===

impl Exporter {
    /// Starts with this configuration on a free port of 127.0.0.1 and waits until it listens.
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// The same, with further flags.
    pub async fn start_with(config: &str, flags: &[&str]) -> Self {
        let dir = scratch_dir("exporter");
        std::fs::write(dir.join("config.yaml"), config).expect("write the configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
        command.arg("--config.file").arg(dir.join("config.yaml"));
        command.args(["--web.listen-address", "127.0.0.1:0"]).args(flags);
        Self::start_command(command, &dir).await
    }

    /// Starts any command line in `dir`, which has to say on its output where it listens.
    pub async fn start_command(command: Command, dir: &Path) -> Self {
        let mut daemon = Daemon::spawn("dr-exporter", command, dir);
        let address = eventually("dr-exporter says where it listens", Duration::from_secs(10), async || {
            let found = daemon.log().lines().find_map(address_in);
            if found.is_none() {
                daemon.must_run();
            }
            found.ok_or_else(|| format!("its log:\n{}", daemon.tail()))
        })
        .await;
        Self { address, daemon }
    }

    /// Runs the binary to its end with these arguments; for `check` and other short commands.
    pub fn run(arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_dr-exporter")).args(arguments).output().expect("run dr-exporter")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` + `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// GET a path.
    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    /// GET a path with request headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.try_get(path, headers)
            .await
            .unwrap_or_else(|why| panic!("GET {path}: {why}\n{}", self.daemon.tail()))
    }

    /// GET a path of a process that may not answer.
    pub async fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Reply, String> {
        self.answer(
            headers.iter().fold(client().get(self.url(path)), |request, (k, v)| request.header(*k, *v)),
        )
        .await
    }

    /// POST to a path, without a body.
    pub async fn post(&self, path: &str) -> Reply {
        let reply = self.answer(client().post(self.url(path))).await;
        reply.unwrap_or_else(|why| panic!("POST {path}: {why}\n{}", self.daemon.tail()))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Reply, String> {
        let answer = request.send().await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let headers = headers
            .map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect();
        let body = answer.bytes().await.map_err(|e| e.to_string())?.to_vec();
        Ok(Reply { status, headers, body })
    }

    /// `/metrics` as text 0.0.4.
    pub async fn metrics_text(&self) -> String {
        let reply = self.get("/metrics").await;
        assert_eq!(reply.status, 200, "/metrics: {}", reply.text());
        reply.text()
    }

    /// All samples of `/metrics`.
    pub async fn metrics(&self) -> Vec<Sample> {
        parse_samples(&self.metrics_text().await)
    }

    /// The value of the one sample with this name and at least these labels; panics when several match.
    pub async fn sample(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.metrics().await;
        found.retain(|sample| sample.is(name, labels));
        assert!(found.len() < 2, "{name} with {labels:?} is not one sample: {found:#?}");
        found.first().map(|sample| sample.value)
    }

    /// Waits until the sample has this value; how long it took. On failure, all samples of that name are shown.
    pub async fn wait_for_sample(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
        limit: Duration,
    ) -> Duration {
        let started = Instant::now();
        eventually(&format!("{name} with {labels:?} is {value}"), limit, async || {
            let metrics = self.metrics().await;
            if metrics.iter().any(|sample| sample.is(name, labels) && sample.value == value) {
                return Ok(());
            }
            let same: Vec<_> = metrics.iter().filter(|sample| sample.name == name).collect();
            Err(format!("{same:?}"))
        })
        .await;
        started.elapsed()
    }

    /// Asserts for this long that the sample never has the value; absent is fine.
    pub async fn never_sample(&self, name: &str, labels: &[(&str, &str)], value: f64, during: Duration) {
        let started = Instant::now();
        while started.elapsed() < during {
            let metrics = self.metrics().await;
            let bad = metrics.iter().find(|sample| sample.is(name, labels) && sample.value == value);
            assert!(bad.is_none(), "after {:?}: {bad:?}", started.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `/api/v1/report`.
    pub async fn report(&self) -> Value {
        let reply = self.get("/api/v1/report").await;
        assert_eq!(reply.status, 200, "/api/v1/report: {}", reply.text());
        serde_json::from_slice(&reply.body).expect("JSON of the report")
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.daemon.pid()
    }

    /// Its memory in MB: `VmRSS` as it is, `VmHWM` at its highest.
    pub fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
        let kilobytes = line.expect("a size").trim().trim_end_matches(" kB").trim().parse::<u64>();
        kilobytes.expect("a number") / 1024
    }

    /// How many sockets it has open.
    pub fn sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("its files").flatten();
        let is_socket = |to: std::path::PathBuf| to.display().to_string().starts_with("socket:");
        files.filter(|file| std::fs::read_link(file.path()).is_ok_and(is_socket)).count()
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// SIGTERM, then waits up to 15 s for the end.
    pub async fn stop(mut self) -> Exit {
        self.end(Signal::TERM).await
    }

    /// SIGKILL: the process is gone, the port is closed.
    pub async fn kill(mut self) -> Exit {
        self.end(Signal::KILL).await
    }

    async fn end(&mut self, signal: Signal) -> Exit {
        let started = Instant::now();
        self.daemon.signal(signal);
        let status = self.daemon.wait(Duration::from_secs(15)).await;
        Exit { code: daemon::code(status), took: started.elapsed(), log: self.daemon.log() }
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }
}

// === impl Reply ===

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The address in a log line that says `listening`: `address=127.0.0.1:1`, `address="…"` or `"address":"…"`.
pub fn address_in(line: &str) -> Option<SocketAddr> {
    // Colours would stand between the field's name and its value.
    let mut parts = line.split("\u{1b}[");
    let plain: String =
        parts.next().into_iter().chain(parts.filter_map(|part| Some(part.split_once('m')?.1))).collect();
    let (_, after) = plain.split_once("listening")?;
    // In JSON the field may stand on either side of the message.
    let after = if after.contains("address") { after } else { plain.as_str() };
    let (_, value) = after.split_once("address")?;
    let value = value.trim_start_matches(['"', '=', ':', ' ']);
    value.split(['"', ' ', ',', '}']).next()?.parse().ok()
}
