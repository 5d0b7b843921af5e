//! `dr-exporter docs`: the documentation that the code knows by itself. A file that drifted from the code is an error,
//! so what is in `docs/` can be believed.

mod checks;
mod dashboards;
mod grants;
mod metrics;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{complain, say};
use crate::config;
use crate::probe::heartbeat::sql::ddl;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub struct DocsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write every generated file into a directory, and the dashboards into another.
    Write {
        /// Where to; made if it is missing.
        dir: PathBuf,
        /// Where the dashboards go; made if it is missing.
        #[arg(long, default_value = DASHBOARDS)]
        dashboards: PathBuf,
    },
    /// Compare both directories with what would be written; exit code 1 and the name of each file that differs.
    Check {
        /// The directory.
        dir: PathBuf,
        /// The directory of the dashboards.
        #[arg(long, default_value = DASHBOARDS)]
        dashboards: PathBuf,
    },
    /// Write only the dashboards for Grafana, those of this version.
    Dashboards {
        /// Where to; made if it is missing.
        #[arg(default_value = DASHBOARDS)]
        dir: PathBuf,
    },
    /// Print the SQL that makes the table of the heartbeat, to be run once by the owner of the database.
    Heartbeat {
        /// The table, as in `heartbeat_writer.table`.
        #[arg(long, default_value = "dr_heartbeat")]
        table: String,
        /// The role that writes it, on the primary.
        #[arg(long, default_value = "dr_heartbeat")]
        writer: String,
        /// The role that reads it, on the standby.
        #[arg(long, default_value = "dr_exporter")]
        reader: String,
    },
    /// Print the SQL that makes the exporter's role in a database, with the least that it needs.
    Grants {
        /// Name of the role.
        #[arg(long, default_value = "dr_exporter")]
        role: String,
    },
    /// Print one of the files.
    Print {
        /// Which one.
        page: Page,
    },
}

/// Where the dashboards are, seen from the root of the repository.
const DASHBOARDS: &str = "dashboards";

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
    /// The dashboard of all sites and systems.
    Fleet,
    /// The dashboard of one site and system.
    Site,
    /// The dashboard of the exporters themselves.
    Exporter,
}

/// Writes, compares or prints. Exit code 1: a file is stale, missing or not to be written.
pub fn docs(args: &DocsArgs) -> ExitCode {
    match &args.command {
        Command::Write { dir, dashboards } => written(&[(Page::DOCS, dir), (Page::DASHBOARDS, dashboards)]),
        Command::Dashboards { dir } => written(&[(Page::DASHBOARDS, dir)]),
        Command::Check { dir, dashboards } => {
            let mut code = ExitCode::SUCCESS;
            for (pages, dir) in [(Page::DOCS, dir), (Page::DASHBOARDS, dashboards)] {
                for file in stale(pages, dir) {
                    complain(&format!(
                        "{}: not what the code says; run `make docs`",
                        dir.join(file).display()
                    ));
                    code = ExitCode::FAILURE;
                }
            }
            code
        }
        Command::Heartbeat { table, writer, reader } => {
            say(ddl(table, writer, reader).trim_end());
            ExitCode::SUCCESS
        }
        Command::Grants { role } => {
            say(grants::grants(role).trim_end());
            ExitCode::SUCCESS
        }
        Command::Print { page } => {
            say(page.text().trim_end());
            ExitCode::SUCCESS
        }
    }
}

fn written(places: &[(&[Page], &PathBuf)]) -> ExitCode {
    for (pages, dir) in places {
        if let Err(error) = write(pages, dir) {
            complain(&format!("{}: cannot be written: {error}", dir.display()));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn write(pages: &[Page], dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    pages.iter().try_for_each(|page| fs::write(dir.join(page.file()), page.text()))
}

/// The files that are missing, unreadable or different.
fn stale(pages: &[Page], dir: &Path) -> Vec<&'static str> {
    let is_stale = |page: &&Page| fs::read_to_string(dir.join(page.file())).ok() != Some(page.text());
    pages.iter().filter(is_stale).map(|page| page.file()).collect()
}

// === impl Page ===

impl Page {
    const DOCS: &[Page] = &[Page::Metrics, Page::Checks, Page::Config, Page::Schema];
    const DASHBOARDS: &[Page] = &[Page::Fleet, Page::Site, Page::Exporter];

    fn file(self) -> &'static str {
        match self {
            Page::Metrics => "metrics.md",
            Page::Checks => "checks.md",
            Page::Config => "config.md",
            Page::Schema => "config.schema.json",
            Page::Fleet => "dr-fleet.json",
            Page::Site => "dr-site.json",
            Page::Exporter => "dr-exporter.json",
        }
    }

    fn text(self) -> String {
        match self {
            Page::Metrics => metrics::markdown(),
            Page::Checks => checks::markdown(),
            Page::Config => config::reference_markdown(),
            // The alternate form of a `Value` is its pretty form, and cannot fail.
            Page::Schema => format!("{:#}\n", config::json_schema()),
            Page::Fleet => dashboards::fleet(),
            Page::Site => dashboards::site(),
            Page::Exporter => dashboards::exporter(),
        }
    }
}
