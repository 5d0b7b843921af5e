//! What an HTTP probe costs: a new connection to an address, the answer's status and a value in its JSON.

use std::time::{Duration, Instant};

use super::gauge::{cpu_of, pin};
use super::programs::{
    Driver, Load, blackbox, blackbox_name, cloudprober, cloudprober_http, cloudprober_name, exporter,
    surfaces,
};
use super::table::{Row, Section, show};
use super::target::Target;

pub const TITLE: &str = "HTTP probes";

const SECOND: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(4);
const MEASURE: Duration = Duration::from_secs(12);
/// What a process gets that must not share: the other one is the target's and the driver's.
const ITS_OWN: &str = "1";

/// What a program did in a stretch of time.
struct Done {
    probes: u64,
    cpu: Duration,
    wall: Duration,
}

/// One after the other, each alone with the target.
pub async fn measure(target: &Target) -> Section {
    let mut rows = Vec::new();
    let everyday = Load { targets: 1_000, every: SECOND };
    let what = "CPU a probe, 1,000 probes a second";
    let (ours, box_, prober) = all(target, everyday, everyday, everyday).await;
    rows.push(Row::at_most(what, "dr-exporter", ours.each(), 130.0, "µs"));
    rows.push(Row::new(what, &blackbox_name(), show(box_.each(), "µs")));
    rows.push(Row::new(what, &cloudprober_name(), show(prober.each(), "µs")));
    let endless = Load { targets: 1_000, every: Duration::ZERO };
    let dense = Load { targets: 1_000, every: SECOND / 5 };
    let (ours, box_, prober) = all(target, Load { targets: 9_000, every: SECOND }, endless, dense).await;
    let what = "probes a second of one core";
    rows.push(Row::at_least(what, "dr-exporter", ours.of_a_core(), 7_500.0, ""));
    rows.push(Row::new(what, &blackbox_name(), show(box_.of_a_core(), "")));
    rows.push(Row::new(what, &cloudprober_name(), show(prober.of_a_core(), "")));
    Section {
        title: TITLE,
        before: "Each probe opens a connection, sends a `GET`, reads 140 bytes of JSON and compares one value in it (an exact \
                 value here, CEL in blackbox_exporter, jq in cloudprober). Targets are 1,000 addresses of loopback."
            .to_owned(),
        rows,
        after: format!(
            "CPU is what `/proc/PID/stat` says of the whole process over {} s, divided by the requests that the target \
             answered; the kernel's work for the connections is in it. dr-exporter and cloudprober ask by their own \
             schedules, blackbox_exporter is asked by 32 workers over connections that stay open, as Prometheus does it. \
             For the last rows each program has one core of its own and more to do than it can (dr-exporter: 9,000 \
             targets every second, cloudprober: 1,000 every 200 ms, blackbox_exporter: as fast as it answers); probes \
             are counted against the processor time that they took.",
            MEASURE.as_secs()
        ),
    }
}

async fn all(target: &Target, ours: Load, boxed: Load, probers: Load) -> (Done, Done, Done) {
    // The harness is the target, too.
    let own = i32::try_from(std::process::id()).expect("a process id");
    pin(own, "0");
    let us = {
        let exporter = exporter(&surfaces(target, ours, "/health"), Some(ITS_OWN)).await;
        Done::of("dr-exporter", exporter.pid(), target).await
    };
    let box_ = {
        let peer = blackbox(Some(ITS_OWN)).await;
        let driver = Driver::start(&peer, target, boxed);
        let done = Done::of("blackbox_exporter", peer.daemon.pid(), target).await;
        driver.stop().await;
        done
    };
    let prober = {
        let peer = cloudprober(&cloudprober_http(target, probers), Some(ITS_OWN)).await;
        Done::of("cloudprober", peer.daemon.pid(), target).await
    };
    pin(own, &format!("0-{}", std::thread::available_parallelism().map_or(1, usize::from) - 1));
    (us, box_, prober)
}

// === impl Done ===

impl Done {
    async fn of(name: &str, pid: i32, target: &Target) -> Self {
        tokio::time::sleep(SETTLE).await;
        let (begun, cpu, served) = (Instant::now(), cpu_of(pid), target.served());
        tokio::time::sleep(MEASURE).await;
        let done = Self { probes: target.served() - served, cpu: cpu_of(pid) - cpu, wall: begun.elapsed() };
        let Self { probes, cpu, wall } = &done;
        eprintln!("{name}: {probes} probes in {wall:?}, {cpu:?} of CPU, {:.1} µs each", done.each());
        assert!(*probes > 100, "{name} asked {probes} times only");
        done
    }

    fn each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.probes as f64
    }

    fn of_a_core(&self) -> f64 {
        self.probes as f64 / self.cpu.as_secs_f64()
    }
}
