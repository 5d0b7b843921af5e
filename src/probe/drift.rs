//! `drift`: does the other site run what we run? The fingerprints of both are set side by side, object by object. Pure;
//! asked by [`super::peer`], which reads those of the other site.
//!
//! A deployment reaches one site after the other, and so does the rotation of a credential: only what differs for
//! longer than `peers[].drift.after` fails. What has to differ is either not in a fingerprint at all (registries, the
//! names of site and region), or the address of a database or dependency, or named in `peers[].drift.ignore`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::peer::letter::shown;
use super::{Answer, Kind, TRANSPORT};
use crate::config::DriftRules;
use crate::discovery::fingerprints::{Fingerprint, Site};
use crate::model::{Check, CheckKey, Fact, FingerprintKind, Metric, Reason, age, ago};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Drift,
    about: "Whether the workloads of this site are made of what they are made of at the other one: images (by repository, tag and \
            digest), variables, ConfigMaps, Secrets (by HMAC, never by value) and the custom resources of the cluster. The \
            names of site and region stand for each other, registries and addresses of databases may differ, and so may what \
            `ignore` names. A difference fails once it has lasted for `after`; one that a rolling deployment or a rotation makes is \
            counted as settling. What cannot be compared, because one side may not read it or the keys differ, is unknown.",
    example: "peers:\n  - {site: primary-east, url: \"https://dr-exporter.east.example:10888\",\n     drift: {after: 15m, ignore: [\"configuration variable api/LOG_LEVEL\", \"secrets Secret tls-.*\"]}}\nsystems:\n  - name: orders\n    surfaces: [{name: health, url: \"http://10.1.4.7:8080/health\"}]",
    metrics: &[&OBJECTS],
    reasons: &[TRANSPORT, super::peer::ANSWERS, &[Reason::WrongValue]],
};

/// How many objects differ.
pub static OBJECTS: Metric = Metric::gauge(
    "dr_drift_objects",
    &["site", "system", "peer_site", "object_kind", "state"],
    "Objects that differ between this site and the peer, by state: different, only_here, only_at_peer, settling (younger than \
     drift.after), ignored, and unknown for fingerprints that cannot be compared; absent while the peer is not read",
)
.withheld();

/// What is compared for one system.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The question, with the name of the other site as its target.
    pub key: CheckKey,
    /// The subjects of our fingerprints.
    pub subjects: Vec<String>,
    /// Variables that hold the address of a database or dependency, which is each site's own.
    pub addresses: BTreeSet<String>,
}

/// One of two sites.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What it runs.
    pub prints: &'a [Fingerprint],
    /// Its own names.
    pub site: Site<'a>,
}

/// How an object differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Both have it.
    Different,
    /// The peer has no such object.
    OnlyHere,
    /// We have no such object.
    OnlyAtPeer,
}

/// An object: of what kind, and how people call it.
type Object = (FingerprintKind, String, String);

/// A fingerprint that could not be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Of what.
    pub kind: FingerprintKind,
    /// Of which workload.
    pub subject: String,
    /// Why not.
    pub why: String,
}

/// What became of a comparison.
#[derive(Debug, Default, PartialEq)]
pub struct Comparison {
    /// Every object that differs: kind, subject and name.
    pub differ: BTreeMap<Object, Difference>,
    /// What could not be compared, and why.
    pub unknown: Vec<Unknown>,
    /// How many objects are the same.
    pub same: usize,
}

/// Since when objects differ.
#[derive(Debug, Default)]
pub struct Memory {
    since: BTreeMap<Object, Timestamp>,
    /// When it was last compared.
    compared: Option<Timestamp>,
}

/// Every value of the label `state`, in the order of the documentation.
pub const STATES: &[&str] = &["different", "only_here", "only_at_peer", "settling", "ignored", "unknown"];

/// The subject of what belongs to no workload.
const CLUSTER: &str = "cluster";
/// How many objects a sentence names.
const NAMED: usize = 5;

