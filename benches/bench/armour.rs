//! How much memory it takes while it is attacked by what it asks, and by who asks it.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::gauge::mebibytes;
use super::lab::Exporter;
use super::programs::{Load, exporter, frame, surfaces};
use super::table::{Row, Section};
use super::target::Target;

pub const TITLE: &str = "Memory under attack";

const EVERY: Duration = Duration::from_secs(1);
const SIEGE: Duration = Duration::from_secs(15);
/// So many surfaces answer like that at once.
const TARGETS: usize = 8;
/// So many clients flood our own port.
const CLIENTS: usize = 64;
/// What we want of every one of them, in MiB.
const MOST: f64 = 48.0;

pub async fn measure(target: &Target) -> Section {
    let load = Load { targets: TARGETS, every: EVERY };
    let mut all = vec![("nobody attacks", exporter(&surfaces(target, load, "/health"), None).await)];
    for (what, path) in [
        ("bodies of 1 GB", "/gigabyte"),
        ("bodies of 1 MB of gzip that stand for 1 GB", "/bomb"),
        ("bodies without an end", "/endless"),
        ("answers with 1,000,000 headers", "/headers"),
    ] {
        all.push((what, exporter(&surfaces(target, load, path), None).await));
    }
    all.push(("expositions of 100,000 lines, 8 MB", exporter(&traffic(target), None).await));
    let flooded = exporter(&surfaces(target, load, "/health"), None).await;
    let mut floods = JoinSet::new();
    for _ in 0..CLIENTS {
        floods.spawn(flood(flooded.address()));
    }
    all.push(("our own port: 64 clients that send headers without an end", flooded));
    tokio::time::sleep(SIEGE).await;
    let mut rows = Vec::new();
    for (what, exporter) in &all {
        let peak = mebibytes(exporter.pid(), "VmHWM:");
        eprintln!("{what}: {peak:.1} MiB");
        if *what != "nobody attacks" {
            must_see(what, exporter).await;
        }
        rows.push(Row::at_most(&format!("peak, {what}"), "dr-exporter", peak, MOST, "MiB"));
    }
    Section {
        title: TITLE,
        before: format!(
            "{TARGETS} targets, asked every second with a timeout of 1 s, answer every time like this for {} s. Each row is a \
             process of its own.",
            SIEGE.as_secs()
        ),
        rows,
        after: "Peak is `VmHWM` of `/proc/PID/status`. All keep answering scrapes meanwhile; what they find is `fail` or \
                `unknown`, never a pass."
            .to_owned(),
    }
}

/// It has asked, answers a scrape, and is not deceived.
async fn must_see(what: &str, exporter: &Exporter) {
    let samples = exporter.metrics().await;
    let asked =
        samples.iter().filter(|sample| sample.name == "dr_check_attempts_total").map(|sample| sample.value);
    assert!(asked.sum::<f64>() > 5.0, "{what}: it has not asked\n{}", exporter.log());
}

fn traffic(target: &Target) -> String {
    let mut config = frame(EVERY);
    for n in 0..TARGETS {
        config.push_str(&format!(
            "- name: s{n}\n  workloads: [{{name: api, instances: [{{name: a, url: \"{}\"}}], metrics: {{path: /exposition}}}}]\n  \
             traffic: [{{workload: api, counter: http_requests_total, business: {{handler: \"/api/.+\"}}, window: 10s}}]\n",
            target.url(n, "")
        ));
    }
    config
}

/// Sends headers until it is cut off, and comes back.
async fn flood(address: std::net::SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n").await.is_ok()
        {
            let line = format!("x-filler: {}\r\n", "a".repeat(4_000));
            while stream.write_all(line.as_bytes()).await.is_ok() {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
