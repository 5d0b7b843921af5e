//! `dr-exporter demo`: the incident of the README, on loopback, against the real exporter by its real code path.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::signal::unix::{SignalKind, signal};

use super::{PORT, complain, say, terminal};
use crate::app::{App, Running};
use crate::clock;
use crate::config;
use crate::demo::incident::{Incident, Scenario, Step};
use crate::model::Status;
use crate::report::CheckReport;
use crate::web::Bound;

/// How long the exporter takes, at most, to see the incident or a repair: a few of the demo's intervals and its window.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// What is played.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Play one state and stay in it, without asking for Enter: `incident` or `repaired`.
    #[arg(long)]
    scenario: Option<Played>,
    /// Address of the page; default: port 10888 of loopback, or any free one if that is taken.
    #[arg(long = "web.listen-address", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// A state of the incident.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Played {
    /// As it was found.
    Incident,
    /// After every repair.
    Repaired,
}

/// Plays until it is interrupted.
pub async fn demo(args: DemoArgs) -> ExitCode {
    match play(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn play(DemoArgs { scenario, listen }: DemoArgs) -> Result<(), String> {
    let first = match scenario {
        Some(Played::Repaired) => Scenario::Repaired,
        Some(Played::Incident) | None => Scenario::Incident,
    };
    let incident = Incident::start(first, clock::now).await.map_err(|error| error.to_string())?;
    let incident = Arc::new(incident);
    let loaded =
        config::parse("demo", &incident.config_yaml(), clock::now()).map_err(|all| all.to_string())?;
    let bound = bind(listen).await?;
    let mut running = App::new(&loaded).start(bound, "/metrics".to_owned());
    let played = incident.clone();
    running.also("demo", async move { played.serve().await });

    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let ended = tokio::select! {
        played = narrate(&running, &incident, scenario) => played,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    running.stop().await;
    ended
}

async fn bind(listen: Option<SocketAddr>) -> Result<Bound, String> {
    if let Some(address) = listen {
        return Bound::bind(&[address]).await.map_err(|error| error.to_string());
    }
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match Bound::bind(&[usual]).await {
        Ok(bound) => Ok(bound),
        Err(_) => Bound::bind(&[any]).await.map_err(|error| error.to_string()),
    }
}

async fn narrate(running: &Running, incident: &Incident, scenario: Option<Played>) -> Result<(), String> {
    let Some(address) = running.addresses().first() else { return Err("nothing is served".to_owned()) };
    say(&format!("The page: http://{address}/   The metrics: http://{address}/metrics\n"));
    if scenario.is_none() {
        say(STORY);
    }
    settle(running).await;
    show(running);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    if scenario.is_none() {
        for (number, step) in incident.steps().iter().enumerate() {
            let Step { repair, title, in_reality, seen } = step;
            say(&format!("Repair {} of {}: {title}\n  {in_reality}", number + 1, incident.steps().len()));
            if !enter(&mut lines, "Press Enter to apply it, Ctrl-C to leave.").await {
                return Ok(());
            }
            incident.apply(*repair).await.map_err(|error| error.to_string())?;
            settle(running).await;
            say(&format!("  what to see now: {seen}\n"));
            show(running);
        }
        say("Everything is repaired.");
    }
    say("Ctrl-C ends the demo.");
    std::future::pending::<()>().await;
    Ok(())
}

const STORY: &str = "\
A standby site in us-west-2. Its pods run, /health says `database: connected`, /ready says true, and the check that
decides the failover looks at /health. What the exporter beside it finds:
";

/// Waits until every check has run since now and knows something, so that what is shown came of the last step.
async fn settle(running: &Running) {
    let begun = clock::now();
    let settled = async {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let report = running.view().report();
            let mut checks = report.systems.iter().flat_map(|system| &system.checks);
            let has_run =
                |check: &CheckReport| check.record.last.as_ref().is_some_and(|last| last.started > begun);
            if checks.all(|check| has_run(check) && check.status != Status::Unknown) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(SEEN_WITHIN, settled).await;
}

fn show(running: &Running) {
    say(&terminal::render(&running.view().report()));
    say("");
}

/// Waits for a line; `false` if there is nobody to write one.
async fn enter(lines: &mut Lines<BufReader<Stdin>>, prompt: &str) -> bool {
    say(prompt);
    matches!(lines.next_line().await, Ok(Some(_)))
}
