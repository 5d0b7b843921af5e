//! What the exporter of another site answers, read with suspicion. Pure.
//!
//! Fields that are not known are passed over, so that a newer peer can say more. Nothing of it becomes a label, and what
//! of it is shown to people is cut and cleaned first. Its moments are put on our clock.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::discovery::fingerprints::Fingerprint;
use crate::model::{FingerprintKind, GapReason, Reason, Role, length};
use crate::probe::Answer;
use crate::sightings::{Node, Place, Sighting, Told, ToldSystem};

/// The version that we read.
const VERSION: u64 = 1;
/// How far apart the clocks of two exporters may be; beyond it, an old copy cannot be told from a wrong clock.
const SKEW: Duration = Duration::from_secs(300);
/// Most systems, databases of one, and doors to one.
const SYSTEMS: usize = 10_000;
const DATABASES: usize = 1_000;
const DOORS: usize = 16;
/// Most fingerprints, and objects of one.
const FINGERPRINTS: usize = 20_000;
const OBJECTS: usize = 20_000;
/// Longest name of an object: a variable may be long, a key of a ConfigMap has 253 characters.
const NAME: usize = 1024;

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// What it says of its site; its moments are on our clock.
    pub told: Told,
    /// The region of its site.
    pub region: String,
    /// It comes from the one of several replicas that probes. Another one knows nothing.
    pub leads: bool,
}

/// Who is expected to answer, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Between<'a> {
    /// The name of our own site.
    pub us: &'a str,
    /// The name of the other site.
    pub them: &'a str,
}

#[derive(serde::Deserialize)]
struct Versioned {
    version: Option<u64>,
}

#[derive(serde::Deserialize)]
struct Wire {
    generated_at: Timestamp,
    site: String,
    #[serde(default)]
    site_region: String,
    #[serde(default)]
    declared_role: Lenient<Role>,
    #[serde(default)]
    replica: Option<WireReplica>,
    #[serde(default)]
    systems: Bounded<WireSystem, SYSTEMS>,
    #[serde(default)]
    fingerprints: Bounded<WirePrint, FINGERPRINTS>,
}

#[derive(serde::Deserialize)]
struct WireReplica {
    leads: bool,
}

#[derive(serde::Deserialize)]
struct WireSystem {
    name: String,
    #[serde(default)]
    role: Lenient<Role>,
    #[serde(default)]
    databases: Bounded<WireDatabase, DATABASES>,
}

#[derive(serde::Deserialize)]
struct WireDatabase {
    name: String,
    #[serde(default)]
    nodes: Bounded<WireSeen, DOORS>,
}

#[derive(serde::Deserialize)]
struct WireSeen {
    place: Lenient<Place>,
    seen_at: Timestamp,
    #[serde(default)]
    system_identifier: Option<String>,
    #[serde(default)]
    timeline: Option<u32>,
    #[serde(default)]
    in_recovery: Option<bool>,
    #[serde(default)]
    read_only: Option<bool>,
    #[serde(default)]
    reason: Lenient<Reason>,
}

#[derive(serde::Deserialize)]
struct WirePrint {
    subject: String,
    kind: Lenient<FingerprintKind>,
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    keyed: bool,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    objects: Bounded<(String, String), OBJECTS>,
}

/// A member of a closed set, or nothing when a newer peer has more of them.
struct Lenient<T>(Option<T>);

/// A list of no more than so many.
struct Bounded<T, const N: usize>(Vec<T>);

/// Reads an answer. `earlier` is when the last one was said, by their clock.
///
/// # Errors
///
/// The answer of the check: what is wrong with it, without a word of theirs.
pub fn read(
    body: &[u8],
    between: Between<'_>,
    now: Timestamp,
    earlier: Option<Timestamp>,
) -> Result<Letter, Answer> {
    let Between { us, them } = between;
    let strange = || {
        let words = "the answer is not a report of dr-exporter: does the `url` lead to one?";
        Answer::blind(Reason::BodyMismatch, words)
    };
    let Versioned { version } = serde_json::from_slice(body).map_err(|_| strange())?;
    if version != Some(VERSION) {
        let version = version.ok_or_else(strange)?;
        let words = format!("the report has version {version}, and this release reads version {VERSION}");
        return Err(Answer::gap(GapReason::Unsupported, words));
    }
    let wire: Wire = serde_json::from_slice(body).map_err(|_| strange())?;
    if wire.site == us {
        let words = format!(
            "the exporter there is one of our own site {us}: `url` leads back here, or both sites have one name"
        );
        return Err(Answer::fail(Reason::Misconfigured, words));
    }
    if wire.site != them {
        let other = shown(&wire.site);
        let words = format!("the exporter there is that of another site: it calls itself `{other}`");
        return Err(Answer::fail(Reason::Misconfigured, words));
    }
    let said = wire.generated_at;
    let apart = now.duration_since(said).unsigned_abs();
    if apart > SKEW {
        let words = format!(
            "the report is from {} {} by our clock: it is an old copy, or one of the clocks is wrong",
            length(apart),
            if said < now { "ago" } else { "ahead" },
        );
        return Err(Answer::blind(Reason::Stale, words));
    }
    if earlier == Some(said) {
        let words = "the same report was read before: something between the sites answers with a copy";
        return Err(Answer::blind(Reason::Stale, words));
    }
    let leads = wire.replica.as_ref().is_none_or(|replica| replica.leads);
    let region = wire.site_region.clone();
    let told = wire.told(now).ok_or_else(strange)?;
    Ok(Letter { told, region, leads })
}

