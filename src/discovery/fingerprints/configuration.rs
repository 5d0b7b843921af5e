//! The variables of a workload, and the ConfigMaps that it refers to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::canonical::{joined, looks_secret, plain_name};
use super::{Digest, Fingerprint, Site};
use crate::discovery::objects::{Container, EnvSource, PodSpec};
use crate::discovery::{Inventory, ObjectRef, covering, in_sight};
use crate::model::{FingerprintKind, Resource};

/// Variables by container and name, and ConfigMaps by name and key.
pub(super) fn of(
    subject: &str,
    namespace: &Arc<str>,
    spec: &PodSpec,
    inventory: &Inventory,
    site: Site<'_>,
    digest: &Digest,
) -> Fingerprint {
    let kind = FingerprintKind::Configuration;
    let mut objects = BTreeMap::new();
    let mut masked = 0;
    let mut content = |name: &str, value: &str| {
        if !digest.is_keyed() && looks_secret(name, value) {
            masked += 1;
            return joined(["masked"]);
        }
        joined(["value", &site.neutral(value)])
    };
    for container in spec.containers.iter().chain(&spec.init_containers) {
        for (name, said) in variables(container, &mut content) {
            objects.insert(site.neutral(&format!("variable {}/{name}", container.name)), said);
        }
    }
    for name in config_maps(spec) {
        let object = ObjectRef::new(namespace, name);
        if let Err(gap) = in_sight(inventory, [&covering::covering(inventory, Resource::ConfigMaps, &object)])
        {
            return Fingerprint::unknown(subject, kind, gap.detail);
        }
        let shown = site.neutral(&format!("ConfigMap {}", plain_name(name)));
        match inventory.config_maps.get(&object) {
            None => drop(objects.insert(shown, joined(["absent"]))),
            Some(data) => {
                objects.insert(shown.clone(), joined(["present"]));
                for (key, value) in data {
                    objects.insert(format!("{shown} key {}", site.neutral(key)), content(key, value));
                }
            }
        }
    }
    let note = (masked > 0).then(|| {
        format!("{masked} values look like credentials and are compared by name only: set kubernetes.fingerprint_key")
    });
    Fingerprint::known(subject, kind, digest, &objects, note)
}

/// The variables of a container, each with what it is: a later one of the same name wins, as in the container.
fn variables(
    container: &Container,
    content: &mut impl FnMut(&str, &str) -> String,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for variable in &container.env {
        let said = match (&variable.value, &variable.value_from) {
            (_, Some(EnvSource { config_map_key_ref, secret_key_ref, field_ref })) => joined([
                reference(config_map_key_ref.as_ref().map(|of| (&*of.name, &*of.key))),
                reference(secret_key_ref.as_ref().map(|of| (&*of.name, &*of.key))),
                field_ref.as_ref().map(|field| field.field_path.to_string()).unwrap_or_default(),
            ]),
            (value, None) => content(&variable.name, value.as_deref().unwrap_or_default()),
        };
        all.insert(variable.name.to_string(), said);
    }
    // Whole objects as variables: which ones, under which prefix. Their content is hashed as what it is.
    let sources: BTreeSet<String> = container
        .env_from
        .iter()
        .map(|from| {
            let name = |of: &Option<crate::discovery::objects::ObjectName>| {
                of.as_ref().map(|of| plain_name(&of.name).to_owned()).unwrap_or_default()
            };
            joined([from.prefix.to_string(), name(&from.config_map_ref), name(&from.secret_ref)])
        })
        .collect();
    if !sources.is_empty() {
        all.insert("(envFrom)".to_owned(), joined(sources));
    }
    all
}

fn reference(of: Option<(&str, &str)>) -> String {
    of.map(|(name, key)| joined([plain_name(name), key])).unwrap_or_default()
}

/// The names of the ConfigMaps that a pod refers to.
fn config_maps(spec: &PodSpec) -> BTreeSet<&str> {
    let containers = spec.containers.iter().chain(&spec.init_containers);
    let variables = containers.flat_map(|container| {
        let keys = container
            .env
            .iter()
            .filter_map(|variable| Some(&*variable.value_from.as_ref()?.config_map_key_ref.as_ref()?.name));
        let whole = container.env_from.iter().filter_map(|from| Some(&*from.config_map_ref.as_ref()?.name));
        keys.chain(whole)
    });
    let volumes = spec.volumes.iter().flat_map(|volume| {
        let projected = volume.projected.iter().flat_map(|projected| &projected.sources);
        let projected = projected.filter_map(|source| source.config_map.as_ref());
        volume.config_map.iter().chain(projected).map(|files| &*files.name)
    });
    variables.chain(volumes).filter(|name| !name.is_empty()).collect()
}
