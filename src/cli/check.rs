//! `dr-exporter check FILE`: reads no network and demands no other file.

use std::path::Path;
use std::process::ExitCode;

use super::{BAD_CONFIG, complain, say};
use crate::config::{self, Loaded};

/// Every error of the file in one go, exit code 64; or what it would do.
pub fn check(file: &Path) -> ExitCode {
    match load(file) {
        Ok(loaded) => {
            let plan = crate::plan::plan(&loaded.config);
            let (systems, asks) = (plan.declared.systems.len(), plan.asks.len());
            say(&format!("{}: fine; systems: {systems}, targets: {asks}", file.display()));
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// Loads a configuration and prints every warning or every error.
pub fn load(file: &Path) -> Result<Loaded, ExitCode> {
    match config::load(file, crate::clock::now()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(&format!("warning: {warning}"));
            }
            Ok(loaded)
        }
        Err(problems) => {
            complain(&problems.to_string());
            Err(ExitCode::from(BAD_CONFIG))
        }
    }
}
