//! What a workload is made of, as hashes that another site can compare: the same at both sites, or else which object
//! differs. Pure, but for the one function in [`secrets`] that reads Secrets.
//!
//! A hash is the first 16 bytes of SHA-256, in hex. With `kubernetes.fingerprint_key` those of configuration and of
//! Secrets are HMACs by it, because what is published must not let anybody try passwords against it; without the key,
//! values that look like credentials are not in the hash at all.

mod canonical;
mod configuration;
pub mod secrets;

use std::collections::{BTreeMap, BTreeSet};

pub use self::canonical::{Digest, Site};
pub use self::secrets::{SecretsSeen, seen};

use super::image::Image;
use super::inventory::{Feed, Inventory, WorkloadRef};
use super::objects::PodSpec;
use super::{Gap, covering, in_sight};
use crate::model::{FingerprintKind, GapReason, Resource};

/// The fingerprint of one kind of thing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint {
    /// The workload as `Deployment namespace/name`, or `cluster`.
    pub subject: String,
    /// Of what.
    pub kind: FingerprintKind,
    /// The hash over all objects; absent when not all of them are known.
    pub hash: Option<String>,
    /// Whether it is an HMAC; one that is can only be compared with another that is.
    pub keyed: bool,
    /// Which key that is, as a hash: what was made with another one cannot be compared.
    pub key: Option<String>,
    /// How many objects there are.
    pub parts: usize,
    /// The hash of each object by its name, sorted: what differs between two sites is named by it.
    pub objects: Vec<(String, String)>,
    /// What is not in it, and why.
    pub note: Option<String>,
}

/// Everything that is known of a workload: images, configuration and Secrets, in this order.
pub fn of_workload(
    inventory: &Inventory,
    workload: &WorkloadRef,
    site: Site<'_>,
    digest: &Digest,
    secrets: &SecretsSeen,
) -> Vec<Fingerprint> {
    let subject = workload.to_string();
    match template(inventory, workload) {
        Err(gap) => {
            let kinds = [FingerprintKind::Images, FingerprintKind::Configuration, FingerprintKind::Secrets];
            kinds.map(|kind| Fingerprint::unknown(&subject, kind, gap.detail.clone())).into()
        }
        Ok(spec) => vec![
            images(&subject, spec),
            configuration::of(&subject, workload.namespace(), spec, inventory, site, digest),
            secrets::of(&subject, spec, site, digest, secrets),
        ],
    }
}

/// The template of a workload, if what we hold of it is what the cluster says.
///
/// # Errors
///
/// The rule that our account lacks, that the API server is away, or that there is no such workload.
pub fn template<'i>(inventory: &'i Inventory, workload: &WorkloadRef) -> Result<&'i PodSpec, Gap> {
    let [controller, _pods] = covering::of_workload(inventory, workload);
    in_sight(inventory, [&controller])?;
    let found = inventory.controllers.get(workload);
    let missing = || Gap::new(GapReason::NotFound, format!("there is no {workload}"));
    found.map(|controller| &controller.template.spec).ok_or_else(missing)
}

/// The images by repository, tag and digest; the registry is each site's own.
fn images(subject: &str, spec: &PodSpec) -> Fingerprint {
    let mut by_repository: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in spec.containers.iter().chain(&spec.init_containers) {
        let (repository, version) = match Image::parse(&container.image) {
            Some(Image { registry: _, repository, tag, digest }) => {
                let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
                (repository, canonical::joined([tag.unwrap_or_default(), digest.unwrap_or_default()]))
            }
            None => (container.name.to_string(), canonical::joined(["unreadable", &container.image])),
        };
        by_repository.entry(repository).or_default().insert(version);
    }
    let objects = by_repository.into_iter().map(|(name, versions)| (name, canonical::joined(versions)));
    Fingerprint::known(subject, FingerprintKind::Images, &Digest::plain(), &objects.collect(), None)
}

/// The custom resources of the cluster: names, served versions and the stored one.
pub fn definitions(inventory: &Inventory) -> Fingerprint {
    let (subject, kind) = ("cluster", FingerprintKind::Crds);
    if let Err(gap) = in_sight(inventory, [&Feed::all(Resource::CustomResourceDefinitions, None)]) {
        return Fingerprint::unknown(subject, kind, gap.detail);
    }
    let objects = inventory.definitions.iter().map(|(object, versions)| {
        let of = |wanted: fn(&super::objects::DefinitionVersion) -> bool| {
            let names: BTreeSet<&str> =
                versions.iter().filter(|version| wanted(version)).map(|version| &*version.name).collect();
            canonical::joined(names)
        };
        (
            object.name.to_string(),
            canonical::joined([of(|version| version.served), of(|version| version.storage)]),
        )
    });
    Fingerprint::known(subject, kind, &Digest::plain(), &objects.collect(), None)
}

// === impl Fingerprint ===

impl Fingerprint {
    /// Of objects by name, each with what is hashed of it.
    fn known(
        subject: &str,
        kind: FingerprintKind,
        digest: &Digest,
        objects: &BTreeMap<String, String>,
        note: Option<String>,
    ) -> Self {
        let label = |name: &str| format!("{kind} {name}");
        let all = objects.iter().flat_map(|(name, content)| [name.as_str(), content]);
        let hash = digest.of(&label(""), &canonical::joined(all));
        let objects: Vec<_> =
            objects.iter().map(|(name, content)| (name.clone(), digest.of(&label(name), content))).collect();
        let parts = objects.len();
        Fingerprint {
            subject: subject.to_owned(),
            kind,
            hash: Some(hash),
            keyed: digest.is_keyed(),
            key: digest.is_keyed().then(|| digest.of("which key", "")),
            parts,
            objects,
            note,
        }
    }

    fn unknown(subject: &str, kind: FingerprintKind, note: String) -> Self {
        Fingerprint {
            subject: subject.to_owned(),
            kind,
            hash: None,
            keyed: false,
            key: None,
            parts: 0,
            objects: Vec::new(),
            note: Some(note),
        }
    }
}

#[cfg(test)]
mod tests;
