//! From the configuration to what is asked and what is declared. Pure: no I/O, nothing is resolved, nothing is read.

use std::sync::Arc;

use url::Url;

use crate::config::{
    self, Announcement, Config, ConnectTo, DependencyEndpoint, Scheduled, SiteIdentity, TrafficSource,
};
use crate::discovery::Wanted;
use crate::discovery::lookup::Named;
use crate::model::{Check, CheckKey, ProbeKind, Role, Strategy};
use crate::probe::instances::{Door, Instances};
use crate::probe::own_requests::Counted;
use crate::probe::{
    Ask, create_dry_run, database, dependency, drift, heartbeat, image_origin, peer, site_identity, surface,
    synthetic_request, traffic, workload,
};
use crate::report::{Declared, DeclaredSurface, DeclaredSystem, DeclaredWorkload, Waiver, Window};
use crate::shard::{self, Shard};

/// What follows from a configuration.
#[derive(Debug)]
pub struct Plan {
    /// The frame of the report.
    pub declared: Declared,
    /// Everything that is asked.
    pub asks: Vec<Ask>,
    /// What has to be known of the cluster for it.
    pub wanted: Wanted,
}

/// Plans everything that a checked configuration asks for: of the systems that are shared among several exporters,
/// those of the shard that it names.
pub fn plan(config: &Config) -> Plan {
    let mut asks = Vec::new();
    let mut systems = Vec::with_capacity(config.systems.len());
    // Nothing is expected of a retired site, so nobody there is bothered.
    let retired = config.site.role == Role::Retired;
    let shard = shard::of(config);
    let is_ours =
        |name: &str| shard.is_none_or(|Shard { ordinal, shards }| shard::mine(name, shards, ordinal));
    let ours: Vec<&config::System> = config.systems.iter().filter(|system| is_ours(&system.name)).collect();
    for system in &ours {
        let planner = Planner { config, system, name: Arc::from(system.name.as_str()) };
        if !retired {
            asks.extend(planner.asks());
        }
        systems.push(planner.declared());
    }
    if let (Some(SiteIdentity { node_label }), false) = (&config.site.identity, retired) {
        let key = |system: &config::System| CheckKey {
            system: Arc::from(system.name.as_str()),
            check: Check::SiteIdentity,
            target: Arc::from(config.site.name.as_str()),
        };
        asks.push(Ask::SiteIdentity(site_identity::Spec {
            keys: ours.iter().copied().map(key).collect(),
            region: config.site.region.clone(),
            node_label: node_label.clone(),
            schedule: config.defaults.schedule(),
        }));
    }
    let site: Arc<str> = Arc::from(config.site.name.as_str());
    for peer in config.peers.iter().filter(|_| !retired) {
        let key = |check: Check| {
            move |system: &config::System| CheckKey {
                system: Arc::from(system.name.as_str()),
                check,
                target: Arc::from(peer.site.as_str()),
            }
        };
        asks.push(Ask::Peer(peer::Spec {
            keys: ours.iter().copied().map(key(Check::Peer)).collect(),
            compared: ours
                .iter()
                .copied()
                .filter_map(|system| compared(system, key(Check::Drift)(system)))
                .collect(),
            us: site.clone(),
            region: config.site.region.clone(),
            role: config.site.role,
            schedule: peer.schedule(&config.defaults),
            peer: peer.clone(),
        }));
    }
    Plan {
        wanted: if retired { Wanted::default() } else { wanted(config, &ours) },
        declared: Declared {
            site,
            region: config.site.region.clone(),
            role: config.site.role,
            peers: config.peers.iter().map(|peer| Arc::from(peer.site.as_str())).collect(),
            systems,
        },
        asks,
    }
}

/// A surface that follows from a probe of the pods.
struct Found<'a> {
    workload: &'a config::Workload,
    kind: ProbeKind,
}

