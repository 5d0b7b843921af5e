//! CPU, memory and open files of this process, from `/proc`. Elsewhere than on Linux nothing is said.

use std::fs;

/// What the system says of this process.
#[derive(Clone, Debug)]
pub struct Process {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: f64,
    /// Virtual memory.
    pub virtual_bytes: f64,
    /// Open file descriptors.
    pub open_fds: f64,
    /// How many may be open; `None` if there is no limit.
    pub max_fds: Option<f64>,
    /// Start, in seconds since 1970.
    pub started: f64,
}

/// Linux counts CPU time and starts in hundredths of a second for every program (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// Reads anew; `None` where there is no `/proc`.
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program stands in brackets and may hold anything; fields are counted behind it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<f64>().ok();
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let max_fds = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        Some(Process {
            cpu_seconds: (number(11)? + number(12)?) / TICKS_PER_SECOND,
            resident_bytes: resident.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()? * 1024.0,
            virtual_bytes: number(20)?,
            open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as f64,
            max_fds: max_fds.and_then(|line| line.split_whitespace().next()?.parse().ok()),
            started: boot + number(19)? / TICKS_PER_SECOND,
        })
    }
}
