//! What only the whole file can tell: names that clash, references to nothing, times that do not fit.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::database::Endpoint;
use super::scalar::Span as Show;
use super::schedule::{Schedule, Scheduled};
use super::schema;
use super::site::Config;
use super::system::{Surface, System, Waiver, Workload};
use super::targets::{section_of, targets};
use super::traffic::TrafficSource;
use super::yaml::{self, Fault, Node};
use crate::model::Check;
use crate::secret::SecretSource;

/// Collects what the rules find. Everything is addressed by JSON pointers into the tree.
pub(super) struct Judge<'a> {
    tree: &'a Node,
    /// Paths of what the schema took out: what refers to it is not blamed a second time.
    removed: &'a [String],
    pub errors: Vec<Fault>,
    pub warnings: Vec<Fault>,
}

// === impl Judge ===

impl<'a> Judge<'a> {
    pub fn new(tree: &'a Node, removed: &'a [String]) -> Self {
        Self { tree, removed, errors: Vec::new(), warnings: Vec::new() }
    }

    fn error(&mut self, pointer: &str, message: impl Into<String>) {
        let (place, path) = schema::locate(self.tree, pointer);
        self.errors.push((place, path, message.into()));
    }

    fn warn(&mut self, pointer: &str, message: impl Into<String>) {
        let (place, path) = schema::locate(self.tree, pointer);
        self.warnings.push((place, path, message.into()));
    }

    fn says(&self, pointer: &str) -> bool {
        schema::find(self.tree, pointer).is_some()
    }

    /// Whether something at or below this pointer was mistaken already.
    fn mistaken(&self, pointer: &str) -> bool {
        let Some((parent, key)) = pointer.rsplit_once('/') else { return !self.removed.is_empty() };
        let path = if self.says(pointer) {
            schema::locate(self.tree, pointer).1
        } else {
            // The key itself is gone from the tree, so that its path is put together from its parent's.
            yaml::join(&schema::locate(self.tree, parent).1, key)
        };
        self.removed.iter().any(|removed| removed.starts_with(&path))
    }

    /// The whole file.
    pub fn config(&mut self, config: &Config, now: Timestamp) {
        let Config {
            site,
            regions,
            defaults,
            kubernetes: _,
            high_availability: _,
            web: _,
            peers,
            systems,
            cloud: _,
        } = config;
        if !regions.is_empty() && !site.region.is_empty() && !regions.contains_key(&site.region) {
            self.no_such("/site/region", "region", &site.region, regions.keys(), "/regions");
        }
        self.networks(config);
        self.times(
            "/defaults",
            Schedule {
                interval: defaults.interval.0,
                timeout: defaults.timeout.0,
                attempts: defaults.attempts,
            },
        );
        self.clashes("/peers", "site", "peer", peers.iter().map(|peer| Some(peer.site.as_str())));
        for (index, peer) in peers.iter().enumerate() {
            let at = format!("/peers/{index}");
            if peer.site == site.name && !site.name.is_empty() {
                self.error(&format!("{at}/site"), "a peer is another site, and this is the name of our own");
            }
            self.literal(&format!("{at}/authorization"), peer.authorization.as_ref());
            self.section(&at, peer, config);
        }
        self.clashes("/systems", "name", "system", systems.iter().map(|system| Some(system.name.as_str())));
        for (index, system) in systems.iter().enumerate() {
            self.system(&format!("/systems/{index}"), system, config, now);
        }
    }

    fn networks(&mut self, config: &Config) {
        let mut owners = BTreeMap::new();
        for (name, region) in &config.regions {
            for (index, network) in region.cidrs.iter().enumerate() {
                let at = format!("/regions/{}/cidrs/{index}", schema::escape(name));
                if network.trunc() != *network {
                    self.error(&at, "this network has bits set behind its prefix");
                }
                if let Some(other) = owners.insert(network.trunc(), name)
                    && other != name
                {
                    self.warn(
                        &at,
                        format!("region `{other}` claims this network too: its addresses are ambiguous"),
                    );
                }
            }
        }
    }