/// A text of theirs as a sentence may repeat it: a short line of printable characters.
pub fn shown(text: &str) -> String {
    const SHOWN: usize = 120;
    let clean = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(SHOWN).map(clean).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

/// Characters that change how the others are read: of direction, of no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

// === impl Wire ===

impl Wire {
    /// `None` where a name is longer than any that we would have written.
    fn told(self, now: Timestamp) -> Option<Told> {
        let Wire { generated_at, site: _, site_region: _, declared_role, replica: _, systems, fingerprints } =
            self;
        // What they saw a while before they spoke was seen that while before we heard it.
        let on_our_clock = |seen: Timestamp| {
            let before = generated_at.duration_since(seen).max(jiff::SignedDuration::ZERO);
            now.checked_sub(before).unwrap_or(Timestamp::UNIX_EPOCH)
        };
        let systems = systems.0.into_iter().map(|WireSystem { name, role, databases }| {
            let databases = databases.0.into_iter().map(|WireDatabase { name, nodes }| {
                let nodes = nodes.0.into_iter().filter_map(|seen| seen.sighting(on_our_clock));
                (name, nodes.collect())
            });
            let databases: BTreeMap<_, _> = databases.collect();
            (name, ToldSystem { role: role.0.unwrap_or(Role::Unknown), databases })
        });
        let fingerprints: Option<Vec<Fingerprint>> =
            fingerprints.0.into_iter().filter_map(WirePrint::fingerprint).collect();
        Some(Told {
            read_at: now,
            said_at: generated_at,
            declared_role: declared_role.0.unwrap_or(Role::Unknown),
            systems: systems.collect(),
            fingerprints: fingerprints?,
        })
    }
}

// === impl WireSeen ===

impl WireSeen {
    fn sighting(self, on_our_clock: impl Fn(Timestamp) -> Timestamp) -> Option<(Place, Sighting)> {
        let WireSeen { place, seen_at, system_identifier, timeline, in_recovery, read_only, reason } = self;
        let node = match (in_recovery, read_only) {
            (Some(in_recovery), Some(read_only)) => Ok(Node {
                // A number of 64 bits; anything else is no identifier.
                system_identifier: system_identifier.filter(|text| text.parse::<u64>().is_ok()),
                timeline,
                in_recovery,
                read_only,
            }),
            _ => Err(reason.0.unwrap_or(Reason::Other)),
        };
        Some((place.0?, Sighting { at: on_our_clock(seen_at), node }))
    }
}

// === impl WirePrint ===

impl WirePrint {
    /// Nothing for a kind that we do not know; nothing at all where a name is too long.
    fn fingerprint(self) -> Option<Option<Fingerprint>> {
        let WirePrint { subject, kind, hash, keyed, key, objects } = self;
        let kind = kind.0?;
        let long = |text: &String| text.len() > NAME;
        let names = objects.0.iter().flat_map(|(name, hash)| [name, hash]);
        if [Some(&subject), hash.as_ref(), key.as_ref()].into_iter().flatten().chain(names).any(long) {
            return Some(None);
        }
        let parts = objects.0.len();
        Some(Some(Fingerprint { subject, kind, hash, keyed, key, parts, objects: objects.0, note: None }))
    }
}

// === impl Lenient ===

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Lenient(None)
    }
}

impl<'de, T: de::DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <Option<String>>::deserialize(deserializer)?;
        Ok(Lenient(name.and_then(|name| {
            let known: Result<T, de::value::Error> =
                T::deserialize(de::IntoDeserializer::into_deserializer(name));
            known.ok()
        })))
    }
}

// === impl Bounded ===

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Bounded(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Bounded<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for List<T, N> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    if all.len() == N {
                        return Err(de::Error::custom("the list is too long"));
                    }
                    all.push(one);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(List::<T, N>(PhantomData)).map(Bounded)
    }
}

#[cfg(test)]
mod tests;
