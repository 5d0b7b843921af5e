//! What asking costs while nobody looks: memory after two minutes, and processor time a second.

use std::time::Duration;

use super::gauge::{cpu_of, mebibytes};
use super::lab::Exporter;
use super::programs::{
    Driver, Load, Peer, blackbox, blackbox_name, cloudprober, cloudprober_http, cloudprober_name, exporter,
    surfaces,
};
use super::table::{Row, Section, show};
use super::target::Target;

pub const TITLE: &str = "Memory and processor time with HTTP targets";

const EVERY: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(60);
const MEASURE: Duration = Duration::from_secs(60);

/// The three programs with so many targets.
struct Trio {
    targets: usize,
    exporter: Exporter,
    boxed: Peer,
    driver: Driver,
    prober: Peer,
}

/// All sizes of all programs side by side: each of them has little to do.
pub async fn measure(target: &Target) -> Section {
    let mut all = Vec::new();
    for targets in [1, 100, 1_000] {
        let load = Load { targets, every: EVERY };
        let exporter = exporter(&surfaces(target, load, "/health"), None).await;
        let boxed = blackbox(None).await;
        let driver = Driver::start(&boxed, target, load);
        let prober = cloudprober(&cloudprober_http(target, load), None).await;
        all.push(Trio { targets, exporter, boxed, driver, prober });
    }
    tokio::time::sleep(SETTLE).await;
    let pids: Vec<_> = all.iter().map(Trio::pids).collect();
    let before: Vec<_> = pids.iter().map(|pids| pids.map(cpu_of)).collect();
    tokio::time::sleep(MEASURE).await;
    let mut rows = Vec::new();
    for ((trio, pids), before) in all.into_iter().zip(pids).zip(before) {
        let targets = trio.targets;
        let cpu =
            [0, 1, 2].map(|n| (cpu_of(pids[n]) - before[n]).as_secs_f64() * 1e3 / MEASURE.as_secs_f64());
        let memory = pids.map(|pid| mebibytes(pid, "VmRSS:"));
        eprintln!("{targets} targets: {memory:?} MiB, {cpu:?} ms/s");
        let names = ["dr-exporter".to_owned(), blackbox_name(), cloudprober_name()];
        let memory_of = format!("resident after two minutes, {targets} targets");
        let cpu_of = format!("CPU a second, {targets} targets");
        for (what, values, most, unit) in [(memory_of, memory, 24.0, "MiB"), (cpu_of, cpu, 20.0, "ms")] {
            for (name, value) in names.iter().zip(values) {
                rows.push(if name == "dr-exporter" && targets == 1_000 {
                    Row::at_most(&what, name, value, most, unit)
                } else {
                    Row::new(&what, name, show(value, unit))
                });
            }
        }
        trio.driver.stop().await;
    }
    Section {
        title: TITLE,
        before: "Every target is asked every 10 s on a new connection, with the JSON check from above. All nine processes run \
                 side by side."
            .to_owned(),
        rows,
        after: "Resident is `VmRSS` of `/proc/PID/status` after two minutes, CPU that of the second one. dr-exporter has by \
                then 12 runs of each check in its memory and judges every second; blackbox_exporter remembers nothing of \
                its targets but the last hundred results, and is asked from outside, which costs somebody else."
            .to_owned(),
    }
}

// === impl Trio ===

impl Trio {
    fn pids(&self) -> [i32; 3] {
        [self.exporter.pid(), self.boxed.daemon.pid(), self.prober.daemon.pid()]
    }
}
