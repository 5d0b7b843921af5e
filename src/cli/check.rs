//! `dr-exporter check FILE`: reads no network and demands no other file.

use std::path::Path;
use std::process::ExitCode;

use super::{BAD_CONFIG, complain, say};
use crate::config::{self, Loaded};
use crate::web::Armour;

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

/// The same, and the file of `--web.config.file` with what it names, if one is given.
pub fn check_both(file: &Path, web: Option<&Path>) -> ExitCode {
    let code = check(file);
    let Some(web) = web else { return code };
    match Armour::load(Some(web)) {
        Ok(_) => {
            say(&format!("{}: fine", web.display()));
            code
        }
        Err(problems) => {
            complain(&problems.to_string());
            ExitCode::from(BAD_CONFIG)
        }
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
