//! The part of the report that the exporter of another site reads: roles, identities, timelines and hashes. No host
//! name, no sentence, no credential.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::{Report, SystemReport, json};
use crate::discovery::fingerprints::Fingerprint;
use crate::model::{FingerprintKind, Reason};
use crate::sightings::{Place, Sighting};

/// A report as another site's exporter may read it.
#[derive(Debug)]
pub struct ForPeer<'a>(pub &'a Report);

/// What was seen of the nodes of databases.
pub(super) struct Databases<'a>(pub &'a [(Arc<str>, BTreeMap<Place, Sighting>)]);

#[derive(Serialize)]
struct Replica {
    leads: bool,
}

struct System<'a>(&'a SystemReport);

#[derive(Serialize)]
struct Database<'a> {
    name: &'a str,
    nodes: Vec<Seen<'a>>,
}

/// A node as it was seen through one door: what it said, or why it said nothing.
#[derive(Serialize)]
struct Seen<'a> {
    place: Place,
    seen_at: Timestamp,
    system_identifier: Option<&'a str>,
    timeline: Option<u32>,
    in_recovery: Option<bool>,
    read_only: Option<bool>,
    reason: Option<Reason>,
}

/// A fingerprint without its note, which is a sentence.
#[derive(Serialize)]
struct Print<'a> {
    subject: &'a str,
    kind: FingerprintKind,
    hash: Option<&'a str>,
    keyed: bool,
    key: Option<&'a str>,
    parts: usize,
    objects: &'a [(String, String)],
}

impl Serialize for ForPeer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Report { at, declared, systems, gaps: _, replica, fingerprints, refused: _ } = self.0;
        let mut out = serializer.serialize_struct("ForPeer", 8)?;
        out.serialize_field("version", &json::VERSION)?;
        out.serialize_field("generated_at", at)?;
        out.serialize_field("site", &*declared.site)?;
        out.serialize_field("site_region", &declared.region)?;
        out.serialize_field("declared_role", &declared.role)?;
        out.serialize_field("replica", &replica.as_ref().map(|replica| Replica { leads: replica.leads }))?;
        out.serialize_field("systems", &systems.iter().map(System).collect::<Vec<_>>())?;
        out.serialize_field("fingerprints", &fingerprints.iter().map(Print::of).collect::<Vec<_>>())?;
        out.end()
    }
}

impl Serialize for System<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let System(system) = self;
        let mut out = serializer.serialize_struct("System", 3)?;
        out.serialize_field("name", &*system.declared.name)?;
        out.serialize_field("role", &system.role)?;
        out.serialize_field("databases", &Databases(&system.databases))?;
        out.end()
    }
}

impl Serialize for Databases<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(name, nodes)| Database {
            name,
            nodes: nodes.iter().map(|(p, s)| Seen::of(*p, s)).collect(),
        }))
    }
}

// === impl Seen ===

impl<'a> Seen<'a> {
    fn of(place: Place, sighting: &'a Sighting) -> Self {
        let Sighting { at, node } = sighting;
        let said = node.as_ref().ok();
        Seen {
            place,
            seen_at: *at,
            system_identifier: said.and_then(|node| node.system_identifier.as_deref()),
            timeline: said.and_then(|node| node.timeline),
            in_recovery: said.map(|node| node.in_recovery),
            read_only: said.map(|node| node.read_only),
            reason: node.as_ref().err().copied(),
        }
    }
}

// === impl Print ===

impl<'a> Print<'a> {
    fn of(print: &'a Fingerprint) -> Self {
        let Fingerprint { subject, kind, hash, keyed, key, parts, objects, note: _ } = print;
        Print {
            subject,
            kind: *kind,
            hash: hash.as_deref(),
            keyed: *keyed,
            key: key.as_deref(),
            parts: *parts,
            objects,
        }
    }
}
