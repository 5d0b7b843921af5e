//! From the configuration to what is asked and what is declared. Pure: no I/O, nothing is resolved, nothing is read.

use std::sync::Arc;

use url::Url;

use crate::config::{self, Announcement, Config, ConnectTo, Scheduled, TrafficSource};
use crate::discovery::{ControllerKind, ObjectRef, WorkloadRef};
use crate::model::{Check, CheckKey, Role};
use crate::probe::own_requests::Counted;
use crate::probe::{Ask, database, surface, synthetic_request, traffic};
use crate::report::{Declared, DeclaredSurface, DeclaredSystem, Waiver, Window};

/// What follows from a configuration.
#[derive(Debug)]
pub struct Plan {
    /// The frame of the report.
    pub declared: Declared,
    /// Everything that is asked.
    pub asks: Vec<Ask>,
}

/// Plans everything that a checked configuration asks for.
pub fn plan(config: &Config) -> Plan {
    let mut asks = Vec::new();
    let mut systems = Vec::with_capacity(config.systems.len());
    // Nothing is expected of a retired site, so nobody there is bothered.
    let retired = config.site.role == Role::Retired;
    for system in &config.systems {
        let planner = Planner { config, system, name: Arc::from(system.name.as_str()) };
        if !retired {
            asks.extend(planner.asks());
        }
        systems.push(planner.declared());
    }
    let site = Arc::from(config.site.name.as_str());
    Plan {
        declared: Declared { site, region: config.site.region.clone(), role: config.site.role, systems },
        asks,
    }
}

struct Planner<'a> {
    config: &'a Config,
    system: &'a config::System,
    name: Arc<str>,
}

// === impl Planner ===

impl Planner<'_> {
    fn key(&self, check: Check, target: &str) -> CheckKey {
        CheckKey { system: self.name.clone(), check, target: Arc::from(target) }
    }

    fn asks(&self) -> impl Iterator<Item = Ask> {
        let system = self.system;
        let databases = system.databases.iter().map(|database| Ask::Database(self.database(database)));
        let surfaces = system.surfaces.iter().map(|surface| Ask::Surface(self.surface(surface)));
        let requests = system.requests.iter().map(|request| Ask::Request(self.request(request)));
        let traffic = system.traffic.iter().map(|traffic| Ask::Traffic(self.traffic(traffic)));
        databases.chain(surfaces).chain(requests).chain(traffic)
    }

    fn database(&self, database: &config::Database) -> database::Spec {
        let site = &self.config.site;
        database::Spec {
            queries_key: self.key(Check::SyntheticQuery, &database.name),
            region_key: self.key(Check::DbEndpointRegion, &database.name),
            role: site.role,
            endpoint: database.endpoint.clone(),
            workload: self.object(database.endpoint.workload.as_deref()),
            credentials: database.credentials.clone(),
            expected_regions: database.expected_regions.clone().unwrap_or_else(|| vec![site.region.clone()]),
            queries: database.queries.clone(),
            schedule: database.schedule(&self.config.defaults),
        }
    }

    fn surface(&self, surface: &config::Surface) -> surface::Spec {
        let instances = match (&surface.url, &surface.path) {
            (Some(url), _) => vec![(surface.name.clone(), url.0.clone())],
            (None, path) => self
                .instances(surface.workload.as_deref())
                .map(|instance| {
                    let url = at(&instance.url.0, surface.port, path.as_deref().unwrap_or("/"));
                    (instance.name.clone(), url)
                })
                .collect(),
        };
        surface::Spec {
            key: self.key(Check::Surface, &surface.name),
            decisive: surface.decisive,
            instances,
            connect_to: address(surface.connect_to.as_ref()),
            tls: surface.tls.clone(),
            counted: self.counted(surface.workload.as_ref()),
            expect: surface.expect.clone(),
            schedule: surface.schedule(&self.config.defaults),
        }
    }

    fn request(&self, request: &config::Request) -> synthetic_request::Spec {
        synthetic_request::Spec {
            key: self.key(Check::SyntheticRequest, &request.name),
            url: request.url.0.clone(),
            method: request.method.parse().unwrap_or_default(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            connect_to: address(request.connect_to.as_ref()),
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
        let metrics = workload.and_then(|workload| workload.metrics.clone()).unwrap_or_default();
        let source = match &traffic.source {
            TrafficSource::Prometheus(server) => traffic::Source::Prometheus((**server).clone()),
            TrafficSource::Instances => traffic::Source::Instances(
                self.instances(Some(&traffic.workload))
                    .map(|instance| (instance.name.clone(), at(&instance.url.0, metrics.port, &metrics.path)))
                    .collect(),
            ),
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

    /// The object of a workload, if it is one of a cluster.
    fn object(&self, name: Option<&str>) -> Option<WorkloadRef> {
        let config::Workload { namespace, deployment, statefulset, .. } = self.workload(name)?;
        let (kind, object) = match (deployment, statefulset) {
            (Some(name), _) => (ControllerKind::Deployment, name),
            (None, Some(name)) => (ControllerKind::StatefulSet, name),
            (None, None) => return None,
        };
        Some(WorkloadRef { kind, object: ObjectRef::new(namespace.as_deref()?, object) })
    }

    fn instances(&self, workload: Option<&str>) -> impl Iterator<Item = &config::Instance> {
        self.workload(workload).into_iter().flat_map(|workload| &workload.instances)
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
            surfaces: system.surfaces.iter().map(|surface| self.declared_surface(surface)).collect(),
        }
    }

    /// A surface vouches for the databases and requests of its workload, else of its system.
    fn declared_surface(&self, surface: &config::Surface) -> DeclaredSurface {
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
        let own = surface.workload.as_ref().map(|workload| of(Some(workload))).unwrap_or_default();
        DeclaredSurface {
            name: Arc::from(surface.name.as_str()),
            decisive: surface.decisive,
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

fn address(connect_to: Option<&ConnectTo>) -> Option<config::HostPort> {
    match connect_to? {
        ConnectTo::Address(address) => Some(address.clone()),
        // Needs a cluster; the configuration refuses it until there is discovery.
        ConnectTo::Service { .. } => None,
    }
}

fn waiver(waiver: &config::Waiver) -> Option<Waiver> {
    let config::Waiver { check, target, until, because } = waiver;
    Some(Waiver { check: (*check)?, target: target.clone(), until: until.0, because: because.clone() })
}

fn window(announced: &Announcement) -> Window {
    let Announcement { until, because } = announced;
    Window { until: until.0, because: because.clone().unwrap_or_default() }
}
