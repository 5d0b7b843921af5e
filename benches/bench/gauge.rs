//! Memory and processor time of a process, from /proc (proc(5)).

use std::time::{Duration, Instant};

use super::lab::run;

/// What a program took until it knew all.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// The most it ever had resident, in MiB.
    pub peak: f64,
    /// Resident ten seconds after its start, in MiB.
    pub resident: f64,
    /// Processor time, user and system, until it knew all.
    pub cpu: Duration,
    /// From its start until it knew all.
    pub known: Duration,
}

const POLL: Duration = Duration::from_millis(20);
/// Less work than this in a second is rest: the ticks of a scheduler, a renewed watch.
const REST: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the process does next to nothing, a tenth of a processor at most; no longer than half a minute.
pub async fn rest(pid: i32) {
    for _ in 0..30 {
        let before = cpu_of(pid);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cpu_of(pid) - before < Duration::from_millis(100) {
            return;
        }
    }
}

/// Waits until the process rests and `knows` says that it knows all; asks that only while it rests.
pub async fn measure(name: &str, pid: i32, knows: impl AsyncFn() -> Result<(), String>) -> Cost {
    let started = Instant::now();
    // The last moment in which it had worked, and the processor time that it had used by then.
    let mut worked = (Duration::ZERO, cpu_of(pid));
    let cpu = loop {
        tokio::time::sleep(POLL).await;
        let (now, used) = (started.elapsed(), cpu_of(pid));
        if used - worked.1 > REST {
            worked = (now, used);
        }
        if now - worked.0 < Duration::from_secs(1) {
            continue;
        }
        match knows().await {
            Ok(()) => break used,
            Err(why) => {
                assert!(now < PATIENCE, "{name} does not know all pods after {now:?}: {why}");
                // It was asked too early, which cost it something.
                worked = (started.elapsed(), cpu_of(pid));
            }
        }
    };
    tokio::time::sleep(Duration::from_secs(10).saturating_sub(started.elapsed())).await;
    let cost =
        Cost { peak: mebibytes(pid, "VmHWM:"), resident: mebibytes(pid, "VmRSS:"), cpu, known: worked.0 };
    eprintln!("{name}: {cost:?}");
    cost
}

/// The version of a Go module in the go.mod of a component of the lab.
pub fn version_of(component: &str, module: &str) -> String {
    let file = run::repository().join("tests/lab").join(component).join("go.mod");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{module} v")));
    line.and_then(|rest| rest.split(' ').next()).expect("a version").to_owned()
}

/// User and system time of all its threads, in hundredths of a second as the kernel counts them for us. One that has
/// ended and was not waited for still has them.
pub fn cpu_of(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    // The fields 14 and 15 of proc_pid_stat(5), where the state behind the name is field 3.
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// A line of `/proc/PID/status` in MiB: `VmHWM:` is the peak, `VmRSS:` what is resident now.
pub fn mebibytes(pid: i32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
    let kibibytes: f64 = line.split_whitespace().next().expect("a number").parse().expect("a number");
    kibibytes / 1024.0
}

/// Puts a process with all its threads on these processors.
pub fn pin(pid: i32, processors: &str) {
    run::run(std::process::Command::new("taskset").args(["-a", "-c", "-p", processors, &pid.to_string()]));
}
