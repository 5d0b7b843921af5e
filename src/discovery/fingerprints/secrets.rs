//! The Secrets that a workload refers to: the names of their keys, and their values by HMAC only.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical::{joined, plain_name};
use super::{Digest, Fingerprint, Site};
use crate::discovery::objects::PodSpec;
use crate::discovery::references::References;
use crate::model::FingerprintKind;
use crate::secret::Secrets;

/// What reading the Secrets of a workload gave, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsSeen(pub BTreeMap<String, Result<BTreeMap<String, Option<String>>, String>>);

/// Gets these Secrets, each by its name, and keeps of each value no more than its HMAC; not even that without a key. Bound it
/// with a deadline outside.
pub async fn seen(
    secrets: &Secrets,
    namespace: &str,
    names: BTreeSet<&str>,
    site: Site<'_>,
    digest: &Digest,
) -> SecretsSeen {
    let mut all = BTreeMap::new();
    for name in names {
        all.insert(name.to_owned(), one(secrets, namespace, name, site, digest).await);
    }
    SecretsSeen(all)
}

async fn one(
    secrets: &Secrets,
    namespace: &str,
    name: &str,
    site: Site<'_>,
    digest: &Digest,
) -> Result<BTreeMap<String, Option<String>>, String> {
    let data = secrets.data(namespace, name).await.map_err(|gap| gap.detail)?;
    let data = data.ok_or_else(|| format!("there is no Secret {namespace}/{name}"))?;
    let hashed = |value: &[u8]| {
        let text = match std::str::from_utf8(value) {
            Ok(text) => joined(["text", &site.neutral(text)]),
            Err(_) => joined(["bytes", &value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()]),
        };
        digest.is_keyed().then(|| digest.of("secret value", &text))
    };
    Ok(data.into_iter().map(|(key, value)| (key, hashed(&value))).collect())
}

/// The fingerprint of what was seen.
pub(super) fn of(
    subject: &str,
    spec: &PodSpec,
    site: Site<'_>,
    digest: &Digest,
    seen: &SecretsSeen,
) -> Fingerprint {
    let mut objects = BTreeMap::new();
    for name in References::of(spec).secrets {
        let shown = site.neutral(&format!("Secret {}", plain_name(name)));
        let keys = match seen.0.get(name) {
            Some(Ok(keys)) => keys,
            Some(Err(why)) => return Fingerprint::unknown(subject, FingerprintKind::Secrets, why.clone()),
            None => {
                let why = format!("the Secret {name} was not read yet");
                return Fingerprint::unknown(subject, FingerprintKind::Secrets, why);
            }
        };
        objects.insert(shown.clone(), joined(["present"]));
        for (key, hash) in keys {
            let content = hash.as_ref().map_or_else(|| joined(["masked"]), |hash| joined(["value", hash]));
            objects.insert(format!("{shown} key {}", site.neutral(key)), content);
        }
    }
    let masked = !digest.is_keyed() && !objects.is_empty();
    let note = masked.then(|| {
        "values are compared by the names of their keys only: set kubernetes.fingerprint_key".to_owned()
    });
    Fingerprint::known(subject, FingerprintKind::Secrets, digest, &objects, note)
}
