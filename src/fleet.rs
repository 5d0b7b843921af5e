//! Everything that runs because of what the configuration says: a task for each probe, the watches of the cluster, the
//! fingerprints. A reload compares what is asked by value, ends what is asked no more, begins what is new, and leaves
//! alone what is the same, down to its next turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock;
use crate::config::{Config, Defaults, Kubernetes, KubernetesMode, Loaded, Region, Site};
use crate::discovery::prints::Prints;
use crate::discovery::{Cluster, Wanted, keep_watching};
use crate::leader::Leadership;
use crate::ledger::Ledger;
use crate::model::CheckKey;
use crate::net::http::HttpClient;
use crate::net::region::{RegionMembers, Regions};
use crate::net::resolve::Resolver;
use crate::plan::{Plan, plan};
use crate::probe::own_requests::OwnRequests;
use crate::probe::slots::Slots;
use crate::probe::{Ask, Probe, Tools};
use crate::reload::{Change, Changes};
use crate::scheduler::{FIRST_WITHIN, SOON, Scheduler};
use crate::secret::{KubernetesAccess, Secrets};
use crate::shard;
use crate::tasks::{Retire, Stop, Tasks};
use crate::view::{Generation, View};

/// How long a task may take to let go of its work when it is retired.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// How long tasks may take to end when the exporter does.
const PATIENCE: Duration = Duration::from_secs(2);

/// What probes stand on; made anew when one of the keys changes that [`Ground::holds`] names.
pub struct Ground {
    /// What probes work with.
    pub tools: Arc<Tools>,
    /// What the site runs, as hashes.
    pub prints: Arc<Prints>,
    /// When they are asked.
    pub scheduler: Scheduler,
}

/// All that runs because of the configuration in force.
pub struct Fleet {
    view: View,
    host: String,
    config: Config,
    ground: Ground,
    /// What keeps the ground up to date.
    tenders: Vec<Retire>,
    probes: BTreeMap<CheckKey, Asked>,
    /// Room for the attempts of each system.
    places: BTreeMap<Arc<str>, Arc<Semaphore>>,
    tasks: Tasks,
}

/// A question that is being asked.
struct Asked {
    ask: Ask,
    probe: Arc<dyn Probe>,
    retire: Retire,
}

/// How much a reload changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    kept: usize,
    begun: usize,
    ended: usize,
}

// === impl Ground ===

impl Ground {
    /// Everything that these keys of the configuration decide.
    pub fn new(config: &Config, wanted: Wanted, ledger: Arc<Ledger>, leadership: Leadership) -> Self {
        let cluster = Arc::new(Cluster::wanting(wanted));
        let tools = Arc::new(tools(config, cluster));
        let prints = tools.prints.clone();
        let in_flight = config.defaults.limits.concurrency as usize;
        let scheduler = Scheduler::new(ledger, clock::now, in_flight, leadership);
        Ground { tools, prints, scheduler }
    }

    /// Whether what was made of `before` is what would be made of `now`.
    fn holds(before: &Config, now: &Config) -> bool {
        let of = |config: &Config| {
            let Site { name, region, role: _, identity: _ } = config.site.clone();
            let Defaults { resolvers, limits, interval: _, timeout: _, attempts: _ } =
                config.defaults.clone();
            let kubernetes = Kubernetes { create_dry_run: true, ..config.kubernetes.clone() };
            (name, region, resolvers, limits, kubernetes, config.regions.clone())
        };
        of(before) == of(now)
    }
}

fn tools(config: &Config, cluster: Arc<Cluster>) -> Tools {
    let resolver = Resolver::new(config.defaults.resolvers.iter().map(|server| server.0).collect());
    let secrets = Secrets::new(access(config));
    let prints = Prints {
        cluster: cluster.clone(),
        secrets: secrets.clone(),
        site: config.site.name.clone(),
        region: config.site.region.clone(),
        key: config.kubernetes.fingerprint_key.clone(),
        read: RwLock::default(),
    };
    Tools {
        http: HttpClient::new(resolver.clone()),
        resolver,
        secrets,
        regions: Regions::new(config.regions.iter().map(members)),
        own_requests: OwnRequests::default(),
        slots: Slots::new(config.defaults.limits.connections_per_endpoint as usize),
        cluster,
        sightings: Arc::default(),
        prints: Arc::new(prints),
    }
}

