//! How many connections one database endpoint may see from us at a time.
//!
//! Many systems may live on one server. While it is silent each attempt holds its place to the end of its deadline, and
//! those behind it would use up their own by waiting, and be none the wiser. So whoever waits shares what the one
//! before it met: the endpoint was silent, at this very moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// A bounded number of places for each endpoint.
#[derive(Debug)]
pub struct Slots {
    places: usize,
    endpoints: Mutex<BTreeMap<String, Arc<Endpoint>>>,
}

#[derive(Debug)]
struct Endpoint {
    places: Arc<Semaphore>,
    /// Counts how often it was silent.
    silences: watch::Sender<u64>,
}

/// A place at an endpoint; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    endpoint: Arc<Endpoint>,
    since: Instant,
    silence: Duration,
    answered: bool,
    _permit: OwnedSemaphorePermit,
}

/// The endpoint was silent to another attempt while this one waited for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent;

// === impl Slots ===

impl Slots {
    /// So many places at every endpoint.
    pub fn new(places: usize) -> Self {
        Slots { places, endpoints: Mutex::default() }
    }

    /// Waits for a place at an endpoint, which is then held in silence for at least `silence` before it counts as silent.
    ///
    /// # Errors
    ///
    /// [`Silent`] if the endpoint was, to another attempt, in the meantime.
    pub async fn acquire(&self, endpoint: &str, silence: Duration) -> Result<Place, Silent> {
        let endpoint = self.endpoint(endpoint);
        let mut silences = endpoint.silences.subscribe();
        tokio::select! {
            biased;
            _ = silences.changed() => Err(Silent),
            permit = endpoint.places.clone().acquire_owned() => {
                let permit = permit.map_err(|_closed| Silent)?;
                Ok(Place { since: Instant::now(), silence, answered: false, _permit: permit, endpoint: endpoint.clone() })
            }
        }
    }

    fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        // Endpoints come and go with the DSNs that name them: what nobody waits for or holds is forgotten.
        endpoints.retain(|other, endpoint| other == name || Arc::strong_count(endpoint) > 1);
        let fresh =
            || Endpoint { places: Arc::new(Semaphore::new(self.places)), silences: watch::Sender::new(0) };
        endpoints.entry(name.to_owned()).or_insert_with(|| Arc::new(fresh())).clone()
    }
}

// === impl Place ===

impl Place {
    /// The endpoint answered, be it with a refusal.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= self.silence {
            self.endpoint.silences.send_modify(|count| *count += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_a_silence_and_nothing_else() {
        let slots = Slots::new(1);
        let held = slots.acquire("a", LONG).await.unwrap();
        assert!(slots.acquire("b", LONG).await.is_ok(), "another endpoint is not concerned");
        let (waiting, ()) = tokio::join!(slots.acquire("a", LONG), async {
            tokio::time::sleep(LONG).await;
            drop(held);
        });
        assert_eq!(waiting.unwrap_err(), Silent);
        // The silence is over for those who come later: they try for themselves.
        let mut held = slots.acquire("a", LONG).await.unwrap();
        let (waiting, ()) = tokio::join!(slots.acquire("a", LONG), async {
            held.answered();
            tokio::time::sleep(LONG).await;
            drop(held);
        });
        // An answer was there, so the next in the queue gets the place; and one that was held briefly proves nothing.
        let held = waiting.unwrap();
        let (waiting, ()) = tokio::join!(slots.acquire("a", LONG), async { drop(held) });
        assert!(waiting.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_and_endpoints_forgotten() {
        let slots = Slots::new(2);
        let (first, second) = (slots.acquire("a", LONG).await, slots.acquire("a", LONG).await);
        assert!(timeout(LONG, slots.acquire("a", LONG)).await.is_err(), "there are two");
        drop((first, second));
        assert!(slots.acquire("b", LONG).await.is_ok());
        assert_eq!(slots.endpoints.lock().unwrap().keys().collect::<Vec<_>>(), ["b"]);
    }
}
