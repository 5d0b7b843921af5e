//! The composition: builds everything and spawns every task, in reading order. Decides nothing.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::clock;
use crate::config::{Config, Kubernetes, KubernetesMode, Loaded, Region};
use crate::discovery::prints::Prints;
use crate::discovery::{Cluster, Wanted, keep_watching};
use crate::host;
use crate::leader::{Election, Leadership, identity, keep_leading};
use crate::ledger::Ledger;
use crate::net::http::HttpClient;
use crate::net::region::{RegionMembers, Regions};
use crate::net::resolve::Resolver;
use crate::plan::{Plan, plan};
use crate::probe::own_requests::OwnRequests;
use crate::probe::slots::Slots;
use crate::probe::{Probe, Tools};
use crate::scheduler::Scheduler;
use crate::secret::{KubernetesAccess, Secrets};
use crate::shard;
use crate::tasks::{EndedEarly, Tasks};
use crate::view::View;
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
    scheduler: Scheduler,
    probes: Vec<Arc<dyn Probe>>,
    /// With which way to the API server the cluster is watched, if anything is looked up there.
    watches: Option<Secrets>,
    election: Option<Election>,
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
        let watched = wanted != Wanted::default();
        let cluster = Arc::new(Cluster::wanting(wanted));
        let tools = Arc::new(tools(config, cluster.clone()));
        let watches = watched.then(|| tools.secrets.clone());
        let prints = Arc::new(Prints {
            cluster: cluster.clone(),
            secrets: tools.secrets.clone(),
            site: config.site.name.clone(),
            region: config.site.region.clone(),
            key: config.kubernetes.fingerprint_key.clone(),
            read: RwLock::default(),
        });
        let probes = asks.into_iter().map(|ask| ask.probe(tools.clone())).collect();
        let lease =
            config.high_availability.as_ref().map(|high_availability| high_availability.lease.clone());
        let leadership = match lease {
            Some(_) => Leadership::candidate(identity(&host::name()), clock::now()),
            None => Leadership::alone(),
        };
        let election = lease.map(|lease| Election {
            leadership: leadership.clone(),
            lease,
            secrets: Secrets::new(kubernetes(config)),
            now: clock::now,
        });
        let ledger = Arc::new(Ledger::default());
        let in_flight = config.defaults.limits.concurrency as usize;
        let scheduler = Scheduler::new(ledger.clone(), clock::now, in_flight, leadership.clone());
        let masked = Arc::from(loaded.masked_yaml());
        let view = View {
            declared: Arc::new(declared),
            ledger,
            cluster,
            prints,
            leadership,
            shard: shard::of(config),
            now: clock::now,
            loaded: clock::now(),
            masked,
        };
        App { view, scheduler, probes, watches, election }
    }

    /// Asks every question once, and tells what is known then. Who asks by hand stands for no election.
    pub async fn once(self) -> View {
        let App { view, scheduler, probes, watches, election: _ } = self;
        let asked = scheduler.once(&probes);
        match watches {
            None => asked.await,
            Some(way) => tokio::select! {
                () = keep_watching(view.cluster.clone(), way) => {}
                () = async {
                    view.cluster.first_sight(FIRST_SIGHT_WITHIN).await;
                    asked.await;
                } => {}
            },
        }
        View { leadership: Leadership::alone(), ..view }
    }

    /// Spawns every task: one for each probe, one that stands for election if there are other replicas, one that judges,
    /// one that serves.
    pub fn start(self, bound: Bound, telemetry_path: String) -> Running {
        let App { view, scheduler, probes, watches, election } = self;
        let mut tasks = Tasks::default();
        let addresses = bound.addresses();
        if let Some(way) = watches {
            tasks.spawn("watches", keep_watching(view.cluster.clone(), way));
            tasks.spawn("fingerprints", view.prints.clone().keep_reading());
        }
        scheduler.start(probes, &mut tasks);
        if let Some(election) = election {
            tasks.spawn("lease", keep_leading(election, tasks.stop()));
        }
        tasks.spawn("judge", judge(view.clone(), tasks.stop()));
        tasks.spawn("web", bound.serve(Site { view: view.clone(), telemetry_path }, tasks.stop()));
        Running { tasks, addresses, view }
    }
}

fn tools(config: &Config, cluster: Arc<Cluster>) -> Tools {
    let resolver = Resolver::new(config.defaults.resolvers.iter().map(|server| server.0).collect());
    Tools {
        http: HttpClient::new(resolver.clone()),
        resolver,
        secrets: Secrets::new(kubernetes(config)),
        regions: Regions::new(config.regions.iter().map(members)),
        own_requests: OwnRequests::default(),
        slots: Slots::new(config.defaults.limits.connections_per_endpoint as usize),
        cluster,
    }
}

fn kubernetes(config: &Config) -> KubernetesAccess {
    let Kubernetes { mode, kubeconfig, context, create_dry_run: _, fingerprint_key: _ } = &config.kubernetes;
    match (mode, kubeconfig) {
        (KubernetesMode::Disabled, _) => KubernetesAccess::Disabled,
        (KubernetesMode::Auto, None) => KubernetesAccess::Auto,
        (KubernetesMode::Auto, Some(path)) => {
            KubernetesAccess::Kubeconfig { path: path.clone(), context: context.clone() }
        }
    }
}

fn members((name, region): (&String, &Region)) -> (String, RegionMembers) {
    let Region { cidrs, host_suffixes } = region;
    (name.clone(), RegionMembers { cidrs: cidrs.clone(), host_suffixes: host_suffixes.clone() })
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
