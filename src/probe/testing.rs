//! What unit tests of probes work with.

use std::sync::{Arc, RwLock};

use super::Tools;
use super::own_requests::OwnRequests;
use super::slots::Slots;
use crate::discovery::Cluster;
use crate::discovery::prints::Prints;
use crate::net::http::HttpClient;
use crate::net::region::Regions;
use crate::net::resolve::Resolver;
use crate::secret::{KubernetesAccess, Secrets};

/// Tools without a cluster, without regions and with the resolver of the system.
pub(crate) fn tools() -> Tools {
    let resolver = Resolver::default();
    let (cluster, secrets) = (Arc::<Cluster>::default(), Secrets::new(KubernetesAccess::Disabled));
    let prints = Prints {
        cluster: cluster.clone(),
        secrets: secrets.clone(),
        site: "dr-west".to_owned(),
        region: "us-west-2".to_owned(),
        key: None,
        read: RwLock::default(),
    };
    Tools {
        http: HttpClient::new(resolver.clone()),
        resolver,
        secrets,
        regions: Regions::default(),
        own_requests: OwnRequests::default(),
        slots: Slots::new(1),
        cluster,
        sightings: Arc::default(),
        prints: Arc::new(prints),
    }
}
