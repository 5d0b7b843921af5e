//! `dr-exporter demo`

use std::process::ExitCode;

/// Flags
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

pub async fn demo(_args: DemoArgs) -> ExitCode {
    ExitCode::SUCCESS
}