/// What these systems have to know of the cluster; nothing where no object is named.
fn wanted(config: &Config, systems: &[&config::System]) -> Wanted {
    let systems = || systems.iter();
    let surfaces = systems().flat_map(|system| &system.surfaces).map(|surface| &surface.connect_to);
    let requests = systems().flat_map(|system| &system.requests).map(|request| &request.connect_to);
    let service = |connect_to: &Option<ConnectTo>| match connect_to {
        Some(ConnectTo::Service { namespace, .. }) => Some(Arc::from(namespace.as_str())),
        Some(ConnectTo::Address(_)) | None => None,
    };
    Wanted {
        workloads: systems()
            .flat_map(|system| &system.workloads)
            .filter_map(config::Workload::reference)
            .collect(),
        services: surfaces.chain(requests).filter_map(service).collect(),
        site_identity: config.site.identity.is_some(),
    }
}

/// What of a system is compared with another site; nothing where no workload is in a cluster.
fn compared(system: &config::System, key: CheckKey) -> Option<drift::Compared> {
    let subjects: Vec<String> =
        system.workloads.iter().filter_map(|workload| Some(workload.reference()?.to_string())).collect();
    let databases = system.databases.iter().filter_map(|database| database.endpoint.env.clone());
    let dependencies = system.dependencies.iter().filter_map(|dependency| dependency.endpoint.env.clone());
    let addresses = databases.chain(dependencies).collect();
    (!subjects.is_empty()).then_some(drift::Compared { key, subjects, addresses })
}

struct Planner<'a> {
    config: &'a Config,
    system: &'a config::System,
    name: Arc<str>,
}

// === impl Found ===

impl Found<'_> {
    fn name(&self) -> String {
        format!("{}-{}", self.workload.label().unwrap_or_default(), self.kind)
    }

    /// Whether a pod gets traffic is decided by its readiness; its liveness only starts it again.
    fn decisive(&self) -> bool {
        match self.kind {
            ProbeKind::Readiness => true,
            ProbeKind::Liveness => false,
        }
    }
}

// === impl Planner ===

