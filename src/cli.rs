//! The command line: arguments, logging and exit codes. Each command is a thin front on the library.

mod check;
mod demo;
mod diagnose;
pub mod docs;
mod hash_password;
mod logging;
mod rbac;
mod run;
mod terminal;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::web::ready::PATH as READY_PATH;

/// The configuration cannot be used (`EX_USAGE` of sysexits).
const BAD_CONFIG: u8 = 64;
/// The port on which an exporter of this kind is looked for.
const PORT: u16 = 10888;

/// Catches disaster-recovery sites which look ready and are not.
#[derive(Debug, Parser)]
#[command(name = "dr-exporter", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file and do nothing else: exit code 64 if it cannot be used.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
    /// Ask every question once and print the report. Exit code 0: usable or nothing expected, 2: degraded, 3: unknown, 4: unusable.
    Diagnose {
        /// The configuration file.
        file: PathBuf,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Play the incident that this program exists for, on loopback, with nothing to install.
    Demo(demo::DemoArgs),
    /// Print the least rights that a configuration needs in a cluster, as manifests. Changes nothing.
    Rbac(rbac::RbacArgs),
    /// Read a password and print its bcrypt hash, for `basic_auth_users` of --web.config.file.
    HashPassword,
    /// Write the documentation that is generated from the code.
    Docs(docs::DocsArgs),
}

/// Flags as Prometheus exporters have them.
#[derive(Clone, Debug, Args)]
struct RunArgs {
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", default_value = "dr-exporter.yaml")]
    config_file: PathBuf,
    /// Check the configuration file and exit.
    #[arg(long = "config.check")]
    config_check: bool,
    /// Address to listen on; repeat for several. An address without a host means every interface.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = ":10888", value_parser = listen_address)]
    listen: Vec<SocketAddr>,
    /// TLS, logins and limits, in the format that Prometheus exporters share.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// Path of the metrics.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    telemetry_path: String,
}

#[derive(Clone, Debug, Args)]
struct LogArgs {
    /// What is logged: off, error, warn, info, debug, trace, or a filter such as `info,dr_exporter=debug`.
    /// Default: info; in the demo, which tells its story itself, off.
    #[arg(long = "log.level", value_name = "LEVEL", global = true)]
    level: Option<String>,
    /// How it is logged.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt", global = true)]
    format: logging::Format,
}

/// The whole program.
pub fn main() -> ExitCode {
    let Cli { command, run, log } = Cli::parse();
    let usual = if matches!(command, Some(Command::Demo(_))) { "off" } else { "info" };
    if let Err(error) = logging::start(log.level.as_deref().unwrap_or(usual), log.format) {
        complain(&format!("--log.level: {error}"));
        return ExitCode::from(BAD_CONFIG);
    }
    // reqwest and kube look for the process-wide provider; whoever comes first decides, so it is decided here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        Some(Command::Check { file }) => check::check(&file),
        Some(Command::Docs(args)) => docs::docs(&args),
        Some(Command::Diagnose { file, json }) => in_runtime(diagnose::diagnose(&file, json)),
        Some(Command::Rbac(args)) => in_runtime(rbac::rbac(args)),
        Some(Command::Demo(args)) => in_runtime(demo::demo(args)),
        Some(Command::HashPassword) => hash_password::hash_password(),
        None if run.config_check => check::check_both(&run.config_file, run.web_config_file.as_deref()),
        None => in_runtime(run::run(run)),
    }
}

/// Runs to the end, and does not wait for what hangs: a look-up in the system's resolver cannot be aborted.
fn in_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(500));
    code
}

/// `host:port`, `[address]:port` or `:port`.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};
    if let Some(port) = text.strip_prefix(':') {
        let port: u16 = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    let mut addresses =
        text.to_socket_addrs().map_err(|_| "expected host:port or :port, such as :10888".to_owned())?;
    addresses.next().ok_or_else(|| format!("`{text}` resolves to no address"))
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let taken = ["/", "/api/v1/report", "/config", "/-/healthy", "/-/ready", "/-/reload"];
    if !text.starts_with('/') || taken.contains(&text) || text.starts_with(READY_PATH) {
        let taken = taken.join(" ");
        return Err(format!("expected a path that begins with / and is none of: {taken} {READY_PATH}"));
    }
    Ok(text.to_owned())
}

/// Writes to standard output; a reader that has gone away is not an error.
fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Writes to standard error.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