/// Sets what two sites run side by side.
pub fn compare(subjects: &[String], ours: Side<'_>, theirs: Side<'_>) -> Comparison {
    let mut all = Comparison::default();
    let wanted = |print: &&Fingerprint| print.subject == CLUSTER || subjects.contains(&print.subject);
    for print in ours.prints.iter().filter(wanted) {
        match twin(print, ours, theirs) {
            Some(other) => all.add(print, other),
            None => all.unknown(print, "the peer says nothing of it: is it in its configuration?"),
        }
    }
    all
}

/// What the other site has of the same: under the same name, with the names of the sites for each other; else the only one
/// there that differs by its namespace only.
fn twin<'t>(print: &Fingerprint, ours: Side<'_>, theirs: Side<'t>) -> Option<&'t Fingerprint> {
    let of_kind = || theirs.prints.iter().filter(|other| other.kind == print.kind);
    let subject = ours.site.neutral(&print.subject);
    if let Some(exact) = of_kind().find(|other| theirs.site.neutral(&other.subject) == subject) {
        return Some(exact);
    }
    let bare = without_namespace(&print.subject)?;
    let alike = |subject: &str| without_namespace(subject) == Some(bare);
    let here = ours.prints.iter().filter(|other| other.kind == print.kind && alike(&other.subject)).count();
    let mut there = of_kind().filter(|other| alike(&other.subject));
    let only = there.next().filter(|_| there.next().is_none());
    only.filter(|_| here == 1)
}

/// Kind and name of a workload.
fn without_namespace(subject: &str) -> Option<(&str, &str)> {
    let (kind, rest) = subject.split_once(' ')?;
    let (_, name) = rest.split_once('/')?;
    Some((kind, name))
}

/// The answer, with how many objects are in which state.
pub fn judge(
    comparison: &Comparison,
    memory: &mut Memory,
    rules: &DriftRules,
    compared: &Compared,
    now: Timestamp,
) -> Answer {
    let DriftRules { after, ignore } = rules;
    let peer = &*compared.key.target;
    memory.keep(comparison, now);
    let mut counts: BTreeMap<(FingerprintKind, &str), usize> = BTreeMap::new();
    for kind in FingerprintKind::ALL {
        counts.extend(STATES.iter().map(|state| ((*kind, *state), 0)));
    }
    let mut lasting = Vec::new();
    for (object, difference) in &comparison.differ {
        let (kind, _, name) = object;
        let since = memory.since.get(object).copied().unwrap_or(now);
        let path = format!("{kind} {name}");
        let state = if compared.is_address(name) || ignore.iter().any(|pattern| pattern.0.is_match(&path)) {
            "ignored"
        } else if age(now, since) < after.0 {
            "settling"
        } else {
            lasting.push((object, *difference, since));
            difference.state()
        };
        *counts.entry((*kind, state)).or_default() += 1;
    }
    for Unknown { kind, .. } in &comparison.unknown {
        *counts.entry((*kind, "unknown")).or_default() += 1;
    }
    let total =
        |state: &str| -> usize { counts.iter().filter(|((_, of), _)| *of == state).map(|(_, n)| n).sum() };
    let mut notes = String::new();
    if total("settling") > 0 {
        notes += &format!("; differing for less than {after}: {}", objects(total("settling")));
    }
    if total("ignored") > 0 {
        notes += &format!("; may differ: {}", objects(total("ignored")));
    }
    if let Some(Unknown { kind, subject, why }) = comparison.unknown.first() {
        notes += &format!("; {kind} of {subject} cannot be compared: {}", shown(why));
    }
    let answer = if lasting.is_empty() {
        let words = format!("the same at {peer}: {}{notes}", objects(comparison.same));
        if comparison.unknown.is_empty() {
            Answer::pass(words)
        } else {
            Answer::blind(Reason::Missing, words)
        }
    } else {
        let lacks = lasting.iter().all(|(_, difference, _)| *difference == Difference::OnlyAtPeer);
        let reason = if lacks { Reason::Missing } else { Reason::WrongValue };
        let oldest = lasting.iter().map(|(.., since)| *since).min().unwrap_or(now);
        let named: Vec<_> = lasting.iter().take(NAMED).map(|(object, how, _)| how.in_words(object)).collect();
        let more = lasting.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let count = objects(lasting.len());
        Answer::fail(
            reason,
            format!(
                "{count} other than at {peer}, the first seen {}: {}{more}{notes}",
                ago(now, oldest),
                named.join(", ")
            ),
        )
    };
    let labels = |(kind, state): (FingerprintKind, &str), count: usize| {
        let labels = [("peer_site", peer), ("object_kind", kind.as_str()), ("state", state)];
        Fact::new(&OBJECTS, &labels, count as f64)
    };
    answer.with(counts.into_iter().map(|(of, count)| labels(of, count)))
}

