//! The Secrets that a workload refers to: the names of their keys, and their values by HMAC only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::Api;

use super::canonical::{joined, plain_name};
use super::{Digest, Fingerprint, Site};
use crate::discovery::objects::PodSpec;
use crate::model::FingerprintKind;
use crate::secret::Secrets;

/// What reading the Secrets of a workload gave, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsSeen(pub BTreeMap<String, Result<BTreeMap<String, Option<String>>, String>>);

/// The names of the Secrets that a pod refers to.
pub fn referenced(spec: &PodSpec) -> BTreeSet<&str> {
    let containers = spec.containers.iter().chain(&spec.init_containers);
    let variables = containers.flat_map(|container| {
        let keys = container
            .env
            .iter()
            .filter_map(|variable| Some(&*variable.value_from.as_ref()?.secret_key_ref.as_ref()?.name));
        let whole = container.env_from.iter().filter_map(|from| Some(&*from.secret_ref.as_ref()?.name));
        keys.chain(whole)
    });
    let volumes = spec.volumes.iter().flat_map(|volume| {
        let projected = volume.projected.iter().flat_map(|projected| &projected.sources);
        let projected = projected.filter_map(|source| source.secret.as_ref());
        volume.secret.iter().chain(projected).map(|files| &*files.secret_name)
    });
    variables.chain(volumes).filter(|name| !name.is_empty()).collect()
}

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
    let api: Api<KubeSecret> = Api::namespaced(secrets.client().await?, namespace);
    let secret = api.get(name).await.map_err(|error| match error {
        kube::Error::Api(status) => match status.code {
            401 => "the Kubernetes API does not accept our account's token".to_owned(),
            403 => format!(
                "forbidden: our account needs the rule `get` on `secrets` with resourceNames [{name}] in namespace {namespace}"
            ),
            404 => format!("there is no Secret {namespace}/{name}"),
            code => format!("the Kubernetes API answered {code}"),
        },
        // The text of the other errors may quote headers or bodies.
        _ => "the Kubernetes API cannot be reached".to_owned(),
    })?;
    let hashed = |value: &[u8]| {
        let text = match std::str::from_utf8(value) {
            Ok(text) => joined(["text", &site.neutral(text)]),
            Err(_) => joined(["bytes", &value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()]),
        };
        digest.is_keyed().then(|| digest.of("secret value", &text))
    };
    let data = secret.data.unwrap_or_default();
    Ok(data.into_iter().map(|(key, value)| (key, hashed(&value.0))).collect())
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
    for name in referenced(spec) {
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
