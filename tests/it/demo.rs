//! The demo as a process of its own: what "done when" says of its metrics.
// The product's bans (clocks, spawn) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lab::http::client;
use crate::lab::{Sample, eventually, parse_samples, scratch_dir};

const SECOND: Duration = Duration::from_secs(1);

/// A demo that plays; killed on drop.
struct Demo {
    child: Child,
    input: Option<ChildStdin>,
    said: Arc<Mutex<String>>,
    base: String,
}

// === impl Demo ===

impl Demo {
    async fn play(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dr-exporter"))
            .arg("demo")
            .args(arguments)
            .current_dir(scratch_dir("demo"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the demo starts");
        let (input, mut output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        let said: Arc<Mutex<String>> = Arc::default();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = std::io::Read::read(&mut output, &mut piece) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        });
        let heard = Arc::clone(&said);
        let base = eventually("the demo says where its page is", 15 * SECOND, async || {
            let said = heard.lock().unwrap().clone();
            let base = said.split_once("The page: ").and_then(|(_, rest)| rest.split_once("/ "));
            base.map(|(base, _)| base.to_owned()).ok_or(said)
        })
        .await;
        Self { child, input, said, base }
    }

    async fn metrics(&self) -> Result<Vec<Sample>, String> {
        let answer =
            client().get(format!("{}/metrics", self.base)).send().await.map_err(|e| e.to_string())?;
        Ok(parse_samples(&answer.text().await.map_err(|e| e.to_string())?))
    }

    /// Waits until every line is there: a name, labels, a value.
    async fn shows(&self, what: &str, lines: &[Line], limit: Duration) {
        eventually(what, limit, async || {
            let metrics = self.metrics().await?;
            for (name, labels, value) in lines {
                let found: Vec<_> = metrics.iter().filter(|s| s.is(name, labels)).collect();
                if found.is_empty() || found.iter().any(|s| s.value != *value) {
                    let same: Vec<_> = metrics.iter().filter(|s| s.name == *name).collect();
                    return Err(format!("{name} {labels:?} is not {value}: {same:?}"));
                }
            }
            Ok(())
        })
        .await;
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    async fn says(&self, words: &str) {
        eventually(&format!("the demo says: {words}"), 25 * SECOND, async || {
            let said = self.said();
            if said.contains(words) { Ok(()) } else { Err(said) }
        })
        .await;
    }

    fn enter(&mut self) {
        let input = self.input.as_mut().expect("its input");
        input.write_all(b"\n").and_then(|()| input.flush()).expect("press Enter");
    }

    async fn stop(&mut self) -> (Option<i32>, Duration) {
        let began = std::time::Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        let child = &mut self.child;
        let status = eventually("the demo ends", 10 * SECOND, async || {
            child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "it runs".to_owned())
        })
        .await;
        (status.code(), began.elapsed())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A name, some labels, a value.
type Line = (&'static str, &'static [(&'static str, &'static str)], f64);

const INCIDENT: [Line; 6] = [
    ("dr_synthetic_query_success", &[], 0.0),
    ("dr_db_endpoint_region", &[("db_region", "us-east-1"), ("expected_region", "us-west-2")], 1.0),
    ("dr_traffic_zero_business_requests", &[], 1.0),
    ("dr_healthy_but_unusable", &[], 1.0),
    ("dr_verdict", &[("verdict", "unusable")], 1.0),
    ("dr_surface_healthy", &[], 1.0),
];
const REPAIRED: [Line; 6] = [
    ("dr_synthetic_query_success", &[], 1.0),
    ("dr_db_endpoint_region", &[("db_region", "us-west-2"), ("expected_region", "us-west-2")], 1.0),
    ("dr_traffic_zero_business_requests", &[], 0.0),
    ("dr_healthy_but_unusable", &[], 0.0),
    ("dr_verdict", &[("verdict", "usable")], 1.0),
    ("dr_surface_healthy", &[], 1.0),
];

#[tokio::test]
async fn the_incident_and_its_repair_side_by_side() {
    // The first takes the usual port or any free one, the second any free one.
    let (mut incident, mut repaired) =
        tokio::join!(Demo::play(&["--scenario", "incident"]), Demo::play(&["--scenario", "repaired"]));
    assert_ne!(incident.base, repaired.base);
    tokio::join!(
        incident.shows("the incident", &INCIDENT, 25 * SECOND),
        repaired.shows("the repaired site", &REPAIRED, 25 * SECOND),
    );
    // The database endpoint has one region, not two.
    let regions = incident.metrics().await.expect("metrics");
    assert_eq!(regions.iter().filter(|s| s.name == "dr_db_endpoint_region").count(), 1);
    incident.says("UNUSABLE, and says it is healthy").await;
    for demo in [&mut incident, &mut repaired] {
        let (code, took) = demo.stop().await;
        assert_eq!(code, Some(0));
        assert!(took < 5 * SECOND, "{took:?}");
    }
}

#[tokio::test]
async fn each_enter_repairs_and_the_verdict_follows() {
    let mut demo = Demo::play(&[]).await;
    demo.shows("the incident", &INCIDENT, 25 * SECOND).await;
    demo.says("Repair 1 of 4").await;
    demo.enter();
    demo.says("Repair 2 of 4").await;
    // The replica alone helps nobody: the application still asks the east.
    demo.shows("the application asks the east", &INCIDENT[..2], SECOND).await;
    demo.enter();
    demo.shows("the verdict follows the database", &REPAIRED[..2], 8 * SECOND).await;
    demo.shows("nothing pages", &REPAIRED[3..5], 3 * SECOND).await;
    demo.says("Repair 3 of 4").await;
    demo.enter();
    demo.shows("users are seen", &REPAIRED[2..5], 15 * SECOND).await;
    demo.says("Repair 4 of 4").await;
    demo.enter();
    demo.says("Everything is repaired").await;
    demo.shows("the repaired site", &REPAIRED, 3 * SECOND).await;
}

#[tokio::test]
async fn a_closed_input_leaves_quietly() {
    let mut demo = Demo::play(&[]).await;
    demo.input = None;
    let child = &mut demo.child;
    let status = eventually("the demo ends when nobody can press Enter", 30 * SECOND, async || {
        child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "it runs".to_owned())
    })
    .await;
    assert_eq!(status.code(), Some(0));
}
