//! `dr-exporter docs`: the documentation that the code knows by itself. A file that drifted from the code is an error,
//! so what is in `docs/` can be believed.

mod checks;
mod metrics;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{complain, say};
use crate::config;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub struct DocsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write every generated file into a directory.
    Write {
        /// Where to; made if it is missing.
        dir: PathBuf,
    },
    /// Compare a directory with what would be written; exit code 1 and the name of each file that differs.
    Check {
        /// The directory.
        dir: PathBuf,
    },
    /// Print one of the files.
    Print {
        /// Which one.
        page: Page,
    },
}

/// A file that is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Page {
    /// Every metric.
    Metrics,
    /// Every check, and how a verdict comes of them.
    Checks,
    /// Every key of the configuration file.
    Config,
    /// The JSON Schema of the configuration file.
    Schema,
}

/// Writes, compares or prints. Exit code 1: a file is stale, missing or not to be written.
pub fn docs(args: &DocsArgs) -> ExitCode {
    match &args.command {
        Command::Write { dir } => match write(dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("{}: cannot be written: {error}", dir.display()));
                ExitCode::FAILURE
            }
        },
        Command::Check { dir } => {
            let stale = stale(dir);
            for file in &stale {
                complain(&format!("{}: not what the code says; run `make docs`", dir.join(file).display()));
            }
            if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::Print { page } => {
            say(page.text().trim_end());
            ExitCode::SUCCESS
        }
    }
}

fn write(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    Page::ALL.iter().try_for_each(|page| fs::write(dir.join(page.file()), page.text()))
}

/// The files that are missing, unreadable or different.
fn stale(dir: &Path) -> Vec<&'static str> {
    let is_stale = |page: &&Page| fs::read_to_string(dir.join(page.file())).ok() != Some(page.text());
    Page::ALL.iter().filter(is_stale).map(|page| page.file()).collect()
}

// === impl Page ===

impl Page {
    const ALL: [Page; 4] = [Page::Metrics, Page::Checks, Page::Config, Page::Schema];

    fn file(self) -> &'static str {
        match self {
            Page::Metrics => "metrics.md",
            Page::Checks => "checks.md",
            Page::Config => "config.md",
            Page::Schema => "config.schema.json",
        }
    }

    fn text(self) -> String {
        match self {
            Page::Metrics => metrics::markdown(),
            Page::Checks => checks::markdown(),
            Page::Config => config::reference_markdown(),
            // The alternate form of a `Value` is its pretty form, and cannot fail.
            Page::Schema => format!("{:#}\n", config::json_schema()),
        }
    }
}
