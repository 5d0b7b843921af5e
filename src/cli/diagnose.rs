//! `dr-exporter diagnose FILE`: every question once, the report on the terminal.

use std::path::Path;
use std::process::ExitCode;

use super::{check, complain, say, terminal};
use crate::app::App;
use crate::model::Verdict;

/// Asks once and prints; the exit code is the worst verdict.
pub async fn diagnose(file: &Path, json: bool) -> ExitCode {
    let loaded = match check::load(file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let report = App::new(&loaded).once().await.report();
    if json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => say(&json),
            Err(_) => complain("the report could not be written as JSON"),
        }
    } else {
        say(&terminal::render(&report));
    }
    let worst = report.systems.iter().map(|system| match system.verdict {
        Verdict::Usable | Verdict::NotApplicable => 0,
        Verdict::Degraded => 2,
        Verdict::Unknown => 3,
        Verdict::Unusable => 4,
    });
    ExitCode::from(worst.max().unwrap_or(0))
}
