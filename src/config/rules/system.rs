//! The rules of one system and of its sections.

use jiff::Timestamp;

use super::super::database::{Database, Endpoint, HeartbeatWriter};
use super::super::schedule::Scheduled;
use super::super::site::{Config, KubernetesMode};
use super::super::system::{Dependency, DependencyEndpoint, Surface, System, Waiver, Workload};
use super::super::targets::{section_of, targets};
use super::super::traffic::{Request, Traffic, TrafficSource};
use super::{Judge, holds_password};
use crate::model::Check;
use crate::secret::SecretSource;

impl Judge<'_> {
    pub(super) fn system(&mut self, at: &str, system: &System, config: &Config, now: Timestamp) {
        let System {
            name: _,
            strategy: _,
            rpo: _,
            rto: _,
            waivers,
            maintenance,
            drill,
            workloads,
            surfaces,
            databases,
            dependencies,
            requests,
            traffic,
            dns,
            certificates,
            infrastructure,
        } = system;
        for (index, waiver) in waivers.iter().enumerate() {
            self.waiver(&format!("{at}/waivers/{index}"), waiver, system, config, now);
        }
        for (key, announcement) in [("maintenance", maintenance), ("drill", drill)] {
            if announcement.as_ref().is_some_and(|announced| announced.until.0 <= now)
                && self.says(&format!("{at}/{key}/until"))
            {
                self.warn(&format!("{at}/{key}/until"), "this time is over; the entry has no effect");
            }
        }
        self.clashes(&format!("{at}/workloads"), "name", "workload", workloads.iter().map(Workload::label));
        for (index, workload) in workloads.iter().enumerate() {
            self.workload(&format!("{at}/workloads/{index}"), workload, config);
        }
        self.clashes(
            &format!("{at}/surfaces"),
            "name",
            "surface",
            surfaces.iter().map(|s| Some(s.name.as_str())),
        );
        for (index, surface) in surfaces.iter().enumerate() {
            self.surface(&format!("{at}/surfaces/{index}"), surface, at, system, config);
        }
        self.clashes(
            &format!("{at}/databases"),
            "name",
            "database",
            databases.iter().map(|d| Some(d.name.as_str())),
        );
        for (index, database) in databases.iter().enumerate() {
            let at_database = format!("{at}/databases/{index}");
            self.database(&at_database, database, at, system, config);
        }
        self.clashes(
            &format!("{at}/dependencies"),
            "name",
            "dependency",
            dependencies.iter().map(|d| Some(d.name.as_str())),
        );
        for (index, dependency) in dependencies.iter().enumerate() {
            self.dependency(&format!("{at}/dependencies/{index}"), dependency, at, system, config);
        }
        self.clashes(
            &format!("{at}/requests"),
            "name",
            "request",
            requests.iter().map(|r| Some(r.name.as_str())),
        );
        for (index, request) in requests.iter().enumerate() {
            self.request(&format!("{at}/requests/{index}"), request, at, system, config);
        }
        self.clashes(
            &format!("{at}/traffic"),
            "workload",
            "traffic of the workload",
            traffic.iter().map(|t| Some(t.workload.as_str())),
        );
        for (index, traffic) in traffic.iter().enumerate() {
            self.traffic(&format!("{at}/traffic/{index}"), traffic, at, system, config);
        }
        self.clashes(
            &format!("{at}/dns"),
            "record",
            "record",
            dns.iter().map(|record| Some(record.record.as_str())),
        );
        self.clashes(
            &format!("{at}/certificates"),
            "name",
            "certificate",
            certificates.iter().map(|c| Some(c.name.as_str())),
        );
        self.clashes(
            &format!("{at}/infrastructure"),
            "name",
            "infrastructure entry",
            infrastructure.iter().map(|i| Some(i.name.as_str())),
        );
        dns.iter().enumerate().for_each(|(index, dns)| {
            self.section(&format!("{at}/dns/{index}"), dns, config);
        });
        certificates.iter().enumerate().for_each(|(index, certificate)| {
            self.section(&format!("{at}/certificates/{index}"), certificate, config);
        });
        infrastructure.iter().enumerate().for_each(|(index, entry)| {
            self.section(&format!("{at}/infrastructure/{index}"), entry, config);
        });
    }

    fn request(&mut self, at: &str, request: &Request, at_system: &str, system: &System, config: &Config) {
        self.section(at, request, config);
        self.userinfo(&format!("{at}/url"), &request.url);
        if let Some(workload) = &request.workload {
            self.known_workload(&format!("{at}/workload"), workload, at_system, system);
        }
        for (name, source) in &request.headers {
            let private =
                ["authorization", "cookie", "proxy-authorization", "x-api-key"].contains(&name.as_str());
            if private && matches!(source, SecretSource::Value(_)) {
                self.warn(
                    &format!("{at}/headers"),
                    format!("`{name}` is written out; prefer {{file: ...}}, {{env: ...}} or {{secret: ...}}"),
                );
            }
        }
        if request.body.is_some() && matches!(request.method.as_str(), "GET" | "HEAD") {
            self.error(&format!("{at}/body"), "a GET or HEAD request has no body; set `method`");
        }
        let timeout = request.schedule(&config.defaults).timeout;
        if request.max_latency.is_some_and(|latency| latency.0 > timeout) {
            self.error(
                &format!("{at}/max_latency"),
                "longer than the timeout, so that it can never decide anything",
            );
        }
    }

    fn traffic(&mut self, at: &str, traffic: &Traffic, at_system: &str, system: &System, config: &Config) {
        let schedule = self.section(at, traffic, config);
        self.known_workload(&format!("{at}/workload"), &traffic.workload, at_system, system);
        match &traffic.source {
            TrafficSource::Instances => {
                let bare = system.workload(&traffic.workload).is_some_and(Workload::is_bare);
                if bare && !self.mistaken(&format!("{at_system}/workloads")) {
                    let message = "this workload has no `instances` to read the counters from; give them, or a prometheus `source`";
                    self.error(&format!("{at}/workload"), message);
                }
            }
            TrafficSource::Prometheus(prometheus) => {
                self.literal(
                    &format!("{at}/source/prometheus/authorization"),
                    prometheus.authorization.as_ref(),
                );
                self.userinfo(&format!("{at}/source/prometheus/url"), &prometheus.url);
            }
        }
        if traffic.window.0 < schedule.interval.saturating_mul(2) {
            self.error(
                &format!("{at}/window"),
                "shorter than two intervals, so that it can never be complete",
            );
        }
    }

    fn waiver(&mut self, at: &str, waiver: &Waiver, system: &System, config: &Config, now: Timestamp) {
        let Waiver { check, target, until, because: _ } = waiver;
        if self.says(&format!("{at}/until")) && until.0 <= now {
            self.warn(&format!("{at}/until"), "this waiver is over; it has no effect");
        }
        let Some(check) = check else { return };
        if matches!(check, Check::SplitBrain | Check::DbIdentity) {
            self.error(&format!("{at}/check"), format!("a waiver never silences `{check}`"));
        }
        let Some(target) = target else { return };
        let known = targets(*check, system, config);
        if !known.contains(target.as_str()) {
            let section = at.split("/waivers").next().unwrap_or_default();
            if !self.mistaken(&format!("{section}/{}", section_of(*check))) {
                self.no_such(&format!("{at}/target"), &format!("`{check}` target"), target, known.iter(), "");
            }
        }
    }

    fn workload(&mut self, at: &str, workload: &Workload, config: &Config) {
        self.section(at, workload, config);
        if workload.label().is_none() && !self.mistaken(at) {
            self.error(at, "a workload needs a `name`, or a `deployment` or `statefulset` to take it from");
        }
        if workload.deployment.is_some() && workload.statefulset.is_some() {
            self.error(&format!("{at}/statefulset"), "`deployment` is given too; a workload is one of them");
        }
        for (key, object) in [("deployment", &workload.deployment), ("statefulset", &workload.statefulset)] {
            if object.is_none() || self.mistaken(at) {
                continue;
            }
            if workload.namespace.is_none() {
                self.error(&format!("{at}/{key}"), "needs its `namespace` beside it");
            }
            if config.kubernetes.mode == KubernetesMode::Disabled {
                let message = "`kubernetes.mode` is `disabled`, so nothing can be read there; give its `instances` instead";
                self.error(&format!("{at}/{key}"), message);
            }
        }
        if workload.is_bare() && !self.mistaken(at) {
            self.error(at, "nothing says where this workload runs: outside Kubernetes give its `instances`");
        }
        self.clashes(
            &format!("{at}/instances"),
            "name",
            "instance",
            workload.instances.iter().map(|i| Some(i.name.as_str())),
        );
        for (index, instance) in workload.instances.iter().enumerate() {
            self.userinfo(&format!("{at}/instances/{index}/url"), &instance.url);
        }
    }

    fn surface(&mut self, at: &str, surface: &Surface, at_system: &str, system: &System, config: &Config) {
        self.section(at, surface, config);
        if let Some(url) = &surface.url {
            self.userinfo(&format!("{at}/url"), url);
        }
        if let Some(workload) = &surface.workload {
            self.known_workload(&format!("{at}/workload"), workload, at_system, system);
        }
        if self.mistaken(at) {
            return;
        }
        match (&surface.url, &surface.workload, &surface.path) {
            (Some(_), _, Some(_)) => {
                self.error(&format!("{at}/path"), "`url` is given too, and holds the path already");
            }
            (Some(_), _, None) if surface.port.is_some() => {
                self.error(&format!("{at}/port"), "`url` is given too, and holds the port already");
            }
            (Some(_), _, None) => {}
            (None, Some(_), Some(_)) if surface.connect_to.is_some() => {
                self.error(
                    &format!("{at}/connect_to"),
                    "goes with `url` only; a workload's instances say where they are",
                );
            }
            (None, Some(_), Some(_)) => {}
            (None, _, _) => self.error(at, "a surface needs a `url`, or a `workload` with a `path`"),
        }
    }

    fn database(&mut self, at: &str, database: &Database, at_system: &str, system: &System, config: &Config) {
        self.section(at, database, config);
        self.endpoint(&format!("{at}/endpoint"), &database.endpoint, at_system, system);
        if let Some(credentials) = &database.credentials {
            self.literal(&format!("{at}/credentials/password"), credentials.password.as_ref());
        }
        self.expected_regions(at, database.expected_regions.as_ref(), config);
        self.clashes(
            &format!("{at}/queries"),
            "name",
            "query",
            database.queries.iter().map(|q| Some(q.name.as_str())),
        );
        if let Some(peer) = database.identity.as_ref().and_then(|identity| identity.same_as_peer.as_ref())
            && !config.peers.iter().any(|known| known.site == *peer)
        {
            let names: Vec<_> = config.peers.iter().map(|peer| &peer.site).collect();
            self.no_such(&format!("{at}/identity/same_as_peer"), "peer", peer, names, "/peers");
        }
        let HeartbeatWriter { enabled: _, table: _, every, credentials } = &database.heartbeat_writer;
        if let Some(credentials) = credentials {
            self.literal(
                &format!("{at}/heartbeat_writer/credentials/password"),
                credentials.password.as_ref(),
            );
        }
        if every.0.as_secs() < 1 || every.0.as_secs() > 86_400 {
            self.error(&format!("{at}/heartbeat_writer/every"), "expected an interval from 1s to 24h");
        }
        if let Some(standby) = &database.standby {
            self.section(&format!("{at}/standby"), standby, config);
            self.endpoint(&format!("{at}/standby/endpoint"), &standby.endpoint, at_system, system);
            if let Some(primary) = &standby.primary {
                self.endpoint(&format!("{at}/standby/primary"), primary, at_system, system);
            }
        }
    }

    fn expected_regions(&mut self, at: &str, regions: Option<&Vec<String>>, config: &Config) {
        for (index, region) in regions.into_iter().flatten().enumerate() {
            if !config.regions.is_empty() && !config.regions.contains_key(region) {
                let at = format!("{at}/expected_regions/{index}");
                self.no_such(&at, "region", region, config.regions.keys(), "/regions");
            }
        }
    }

    /// A workload whose variables and files are to be read: it must be an object of a cluster.
    fn readable_workload(&mut self, at: &str, name: &str, at_system: &str, system: &System) {
        self.known_workload(at, name, at_system, system);
        if system.workload(name).is_some_and(|workload| workload.reference().is_none()) {
            let message = "names neither a `deployment` nor a `statefulset`, so there is nothing to read the address from; give its `url`";
            self.error(at, format!("the workload `{name}` {message}"));
        }
    }

    fn dependency(
        &mut self,
        at: &str,
        dependency: &Dependency,
        at_system: &str,
        system: &System,
        config: &Config,
    ) {
        self.section(at, dependency, config);
        self.literal(&format!("{at}/password"), dependency.password.as_ref());
        self.expected_regions(at, dependency.expected_regions.as_ref(), config);
        let DependencyEndpoint { workload, env, file, url } = &dependency.endpoint;
        let at = format!("{at}/endpoint");
        if let Some(name) = workload {
            self.readable_workload(&format!("{at}/workload"), name, at_system, system);
        }
        if let Some(SecretSource::Value(literal)) = url
            && holds_password(literal.expose())
        {
            let message =
                "a password is written out in this address; prefer `password: {file: ...}` beside it";
            self.warn(&format!("{at}/url"), message);
        }
        if !self.says(&at) || self.mistaken(&at) {
            return;
        }
        match (workload, env, file, url) {
            (Some(_), Some(_), None, None) | (Some(_), None, Some(_), None) | (None, None, None, Some(_)) => {
            }
            _ => self.error(&at, "expected either `url`, or `workload` with exactly one of `env` and `file`"),
        }
    }

    fn endpoint(&mut self, at: &str, endpoint: &Endpoint, at_system: &str, system: &System) {
        let Endpoint { workload, env, file, url, expected_url, password, tls: _ } = endpoint;
        self.literal(&format!("{at}/password"), password.as_ref());
        if let Some(name) = workload {
            self.readable_workload(&format!("{at}/workload"), name, at_system, system);
        }
        for (key, address) in [("url", url), ("expected_url", expected_url)] {
            if let Some(SecretSource::Value(literal)) = address
                && holds_password(literal.expose())
            {
                let message =
                    "a password is written out in this address; prefer `password: {file: ...}` beside it";
                self.warn(&format!("{at}/{key}"), message);
            }
        }
        if !self.says(at) || self.mistaken(at) {
            return;
        }
        match (workload, env, file, url) {
            (Some(_), _, None, None) | (Some(_), None, Some(_), None) | (None, None, None, Some(_)) => {}
            _ => self.error(at, "expected either `url`, or `workload` with at most one of `env` and `file`"),
        }
    }
}
