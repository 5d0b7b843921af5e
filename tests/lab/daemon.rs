//! One child process of a test: its log, its signals, and its certain end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::http::client;
use super::run;

/// A running child with its output in a file; it and its descendants are killed on drop, frozen or not.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    /// What asks it to end on drop before it is killed.
    farewell: Option<Signal>,
}

// === impl Daemon ===

impl Daemon {
    /// Starts `command` in `dir` (inside the run's directory, where the reaper looks) with both outputs in `dir/log`.
    pub fn spawn(name: &str, mut command: Command, dir: &Path) -> Self {
        assert!(
            dir.starts_with(run::run_dir()),
            "{name}: {} is outside of the run's directory",
            dir.display()
        );
        let log = dir.join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let child = command
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle on the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name} ({command:?}): {e}"));
        Self { name: name.to_owned(), child, log, farewell: None }
    }

    /// On drop, sends this first and gives the process a second to end by itself.
    pub fn farewell(mut self, signal: Signal) -> Self {
        self.farewell = Some(signal);
        self
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// SIGSTOP to the process and all its descendants: it keeps its sockets and answers nothing.
    pub fn freeze(&self) {
        // The parent first, so that it starts no new child meanwhile.
        self.signal(Signal::STOP);
        for pid in descendants(self.pid()) {
            send(pid, Signal::STOP);
        }
    }

    /// Undoes `freeze`.
    pub fn thaw(&self) {
        for pid in descendants(self.pid()) {
            send(pid, Signal::CONT);
        }
        self.signal(Signal::CONT);
    }

    /// The exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Waits for the end; panics with the log when it takes longer than `limit`.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                started.elapsed() < limit,
                "{} did not end within {limit:?}:\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until its server says so on `/-/ready`, as those of Prometheus do.
    pub async fn until_ready(&mut self, address: SocketAddr) {
        let what = format!("{} is ready", self.name);
        run::eventually(&what, Duration::from_secs(20), async || {
            self.must_run();
            match client().get(format!("http://{address}/-/ready")).send().await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(answer.status().to_string()),
                Err(why) => Err(why.to_string()),
            }
        })
        .await;
    }

    /// Panics with the log if the process has ended already.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended with {status}:\n{}", self.name, self.tail());
        }
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let family = descendants(self.pid());
            if let Some(signal) = self.farewell {
                self.thaw();
                self.signal(signal);
                let started = Instant::now();
                while self.child.try_wait().is_ok_and(|e| e.is_none())
                    && started.elapsed() < Duration::from_secs(1)
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                self.signal(Signal::KILL);
                for pid in family {
                    send(pid, Signal::KILL);
                }
                // An error here means that it is gone.
                drop(self.child.wait());
            }
        }
        if std::thread::panicking() {
            eprintln!("--- end of the log of {} ({})\n{}", self.name, self.log.display(), self.tail());
        }
    }
}

/// The exit code, or 128 + the signal as a shell tells it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself: that is what a signal to nobody means here.
        let _ = kill_process(pid, signal);
    }
}

/// All processes below `root`, from `/proc/*/stat` (proc(5): the parent is the second field after the name in
/// parentheses).
fn descendants(root: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        open.extend(below);
    }
    found
}
