//! The exporter itself.

use std::process::ExitCode;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{BAD_CONFIG, RunArgs, check, complain};
use crate::app::App;
use crate::host;
use crate::reload::Changes;
use crate::shard;
use crate::web::{Armour, Bound};

/// Runs until a signal asks it to stop, or until a task ends that should not.
pub async fn run(args: RunArgs) -> ExitCode {
    let RunArgs { config_file, config_check: _, listen, web_config_file, telemetry_path } = args;
    let mut loaded = match check::load(&config_file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(error) = shard::settle(&mut loaded.config, &host::name()) {
        complain(&format!("{}: {error}", config_file.display()));
        return ExitCode::from(BAD_CONFIG);
    }
    let armour = match Armour::load(web_config_file.as_deref()) {
        Ok(armour) => Arc::new(armour),
        Err(problems) => {
            complain(&problems.to_string());
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let bound = match Bound::bind(&listen).await {
        Ok(bound) => bound.behind(armour),
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt), Ok(hangups)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        complain("signals cannot be received here");
        return ExitCode::FAILURE;
    };
    allow_many_files();
    let (changes, reloader) = Changes::new(config_file, &loaded, hangups);
    let mut running = App::new(&loaded).following(changes, reloader).start(bound, telemetry_path);
    for address in running.addresses() {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        ended = running.failed() => {
            tracing::error!(%ended, "stopping");
            ExitCode::FAILURE
        }
    };
    tracing::info!("stopping");
    running.stop().await;
    code
}

/// Every attempt under way holds a connection. The usual soft limit of 1,024 open files is meant for programs that
/// call `select`; what may be had without asking anybody is taken.
fn allow_many_files() {
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files could not be raised");
    }
}
