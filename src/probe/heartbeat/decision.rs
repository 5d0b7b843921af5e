//! Whether the beat may be written: on a primary, and on nothing else. Pure.
//!
//! A row on a standby is refused by its server anyway. What this guards against is the old primary that comes back: it is
//! writable, its configuration still calls it primary, and a row of ours would be the write that keeps it from following
//! the new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Role, age};
use crate::sightings::{Node, Place, Sighting, Told, ToldSystem};

/// What is known when the beat is due.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The role that our site is declared to have.
    pub role: Role,
    /// The system and the name of the database.
    pub of: (&'a str, &'a str),
    /// What our own visits saw last.
    pub ours: &'a BTreeMap<Place, Sighting>,
    /// The other sites, as they are configured.
    pub peers: &'a [String],
    /// What they told last.
    pub told: &'a BTreeMap<Arc<str>, Arc<Told>>,
    /// How old what was seen or told may be.
    pub fresh: Duration,
    /// Now.
    pub now: Timestamp,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It may be written.
    Given,
    /// It may be written if the server feeds another one at this moment: the peer was not heard, so its word is missing.
    IfItFeeds(String),
    /// It must not, for this reason.
    Withheld(String),
}

/// Whether the beat may be written to the database that the application is wired to.
pub fn leave(known: Known<'_>) -> Leave {
    if let Some(site) = known.held_elsewhere() {
        let (system, _) = known.of;
        return Leave::Withheld(format!("{site} says that it is the primary of {system}"));
    }
    match known.role {
        Role::Primary => match known.unheard() {
            None => Leave::Given,
            Some(site) => Leave::IfItFeeds(site.clone()),
        },
        Role::Standby if known.is_promoted() => match known.unheard() {
            None => Leave::Given,
            // Without a word of the other site a standby that can be written to may as well be half of a split brain.
            Some(site) => Leave::Withheld(format!("this site is declared standby, and {site} was not heard")),
        },
        Role::Standby | Role::Retired | Role::Unknown => Leave::Withheld(format!(
            "this site is declared {}, and nothing shows that it was promoted",
            known.role
        )),
    }
}

fn writable(node: &Node) -> bool {
    !node.in_recovery && !node.read_only
}

// === impl Known ===

impl Known<'_> {
    /// A site that holds itself for the primary of the same data. Its last word counts, however old: it was promoted, and
    /// only it can say that this is over.
    fn held_elsewhere(&self) -> Option<&str> {
        self.told.iter().find_map(|(site, told)| {
            let theirs = told.systems.get(self.of.0).filter(|system| system.role == Role::Primary)?;
            let only_declared =
                told.declared_role == Role::Primary && self.role == Role::Standby && self.is_promoted();
            (!only_declared && !self.has_nothing_newer(theirs)).then_some(&**site)
        })
    }

    /// Whether all that a site sees as its writable database of this name is another database, or an older timeline of
    /// ours: one that was left behind by a promotion.
    fn has_nothing_newer(&self, theirs: &ToldSystem) -> bool {
        let Some(ours) = self.seen(Place::Application).filter(|node| writable(node)) else { return false };
        let Some(identifier) = &ours.system_identifier else { return false };
        let nodes = theirs.databases.get(self.of.1).into_iter().flatten();
        let nodes = nodes.filter_map(|(_, sighting)| sighting.node.as_ref().ok());
        let mut writable = nodes.filter(|node| writable(node)).peekable();
        writable.peek().is_some()
            && writable.all(|node| match (&node.system_identifier, node.timeline, ours.timeline) {
                (Some(theirs), _, _) if theirs != identifier => true,
                (Some(_), Some(theirs), Some(ours)) => theirs < ours,
                _ => false,
            })
    }

    /// A configured site that was not heard within three intervals.
    fn unheard(&self) -> Option<&String> {
        self.peers.iter().find(|site| {
            let told = self.told.get(site.as_str());
            told.is_none_or(|told| age(self.now, told.read_at) > self.fresh)
        })
    }

    /// What one of our visits saw within three intervals.
    fn seen(&self, place: Place) -> Option<&Node> {
        let sighting = self.ours.get(&place).filter(|sighting| age(self.now, sighting.at) <= self.fresh)?;
        sighting.node.as_ref().ok()
    }

    /// The site's own standby was promoted, the application is wired to it, and no newer one can be written to.
    fn is_promoted(&self) -> bool {
        let (Some(own), Some(application)) = (self.seen(Place::Standby), self.seen(Place::Application))
        else {
            return false;
        };
        let same =
            |node: &Node| node.system_identifier.is_some() && node.system_identifier == own.system_identifier;
        let elsewhere = |node: &Node| {
            writable(node) && same(node) && node.timeline.is_none_or(|of| Some(of) > own.timeline)
        };
        let told =
            self.told.values().filter_map(|told| told.systems.get(self.of.0)?.databases.get(self.of.1));
        let told = told.flatten().filter_map(|(_, sighting)| sighting.node.as_ref().ok());
        let primary = self.ours.get(&Place::Primary).and_then(|sighting| sighting.node.as_ref().ok());
        writable(own)
            && own.timeline.is_some()
            && writable(application)
            && same(application)
            && application.timeline == own.timeline
            && !told.chain(primary).any(elsewhere)
    }
}

#[cfg(test)]
mod tests;
