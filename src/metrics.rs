//! `/metrics`: the report, rendered at scrape time. No series is ever set or cleared: what is not in the report
//! is not in the exposition.

pub mod catalogue;
mod collect;
mod labels;
mod process;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::model::Resource;
use crate::report::Report;
use crate::shard::Shard;

pub use process::Process;
pub use text::to_text_format;

/// What the exporter says of itself beside the report.
#[derive(Clone, Debug)]
pub struct Own {
    /// When the configuration was last loaded without an error, in seconds since 1970.
    pub config_loaded: f64,
    /// The last attempt to load it succeeded.
    pub config_ok: bool,
    /// The last attempt to read `--web.config.file` succeeded; nothing without the flag.
    pub web_config_ok: Option<bool>,
    /// This replica probes. If not, it speaks of itself only: what the others know is theirs to say.
    pub leads: bool,
    /// Which of several exporters this is, if they share the systems among them.
    pub shard: Option<Shard>,
    /// By how much the most overdue check is overdue, in seconds.
    pub scheduler_lag: f64,
    /// Of each resource of the cluster that is watched, whether its watches bring what the cluster says.
    pub watches: BTreeMap<Resource, bool>,
    /// CPU, memory and files of the process, where the system tells.
    pub process: Option<Process>,
}

/// Hands one report to the encoder. `Collector` wants to be shared and to outlive the registry, so the report is
/// handed over for the length of one encoding.
struct Once(Mutex<Option<(Report, Own)>>);

/// The exposition in OpenMetrics 1.0.
///
/// # Errors
///
/// Never in practice: writing into a `String` does not fail.
pub fn open_metrics(report: Report, own: Own) -> Result<String, fmt::Error> {
    let checks: usize = report.systems.iter().map(|system| system.checks.len()).sum();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Once(Mutex::new(Some((report, own))))));
    // Room for two dozen lines a check, so that nothing is copied while it grows.
    let mut text = String::with_capacity(16 * 1024 + checks * 3 * 1024);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

// === impl Once ===

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl Collector for Once {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let taken = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        taken.map_or(Ok(()), |(report, own)| collect::encode(&report, &own, encoder))
    }
}

#[cfg(test)]
mod tests;
