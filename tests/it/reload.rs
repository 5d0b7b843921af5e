//! The configuration of a running exporter: each way to change it, and what a change leaves alone.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use rustix::process::Signal;

use crate::lab::http::{Task, respond, serve};
use crate::lab::{Exporter, eventually, lab_ip, scratch_dir};

const SECOND: Duration = Duration::from_secs(1);
/// What is promised for a change that nobody announces.
const NOTICED: Duration = Duration::from_secs(15);

/// An exporter that reads `file`, of which each test writes new content, and an application that is always well.
struct Running {
    exporter: Exporter,
    file: PathBuf,
    app: SocketAddr,
    _app: Task,
}

async fn app() -> (SocketAddr, Task) {
    serve(lab_ip(), |_| async { respond(StatusCode::OK, "text/plain", "fine") }).await
}

/// A file with these systems, each of which has one surface with this interval.
fn file(app: SocketAddr, systems: &[(&str, &str)]) -> String {
    let mut text =
        "site: {name: dr-west, region: us-west-2, role: standby}\nkubernetes: {mode: disabled}\nsystems:\n"
            .to_owned();
    for (name, interval) in systems {
        text += &format!(
            "  - name: {name}\n    surfaces:\n      - {{name: health, url: \"http://{app}/{name}\", interval: {interval}, timeout: 500ms}}\n"
        );
    }
    text
}

async fn start_at(dir: &Path, file: &Path) -> Exporter {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
    command.arg("--config.file").arg(file).args(["--web.listen-address", "127.0.0.1:0"]);
    Exporter::start_command(command, dir).await
}

impl Running {
    async fn start(systems: &[(&str, &str)]) -> Self {
        let (app, task) = app().await;
        let dir = scratch_dir("reload");
        let path = dir.join("dr.yaml");
        std::fs::write(&path, file(app, systems)).expect("write the file");
        let exporter = start_at(&dir, &path).await;
        Running { exporter, file: path, app, _app: task }
    }

    /// Puts the new file in place of the old one at once, as careful editors do.
    fn write(&self, text: &str) {
        replace(&self.file, text);
    }

    fn write_systems(&self, systems: &[(&str, &str)]) {
        self.write(&file(self.app, systems));
    }

    async fn reload(&self) -> (u16, String) {
        let reply = self.exporter.post("/-/reload").await;
        (reply.status, reply.text())
    }

    async fn loaded(&self) {
        let (status, text) = self.reload().await;
        assert_eq!((status, text.trim_end()), (200, "the configuration was loaded"));
    }

    async fn of(&self, metric: &str, system: &str) -> Option<f64> {
        self.exporter.sample(metric, &[("system", system)]).await
    }

    async fn attempts(&self, system: &str) -> f64 {
        self.of("dr_check_attempts_total", system).await.unwrap_or_else(|| panic!("{system} is not asked"))
    }

    async fn has_run(&self, system: &str, times: f64) {
        eventually(&format!("{system} was asked {times} times"), 20 * SECOND, async || {
            let attempts = self.attempts(system).await;
            if attempts >= times { Ok(()) } else { Err(format!("{attempts}")) }
        })
        .await;
    }
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("write the new file");
    std::fs::rename(&new, file).expect("rename");
}

