//! Answers that cost CPU are made one after the other and beside the runtime: however many ask for them, the workers that
//! probe and that say whether we are ready never make one.
//!
//! Whoever has waited for a turn since before an equal answer was begun gets that one. So a storm of scrapes is answered
//! with a few renderings, none of which is older than its question.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::tasks;

/// How long a request may wait for its turn: as long as Prometheus waits for a scrape by default.
pub const TURN_WITHIN: Duration = Duration::from_secs(10);

/// Where answers of one kind wait for each other; `Q` is what is asked.
#[derive(Debug)]
pub struct Turns<Q>(Arc<Mutex<Option<Made<Q>>>>);

/// The last answer.
#[derive(Debug)]
struct Made<Q> {
    question: Q,
    began: Instant,
    response: Response<Bytes>,
}

// === impl Turns ===

impl<Q> Default for Turns<Q> {
    fn default() -> Self {
        Turns(Arc::default())
    }
}

impl<Q: PartialEq + Send + 'static> Turns<Q> {
    /// The answer to a question; `None` if its turn does not come in time.
    pub async fn answer(
        &self,
        question: Q,
        make: impl FnOnce(&Q) -> Response<Bytes> + Send + 'static,
    ) -> Option<Response<Bytes>> {
        let asked = Instant::now();
        let mut turn = timeout(TURN_WITHIN, self.0.clone().lock_owned()).await.ok()?;
        let made = turn.as_ref().filter(|made| made.question == question && made.began >= asked);
        if let Some(Made { question: _, began: _, response }) = made {
            return Some(response.clone());
        }
        let began = Instant::now();
        // The turn goes with the work: a client that hangs up does not make room for the next one's.
        let answer = tasks::compute(move || {
            let response = make(&question);
            *turn = Some(Made { question, began, response: response.clone() });
            response
        });
        Some(answer.await)
    }

    /// Frees the last answer if nobody waits who may want it.
    pub fn forget(&self) {
        // The lock is fair: it is not to be had while somebody waits.
        if let Ok(mut last) = self.0.try_lock() {
            *last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    fn response(text: &str) -> Response<Bytes> {
        Response::new(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[tokio::test]
    async fn who_has_waited_shares_what_was_begun_since() {
        let (turns, made) = (Turns::default(), Arc::new(AtomicUsize::new(0)));
        let ask = |question: &'static str| {
            let made = made.clone();
            turns.answer(question, move |question| {
                let number = made.fetch_add(1, Ordering::SeqCst);
                response(&format!("{question} {number}"))
            })
        };
        let (go, wait) = mpsc::channel::<()>();
        let first = turns.answer("metrics", move |_| {
            let _ = wait.recv();
            response("began before the others asked")
        });
        let others = join_all((0..100).map(|_| ask("metrics")));
        let another = ask("report");
        let mut others = std::pin::pin!(others);
        let mut first = std::pin::pin!(first);
        assert!(first.as_mut().now_or_never().is_none());
        assert!(others.as_mut().now_or_never().is_none());
        go.send(()).unwrap();
        let (first, others, another) = futures_util::join!(first, others, another);
        assert_eq!(first.unwrap().body(), "began before the others asked");
        assert!(others.iter().all(|answer| answer.as_ref().unwrap().body() == "metrics 0"), "{others:?}");
        assert_eq!(another.unwrap().body(), "report 1");
        // Whoever asks later gets a new one, whether the last is remembered or not.
        assert_eq!(ask("report").await.unwrap().body(), "report 2");
        turns.forget();
        assert_eq!(ask("report").await.unwrap().body(), "report 3");
    }

    #[tokio::test]
    async fn who_hangs_up_makes_no_room_and_who_waits_too_long_is_sent_away() {
        let turns = Turns::default();
        let (go, wait) = mpsc::channel::<()>();
        let slow = turns.answer(1, move |_| {
            let _ = wait.recv();
            response("slow")
        });
        assert!(slow.now_or_never().is_none(), "and it is dropped, while its work goes on");
        tokio::time::pause();
        let mut second = std::pin::pin!(turns.answer(2, |_| response("never")));
        assert!(second.as_mut().now_or_never().is_none());
        // By hand: paused time does not move by itself while work goes on beside the runtime.
        tokio::time::advance(TURN_WITHIN * 2).await;
        assert!(second.await.is_none());
        turns.forget();
        tokio::time::resume();
        go.send(()).unwrap();
        assert_eq!(turns.answer(3, |_| response("next")).await.unwrap().body(), "next");
    }
}
