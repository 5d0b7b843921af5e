//! A bounded number of clients, of which the one that has been silent the longest makes room for the next: whoever
//! opens connections and sits on them keeps no scrape out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Who is being served.
#[derive(Debug, Default)]
pub struct Seats {
    turn: Arc<AtomicU64>,
    taken: BTreeMap<u64, Arc<Seat>>,
}

/// One client's place.
#[derive(Debug)]
pub struct Seat {
    turn: Arc<AtomicU64>,
    heard: AtomicU64,
    leave: Notify,
}

// === impl Seats ===

impl Seats {
    /// A place for a new client, and the number by which it is given back.
    pub fn take(&mut self) -> (u64, Arc<Seat>) {
        let number = self.turn.fetch_add(1, Ordering::Relaxed);
        let seat =
            Arc::new(Seat { turn: self.turn.clone(), heard: AtomicU64::new(number), leave: Notify::new() });
        self.taken.insert(number, seat.clone());
        (number, seat)
    }

    /// The client has gone.
    pub fn give_back(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    /// Sends away the client that has been silent the longest.
    pub fn make_room(&mut self) {
        let silent = self.taken.iter().min_by_key(|(_, seat)| seat.heard.load(Ordering::Relaxed));
        let number = silent.map(|(number, _)| *number);
        if let Some(seat) = number.and_then(|number| self.taken.remove(&number)) {
            seat.send_away();
        }
    }
}

// === impl Seat ===

impl Seat {
    /// The client has sent a whole request.
    pub fn heard(&self) {
        self.heard.store(self.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Tells the client to go.
    pub fn send_away(&self) {
        self.leave.notify_one();
    }

    /// Resolves when the client has to make room.
    pub async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn the_longest_silence_makes_room() {
        let mut seats = Seats::default();
        let (_, first) = seats.take();
        let (second_number, second) = seats.take();
        let (_, third) = seats.take();
        first.heard();
        seats.make_room();
        assert!(second.must_leave().now_or_never().is_some());
        assert!(first.must_leave().now_or_never().is_none());
        // Whoever was sent away is not sent away again.
        seats.make_room();
        assert!(third.must_leave().now_or_never().is_some());
        seats.give_back(second_number);
        seats.make_room();
        assert!(first.must_leave().now_or_never().is_some());
        seats.make_room();
    }
}