fn objects(count: usize) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

// === impl Comparison ===

impl Comparison {
    fn add(&mut self, ours: &Fingerprint, theirs: &Fingerprint) {
        let kind = ours.kind;
        if ours.hash.is_none() {
            return self.unknown(ours, ours.note.as_deref().unwrap_or("it is not known here"));
        }
        if theirs.hash.is_none() {
            return self.unknown(ours, "it is not known at the peer");
        }
        if ours.keyed != theirs.keyed || ours.key != theirs.key {
            return self.unknown(ours, "`kubernetes.fingerprint_key` is not the same at both sites");
        }
        let by_name = |print: &Fingerprint| -> BTreeMap<String, String> {
            // The marks of what stands for a site's own names are NULs.
            print.objects.iter().map(|(name, hash)| (name.replace('\0', ""), hash.clone())).collect()
        };
        let (here, mut there) = (by_name(ours), by_name(theirs));
        for (name, hash) in here {
            let difference = match there.remove(&name) {
                Some(other) if other == hash => {
                    self.same += 1;
                    continue;
                }
                Some(_) => Difference::Different,
                None => Difference::OnlyHere,
            };
            self.differ.insert((kind, ours.subject.clone(), name), difference);
        }
        for name in there.into_keys() {
            self.differ.insert((kind, ours.subject.clone(), name), Difference::OnlyAtPeer);
        }
    }

    fn unknown(&mut self, ours: &Fingerprint, why: &str) {
        let Fingerprint { kind, subject, .. } = ours;
        self.unknown.push(Unknown { kind: *kind, subject: subject.clone(), why: why.to_owned() });
    }
}

// === impl Compared ===

impl Compared {
    /// Whether the object is a variable that holds an address.
    fn is_address(&self, name: &str) -> bool {
        let variable = name.strip_prefix("variable ").and_then(|rest| rest.split_once('/'));
        variable.is_some_and(|(_, name)| self.addresses.contains(name))
    }
}

// === impl Difference ===

impl Difference {
    fn state(self) -> &'static str {
        match self {
            Difference::Different => "different",
            Difference::OnlyHere => "only_here",
            Difference::OnlyAtPeer => "only_at_peer",
        }
    }

    fn in_words(self, (kind, subject, name): &Object) -> String {
        let how = match self {
            Difference::Different => "",
            Difference::OnlyHere => " (only here)",
            Difference::OnlyAtPeer => " (only at the peer)",
        };
        format!("{kind} {} of {subject}{how}", shown(name))
    }
}

// === impl Memory ===

impl Memory {
    /// Takes in what differs now. What was not looked at for longer than that begins anew: nobody knows what was between.
    fn keep(&mut self, comparison: &Comparison, now: Timestamp) {
        const HOLE: std::time::Duration = std::time::Duration::from_secs(600);
        if self.compared.is_some_and(|last| age(now, last) > HOLE) {
            self.since.clear();
        }
        self.compared = Some(now);
        let hidden = |(kind, subject, _): &Object| {
            comparison.unknown.iter().any(|unknown| unknown.kind == *kind && unknown.subject == *subject)
        };
        self.since.retain(|object, _| comparison.differ.contains_key(object) || hidden(object));
        for object in comparison.differ.keys() {
            self.since.entry(object.clone()).or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests;
