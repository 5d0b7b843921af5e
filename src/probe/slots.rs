//! How many connections one database endpoint may see from us at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded number of places for each endpoint.
#[derive(Debug)]
pub struct Slots {
    places: usize,
    endpoints: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

// === impl Slots ===

impl Slots {
    /// So many places at every endpoint.
    pub fn new(places: usize) -> Self {
        Slots { places, endpoints: Mutex::default() }
    }

    /// Waits for a place at an endpoint; it is free again when the permit is dropped.
    pub async fn acquire(&self, endpoint: &str) -> Option<OwnedSemaphorePermit> {
        let semaphore = {
            let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            // Endpoints come and go with the DSNs that name them: what nobody waits for or holds is forgotten.
            endpoints.retain(|name, places| name == endpoint || places.available_permits() < self.places);
            let places = endpoints.entry(endpoint.to_owned());
            places.or_insert_with(|| Arc::new(Semaphore::new(self.places))).clone()
        };
        semaphore.acquire_owned().await.ok()
    }
}
