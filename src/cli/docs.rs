//! `dr-exporter docs`: documentation from the code.

use std::path::PathBuf;
use std::process::ExitCode;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub struct DocsArgs {
    /// Where to.
    dir: PathBuf,
}

pub fn docs(_args: &DocsArgs) -> ExitCode {
    ExitCode::SUCCESS
}
