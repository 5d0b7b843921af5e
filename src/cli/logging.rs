//! Logs to standard error.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people and for `grep`: `key=value`.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Starts logging, and keeps the text of panics out of it: a panic message can hold what was being worked on.
///
/// # Errors
///
/// A filter that is not understood.
pub fn start(level: &str, format: Format) -> Result<(), String> {
    // The protocol crates log what they send and receive at trace level; that can be a credential.
    let quiet = ["tokio_postgres", "hyper", "hyper_util", "reqwest", "rustls", "pgwire", "h2", "tower"];
    // The filter takes any other word for the name of a module, which would log nothing.
    let is_level = |word: &str| word.is_empty() || word.parse::<LevelFilter>().is_ok();
    if let Some(word) =
        level.split(',').map(str::trim).find(|part| !part.contains(['=', '[']) && !is_level(part))
    {
        return Err(format!("`{word}` is none of error, warn, info, debug, trace, off"));
    }
    let mut filter = EnvFilter::builder().parse(level).map_err(|error| error.to_string())?;
    for target in quiet {
        let directive =
            format!("{target}=warn").parse().map_err(|_| "an internal filter is wrong".to_owned())?;
        filter = filter.add_directive(directive);
    }
    // It calls every failed request an error, in the words of others; who asked says what it means.
    filter = filter
        .add_directive("kube_client=off".parse().map_err(|_| "an internal filter is wrong".to_owned())?);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, in a process that logs already, changes nothing.
    let _ = match format {
        Format::Logfmt => {
            registry.with(tracing_logfmt::builder().layer().with_writer(std::io::stderr)).try_init()
        }
        Format::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a fault of dr-exporter: please report the place");
    }));
    Ok(())
}
