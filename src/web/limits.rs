//! What a client may take: requests from a bucket of tokens, and answers that are held in memory until they are read.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::seats::Seat;
use crate::config::RateLimit;

/// How long a client may take to read an answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How many bytes of answers are held at a time; whoever has been reading the longest makes room for the next.
const HELD: usize = 64 << 20;
/// The piece in which an answer is handed out. Copied, so that the last one does not hold on to the whole.
const PIECE: usize = 64 << 10;

/// A bucket of tokens; full at first.
#[derive(Debug)]
pub struct Bucket {
    limit: RateLimit,
    tokens: f64,
    at: Instant,
}

/// Answers that clients have not read to the end.
#[derive(Debug, Default)]
pub struct Sending(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    next: u64,
    bytes: usize,
    answers: BTreeMap<u64, Unread>,
}

#[derive(Debug)]
struct Unread {
    bytes: usize,
    since: Instant,
    reader: Arc<Seat>,
}

/// An answer on its way to its reader.
#[derive(Debug)]
pub struct Parcel {
    rest: Bytes,
    held: Option<(Arc<Sending>, u64)>,
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub fn new(limit: RateLimit, now: Instant) -> Self {
        Bucket { limit, tokens: f64::from(limit.burst), at: now }
    }

    /// Whether this is the bucket of that limit.
    pub fn is_of(&self, limit: RateLimit) -> bool {
        self.limit == limit
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let RateLimit { interval, burst } = self.limit;
        let back = now.saturating_duration_since(self.at).as_secs_f64() / interval.as_secs_f64();
        self.tokens = (self.tokens + back).min(f64::from(burst));
        self.at = now;
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

// === impl Sending ===

impl Sending {
    /// Wraps an answer for its reader. Where too much is held already, those who have been reading the longest leave.
    pub fn send(self: &Arc<Self>, body: Bytes, reader: Arc<Seat>, now: Instant) -> Parcel {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.bytes += body.len();
        held.answers.insert(number, Unread { bytes: body.len(), since: now, reader });
        while held.bytes > HELD && held.answers.len() > 1 {
            held.send_first_away();
        }
        Parcel { rest: body, held: Some((self.clone(), number)) }
    }

    /// Sends everybody away who has been reading for too long.
    pub fn send_slow_away(&self, now: Instant) {
        let mut held = self.lock();
        let slow = |unread: &Unread| now.saturating_duration_since(unread.since) > ANSWER_WITHIN;
        while held.answers.first_key_value().is_some_and(|(_, unread)| slow(unread)) {
            held.send_first_away();
        }
    }

    fn is_read(&self, number: u64) {
        let mut held = self.lock();
        if let Some(unread) = held.answers.remove(&number) {
            held.bytes -= unread.bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Held ===

impl Held {
    fn send_first_away(&mut self) {
        if let Some((_, unread)) = self.answers.pop_first() {
            self.bytes -= unread.bytes;
            unread.reader.send_away();
        }
    }
}

// === impl Parcel ===

impl Parcel {
    fn is_read(&mut self) {
        if let Some((sending, number)) = self.held.take() {
            sending.is_read(number);
        }
    }
}

impl Body for Parcel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(PIECE);
        if length == 0 {
            self.is_read();
            return Poll::Ready(None);
        }
        let piece = Bytes::copy_from_slice(&self.rest[..length]);
        self.rest.advance(length);
        if self.rest.is_empty() {
            self.is_read();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.is_read();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::super::seats::Seats;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn held(sending: &Sending) -> (usize, usize) {
        let held = sending.lock();
        (held.bytes, held.answers.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_full_at_first_and_fills_with_time() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(RateLimit { interval: SECOND, burst: 2 }, now);
        assert_eq!([bucket.take(now), bucket.take(now), bucket.take(now)], [true, true, false]);
        now += SECOND / 2;
        assert!(!bucket.take(now));
        now += SECOND / 2;
        assert_eq!([bucket.take(now), bucket.take(now)], [true, false]);
        now += 60 * SECOND;
        assert_eq!([bucket.take(now), bucket.take(now), bucket.take(now)], [true, true, false]);
        assert!(!bucket.take(now - SECOND), "time does not go back");
    }

    #[tokio::test]
    async fn an_answer_arrives_whole_and_is_then_forgotten() {
        let (sending, mut seats) = (Arc::new(Sending::default()), Seats::default());
        let (_, reader) = seats.take();
        for length in [0, 1, PIECE, PIECE + 1, 5 * PIECE] {
            let body: Bytes = (0..length).map(|n| n as u8).collect::<Vec<_>>().into();
            let parcel = sending.send(body.clone(), reader.clone(), Instant::now());
            assert_eq!(parcel.size_hint().exact(), Some(length as u64));
            assert_eq!(sending.lock().bytes, length);
            assert_eq!(parcel.collect().await.unwrap().to_bytes(), body);
            assert_eq!(held(&sending), (0, 0));
        }
        drop(sending.send(Bytes::from_static(b"never read"), reader, Instant::now()));
        assert_eq!(held(&sending), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_slow_leave_and_the_slowest_make_room() {
        let (sending, mut seats) = (Arc::new(Sending::default()), Seats::default());
        let readers: Vec<_> = (0..3).map(|_| seats.take().1).collect();
        let left = |n: usize| readers[n].must_leave().now_or_never().is_some();
        let body = Bytes::from(vec![0; HELD / 2]);
        let now = Instant::now();
        let parcels: Vec<_> = (0u32..)
            .zip(&readers)
            .map(|(n, reader)| sending.send(body.clone(), reader.clone(), now + n * SECOND))
            .collect();
        assert_eq!([left(0), left(1), left(2)], [true, false, false]);
        sending.send_slow_away(now + ANSWER_WITHIN + SECOND);
        assert_eq!([left(1), left(2)], [false, false]);
        sending.send_slow_away(now + ANSWER_WITHIN + 2 * SECOND - SECOND / 2);
        assert_eq!([left(1), left(2)], [true, false]);
        drop(parcels);
        assert_eq!(held(&sending), (0, 0));
        // One that is larger than all that is held is sent all the same.
        let large = sending.send(vec![0; HELD + 1].into(), readers[2].clone(), now);
        assert!(!left(2));
        drop(large);
    }
}
