//! The configuration file: read whole, judged whole, and taken only when nothing is wrong with it.
//!
//! Four steps, each of which reports everything it finds, so that one run shows every mistake:
//! YAML to a tree that knows its places (`yaml`) → the tree against the JSON Schema of the structs (`schema`)
//! → the structs → what only the whole can tell (`rules`, `support`).

mod database;
mod files;
mod mask;
mod outside;
mod problem;
mod reference;
mod rules;
mod scalar;
mod schedule;
mod schema;
mod site;
mod support;
mod system;
mod targets;
#[cfg(test)]
mod tests;
mod traffic;
mod web;
mod yaml;

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;

pub use database::{
    Credentials, Database, DatabaseCloud, DatabaseKind, Endpoint, ExpectColumn, Heartbeat, HeartbeatWriter,
    Identity, Newest, Query, Rds, Replication, Standby,
};
pub use mask::masked_yaml;
pub use outside::{Certificate, Dns, Infrastructure, RecordType};
pub use problem::{Problem, Problems};
pub use reference::reference_markdown;
pub use scalar::{Anchored, ConnectTo, HostPort, HttpUrl, Moment, NameServer, Pattern, Span};
pub use schedule::{Schedule, Scheduled};
pub use schema::json_schema;
pub use site::{
    Attempts, Aws, ClientCertificate, Cloud, Config, Defaults, DriftRules, HighAvailability, Kubernetes,
    KubernetesMode, Lease, Limits, Peer, Region, Sharding, Site, SiteIdentity, Tls, Web,
};
pub use system::{
    Announcement, CronJobs, Dependency, DependencyEndpoint, DependencyKind, Expect, Instance,
    MetricsEndpoint, NewestInBody, Surface, System, Waiver, Workload,
};
pub use traffic::{ErrorCounter, PrometheusSource, Request, Traffic, TrafficSource};
pub use web::{ClientAuth, Material, RateLimit, ServerTls, Source, WebConfig, parse_web};

/// Largest configuration file, in bytes.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A configuration in which nothing is wrong.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What its owner should know; none of it stops the program.
    pub warnings: Vec<Problem>,
    /// The text that it was read from. It may hold credentials: show `masked_yaml(&text)` instead.
    pub text: String,
}

/// Reads a configuration file. `now` decides which waivers are over. Errors: every mistake of the file, or why it
/// cannot be read.
pub fn load(path: &Path, now: Timestamp) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let fail = |message: String| whole(&name, message);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| fail(format!("cannot be opened: {error}")))?;
    // One byte more than is allowed, so that a file that never ends is noticed and not read.
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("cannot be read: {error}")))?;
    read(&name, bytes, now)
}

/// The same for the content of a file that was read already, which is no larger than one byte more than [`MAX_BYTES`].
/// Errors: every mistake in it.
pub fn read(name: &str, bytes: Vec<u8>, now: Timestamp) -> Result<Loaded, Problems> {
    if bytes.len() > MAX_BYTES {
        return Err(whole(name, format!("larger than {MAX_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| whole(name, "not UTF-8 text".to_owned()))?;
    let mut loaded = parse(name, &text, now)?;
    let (tree, _) = yaml::read(&text);
    let missing = tree.map(|tree| files::missing(&tree)).unwrap_or_default();
    loaded.warnings.extend(missing.into_iter().map(|fault| problem_in(name, fault)));
    Ok(loaded)
}

fn problem_in(file: &str, (place, path, message): yaml::Fault) -> Problem {
    Problem { file: file.to_owned(), line: place.line, column: place.column, path, message }
}

/// Reads a configuration from its text; `name` stands for the file in messages. Errors: every mistake in it.
pub fn parse(name: &str, text: &str, now: Timestamp) -> Result<Loaded, Problems> {
    if text.len() > MAX_BYTES {
        return Err(whole(name, format!("larger than {MAX_BYTES} bytes")));
    }
    let problem = |fault| problem_in(name, fault);
    let (tree, mut faults) = yaml::read(text);
    let mut warnings = Vec::new();
    let mut config = None;
    if let Some(tree) = tree {
        let unsupported = support::judge(&tree);
        let (rest, mistakes, removed) = schema::judge(&schema::CONFIG, tree);
        faults.extend(mistakes);
        faults.extend(unsupported);
        if let Some(rest) = rest {
            match serde_json::from_value::<Config>(rest.to_json()) {
                Ok(read) => {
                    let mut judge = rules::Judge::new(&rest, &removed);
                    judge.config(&read, now);
                    faults.append(&mut judge.errors);
                    warnings.append(&mut judge.warnings);
                    config = Some(read);
                }
                // The schema holds everything that the structs demand, which a property test holds true. The
                // words of serde are left out: they repeat values.
                Err(_) => faults.push((
                    yaml::Place::START,
                    String::new(),
                    "a value does not fit its key".to_owned(),
                )),
            }
        }
    }
    match config {
        Some(config) if faults.is_empty() => {
            let Problems(warnings) = Problems::sorted(warnings.into_iter().map(problem).collect());
            Ok(Loaded { config, warnings, text: text.to_owned() })
        }
        _ => Err(Problems::sorted(faults.into_iter().map(problem).collect())),
    }
}

/// What is wrong with a file as a whole.
pub fn whole(name: &str, message: String) -> Problems {
    Problems(vec![Problem { file: name.to_owned(), line: 1, column: 1, path: String::new(), message }])
}

// === impl Loaded ===

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, warnings, text: _ } = self;
        f.debug_struct("Loaded").field("config", config).field("warnings", warnings).finish_non_exhaustive()
    }
}

impl Loaded {
    /// The configuration as it may be shown, in its own order, every literal that could be a credential masked.
    pub fn masked_yaml(&self) -> String {
        masked_yaml(&self.text)
    }
}
