//! What unit tests of probes work with.

use std::sync::Arc;

use super::Tools;
use super::own_requests::OwnRequests;
use super::slots::Slots;
use crate::net::http::HttpClient;
use crate::net::region::Regions;
use crate::net::resolve::Resolver;
use crate::secret::{KubernetesAccess, Secrets};

/// Tools without a cluster, without regions and with the resolver of the system.
pub(crate) fn tools() -> Tools {
    let resolver = Resolver::default();
    Tools {
        http: HttpClient::new(resolver.clone()),
        resolver,
        secrets: Secrets::new(KubernetesAccess::Disabled),
        regions: Regions::default(),
        own_requests: OwnRequests::default(),
        slots: Slots::new(1),
        cluster: Arc::default(),
        sightings: Arc::default(),
    }
}
