//! What dr-exporter costs, beside its peers in the same run: `make bench`, or `make bench ONLY=http,sql` for some of it.
//!
//! Real processes are measured, ours and theirs, from the outside (`/proc`). Each section writes its part of
//! `docs/benchmarks.md` and leaves the others as they are.
// The product's bans (spawn, clocks, output) keep the exporter honest; a benchmark stands outside of it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "bench/armour.rs"]
mod armour;
#[path = "bench/cluster.rs"]
mod cluster;
#[path = "bench/detection.rs"]
mod detection;
#[path = "bench/gauge.rs"]
mod gauge;
#[path = "bench/http.rs"]
mod http;
#[path = "../tests/lab/lab.rs"]
mod lab;
#[path = "bench/pods.rs"]
mod pods;
#[path = "bench/programs.rs"]
mod programs;
#[path = "bench/resident.rs"]
mod resident;
#[path = "bench/scrape.rs"]
mod scrape;
#[path = "bench/sql.rs"]
mod sql;
#[path = "bench/startup.rs"]
mod startup;
#[path = "bench/table.rs"]
mod table;
#[path = "bench/target.rs"]
mod target;

use std::process::ExitCode;

use table::Row;
use target::Target;

/// What `ONLY` can name, and the headings, in the order of the file.
const SECTIONS: [(&str, &str); 8] = [
    ("http", http::TITLE),
    ("sql", sql::TITLE),
    ("scrape", scrape::TITLE),
    ("resident", resident::TITLE),
    ("startup", startup::TITLE),
    ("detection", detection::TITLE),
    ("armour", armour::TITLE),
    ("cluster", cluster::TITLE),
];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted: Vec<&str> = only.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let names: Vec<_> = SECTIONS.map(|(name, _)| name).to_vec();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(*name)) {
        eprintln!("there is no section `{unknown}`: {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    // It installs the provider of TLS that every other client needs, too.
    lab::http::client();
    let titles = SECTIONS.map(|(_, title)| title);
    let target = Target::start();
    let mut missed = Vec::new();
    for name in names.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        eprintln!("--- {name}");
        let section = match name {
            "http" => http::measure(&target).await,
            "sql" => sql::measure().await,
            "scrape" => scrape::measure(&target).await,
            "resident" => resident::measure(&target).await,
            "startup" => startup::measure(&target).await,
            "detection" => detection::measure(&target).await,
            "armour" => armour::measure(&target).await,
            _ => cluster::measure().await,
        };
        section.write(&head(), &titles);
        missed.extend(section.rows.iter().filter_map(Row::missed));
    }
    for aim in &missed {
        eprintln!("missed: {aim}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What stands above all sections: the machine.
fn head() -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let (cpu, memory) = (file("/proc/cpuinfo"), file("/proc/meminfo"));
    let kibibytes: f64 = after(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let today = jiff::Timestamp::now().to_string();
    format!(
        "<!-- Written by `make bench`. -->\n# Benchmarks\n\n\
         What dr-exporter costs, beside its peers on the same machine in the same run. Last written on {today} on\n\
         {cores} processors ({model}, {megahertz} MHz), {memory:.0} GiB of memory, Linux {kernel}. Numbers of another machine\n\
         differ, their proportions less. dr-exporter is what `cargo build --profile dist` makes; the peers are built from their\n\
         released Go modules by `tests/lab/install bench`, stripped, without cgo.\n\n\
         `make bench` measures all of it again in a quarter of an hour, `make bench ONLY=http,sql` only these sections:\n\
         {sections}.\n",
        today = today.split('T').next().unwrap_or_default(),
        cores = std::thread::available_parallelism().map_or(0, usize::from),
        model = after(&cpu, "model name"),
        megahertz = after(&cpu, "cpu MHz").split('.').next().unwrap_or_default(),
        memory = kibibytes / 1024.0 / 1024.0,
        kernel = file("/proc/sys/kernel/osrelease").trim(),
        sections = SECTIONS.map(|(name, _)| name).join(", "),
    )
}
