//! Where a workload looks for its database: the one connection string that its variables or files make. Pure.
//!
//! With the name of a variable or of a file, that one is taken in every container that has it. Without, everything that
//! speaks of PostgreSQL is looked for: well-known names ([`names`]), groups of single values, and any variable whose
//! value is plainly a PostgreSQL address. Candidates that lead to the same place as the same user are one; more than one
//! is a gap with their names, never a guess. What depends on Secrets is decided by [`Wiring::settle`] once they are read.
//!
//! **Passwords in `$(…)`.** The kubelet puts `postgres://$(USER):$(PASSWORD)@$(HOST)/d` together as it is and encodes
//! nothing. We parse exactly what the application gets, by the strict rules of [`Dsn::parse`]: a password that holds `@`,
//! `/`, `#` or a stray `%` leaves a string that drivers read in different ways, so it is a gap (`unparsable`) that says so.

use std::collections::{BTreeMap, BTreeSet};

use super::files::Place;
use super::inventory::Controller;
use super::objects::Container;
use super::recipe::Value;
use super::variables::{Environment, Held};
use super::workload::{containers, controller};
use super::{Gap, Inventory, ObjectRef, WorkloadRef};
use crate::model::GapReason;
#[cfg(doc)]
use crate::net::dsn::Dsn;

pub mod names;
mod search;
mod settle;
#[cfg(test)]
mod tests;

use names::Part;
pub use settle::Settled;

/// What makes the connection string of a workload; complete but for its Secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// Whose it is.
    pub workload: WorkloadRef,
    /// What was asked for.
    pub asked: Asked,
    /// What may make it, most explicit first; several where only Secrets can tell which of them are there.
    pub candidates: Vec<Candidate>,
}

/// What is looked for in a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The variable of that name.
    Variable(String),
    /// The file at that path.
    File(String),
    /// Whatever speaks of PostgreSQL.
    Anything,
}

/// Something that makes a connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The containers that have it, by name.
    pub containers: Vec<String>,
    /// The variables or the file: `variable DATABASE_URL`.
    pub names: String,
    /// The connection string, if there is one besides its parts.
    pub address: Option<Value>,
    /// What belongs to it by its name, such as `DB_HOST` and `DB_PASSWORD`.
    pub parts: Parts,
    /// What may fill in for what neither has: libpq's own variables, and credentials under another well-known name.
    pub spares: Vec<(Part, Named)>,
    /// Whether something that is not understood here is a fault, and not just another thing.
    pub sure: bool,
}

/// A variable with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Result<Value, Gap>,
}

/// Single values, each under what it is.
pub type Parts = BTreeMap<Part, Named>;

/// Looks for the connection string of a workload: in the variable or the file that is named, else anywhere.
///
/// # Errors
///
/// There is none, there is more than one, or it cannot be seen: named with where it was looked for.
pub fn endpoint(
    inventory: &Inventory,
    workload: &WorkloadRef,
    env: Option<&str>,
    file: Option<&str>,
) -> Result<Wiring, Gap> {
    let controller = controller(inventory, workload)?;
    let asked = match (env, file) {
        (Some(name), _) => Asked::Variable(name.to_owned()),
        (None, Some(path)) => Asked::File(path.to_owned()),
        (None, None) => Asked::Anything,
    };
    let mut wiring = Wiring { workload: workload.clone(), asked, candidates: Vec::new() };
    for container in containers(&controller.template.spec) {
        let seeker = search::Seeker::new(inventory, workload, controller, container);
        let found = match &wiring.asked {
            Asked::Variable(name) => seeker.variable(name)?.into_iter().collect(),
            Asked::File(path) => seeker.file(path)?.into_iter().collect(),
            Asked::Anything => seeker.anything()?,
        };
        found.into_iter().for_each(|candidate| wiring.add(candidate));
    }
    if wiring.candidates.is_empty() {
        return Err(wiring.nothing(inventory, controller));
    }
    if wiring.secrets().is_empty() {
        let settled = wiring.settle(&BTreeMap::new(), None)?;
        wiring.candidates = vec![wiring.candidates.swap_remove(settled.candidate)];
    }
    Ok(wiring)
}

// === impl Wiring ===

impl Wiring {
    /// Every Secret that may be needed, each once.
    pub fn secrets(&self) -> BTreeSet<&ObjectRef> {
        self.candidates.iter().flat_map(Candidate::values).flat_map(|value| value.recipe.secrets()).collect()
    }

    /// Where a candidate was found, for people.
    pub fn from(&self, candidate: &Candidate) -> String {
        let Candidate { containers, names, address, .. } = candidate;
        let plural = if containers.len() == 1 { "container" } else { "containers" };
        let origin = address.as_ref().map(Value::told).unwrap_or_default();
        format!("{}, {plural} {}, {names}{origin}", self.workload, containers.join(" and "))
    }

    /// Adds what was found, unless the same is there already.
    fn add(&mut self, candidate: Candidate) {
        let same = |known: &&mut Candidate| {
            known.names == candidate.names
                && known.address == candidate.address
                && known.parts == candidate.parts
        };
        match self.candidates.iter_mut().find(same) {
            Some(known) => known.containers.extend(candidate.containers),
            None => self.candidates.push(candidate),
        }
    }

    fn nothing(&self, inventory: &Inventory, controller: &Controller) -> Gap {
        let spec = &controller.template.spec;
        let each: Vec<&str> = containers(spec).map(|container| &*container.name).collect();
        let (workload, each) = (&self.workload, each.join(", "));
        let detail = match &self.asked {
            Asked::Variable(wanted) => {
                let names = names_of(inventory, workload, controller);
                if names.contains(wanted) {
                    let words = format!("variable {wanted} of {workload} ({each}) is empty");
                    return Gap::new(GapReason::NotFound, words);
                }
                let similar = similar(&names, wanted);
                let similar = if similar.is_empty() { similar } else { format!("; similar ones: {similar}") };
                format!("no container of {workload} ({each}) has the variable {wanted}{similar}")
            }
            Asked::File(path) => format!(
                "no container of {workload} ({each}) has a file {path} from a ConfigMap or a Secret; what is in the image or is written by others cannot be read: give the endpoint's `url`"
            ),
            Asked::Anything => format!(
                "no variable of {workload} ({each}) says where its database is: looked for a PostgreSQL address in any variable, for DATABASE_URL, SPRING_DATASOURCE_URL and the like, for PGHOST and for groups such as DB_HOST, DB_NAME, DB_USER; name it with `env` or `file`"
            ),
        };
        Gap::new(GapReason::NotFound, detail)
    }
}

/// The names of all variables that are set for certain.
fn names_of(inventory: &Inventory, workload: &WorkloadRef, controller: &Controller) -> BTreeSet<String> {
    let each = containers(&controller.template.spec);
    each.flat_map(|container| Environment::of(inventory, workload, controller, container).names()).collect()
}

/// The most similar names of variables, at most three.
fn similar(names: &BTreeSet<String>, wanted: &str) -> String {
    let plain = names::plain(wanted);
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&names::plain(name), &plain), name.as_str()))
        .filter(|(distance, _)| *distance <= (wanted.len() / 3).max(1))
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

// === impl Candidate ===

impl Candidate {
    fn values(&self) -> impl Iterator<Item = &Value> {
        let parts = self.parts.values().chain(self.spares.iter().map(|(_, named)| named));
        self.address.iter().chain(parts.filter_map(|named| named.value.as_ref().ok()))
    }
}