/// The way to the API server.
pub fn access(config: &Config) -> KubernetesAccess {
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

// === impl Fleet ===

impl Fleet {
    /// Begins everything that is asked. `host` says which shard this is when a reload leaves it open.
    pub fn start(view: View, host: String, config: Config, ground: Ground, asks: Vec<Ask>) -> Self {
        let mut fleet = Fleet {
            view,
            host,
            config,
            ground,
            tenders: Vec::new(),
            probes: BTreeMap::new(),
            places: BTreeMap::new(),
            tasks: Tasks::default(),
        };
        fleet.tend();
        for ask in asks {
            fleet.begin(ask, FIRST_WITHIN);
        }
        fleet
    }

    /// Goes on until told to stop, and follows the configuration, if there is a file that may change. Returns early only
    /// when a task has ended that should not.
    pub async fn keep(mut self, mut changes: Option<Changes>, mut stop: Stop) {
        loop {
            let change = async {
                match &mut changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.requested() => break,
                ended = self.tasks.first_end() => {
                    tracing::error!(%ended, "what should run for ever has ended");
                    return;
                }
                change = change => self.take(change).await,
            }
        }
        // They look and ask nobody to stop; to drop their handles ends them.
        self.tenders.clear();
        self.tasks.shut_down(PATIENCE).await;
    }

    /// Puts a file in force, or says why not.
    async fn take(&mut self, change: Change) {
        let Change { loaded, because, answer } = change;
        let outcome = match loaded {
            Ok(loaded) => self.swap(&loaded).await.map_err(|why| vec![why]),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        };
        match &outcome {
            Ok(Tally { kept, begun, ended }) => {
                tracing::info!(because, kept, begun, ended, "the configuration was loaded");
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(
                        because,
                        mistake,
                        "the configuration was refused; the one before stays in force"
                    );
                }
                self.view.refuse(mistakes.clone());
            }
        }
        if let Some(answer) = answer {
            // Nobody waits any more: that changes nothing.
            let _ = answer.send(outcome.map(drop).map_err(|mistakes| mistakes.join("\n")));
        }
    }

    async fn swap(&mut self, loaded: &Loaded) -> Result<Tally, String> {
        let mut config = loaded.config.clone();
        let shard = shard::settle(&mut config, &self.host).map_err(|error| error.to_string())?;
        needs_no_restart(&self.config, &config)?;
        for warning in &loaded.warnings {
            tracing::warn!(%warning, "the configuration");
        }
        let Plan { declared, asks, wanted } = plan(&config);
        let mut asks: BTreeMap<CheckKey, Ask> = asks.into_iter().map(|ask| (ask.key(), ask)).collect();
        let holds = Ground::holds(&self.config, &config);
        let stays = |key: &CheckKey, asked: &Asked| holds && asks.get(key) == Some(&asked.ask);
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.probes).into_iter().partition(|(key, asked)| stays(key, asked));
        self.probes = kept;
        let tally =
            Tally { kept: self.probes.len(), begun: asks.len() - self.probes.len(), ended: gone.len() };

        let mut retired = Vec::new();
        let (mut forgotten, mut carried) = (BTreeSet::new(), Vec::new());
        for (key, Asked { ask, probe, retire }) in gone {
            retired.push(retire);
            forgotten.extend(probe.questions().iter().map(|question| question.key.clone()));
            if asks.get(&key).is_some_and(|now| now.carries_on(&ask)) {
                carried.push(key);
            }
        }
        if !holds {
            retired.append(&mut self.tenders);
        }
        // Whoever still worked could write an old answer below a new question.
        Retire::all(retired, GONE_WITHIN).await;
        if holds {
            self.ground.tools.cluster.want(wanted);
        } else {
            let (ledger, leadership) = (self.view.ledger().clone(), self.view.leadership().clone());
            self.ground = Ground::new(&config, wanted, ledger, leadership);
            self.places.clear();
            self.tend();
        }
        let known: BTreeSet<Arc<str>> = declared.systems.iter().map(|system| system.name.clone()).collect();
        self.places.retain(|system, _| known.contains(system));
        self.ground.tools.sightings.keep_told_of(|site| declared.peers.iter().any(|peer| **peer == *site));
        let (view, masked) = (self.view.clone(), Arc::from(loaded.masked_yaml()));
        view.replace(|| {
            let ledger = view.ledger();
            asks.retain(|key, _| !self.probes.contains_key(key));
            for ask in carried.iter().filter_map(|key| asks.get(key)) {
                for question in ask.clone().probe(self.ground.tools.clone()).questions() {
                    forgotten.remove(&question.key);
                }
            }
            ledger.close(&forgotten);
            ledger.keep_verdicts_of(|system| known.contains(system));
            for ask in asks.into_values() {
                self.begin(ask, SOON);
            }
            Generation {
                declared: Arc::new(declared),
                cluster: self.ground.tools.cluster.clone(),
                sightings: self.ground.tools.sightings.clone(),
                prints: self.ground.prints.clone(),
                shard,
                loaded: view.now(),
                masked,
                unauthenticated: Arc::from(config.web.unauthenticated.clone()),
                refused: None,
            }
        });
        self.config = config;
        Ok(tally)
    }

    /// Begins what keeps the ground up to date.
    fn tend(&mut self) {
        let Ground { tools, prints, scheduler: _ } = &self.ground;
        let watching = keep_watching(tools.cluster.clone(), tools.secrets.clone());
        let watches = self.tasks.spawn_retirable("watches", watching, async {});
        let reading = prints.clone().keep_reading();
        let fingerprints = self.tasks.spawn_retirable("fingerprints", reading, async {});
        self.tenders = vec![watches, fingerprints];
    }

    /// Asks a question from now on, for the first time within this time.
    fn begin(&mut self, ask: Ask, first_within: Duration) {
        let probe = ask.clone().probe(self.ground.tools.clone());
        let Some(system) = probe.questions().first().map(|question| question.key.system.clone()) else {
            return;
        };
        let scheduler = &self.ground.scheduler;
        let places = self.places.entry(system).or_insert_with(|| scheduler.places()).clone();
        let retire = scheduler.begin(probe.clone(), places, first_within, &mut self.tasks);
        self.probes.insert(ask.key(), Asked { ask, probe, retire });
    }
}

/// Refuses what a running process cannot follow.
fn needs_no_restart(before: &Config, now: &Config) -> Result<(), String> {
    let lease = |config: &Config| config.high_availability.as_ref().map(|ha| ha.lease.clone());
    if lease(before) != lease(now) {
        return Err("high_availability: which Lease decides who probes cannot change in a running process (the shard's \
                    ordinal is a part of its name): this needs a restart"
            .to_owned());
    }
    if lease(now).is_some() && access(before) != access(now) {
        return Err("kubernetes: with high_availability, the way to the API server cannot change in a running process: \
                    this needs a restart"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
