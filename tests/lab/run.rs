//! What all parts of one test run share: a directory, addresses, patience, and a reaper.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Waits for the end of the test binary, however it ends (its standard input closes), then kills what still lives in
/// the directory of the run and removes it. Every process of the lab has its working directory there; that also
/// finds the frozen children of a killed postmaster, which no parent-death signal reaches. SIGQUIT first, because a
/// postmaster that is killed outright leaves its System V segment behind.
const REAPER: &str = r#"
dir=$1
cat >/dev/null
each() {
  found=1
  for p in /proc/[0-9]*; do
    case "$(readlink "$p/cwd" 2>/dev/null)" in
      "$dir"|"$dir"/*) found=0; kill "-$1" "${p#/proc/}" 2>/dev/null ;;
    esac
  done
  return $found
}
if each CONT; then each QUIT; sleep 0.5; while each KILL; do sleep 0.05; done; fi
rm -rf "$dir"
"#;

struct Run {
    dir: PathBuf,
    _reaper: Child,
}

/// The directory of this test run, readable by the unprivileged servers; removed when the test binary ends.
pub fn run_dir() -> &'static Path {
    static RUN: OnceLock<Run> = OnceLock::new();
    &RUN.get_or_init(|| {
        // Short on purpose: a unix socket path may have 107 bytes.
        let dir =
            tempfile::Builder::new().prefix("drlab.").tempdir_in(root()).expect("a run directory").keep();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755))
            .expect("mode of the run directory");
        let reaper = Command::new("sh")
            .args(["-c", REAPER, "dr-exporter-lab-reaper"])
            .arg(&dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C on the test run must not reach it.
            .process_group(0)
            .spawn()
            .expect("sh for the reaper");
        Run { dir, _reaper: reaper }
    })
    .dir
}

/// Memory where there is enough of it (a node costs 15 to 30 MB): copying a cluster takes 0.05 s there, 0.5 s on disk.
fn root() -> &'static str {
    let free = Command::new("df").args(["--output=avail", "-BM", "/dev/shm"]).output();
    let megabytes = free.ok().and_then(|out| {
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().last()?.trim().trim_end_matches('M').parse::<u64>().ok()
    });
    if megabytes.is_some_and(|free| free >= 2048) { "/dev/shm" } else { "/tmp" }
}

/// A new directory inside the run's, named for a human reader.
pub fn scratch_dir(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let dir = run_dir().join(format!("{name}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&dir).expect("a scratch directory");
    dir
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A loopback address in the primary's region, 127.10.0.0/16, that no other test of this run has.
pub fn east_ip() -> IpAddr {
    fresh_ip(10)
}

/// A loopback address in the standby's region, 127.20.0.0/16, that no other test of this run has.
pub fn west_ip() -> IpAddr {
    fresh_ip(20)
}

/// A loopback address in neither region, 127.30.0.0/16, that no other test of this run has.
pub fn lab_ip() -> IpAddr {
    fresh_ip(30)
}

fn fresh_ip(region: u8) -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two test runs at once start from different addresses; where they meet, `free_port` still keeps them apart.
    let n = std::process::id().wrapping_mul(7919).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 62_500;
    let [high, low] = [n / 250 + 1, n % 250 + 1].map(|part| u8::try_from(part).expect("at most 250"));
    IpAddr::V4(Ipv4Addr::new(127, region, high, low))
}

/// A port that is free on that address. Clients on loopback leave from 127.0.0.1, so none of them takes it meanwhile.
pub fn free_port(ip: IpAddr) -> u16 {
    TcpListener::bind(SocketAddr::new(ip, 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}

/// How much longer than on a quiet machine anything may take that is not itself measured.
const ROOM: u32 = 3;

/// Asks every 20 ms until the answer is `Ok`, and panics with the last `Err` when the time that this takes on a quiet
/// machine is over three times. Where the time is what is promised, it is `within`.
pub async fn eventually<T>(
    what: &str,
    usual: Duration,
    attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    within(what, usual * ROOM, attempt).await
}

/// The same with a limit that is meant: a promise. An attempt that hangs is cut off at the limit too.
pub async fn within<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    let mut last = String::from("the first attempt has not ended");
    loop {
        let left = limit.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(why)) => last = why,
            Err(_) => panic!("not within {limit:?}: {what}. Last answer: {last}"),
        }
        // An attempt that waits for nothing is never cut off.
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}. Last answer: {last}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Finds an executable on the path or in the places where Debian and Ubuntu put servers.
pub fn executable(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run `make lab`"))
}

/// The directory of a component that `make lab` built or fetched, whether it is there or not.
pub fn component(name: &str) -> PathBuf {
    run(Command::new(repository().join("tests/lab/install")).args(["where", name])).trim().into()
}

/// Runs a command to its end; its standard output, or a panic with what it said.
pub fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?} failed with {}:\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}
