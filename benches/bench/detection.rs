//! From the moment in which a target falls ill until a scrape would say so.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::lab::http::client;
use super::lab::{Sample, parse_samples};
use super::programs::{Load, cloudprober, cloudprober_http, cloudprober_name, exporter, surfaces};
use super::table::{Row, Section, show};
use super::target::Target;

pub const TITLE: &str = "Detection";

const TIMES: u32 = 8;
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(40);
const LOAD: Load = Load { targets: 1, every: Duration::from_secs(1) };
/// How long it is well between two illnesses; not a multiple of the interval, so that they begin everywhere in it.
const WELL: Duration = Duration::from_millis(2_137);

pub async fn measure(target: &Target) -> Section {
    let exporter = exporter(&surfaces(target, LOAD, "/health"), None).await;
    let ours = latencies(target, &exporter.url("/metrics"), |samples| {
        samples.iter().find(|sample| sample.name == "dr_surface_healthy").map(|sample| sample.value)
    })
    .await;
    drop(exporter);
    let peer = cloudprober(&cloudprober_http(target, LOAD), None).await;
    // What is not a success has failed; between two exports, what the last one said stands.
    let known = Cell::new((0.0, 0.0, true));
    let theirs = latencies(target, &format!("http://{}/metrics", peer.address), |samples| {
        let of = |name: &str| samples.iter().find(|sample| sample.name == name).map(|sample| sample.value);
        let (total, success) = (of("total")?, of("success")?);
        let (total_before, failed_before, well_before) = known.get();
        let well = if total == total_before { well_before } else { total - success <= failed_before };
        known.set((total, total - success, well));
        Some(f64::from(u8::from(well)))
    })
    .await;
    let mut rows = Vec::new();
    for (name, all) in [("dr-exporter", &ours), (&*cloudprober_name(), &theirs)] {
        rows.push(Row::new("seen after, middle", name, show(all[all.len() / 2], "s")));
    }
    let worst = ours.last().copied().unwrap_or_default();
    rows.push(Row::at_most("seen after, worst", "dr-exporter", worst, 1.2, "s"));
    rows.push(Row::new(
        "seen after, worst",
        &cloudprober_name(),
        show(theirs.last().copied().unwrap_or_default(), "s"),
    ));
    Section {
        title: TITLE,
        before: format!(
            "One target that is asked every second and falls ill {TIMES} times, at moments spread over that second. Seen is \
             when `/metrics`, asked every 20 ms, says so first."
        ),
        rows,
        after: "What an answer changes is in the next scrape here; cloudprober exports its statistics every 10 s by default. \
                With another interval, the interval is the worst case; a blackbox_exporter sees what there is when Prometheus \
                scrapes it, so its worst case is the scrape interval."
            .to_owned(),
    }
}

/// Seconds, sorted. `says` is 0 for ill and 1 for well.
async fn latencies(target: &Target, url: &str, says: impl Fn(&[Sample]) -> Option<f64>) -> Vec<f64> {
    let until = async |wanted: f64| {
        let begun = Instant::now();
        loop {
            let text = client().get(url).send().await.expect("an answer").text().await.expect("a body");
            if says(&parse_samples(&text)) == Some(wanted) {
                return begun.elapsed().as_secs_f64();
            }
            assert!(begun.elapsed() < PATIENCE, "not {wanted} after {PATIENCE:?}:\n{text}");
            tokio::time::sleep(POLL).await;
        }
    };
    let mut all = Vec::new();
    for _ in 0..TIMES {
        target.be_well(true);
        until(1.0).await;
        tokio::time::sleep(WELL).await;
        target.be_well(false);
        all.push(until(0.0).await);
    }
    target.be_well(true);
    all.sort_by(f64::total_cmp);
    eprintln!("{url}: {all:?}");
    all
}
