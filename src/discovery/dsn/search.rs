//! What of one container may make a connection string. Pure.

use super::names::{self, Meaning, Part};
use super::{
    BTreeMap, Candidate, Container, Controller, Environment, Gap, GapReason, Held, Inventory, Named, Parts,
    Place, Value, WorkloadRef,
};

/// Looks into one container.
pub(super) struct Seeker<'i> {
    place: Place<'i>,
    environment: Environment<'i>,
    /// The names that are set for certain, by how they are compared.
    set: BTreeMap<String, String>,
    /// The prefixes of Secrets whose keys are variables.
    open: Vec<&'i str>,
}

// === impl Seeker ===

impl<'i> Seeker<'i> {
    pub(super) fn new(
        inventory: &'i Inventory,
        workload: &'i WorkloadRef,
        controller: &'i Controller,
        container: &'i Container,
    ) -> Self {
        let environment = Environment::of(inventory, workload, controller, container);
        let mut set = BTreeMap::new();
        for name in environment.names() {
            set.entry(names::plain(&name)).or_insert(name);
        }
        let pod = &controller.template.spec;
        let place = Place { inventory, namespace: workload.namespace(), pod, container };
        Seeker { place, open: environment.open_prefixes().collect(), environment, set }
    }

    /// What the variable of exactly that name makes.
    pub(super) fn variable(&self, name: &str) -> Result<Option<Candidate>, Gap> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let plain = names::plain(name);
        let plain = plain.strip_suffix("_FILE").unwrap_or(&plain);
        let known = value.recipe.known().unwrap_or(value.recipe.beginning());
        let whole = names::is_postgres(known) || names::is_foreign(known);
        Ok(Some(match names::meaning(plain) {
            Meaning::Libpq if !whole => self.group("PG", self.libpq(), true),
            Meaning::Member(prefix) if !whole => {
                let parts = self.parts(&prefix);
                if parts.contains_key(&Part::Host) {
                    self.group(&prefix, parts, true)
                } else {
                    self.address(name, &prefix, value, true)
                }
            }
            Meaning::Address(prefix) | Meaning::Member(prefix) => self.address(name, &prefix, value, true),
            Meaning::Libpq => self.address(name, "PG", value, true),
        }))
    }

    /// What the file makes.
    pub(super) fn file(&self, path: &str) -> Result<Option<Candidate>, Gap> {
        let Some(value) = self.place.file(path)? else { return Ok(None) };
        Ok(Some(Candidate { names: format!("file {path}"), ..self.address(path, "", value, true) }))
    }

    /// Everything that speaks of PostgreSQL.
    pub(super) fn anything(&self) -> Result<Vec<Candidate>, Gap> {
        self.environment.is_complete()?;
        let mut found = Vec::new();
        for (plain, name) in &self.set {
            let plain =
                plain.strip_suffix("_FILE").filter(|plain| names::ends_as_address(plain)).unwrap_or(plain);
            found.extend(self.well_known(plain, name)?);
        }
        for name in self.perhaps(names::ADDRESSES) {
            let plain = names::plain(&name);
            if !self.set.contains_key(&plain)
                && let Some(value) = self.value(&name)?
            {
                found.push(self.address(&name, prefix_of(&plain), value, true));
            }
        }
        for prefix in self.groups() {
            let parts = self.parts(&prefix);
            let has = |part: Part| parts.contains_key(&part);
            let enough = has(Part::Host) && (has(Part::Database) || has(Part::User));
            if enough && !self.is_foreign_group(&prefix, &parts) {
                found.push(self.group(&prefix, parts, true));
            }
        }
        let libpq = self.libpq();
        if [Part::Host, Part::Other("hostaddr"), Part::Other("service")]
            .iter()
            .any(|part| libpq.contains_key(part))
        {
            found.push(self.group("PG", libpq, true));
        }
        Ok(found)
    }

    /// A variable that is set, if its name or its value is that of a connection string.
    fn well_known(&self, plain: &str, name: &str) -> Result<Option<Candidate>, Gap> {
        let listed = names::ADDRESSES.iter().any(|known| names::plain(known) == plain);
        let dotnet = plain.starts_with("CONNECTIONSTRINGS_");
        let named = names::ends_as_address(plain) || dotnet;
        let likely = listed || (named && names::speaks_of_database(plain));
        let unlikely = plain.ends_with("_DSN") && !names::speaks_of_other(plain);
        let value = match self.value(name) {
            Ok(value) => value,
            Err(gap) if likely => return Err(gap),
            Err(_) => return Ok(None),
        };
        let Some(value) = value else { return Ok(None) };
        let text = value.recipe.known().unwrap_or(value.recipe.beginning());
        let certain = names::is_postgres(text);
        if names::is_foreign(text) || !(certain || likely || unlikely) {
            return Ok(None);
        }
        let sure = certain || (likely && !dotnet);
        Ok(Some(self.address(name, prefix_of(plain), value, sure)))
    }

    /// The beginnings of groups: of those that have a host, and of those that a Secret may make.
    fn groups(&self) -> Vec<String> {
        let set = self.set.keys().filter_map(|plain| {
            let plain = plain.strip_suffix("_FILE").unwrap_or(plain);
            match names::meaning(plain) {
                Meaning::Member(prefix) => (names::part_of(&prefix, plain) == Some(Part::Host)
                    && names::speaks_of_database(&prefix))
                .then_some(prefix),
                Meaning::Address(_) | Meaning::Libpq => None,
            }
        });
        let mut all: Vec<String> =
            set.chain(self.perhaps(names::GROUPS).map(|name| names::plain(&name))).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Well-known names that a Secret may set, with and without its prefix.
    fn perhaps(&self, known: &'static [&'static str]) -> impl Iterator<Item = String> {
        let mut all: Vec<String> = Vec::new();
        for prefix in &self.open {
            let prefixed = known.iter().map(|name| format!("{prefix}{name}"));
            let bare = known.iter().map(|name| (*name).to_owned()).filter(|name| name.starts_with(prefix));
            all.extend(prefixed.chain(bare));
        }
        all.sort();
        all.dedup();
        all.into_iter()
    }

    fn address(&self, name: &str, prefix: &str, value: Value, sure: bool) -> Candidate {
        let parts = if prefix.is_empty() { Parts::new() } else { self.parts(prefix) };
        let names = format!("variable {name}");
        self.candidate(names, Some(value), prefix, parts, sure)
    }

    fn group(&self, prefix: &str, parts: Parts, sure: bool) -> Candidate {
        let listed: Vec<String> = parts
            .values()
            .map(|Named { name, value }| {
                let origin = value.as_ref().map(Value::told).unwrap_or_default();
                let origin = origin.trim_start_matches(", ");
                if origin.is_empty() { name.clone() } else { format!("{name} ({origin})") }
            })
            .collect();
        self.candidate(format!("variables {}", listed.join(", ")), None, prefix, parts, sure)
    }

    fn candidate(
        &self,
        names: String,
        address: Option<Value>,
        prefix: &str,
        parts: Parts,
        sure: bool,
    ) -> Candidate {
        let mut spares = Vec::new();
        if prefix != "PG" {
            spares.extend(self.libpq().into_iter().filter(|(part, _)| !matches!(part, Part::Other(_))));
        }
        for other in names::GROUPS.iter().filter(|other| **other != prefix) {
            let credentials = self.parts(other).into_iter();
            spares.extend(credentials.filter(|(part, _)| matches!(part, Part::User | Part::Password)));
        }
        let containers = vec![self.place.container.name.to_string()];
        Candidate { containers, names, address, parts, spares, sure }
    }

    /// The members of a group.
    fn parts(&self, prefix: &str) -> Parts {
        let each = names::parts().filter_map(|part| Some((part, self.first(names::members(prefix, part))?)));
        each.collect()
    }

    fn libpq(&self) -> Parts {
        let each = names::LIBPQ.iter();
        each.filter_map(|(name, part)| Some((*part, self.first([(*name).to_owned()].into_iter())?))).collect()
    }

    /// The first of these names that is set; where only a Secret can tell, one after the other.
    fn first(&self, plain: impl Iterator<Item = String>) -> Option<Named> {
        let mut found: Option<(String, Value)> = None;
        for plain in plain {
            let (name, held) = self.find(&plain);
            match (held, found.take()) {
                (Ok(None), before) => found = before,
                (Ok(Some(value)), None) => found = Some((name, value)),
                (Ok(Some(value)), Some((first, before))) => {
                    found = Some((format!("{first} or {name}"), before.or(Some(value))));
                }
                (Err(gap), None) => return Some(Named { name, value: Err(gap) }),
                (Err(_), before) => found = before,
            }
            if found.as_ref().is_some_and(|(_, value)| value.recipe.is_certain()) {
                break;
            }
        }
        found.map(|(name, value)| Named { name, value: Ok(value) })
    }

    /// The variable of a plain name, however it is written; its true name with it.
    fn find(&self, plain: &str) -> (String, Held) {
        let file = format!("{plain}_FILE");
        match (self.set.get(plain), self.set.get(&file)) {
            (Some(name), _) => (name.clone(), self.value(name)),
            (None, Some(name)) => (name.clone(), self.value(name)),
            (None, None) => (plain.to_owned(), self.value(plain)),
        }
    }

    /// What the variable of exactly that name leads to: its value, or the file that it names. An empty one is none.
    fn value(&self, name: &str) -> Held {
        let is_file = |name: &str| names::plain(name).ends_with("_FILE");
        let set = |held: Option<Value>| {
            held.filter(|value| value.recipe.known().is_none_or(|text| !text.trim().is_empty()))
        };
        if let Some(value) = set(self.environment.get(name)?) {
            return if is_file(name) { self.followed(name, &value).map(Some) } else { Ok(Some(value)) };
        }
        let other = format!("{name}_FILE");
        match self
            .set
            .contains_key(&names::plain(&other))
            .then(|| self.environment.get(&other))
            .transpose()?
        {
            Some(path) => set(path).map(|path| self.followed(&other, &path)).transpose(),
            None => Ok(None),
        }
    }

    fn followed(&self, name: &str, path: &Value) -> Result<Value, Gap> {
        let container = &self.place.container.name;
        let Some(path) = path.recipe.known() else {
            let words = format!("the path in variable {name} of container {container} is in a Secret itself");
            return Err(Gap::new(GapReason::Unsupported, words));
        };
        match self.place.file(path)? {
            Some(value) => Ok(Value {
                origin: format!("by the file {path} {}", value.origin).trim_end().to_owned(),
                ..value
            }),
            None => Err(Gap::new(
                GapReason::NotFound,
                format!(
                    "variable {name} of container {container} points to {path}, which no ConfigMap and no Secret makes"
                ),
            )),
        }
    }

    fn is_foreign_group(&self, prefix: &str, parts: &Parts) -> bool {
        let text = |named: &Named| {
            named
                .value
                .as_ref()
                .ok()
                .and_then(|value| value.recipe.known().map(str::to_owned))
                .unwrap_or_default()
        };
        let port = parts.get(&Part::Port).is_some_and(|port| names::is_foreign_port(&text(port)));
        let host = parts.get(&Part::Host).is_some_and(|host| names::is_foreign(&text(host)));
        let kind = names::KIND_ENDS.iter().any(|end| {
            let kind = self
                .set
                .get(&format!("{prefix}{end}"))
                .and_then(|name| self.environment.get(name).ok())
                .flatten();
            kind.is_some_and(|kind| kind.recipe.known().is_some_and(names::is_foreign_kind))
        });
        port || host || kind
    }
}

fn prefix_of(plain: &str) -> &str {
    match names::meaning(plain) {
        Meaning::Address(prefix) | Meaning::Member(prefix) => plain.get(..prefix.len()).unwrap_or(plain),
        Meaning::Libpq => "PG",
    }
}