/// Which systems `/metrics` knows.
async fn systems(exporter: &Exporter) -> Vec<String> {
    let metrics = exporter.metrics().await;
    let mut found: Vec<String> =
        metrics.iter().filter_map(|sample| sample.labels.get("system").cloned()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

async fn knows(exporter: &Exporter, expected: &[&str], within: Duration) {
    eventually(&format!("the systems are {expected:?}"), within, async || {
        let found = systems(exporter).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn each_way_to_change_it_is_followed() {
    // As a kubelet mounts a ConfigMap: the file is a link into `..data`, which is a link to a directory.
    let (app, _app) = app().await;
    let dir = scratch_dir("reload-mount");
    let write = |version: &str, systems: &[(&str, &str)]| {
        std::fs::create_dir(dir.join(version)).expect("make the directory");
        std::fs::write(dir.join(version).join("dr.yaml"), file(app, systems)).expect("write the file");
        symlink(version, dir.join("..data_tmp")).expect("link");
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("swap");
    };
    write("..2026_1", &[("a", "1s")]);
    let path = dir.join("dr.yaml");
    symlink("..data/dr.yaml", &path).expect("link");
    let exporter = start_at(&dir, &path).await;
    knows(&exporter, &["a"], SECOND).await;

    write("..2026_2", &[("a", "1s"), ("b", "1s")]);
    std::fs::remove_dir_all(dir.join("..2026_1")).expect("the kubelet removes the old one");
    knows(&exporter, &["a", "b"], NOTICED).await;

    let content = |systems: &[(&str, &str)]| {
        std::fs::write(dir.join("..data/dr.yaml"), file(app, systems)).expect("write in place");
    };
    content(&[("a", "1s"), ("c", "1s")]);
    knows(&exporter, &["a", "c"], NOTICED).await;
    assert_eq!(exporter.log().matches("its content changed").count(), 2, "{}", exporter.log());

    content(&[("a", "1s"), ("d", "1s")]);
    exporter.signal(Signal::HUP);
    knows(&exporter, &["a", "d"], 5 * SECOND).await;
    assert!(exporter.log().contains("because=SIGHUP"), "{}", exporter.log());

    content(&[("a", "1s"), ("e", "1s")]);
    assert_eq!(exporter.post("/-/reload").await.status, 200);
    assert_eq!(systems(&exporter).await, ["a", "e"], "in force when it is answered");
    assert!(exporter.log().contains("POST /-/reload"), "{}", exporter.log());

    // All the time the first one was the same: it was asked on, and nothing was forgotten.
    let attempts = exporter.sample("dr_check_attempts_total", &[("system", "a")]).await;
    assert!(attempts.is_some_and(|attempts| attempts >= 5.0), "{attempts:?}");
    assert_eq!(exporter.stop().await.code, 0);
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_is_told_everywhere() {
    let running = Running::start(&[("orders", "1s")]).await;
    let Running { exporter, file: path, .. } = &running;
    let config = async || {
        let metrics = exporter.metrics().await;
        let value = |name: &str| {
            metrics
                .iter()
                .find(|s| s.name == format!("dr_exporter_config_last_reload_{name}"))
                .map(|s| s.value)
        };
        (value("successful"), value("success_timestamp_seconds"))
    };
    running.has_run("orders", 1.0).await;
    let before = config().await;
    let shown = exporter.get("/config").await.text();
    assert_eq!(before.0, Some(1.0));
    assert!(exporter.report().await["configuration_refused"].is_null());

    let good = file(running.app, &[("orders", "1s"), ("billing", "1s")]);
    running.write(&good.replace("timeout: 500ms", "timeout: soon"));
    let (status, text) = running.reload().await;
    let place = format!("{}:6:", path.display());
    assert_eq!(status, 500, "{text}");
    assert!(text.contains(&place) && text.contains("timeout"), "each mistake with its place: {text}");
    assert!(text.contains(&format!("{}:9:", path.display())), "all of them: {text}");
    assert_eq!(config().await, (Some(0.0), before.1));
    let attempts = running.attempts("orders").await;
    running.has_run("orders", attempts + 2.0).await;
    assert_eq!(systems(exporter).await, ["orders"]);
    assert_eq!(exporter.get("/config").await.text(), shown);
    let refused = &exporter.report().await["configuration_refused"];
    let mistakes = refused["why"].as_array().expect("a list");
    assert!(mistakes.len() == 4 && mistakes[0].as_str().is_some_and(|why| why.contains(&place)), "{refused}");
    let page = exporter.get("/").await.text();
    assert!(page.contains("newest configuration file was refused") && page.contains(&place), "{page}");
    assert!(exporter.log().contains(&place), "{}", exporter.log());
    assert_eq!(exporter.get("/-/ready").await.status, 200, "a probing exporter is ready");

    // Other kinds of wrong, noticed without being asked for.
    for text in ["", "site: {", "\u{0}"] {
        running.write(text);
        assert_eq!(running.reload().await.0, 500, "{text:?}");
    }
    std::fs::remove_file(path).expect("remove");
    assert!(running.reload().await.1.contains("cannot be opened"));
    assert_eq!(config().await, (Some(0.0), before.1));

    running.write(&good);
    exporter.wait_for_sample("dr_exporter_config_last_reload_successful", &[], 1.0, NOTICED).await;
    assert_eq!(systems(exporter).await, ["billing", "orders"]);
    assert!(config().await.1 > before.1);
    assert!(exporter.report().await["configuration_refused"].is_null());
    assert!(!exporter.get("/").await.text().contains("was refused"));
    assert!(running.attempts("orders").await > attempts, "its history went on all the time");
}

#[tokio::test]
async fn what_did_not_change_keeps_its_history_and_its_schedule() {
    let running = Running::start(&[("same", "1s"), ("other", "1s"), ("gone", "1s")]).await;
    let exporter = &running.exporter;
    for system in ["same", "other", "gone"] {
        running.has_run(system, 3.0).await;
    }
    let since = running.of("dr_verdict_last_change_timestamp_seconds", "same").await;
    assert!(since.is_some());
    let (same, other) = (running.attempts("same").await, running.attempts("other").await);
    running.write_systems(&[("same", "1s"), ("other", "30s"), ("new", "1s")]);
    running.loaded().await;
    let log = exporter.log();
    assert!(log.contains("kept=1 begun=2 ended=2"), "{log}");
    assert_eq!(systems(exporter).await, ["new", "other", "same"]);
    assert!(running.attempts("same").await >= same);
    assert!(running.attempts("other").await < other, "what changed starts anew");
    assert_eq!(running.of("dr_check_interval_seconds", "other").await, Some(30.0));
    let page = exporter.get("/").await.text();
    assert!(page.contains("new") && !page.contains("gone"), "{page}");
    // What is new is known soon, however long its interval.
    for system in ["other", "new"] {
        running.has_run(system, 1.0).await;
    }
    assert_eq!(running.of("dr_verdict_last_change_timestamp_seconds", "same").await, since);

    // A reload that changes nothing changes nothing, and no turn is missed, however often it comes.
    let before = running.attempts("same").await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < 4 * SECOND {
        running.loaded().await;
    }
    let asked = running.attempts("same").await - before;
    assert!(asked >= 2.0 && asked <= begun.elapsed().as_secs_f64() + 2.0, "{asked} turns in 4 s");

    // Other means to ask the same: the tasks are new, what is known is not.
    let before = running.attempts("same").await;
    let text = file(running.app, &[("same", "1s")]);
    running.write(&text.replace("systems:", "defaults: {limits: {connections_per_endpoint: 3}}\nsystems:"));
    running.loaded().await;
    assert!(exporter.log().contains("kept=0 begun=1 ended=3"), "{}", exporter.log());
    assert!(running.attempts("same").await >= before);
    running.has_run("same", before + 2.0).await;
    assert_eq!(running.of("dr_verdict_last_change_timestamp_seconds", "same").await, since);
    assert_eq!(systems(exporter).await, ["same"]);
}

#[tokio::test]
async fn a_storm_of_reloads_leaves_nothing_behind() {
    let many = |n: usize| -> Vec<(String, &str)> {
        (0..20).map(|system| (format!("system-{}", system + n % 2 * 10), "1s")).collect()
    };
    let start: Vec<(String, &str)> = many(0);
    let borrowed = |all: &[(String, &'static str)]| -> Vec<(String, &'static str)> { all.to_vec() };
    let texts = |app, n| {
        let systems = borrowed(&many(n));
        let systems: Vec<(&str, &str)> =
            systems.iter().map(|(name, every)| (name.as_str(), *every)).collect();
        file(app, &systems)
    };
    let first: Vec<(&str, &str)> = start.iter().map(|(name, every)| (name.as_str(), *every)).collect();
    let running = Running::start(&first).await;
    let exporter = &running.exporter;
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/{}/{what}", exporter.pid())).expect("a process").count()
    };
    for system in ["system-0", "system-19"] {
        running.has_run(system, 2.0).await;
    }
    let (files, threads) = (count("fd"), count("task"));
    let scrapes = async {
        loop {
            let found = systems(exporter).await;
            // Never a mixture of two files.
            assert!(
                found.len() == 20
                    && (found.contains(&"system-0".to_owned()) != found.contains(&"system-29".to_owned())),
                "{found:?}"
            );
        }
    };
    let storm = async {
        for n in 1..=50 {
            running.write(&texts(running.app, n));
            running.loaded().await;
        }
    };
    tokio::select! {
        () = scrapes => {}
        () = storm => {}
    }
    assert_eq!(exporter.log().matches("kept=10 begun=10 ended=10").count(), 50);
    running.has_run("system-0", 2.0).await;
    eventually("as many files and threads as before", 15 * SECOND, async || {
        let now = (count("fd"), count("task"));
        // A probe in flight has a socket; a look at the file borrows a thread for ten seconds.
        let is_calm = now.0 <= files + 10 && now.1 <= threads + 10;
        if is_calm { Ok(()) } else { Err(format!("{now:?} after {files}, {threads}")) }
    })
    .await;
    // A check that was ended is asked by nobody: what is alive is what is planned.
    let (begun, before) = (std::time::Instant::now(), running.attempts("system-10").await);
    tokio::time::sleep(4 * SECOND).await;
    let asked = running.attempts("system-10").await - before;
    assert!(asked <= begun.elapsed().as_secs_f64() + 2.0, "once a second, not more: {asked}");
    assert_eq!(exporter.sample("dr_exporter_checks_planned", &[]).await, Some(20.0));
    assert_eq!(running.exporter.stop().await.code, 0);
}

#[tokio::test]
async fn only_post_asks_for_a_reload() {
    let running = Running::start(&[("orders", "1s")]).await;
    let reply = running.exporter.get("/-/reload").await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
    assert!(!running.exporter.log().contains("was loaded"));
    let reply = running.exporter.post("/metrics").await;
    assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn what_needs_no_login_follows_the_file() {
    let (app, _app) = app().await;
    let dir = scratch_dir("reload-login");
    let (path, web) = (dir.join("dr.yaml"), dir.join("web.yml"));
    let hash = bcrypt::hash("right", 4).expect("a hash");
    std::fs::write(&web, format!("basic_auth_users: {{alice: {hash}}}\n"))
        .expect("write the web configuration");
    let systems = file(app, &[("orders", "1s")]);
    std::fs::write(&path, &systems).expect("write the file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
    command.arg("--config.file").arg(&path).arg("--web.config.file").arg(&web);
    command.args(["--web.listen-address", "127.0.0.1:0"]);
    let exporter = Exporter::start_command(command, &dir).await;
    let are = async |expected: [u16; 2]| {
        let statuses = [exporter.get("/-/ready").await.status, exporter.get("/metrics").await.status];
        if statuses == expected { Ok(()) } else { Err(format!("{statuses:?}")) }
    };
    eventually("the health check needs no login", 10 * SECOND, async || are([200, 401]).await).await;
    replace(&path, &format!("{systems}web: {{unauthenticated: [/metrics]}}\n"));
    eventually("the other one needs none", NOTICED, async || are([401, 200]).await).await;
}
