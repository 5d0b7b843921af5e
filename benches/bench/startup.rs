//! From the start of the process until it can be scraped, with a thousand systems.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::gauge::{cpu_of, mebibytes};
use super::lab::http::client;
use super::programs::{Load, cloudprober, cloudprober_http, cloudprober_name, exporter, frame};
use super::table::{Row, Section, show};
use super::target::Target;

pub const TITLE: &str = "Start with 1,000 systems";

const SYSTEMS: usize = 1_000;
const EVERY: Duration = Duration::from_secs(30);
const RUNS: usize = 3;

/// Seconds, CPU and MiB until the first scrape was answered.
type Start = [f64; 3];

pub async fn measure(target: &Target) -> Section {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        let exporter = exporter(&systems(target), None).await;
        ours.push(answered(begun, exporter.pid(), &exporter.url("/metrics")).await);
        drop(exporter);
        let begun = Instant::now();
        let peer =
            cloudprober(&cloudprober_http(target, Load { targets: SYSTEMS, every: EVERY }), None).await;
        let url = format!("http://{}/metrics", peer.address);
        theirs.push(answered(begun, peer.daemon.pid(), &url).await);
    }
    let mut rows = Vec::new();
    for (place, what, unit) in
        [(0, "answers the first scrape after", "s"), (1, "CPU until then", "s"), (2, "resident then", "MiB")]
    {
        for (name, runs) in [("dr-exporter", &ours), (&*cloudprober_name(), &theirs)] {
            rows.push(Row::new(what, name, show(middle(runs, place), unit)));
        }
    }
    Section {
        title: TITLE,
        before: "dr-exporter reads a file of 1,000 systems with a surface, a database and a query each; cloudprober one \
                 probe with 1,000 targets. The middle of three runs."
            .to_owned(),
        rows,
        after: String::new(),
    }
}

fn systems(target: &Target) -> String {
    let mut config = frame(EVERY);
    for n in 0..SYSTEMS {
        let url = target.url(n, "/health");
        writeln!(
            config,
            "- name: s{n}\n  surfaces: [{{name: health, url: \"{url}\", decisive: true, expect: {{json: {{/database: connected}}}}}}]\n  \
             databases: [{{name: db, kind: postgres, endpoint: {{url: \"postgresql://app:x@127.50.{}.{}:5432/orders\"}}, \
             queries: [{{name: q, sql: \"select 1\"}}]}}]",
            n / 250,
            n % 250 + 1
        )
        .expect("write to a string");
    }
    config
}

async fn answered(begun: Instant, pid: i32, url: &str) -> Start {
    let answer = client().get(url).send().await.expect("an answer");
    answer.bytes().await.expect("a body");
    let start = [begun.elapsed().as_secs_f64(), cpu_of(pid).as_secs_f64(), mebibytes(pid, "VmRSS:")];
    eprintln!("{pid}: {start:?}");
    start
}

fn middle(runs: &[Start], place: usize) -> f64 {
    let mut all: Vec<f64> = runs.iter().map(|run| run[place]).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