    fn system(&mut self, at: &str, system: &System, config: &Config, now: Timestamp) {
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
            &format!("{at}/requests"),
            "name",
            "request",
            requests.iter().map(|r| Some(r.name.as_str())),
        );
        for (index, request) in requests.iter().enumerate() {
            let at_request = format!("{at}/requests/{index}");
            self.section(&at_request, request, config);
            self.userinfo(&format!("{at_request}/url"), &request.url);
            if let Some(workload) = &request.workload {
                self.known_workload(&format!("{at_request}/workload"), workload, at, system);
            }
            for (name, source) in &request.headers {
                let private =
                    ["authorization", "cookie", "proxy-authorization", "x-api-key"].contains(&name.as_str());
                if private && matches!(source, SecretSource::Value(_)) {
                    self.warn(
                        &format!("{at_request}/headers"),
                        format!(
                            "`{name}` is written out; prefer {{file: ...}}, {{env: ...}} or {{secret: ...}}"
                        ),
                    );
                }
            }
            if request.body.is_some() && matches!(request.method.as_str(), "GET" | "HEAD") {
                self.error(&format!("{at_request}/body"), "a GET or HEAD request has no body; set `method`");
            }
            let timeout = request.schedule(&config.defaults).timeout;
            if request.max_latency.is_some_and(|latency| latency.0 > timeout) {
                self.error(
                    &format!("{at_request}/max_latency"),
                    "longer than the timeout, so that it can never decide anything",
                );
            }
        }
        self.clashes(
            &format!("{at}/traffic"),
            "workload",
            "traffic of the workload",
            traffic.iter().map(|t| Some(t.workload.as_str())),
        );
        for (index, traffic) in traffic.iter().enumerate() {
            let at_traffic = format!("{at}/traffic/{index}");
            let schedule = self.section(&at_traffic, traffic, config);
            self.known_workload(&format!("{at_traffic}/workload"), &traffic.workload, at, system);
            match &traffic.source {
                TrafficSource::Instances => {
                    let bare = system.workload(&traffic.workload).is_some_and(Workload::is_bare);
                    if bare && !self.mistaken(&format!("{at}/workloads")) {
                        let message = "this workload has no `instances` to read the counters from; give them, or a prometheus `source`";
                        self.error(&format!("{at_traffic}/workload"), message);
                    }
                }
                TrafficSource::Prometheus(prometheus) => {
                    self.literal(
                        &format!("{at_traffic}/source/prometheus/authorization"),
                        prometheus.authorization.as_ref(),
                    );
                    self.userinfo(&format!("{at_traffic}/source/prometheus/url"), &prometheus.url);
                }
            }
            if traffic.window.0 < schedule.interval.saturating_mul(2) {
                self.error(
                    &format!("{at_traffic}/window"),
                    "shorter than two intervals, so that it can never be complete",
                );
            }
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

    fn database(
        &mut self,
        at: &str,
        database: &super::Database,
        at_system: &str,
        system: &System,
        config: &Config,
    ) {
        self.section(at, database, config);
        self.endpoint(&format!("{at}/endpoint"), &database.endpoint, at_system, system);
        if let Some(credentials) = &database.credentials {
            self.literal(&format!("{at}/credentials/password"), credentials.password.as_ref());
        }
        for (index, region) in database.expected_regions.iter().flatten().enumerate() {
            if !config.regions.is_empty() && !config.regions.contains_key(region) {
                self.no_such(
                    &format!("{at}/expected_regions/{index}"),
                    "region",
                    region,
                    config.regions.keys(),
                    "/regions",
                );
            }
        }
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
        if let Some(standby) = &database.standby {
            self.section(&format!("{at}/standby"), standby, config);
            self.endpoint(&format!("{at}/standby/endpoint"), &standby.endpoint, at_system, system);
            if let Some(primary) = &standby.primary {
                self.endpoint(&format!("{at}/standby/primary"), primary, at_system, system);
            }
        }
    }

    fn endpoint(&mut self, at: &str, endpoint: &Endpoint, at_system: &str, system: &System) {
        let Endpoint { workload, env, file, url, expected_url, password, tls: _ } = endpoint;
        self.literal(&format!("{at}/password"), password.as_ref());
        if let Some(name) = workload {
            self.known_workload(&format!("{at}/workload"), name, at_system, system);
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
            (Some(_), Some(_), None, None) | (Some(_), None, Some(_), None) | (None, None, None, Some(_)) => {
            }
            _ => self.error(at, "expected either `url`, or `workload` with exactly one of `env` and `file`"),
        }
    }

    fn literal(&mut self, at: &str, source: Option<&SecretSource>) {
        if matches!(source, Some(SecretSource::Value(_))) {
            self.warn(
                at,
                "a credential is written out here; prefer {file: ...}, {env: ...} or {secret: ...}",
            );
        }
    }

    fn userinfo(&mut self, at: &str, url: &super::HttpUrl) {
        if url.0.password().is_some() {
            self.warn(at, "a password is written out in this address; prefer a header from {file: ...} or {secret: ...}");
        }
    }

    fn known_workload(&mut self, at: &str, name: &str, at_system: &str, system: &System) {
        if name.is_empty() || system.workload(name).is_some() {
            return;
        }
        let known: Vec<_> = system.workloads.iter().filter_map(Workload::label).collect();
        self.no_such(at, "workload", name, known, &format!("{at_system}/workloads"));
    }

    fn no_such<N: AsRef<str>>(
        &mut self,
        at: &str,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = N>,
        collection: &str,
    ) {
        if !collection.is_empty() && self.mistaken(collection) {
            return;
        }
        let known: Vec<_> = known.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
        let known = if known.is_empty() {
            "none is given".to_owned()
        } else {
            format!("known: {}", known.join(", "))
        };
        // A name is repeated only when it looks like one.
        let name = if yaml::may_show("", name) { format!(" `{name}`") } else { String::new() };
        self.error(at, format!("there is no {what}{name}; {known}"));
    }

    fn clashes<'n>(&mut self, at: &str, key: &str, what: &str, names: impl Iterator<Item = Option<&'n str>>) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, name) in names.enumerate() {
            let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
            if let Some(first) = seen.get(name) {
                let (place, _) = schema::locate(self.tree, &format!("{at}/{first}/{key}"));
                let shown = if yaml::may_show("", name) { format!(" `{name}`") } else { String::new() };
                let message = format!("another {what}{shown} is at {}:{}", place.line, place.column);
                self.error(&format!("{at}/{index}/{key}"), message);
            } else {
                seen.insert(name, index);
            }
        }
    }

    fn section(&mut self, at: &str, section: &impl Scheduled, config: &Config) -> Schedule {
        let schedule = section.schedule(&config.defaults);
        // What the defaults do wrong is told once, at the defaults.
        if ["interval", "timeout", "attempts"].iter().any(|key| self.says(&format!("{at}/{key}"))) {
            self.times(at, schedule);
        }
        schedule
    }

    fn times(&mut self, at: &str, schedule: Schedule) {
        let Schedule { interval, timeout, attempts } = schedule;
        let nearest = |judge: &Self, keys: [&str; 3]| {
            let says = keys.into_iter().map(|key| format!("{at}/{key}")).find(|pointer| judge.says(pointer));
            says.unwrap_or_else(|| at.to_owned())
        };
        if attempts.pass > attempts.of {
            let pointer = nearest(self, ["attempts/pass", "attempts/of", "attempts"]);
            self.error(&pointer, format!("{} of {} attempts can never pass", attempts.pass, attempts.of));
        }
        if interval.as_secs() < 1 || interval.as_secs() > 7 * 86_400 {
            if self.says(&format!("{at}/interval")) {
                self.error(&format!("{at}/interval"), "expected an interval from 1s to 7d");
            }
            return;
        }
        if timeout.is_zero() {
            if self.says(&format!("{at}/timeout")) {
                self.error(&format!("{at}/timeout"), "expected a timeout of at least 1ms");
            }
        } else if timeout > interval {
            let message =
                format!("the timeout ({}) is longer than the interval ({})", Show(timeout), Show(interval));
            let pointer = nearest(self, ["timeout", "interval", "attempts"]);
            self.error(&pointer, message);
        } else if timeout.saturating_mul(attempts.of) > interval {
            let message = format!(
                "{} attempts of {} do not fit into the interval ({})",
                attempts.of,
                Show(timeout),
                Show(interval)
            );
            let pointer = nearest(self, ["attempts", "timeout", "interval"]);
            self.error(&pointer, message);
        }
    }
}

/// Whether an address holds a password, in any of the spellings that applications use.
fn holds_password(text: &str) -> bool {
    if let Ok(url) = url::Url::parse(text.strip_prefix("jdbc:").unwrap_or(text))
        && url.password().is_some()
    {
        return true;
    }
    let lower = text.to_lowercase();
    let named = lower
        .match_indices("password")
        .chain(lower.match_indices("pwd"))
        .any(|(at, word)| lower[at + word.len()..].trim_start().starts_with('='));
    let inside = lower
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'));
    named || inside
}
