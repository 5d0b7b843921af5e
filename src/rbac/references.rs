//! Names of ConfigMaps and Secrets: those that a pod template refers to, and those that the configuration itself names.

use std::collections::BTreeSet;

use crate::config::{Config, ConnectTo, System};
use crate::discovery::objects::Template;
use crate::discovery::references;
use crate::secret::SecretSource;

/// What the pods of a workload refer to, in their own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

/// What the configuration itself names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Namespace and name of Secrets that hold credentials.
    pub secrets: BTreeSet<(String, String)>,
    /// Namespaces with Services to which connections go.
    pub services: BTreeSet<String>,
}

// === impl References ===

impl References {
    /// Everything that a pod template refers to.
    pub fn of(template: &Template) -> Self {
        let found = references::References::of(&template.spec);
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        References { config_maps: owned(found.config_maps), secrets: owned(found.secrets) }
    }
}

/// Every Secret and every Service that the configuration names.
pub fn in_config(config: &Config) -> Given {
    let mut given = Given::default();
    given.credential(config.kubernetes.fingerprint_key.as_ref());
    for peer in &config.peers {
        given.credential(peer.authorization.as_ref());
        given.credential(peer.basic_auth.as_ref().and_then(|login| login.password.as_ref()));
    }
    config.systems.iter().for_each(|system| given.system(system));
    given
}

// === impl Given ===

impl Given {
    fn credential(&mut self, source: Option<&SecretSource>) {
        if let Some(SecretSource::Kubernetes { namespace, name, key: _ }) = source {
            self.secrets.insert((namespace.clone(), name.clone()));
        }
    }

    fn connect_to(&mut self, to: Option<&ConnectTo>) {
        if let Some(ConnectTo::Service { namespace, .. }) = to {
            self.services.insert(namespace.clone());
        }
    }

    fn endpoint(&mut self, endpoint: &crate::config::Endpoint) {
        [&endpoint.url, &endpoint.expected_url, &endpoint.password]
            .into_iter()
            .for_each(|source| self.credential(source.as_ref()));
    }

    fn system(&mut self, system: &System) {
        let System {
            name: _,
            strategy: _,
            rpo: _,
            rto: _,
            waivers: _,
            maintenance: _,
            drill: _,
            workloads: _,
            surfaces,
            databases,
            dependencies,
            requests,
            traffic,
            dns,
            certificates,
            infrastructure: _,
        } = system;
        for database in databases {
            self.endpoint(&database.endpoint);
            self.credential(database.credentials.as_ref().and_then(|own| own.password.as_ref()));
            let writer = database.heartbeat_writer.credentials.as_ref();
            self.credential(writer.and_then(|own| own.password.as_ref()));
            if let Some(standby) = &database.standby {
                self.endpoint(&standby.endpoint);
                standby.primary.iter().for_each(|primary| self.endpoint(primary));
            }
        }
        for dependency in dependencies {
            self.credential(dependency.endpoint.url.as_ref());
            self.credential(dependency.password.as_ref());
        }
        for request in requests {
            request.headers.values().for_each(|value| self.credential(Some(value)));
            self.credential(request.body.as_ref());
            self.connect_to(request.connect_to.as_ref());
        }
        for traffic in traffic {
            if let crate::config::TrafficSource::Prometheus(server) = &traffic.source {
                self.credential(server.authorization.as_ref());
            }
        }
        surfaces.iter().for_each(|surface| self.connect_to(surface.connect_to.as_ref()));
        dns.iter().for_each(|record| self.connect_to(record.target.as_ref()));
        certificates.iter().for_each(|certificate| self.connect_to(certificate.connect_to.as_ref()));
    }
}
