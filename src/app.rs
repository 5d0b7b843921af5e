//! The composition: builds everything and spawns every task, in reading order. Decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::{Config, Loaded};
use crate::discovery::{Wanted, keep_watching};
use crate::fleet::{Fleet, Ground, access};
use crate::host;
use crate::leader::{Election, Leadership, identity, keep_leading};
use crate::ledger::Ledger;
use crate::plan::{Plan, plan};
use crate::probe::Ask;
use crate::reload::{Changes, Reloader};
use crate::secret::Secrets;
use crate::shard;
use crate::tasks::{EndedEarly, Tasks};
use crate::view::{Generation, View};
use crate::web::{Bound, Site};

/// How often the verdicts are noted when nobody asks.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
/// How long whoever asks once waits for the cluster.
const FIRST_SIGHT_WITHIN: Duration = Duration::from_secs(10);
/// How long tasks may take to end when they are asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// Everything that is needed to ask and to answer; nothing is spawned yet.
pub struct App {
    view: View,
    config: Config,
    ground: Ground,
    asks: Vec<Ask>,
    election: Option<Election>,
    /// The file that may change, and who may ask for it to be read.
    source: Option<(Changes, Reloader)>,
}

/// An exporter that runs.
pub struct Running {
    tasks: Tasks,
    addresses: Vec<SocketAddr>,
    view: View,
}

// === impl App ===

impl App {
    /// Builds everything from a checked configuration.
    pub fn new(loaded: &Loaded) -> Self {
        let Loaded { config, .. } = loaded;
        let Plan { declared, asks, wanted } = plan(config);
        let lease =
            config.high_availability.as_ref().map(|high_availability| high_availability.lease.clone());
        let leadership = match lease {
            Some(_) => Leadership::candidate(identity(&host::name()), clock::now()),
            None => Leadership::alone(),
        };
        let election = lease.map(|lease| Election {
            leadership: leadership.clone(),
            lease,
            secrets: Secrets::new(access(config)),
            now: clock::now,
        });
        let ledger = Arc::new(Ledger::default());
        let ground = Ground::new(config, wanted, ledger.clone(), leadership.clone());
        let generation = Generation {
            declared: Arc::new(declared),
            cluster: ground.tools.cluster.clone(),
            sightings: ground.tools.sightings.clone(),
            prints: ground.prints.clone(),
            shard: shard::of(config),
            loaded: clock::now(),
            masked: Arc::from(loaded.masked_yaml()),
            unauthenticated: Arc::from(config.web.unauthenticated.clone()),
            refused: None,
        };
        let view = View::new(generation, ledger, leadership, clock::now);
        App { view, config: config.clone(), ground, asks, election, source: None }
    }

    /// The same that follows its configuration file from now on.
    #[must_use]
    pub fn following(self, changes: Changes, reloader: Reloader) -> Self {
        App { source: Some((changes, reloader)), ..self }
    }

    /// Asks every question once, and tells what is known then. Who asks by hand stands for no election.
    pub async fn once(self) -> View {
        let App { view, config: _, ground, asks, election: _, source: _ } = self;
        let Ground { tools, prints: _, scheduler } = ground;
        let probes: Vec<_> = asks.into_iter().map(|ask| ask.probe(tools.clone())).collect();
        let asked = scheduler.once(&probes);
        let cluster = view.cluster();
        if *cluster.wanted() == Wanted::default() {
            asked.await;
        } else {
            tokio::select! {
                () = keep_watching(cluster.clone(), tools.secrets.clone()) => {}
                () = async {
                    cluster.first_sight(FIRST_SIGHT_WITHIN).await;
                    asked.await;
                } => {}
            }
        }
        view.alone()
    }

    /// Spawns every task: one that runs all that follows from the configuration, with a task for each probe; one that
    /// stands for election if there are other replicas, one that judges, one that serves.
    pub fn start(self, bound: Bound, telemetry_path: String) -> Running {
        let App { view, config, ground, asks, election, source } = self;
        let mut tasks = Tasks::default();
        let addresses = bound.addresses();
        let (changes, reload) = source.unzip();
        let fleet = Fleet::start(view.clone(), host::name(), config, ground, asks);
        tasks.spawn("fleet", fleet.keep(changes, tasks.stop()));
        if let Some(election) = election {
            tasks.spawn("lease", keep_leading(election, tasks.stop()));
        }
        tasks.spawn("judge", judge(view.clone(), tasks.stop()));
        let site = Site { view: view.clone(), telemetry_path, reload };
        tasks.spawn("web", bound.serve(site, tasks.stop()));
        Running { tasks, addresses, view }
    }
}

async fn judge(view: View, mut stop: crate::tasks::Stop) {
    let mut ticks = tokio::time::interval(JUDGE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => drop(view.report()),
            () = stop.requested() => return,
        }
    }
}

// === impl Running ===

impl Running {
    /// The addresses that are served, port 0 replaced by the port.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is known.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Spawns one more long-lived task that ends with this exporter.
    pub fn also(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.tasks.stop();
        self.tasks.spawn(name, async move {
            tokio::select! {
                () = task => {}
                () = stop.requested() => {}
            }
        });
    }

    /// Resolves only when something is wrong: a task that should run for ever has ended.
    pub async fn failed(&mut self) -> EndedEarly {
        self.tasks.first_end().await
    }

    /// Ends everything, whatever hangs.
    pub async fn stop(self) {
        self.tasks.shut_down(PATIENCE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[tokio::test]
    async fn a_task_that_ends_early_fails_the_whole() {
        let text = "site: {name: a, region: b, role: standby}\nkubernetes: {mode: disabled}\nsystems: [{name: orders}]\n";
        let loaded = config::parse("f", text, clock::now()).unwrap();
        let bound = Bound::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).await.unwrap();
        let mut running = App::new(&loaded).start(bound, "/metrics".to_owned());
        let well = tokio::time::timeout(Duration::from_millis(200), running.failed()).await;
        assert!(well.is_err(), "nothing is wrong: {well:?}");
        running.also("brief", async {});
        let ended = tokio::time::timeout(Duration::from_secs(5), running.failed()).await.unwrap();
        assert_eq!(ended.to_string(), "the task `brief` ended early: it returned");
        running.stop().await;
    }
}
