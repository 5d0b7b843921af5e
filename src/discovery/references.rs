//! Which ConfigMaps and Secrets a pod refers to, in its own namespace. Pure; the one walk for watches, rights and
//! fingerprints, so that none of them forgets a place that another knows.

use std::collections::BTreeSet;

use super::objects::{Container, PodSpec, Volume};

/// Names of objects that a pod refers to: by variable, whole, or as files, projected ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References<'s> {
    /// ConfigMaps.
    pub config_maps: BTreeSet<&'s str>,
    /// Secrets.
    pub secrets: BTreeSet<&'s str>,
}

// === impl References ===

impl<'s> References<'s> {
    /// Those of a new pod.
    pub fn of(spec: &'s PodSpec) -> Self {
        let mut found = References::default();
        spec.containers.iter().chain(&spec.init_containers).for_each(|container| found.container(container));
        spec.volumes.iter().for_each(|volume| found.volume(volume));
        // The API server takes an empty name. It refers to nothing, and a watch of it would be one of every object.
        found.config_maps.remove("");
        found.secrets.remove("");
        found
    }

    fn container(&mut self, container: &'s Container) {
        for source in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
            self.config_maps.extend(source.config_map_key_ref.iter().map(|key| &*key.name));
            self.secrets.extend(source.secret_key_ref.iter().map(|key| &*key.name));
        }
        for whole in &container.env_from {
            self.config_maps.extend(whole.config_map_ref.iter().map(|object| &*object.name));
            self.secrets.extend(whole.secret_ref.iter().map(|object| &*object.name));
        }
    }

    fn volume(&mut self, volume: &'s Volume) {
        let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
        let sources = sources.map(|source| (&source.config_map, &source.secret));
        for (config_map, secret) in sources.chain([(&volume.config_map, &volume.secret)]) {
            self.config_maps.extend(config_map.iter().map(|files| &*files.name));
            self.secrets.extend(secret.iter().map(|files| &*files.secret_name));
        }
    }
}