impl Planner<'_> {
    fn key(&self, check: Check, target: &str) -> CheckKey {
        CheckKey { system: self.name.clone(), check, target: Arc::from(target) }
    }

    fn asks(&self) -> impl Iterator<Item = Ask> {
        let system = self.system;
        let databases = system.databases.iter().map(|database| Ask::Database(self.database(database)));
        let beats = system.databases.iter().filter(|database| database.heartbeat_writer.enabled);
        let beats = beats.map(|database| Ask::Heartbeat(self.heartbeat(database)));
        let surfaces = system.surfaces.iter().map(|surface| Ask::Surface(self.surface(surface)));
        let found = self.found().map(|found| Ask::Surface(self.found_surface(&found)));
        let requests = system.requests.iter().map(|request| Ask::Request(self.request(request)));
        let traffic = system.traffic.iter().map(|traffic| Ask::Traffic(self.traffic(traffic)));
        let dependencies = system
            .dependencies
            .iter()
            .filter_map(|dependency| Some(Ask::Dependency(self.dependency(dependency)?)));
        let workloads = system.workloads.iter().flat_map(|workload| self.in_the_cluster(workload));
        let outside = databases.chain(beats).chain(surfaces).chain(found).chain(dependencies).chain(requests);
        outside.chain(traffic).chain(workloads)
    }

    fn dependency(&self, dependency: &config::Dependency) -> Option<dependency::Spec> {
        let DependencyEndpoint { workload, env, file, url } = &dependency.endpoint;
        let reference = self.workload(workload.as_deref()).and_then(config::Workload::reference);
        let place = match (url, reference, env, file) {
            (Some(url), ..) => dependency::Place::Given(url.clone()),
            (None, Some(workload), Some(name), _) => {
                dependency::Place::Learnt(workload, Named::Variable(name.clone()))
            }
            (None, Some(workload), None, Some(path)) => {
                dependency::Place::Learnt(workload, Named::File(path.clone()))
            }
            // The configuration refuses it.
            (None, ..) => return None,
        };
        Some(dependency::Spec {
            key: self.key(Check::Dependency, &dependency.name),
            place,
            kind: dependency.kind,
            password: dependency.password.clone(),
            tls: dependency.tls.clone(),
            expected_regions: self.expected_regions(dependency.expected_regions.as_ref()),
            schedule: dependency.schedule(&self.config.defaults),
        })
    }

    fn expected_regions(&self, said: Option<&Vec<String>>) -> Vec<String> {
        said.cloned().unwrap_or_else(|| vec![self.config.site.region.clone()])
    }

    /// What is asked of the cluster about a workload.
    fn in_the_cluster(&self, workload: &config::Workload) -> Vec<Ask> {
        let (Some(name), Some(reference)) = (workload.label(), workload.reference()) else {
            return Vec::new();
        };
        let (site, schedule) = (&self.config.site, workload.schedule(&self.config.defaults));
        // The first workload of a namespace speaks for its CronJobs.
        let mut of_namespace =
            self.system.workloads.iter().filter(|other| other.namespace == workload.namespace);
        let looked_at = workload::Spec {
            system: self.name.clone(),
            name: Arc::from(name),
            workload: reference.clone(),
            role: site.role,
            strategy: self.system.strategy(),
            required: workload.replicas_required,
            cron_jobs_allowed: workload.cron_jobs.allowed.clone(),
            asks_cron_jobs: of_namespace.next().is_some_and(|first| std::ptr::eq(first, workload)),
            schedule,
        };
        let images = image_origin::Spec {
            key: self.key(Check::ImageOrigin, name),
            workload: reference.clone(),
            site_region: site.region.clone(),
            regions: self.config.regions.keys().cloned().collect(),
            schedule,
        };
        let mut asks = vec![Ask::Workload(looked_at), Ask::ImageOrigin(images)];
        if self.config.kubernetes.create_dry_run {
            let key = self.key(Check::CreateDryRun, name);
            asks.push(Ask::CreateDryRun(create_dry_run::Spec { key, workload: reference, schedule }));
        }
        asks
    }

    fn database(&self, database: &config::Database) -> database::Spec {
        let site = &self.config.site;
        database::Spec {
            queries_key: self.key(Check::SyntheticQuery, &database.name),
            region_key: self.key(Check::DbEndpointRegion, &database.name),
            role: site.role,
            endpoint: database.endpoint.clone(),
            workload: self
                .workload(database.endpoint.workload.as_deref())
                .and_then(config::Workload::reference),
            credentials: database.credentials.clone(),
            expected_regions: self.expected_regions(database.expected_regions.as_ref()),
            queries: database.queries.clone(),
            schedule: database.schedule(&self.config.defaults),
        }
    }

    fn heartbeat(&self, database: &config::Database) -> heartbeat::Spec {
        let config::HeartbeatWriter { enabled: _, table, every: _, credentials } = &database.heartbeat_writer;
        let Config { site, defaults, peers, .. } = self.config;
        let intervals = peers.iter().map(|peer| peer.schedule(defaults).interval);
        let longest = intervals.chain([database.schedule(defaults).interval]).max().unwrap_or_default();
        heartbeat::Spec {
            key: self.key(Check::Heartbeat, &database.name),
            site: Arc::from(site.name.as_str()),
            role: site.role,
            endpoint: database.endpoint.clone(),
            workload: self
                .workload(database.endpoint.workload.as_deref())
                .and_then(config::Workload::reference),
            credentials: credentials.clone().or_else(|| database.credentials.clone()),
            table: table.clone(),
            peers: peers.iter().map(|peer| peer.site.clone()).collect(),
            fresh: longest * 3,
            schedule: database.heartbeat_writer.schedule(defaults),
        }
    }

    fn surface(&self, surface: &config::Surface) -> surface::Spec {
        let path = surface.path.as_deref().unwrap_or("/");
        let door = Door::At { port: surface.port, path: path.to_owned() };
        let instances = match &surface.url {
            Some(url) => Instances::Given(vec![(surface.name.clone(), url.0.clone())]),
            None => self.instances(surface.workload.as_deref(), door, surface.port, path),
        };
        surface::Spec {
            key: self.key(Check::Surface, &surface.name),
            decisive: surface.decisive,
            instances,
            connect_to: surface.connect_to.clone(),
            covered_by: Vec::new(),
            tls: surface.tls.clone(),
            counted: self.counted(surface.workload.as_ref()),
            expect: surface.expect.clone(),
            schedule: surface.schedule(&self.config.defaults),
        }
    }

    /// The surfaces that follow from the probes of pods: two of each workload in a cluster. One that the file names
    /// alike stands in for it.
    fn found(&self) -> impl Iterator<Item = Found<'_>> {
        let of = |workload| {
            [ProbeKind::Readiness, ProbeKind::Liveness].map(|kind| Found { workload, kind }).into_iter()
        };
        let workloads = self.system.workloads.iter().filter(|workload| workload.reference().is_some());
        workloads.flat_map(of).filter(|found| {
            let name = found.name();
            !self.system.surfaces.iter().any(|surface| surface.name == name)
        })
    }

    /// The kubelet takes every status from 200 to 399 for health.
    fn found_surface(&self, found: &Found<'_>) -> surface::Spec {
        let workload = found.workload;
        let said =
            self.system.surfaces.iter().filter(|surface| surface.workload.as_deref() == workload.label());
        surface::Spec {
            key: self.key(Check::Surface, &found.name()),
            decisive: found.decisive(),
            instances: self.instances(workload.label(), Door::Probe(found.kind), None, "/"),
            connect_to: None,
            covered_by: said
                .filter_map(|surface| Some((surface.path.clone()?, surface.port, surface.name.clone())))
                .collect(),
            tls: None,
            counted: self.counted(workload.label().map(str::to_owned).as_ref()),
            expect: config::Expect { status: (200..400).collect(), ..config::Expect::default() },
            schedule: workload.schedule(&self.config.defaults),
        }
    }

    fn request(&self, request: &config::Request) -> synthetic_request::Spec {
        synthetic_request::Spec {
            key: self.key(Check::SyntheticRequest, &request.name),
            url: request.url.0.clone(),
            method: request.method.parse().unwrap_or_default(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            connect_to: request.connect_to.clone(),
            tls: request.tls.clone(),
            expect: request.expect.clone(),
            max_latency: request.max_latency.map(Into::into),
            counted: self.counted(request.workload.as_ref()),
            handler: request.handler.clone(),
            schedule: request.schedule(&self.config.defaults),
        }
    }

    /// Which counters see a call of ours is known only where it is said; otherwise every workload's may.
    fn counted(&self, workload: Option<&String>) -> Counted {
        let all = || self.system.traffic.iter().map(|traffic| traffic.workload.clone()).collect();
        Counted { system: self.name.clone(), workloads: workload.map_or_else(all, |one| vec![one.clone()]) }
    }

    fn traffic(&self, traffic: &config::Traffic) -> traffic::Spec {
        let workload = self.workload(Some(&traffic.workload));
        let said = workload.and_then(|workload| workload.metrics.clone());
        let metrics = said.clone().unwrap_or_default();
        let source = match &traffic.source {
            TrafficSource::Prometheus(server) => traffic::Source::Prometheus((**server).clone()),
            TrafficSource::Instances => {
                let door = Door::Metrics(said);
                let (port, path) = (metrics.port, &metrics.path);
                traffic::Source::Instances(self.instances(Some(&traffic.workload), door, port, path))
            }
        };
        traffic::Spec {
            key: self.key(Check::Traffic, &traffic.workload),
            source,
            traffic: traffic.clone(),
            schedule: traffic.schedule(&self.config.defaults),
        }
    }

    fn workload(&self, name: Option<&str>) -> Option<&config::Workload> {
        self.system.workload(name?)
    }

    /// The running copies of a workload: those that the file gives, else the pods.
    fn instances(&self, workload: Option<&str>, door: Door, port: Option<u16>, path: &str) -> Instances {
        let Some(workload) = self.workload(workload) else { return Instances::Given(Vec::new()) };
        match workload.reference() {
            Some(reference) if workload.instances.is_empty() => Instances::Pods {
                workload: reference,
                door,
                may_be_none: matches!(self.system.strategy(), Strategy::PilotLight | Strategy::BackupRestore),
            },
            _ => Instances::Given(
                workload
                    .instances
                    .iter()
                    .map(|instance| (instance.name.clone(), at(&instance.url.0, port, path)))
                    .collect(),
            ),
        }
    }

    fn declared(&self) -> DeclaredSystem {
        let system = self.system;
        let expected: Vec<bool> = system.traffic.iter().map(|traffic| traffic.expected).collect();
        DeclaredSystem {
            name: self.name.clone(),
            strategy: system.strategy(),
            rto: system.rto.map(Into::into),
            rpo: system
                .rpo
                .map(|rpo| {
                    system.databases.iter().map(|database| (database.name.clone(), rpo.into())).collect()
                })
                .unwrap_or_default(),
            waivers: system.waivers.iter().filter_map(waiver).collect(),
            maintenance: system.maintenance.as_ref().map(window),
            drill: system.drill.as_ref().map(window),
            traffic_expected: (!expected.is_empty()).then(|| expected.contains(&true)),
            surfaces: self.declared_surfaces().collect(),
            workloads: system
                .workloads
                .iter()
                .filter_map(|workload| self.declared_workload(workload))
                .collect(),
            databases: system.databases.iter().map(|database| Arc::from(database.name.as_str())).collect(),
        }
    }

    fn declared_surfaces(&self) -> impl Iterator<Item = DeclaredSurface> {
        let said = self.system.surfaces.iter().map(|surface| {
            self.declared_surface(&surface.name, surface.decisive, false, surface.workload.as_ref())
        });
        let found = self.found().map(|found| {
            let workload = found.workload.label().map(str::to_owned);
            self.declared_surface(&found.name(), found.decisive(), true, workload.as_ref())
        });
        said.chain(found)
    }

    fn declared_workload(&self, workload: &config::Workload) -> Option<DeclaredWorkload> {
        let name = workload.label()?;
        let databases = self.system.databases.iter();
        let databases = databases.filter(|database| database.endpoint.workload.as_deref() == Some(name));
        Some(DeclaredWorkload {
            name: Arc::from(name),
            reference: workload.reference()?,
            databases: databases
                .map(|database| {
                    let config::Endpoint { env, file, .. } = &database.endpoint;
                    (database.name.clone(), env.clone(), file.clone())
                })
                .collect(),
            metrics: workload.metrics.clone(),
            replicas_required: workload.replicas_required,
        })
    }

    /// A surface vouches for the databases and requests of its workload, else of its system.
    fn declared_surface(
        &self,
        name: &str,
        decisive: bool,
        found: bool,
        workload: Option<&String>,
    ) -> DeclaredSurface {
        let of = |workload: Option<&String>| {
            let databases = self.system.databases.iter();
            let databases = databases
                .filter(|database| workload.is_none() || database.endpoint.workload.as_ref() == workload);
            let requests = self.system.requests.iter();
            let requests =
                requests.filter(|request| workload.is_none() || request.workload.as_ref() == workload);
            let databases = databases.flat_map(|database| {
                [Check::SyntheticQuery, Check::DbEndpointRegion].map(|check| self.key(check, &database.name))
            });
            let requests = requests.map(|request| self.key(Check::SyntheticRequest, &request.name));
            databases.chain(requests).collect::<Vec<_>>()
        };
        let own = workload.map(|workload| of(Some(workload))).unwrap_or_default();
        DeclaredSurface {
            name: Arc::from(name),
            decisive,
            found,
            vouches_for: if own.is_empty() { of(None) } else { own },
        }
    }
}

/// The URL of an instance with another path, and perhaps another port.
fn at(instance: &Url, port: Option<u16>, path: &str) -> Url {
    let mut url = instance.clone();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    if port.is_some() {
        // Refused only for URLs without a host, which the configuration refuses first.
        let _ = url.set_port(port);
    }
    url
}

fn waiver(waiver: &config::Waiver) -> Option<Waiver> {
    let config::Waiver { check, target, until, because } = waiver;
    Some(Waiver { check: (*check)?, target: target.clone(), until: until.0, because: because.clone() })
}

fn window(announced: &Announcement) -> Window {
    let Announcement { until, because } = announced;
    Window { until: until.0, because: because.clone().unwrap_or_default() }
}
