//! What only the whole file can tell: names that clash, references to nothing, times that do not fit.

mod system;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::scalar::Span as Show;
use super::schedule::{Schedule, Scheduled};
use super::schema;
use super::site::Config;
use super::site::{KubernetesMode, Sharding};
use super::system::{System, Workload};
use super::yaml::{self, Fault, Node};
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
            kubernetes,
            high_availability,
            sharding,
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
        self.literal("/kubernetes/fingerprint_key", kubernetes.fingerprint_key.as_ref());
        if kubernetes.mode == KubernetesMode::Disabled {
            for (said, at) in [
                (high_availability.is_some(), "/high_availability"),
                (site.identity.is_some(), "/site/identity"),
            ] {
                if said {
                    self.error(at, "needs a cluster, and `kubernetes.mode` is `disabled`");
                }
            }
        }
        if let Some(Sharding { shards, ordinal: Some(ordinal) }) = sharding
            && ordinal >= shards
            && self.says("/sharding/shards")
        {
            self.error(
                "/sharding/ordinal",
                format!("counts from 0, so it must be below `shards`, which is {shards}"),
            );
        }
        self.clashes("/peers", "site", "peer", peers.iter().map(|peer| Some(peer.site.as_str())));
        for (index, peer) in peers.iter().enumerate() {
            let at = format!("/peers/{index}");
            if peer.site == site.name && !site.name.is_empty() {
                self.error(&format!("{at}/site"), "a peer is another site, and this is the name of our own");
            }
            self.literal(&format!("{at}/authorization"), peer.authorization.as_ref());
            self.userinfo(&format!("{at}/url"), &peer.url);
            if let Some(login) = &peer.basic_auth {
                self.literal(&format!("{at}/basic_auth/password"), login.password.as_ref());
                if peer.authorization.is_some() {
                    self.error(
                        &format!("{at}/basic_auth"),
                        "`authorization` is given too; a peer is asked with one of them",
                    );
                }
            }
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

    fn literal(&mut self, at: &str, source: Option<&SecretSource>) {
        if matches!(source, Some(SecretSource::Value(_))) {
            self.warn(
                at,
                "a credential is written out here; prefer {file: ...}, {env: ...} or {secret: ...}",
            );
        }
    }

    fn userinfo(&mut self, at: &str, url: &super::HttpUrl) {
        if !url.0.username().is_empty() || url.0.password().is_some() {
            self.error(at, "user and password do not belong into this address; use an `authorization` header from {file: ...} or {secret: ...}");
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
