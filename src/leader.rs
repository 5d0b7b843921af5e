//! Which of several replicas probes: the holder of a Lease, and nobody else.
//!
//! Three parts: what follows from what was heard ([`machine`], pure), how the API server is asked (`lease`), and the
//! [`Leadership`] here, which everybody else looks at. Whether we lead is decided by the monotonic clock at the moment
//! of the question, so that a process that was frozen knows that its time is over before it does anything else.

mod lease;
pub mod machine;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::length;

pub use lease::{Election, identity, keep_leading};
pub use machine::{Change, TookOver};

/// How many changes are remembered.
const REMEMBERED: usize = 20;

/// What this replica is to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There are no others: no `high_availability` is configured.
    Alone,
    /// Another one probes, or nobody knows who may.
    StandingBy {
        /// Who holds the Lease, as far as is known.
        holder: Option<Arc<str>>,
        /// Since when we stand by.
        since: Timestamp,
        /// Why the Lease could not be asked for the last time; one sentence without text of others.
        obstacle: Option<String>,
    },
    /// We probe.
    Leading {
        /// Since when.
        since: Timestamp,
        /// Who did before, as far as is known.
        previous: Option<Arc<str>>,
        /// How we came to.
        how: TookOver,
    },
}

/// Whether we lead, since when, and what happened before. Clones look at the same.
#[derive(Clone, Debug)]
pub struct Leadership(Arc<watch::Sender<Seat>>);

#[derive(Debug)]
struct Seat {
    me: Arc<str>,
    standing: Standing,
    /// Until when leading holds if nothing more is heard; what is not limited has none.
    until: Option<Instant>,
    /// How often we came to lead: what was begun in one term is not continued in the next.
    term: u64,
    history: VecDeque<(Timestamp, String)>,
}

// === impl Leadership ===

impl Leadership {
    /// One without others: it leads for ever.
    pub fn alone() -> Self {
        Leadership::seated(Arc::from(""), Standing::Alone)
    }

    /// One of several, which stands by until it holds the Lease. `me` is how the others are to know it.
    pub fn candidate(me: Arc<str>, now: Timestamp) -> Self {
        Leadership::seated(me, Standing::StandingBy { holder: None, since: now, obstacle: None })
    }

    fn seated(me: Arc<str>, standing: Standing) -> Self {
        Leadership(Arc::new(watch::Sender::new(Seat {
            me,
            standing,
            until: None,
            term: 0,
            history: VecDeque::new(),
        })))
    }

    /// Our own identity in the Lease; empty for one that is alone.
    pub fn me(&self) -> Arc<str> {
        Arc::clone(&self.0.borrow().me)
    }

    /// Whether there may be others.
    pub fn is_alone(&self) -> bool {
        self.0.borrow().standing == Standing::Alone
    }

    /// Whether we may probe at this moment.
    pub fn is_leading(&self) -> bool {
        self.0.borrow().leads(Instant::now())
    }

    /// What we are. A time that has just run out is told as what it is, even before anybody has written it down.
    pub fn standing(&self) -> Standing {
        let seat = self.0.borrow();
        match &seat.standing {
            Standing::Leading { since, .. } if !seat.leads(Instant::now()) => Standing::StandingBy {
                holder: None,
                since: *since,
                obstacle: Some("our time as holder of the Lease has run out".to_owned()),
            },
            Standing::Alone | Standing::StandingBy { .. } | Standing::Leading { .. } => seat.standing.clone(),
        }
    }

    /// The newest changes in words, oldest first.
    pub fn history(&self) -> Vec<(Timestamp, String)> {
        self.0.borrow().history.iter().cloned().collect()
    }

    /// Resolves at the next renewal or change.
    pub async fn changed(&self) {
        // `self` holds the sender, so that this cannot fail.
        let _ = self.0.subscribe().changed().await;
    }

    /// Resolves once we lead.
    pub async fn leads(&self) {
        let mut seats = self.0.subscribe();
        while !seats.borrow_and_update().leads(Instant::now()) {
            let _ = seats.changed().await;
        }
    }

    /// Does the work while we lead. `None` as soon as we do not: the work is then dropped, and has not been polled since
    /// the moment at which our time ended, even if the process was frozen over it.
    pub async fn while_leading<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let term = self.0.borrow().term;
        let (mut lost, mut work) = (pin!(self.lost(term)), pin!(work));
        std::future::poll_fn(|context| {
            if !self.0.borrow().leads_in(term) || lost.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Resolves once that term is over.
    async fn lost(&self, term: u64) {
        let mut seats = self.0.subscribe();
        loop {
            let until = {
                let seat = seats.borrow_and_update();
                if !seat.leads_in(term) {
                    return;
                }
                seat.until
            };
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                _ = seats.changed() => {}
            }
        }
    }

    /// Leads for so long, without any Lease.
    #[cfg(test)]
    pub fn lead_for(&self, time: std::time::Duration) {
        let took = Change::TookOver { previous: None, how: TookOver::First };
        let seen = Seen { holder: None, obstacle: None };
        self.note(Timestamp::UNIX_EPOCH, vec![took], Some(Instant::now() + time), seen);
    }

    /// Writes down what is known now, with what changed.
    fn note(&self, now: Timestamp, changes: Vec<Change>, until: Option<Instant>, seen: Seen<'_>) {
        self.0.send_modify(|seat| {
            for change in changes {
                let sentence = seat.change(now, change);
                if seat.history.len() == REMEMBERED {
                    seat.history.pop_front();
                }
                seat.history.push_back((now, sentence));
            }
            seat.until = until;
            if let Standing::StandingBy { holder, obstacle, .. } = &mut seat.standing {
                let Seen { holder: seen, obstacle: why } = seen;
                *holder = seen.cloned();
                *obstacle = why.map(str::to_owned);
            }
        });
    }
}

/// What was last seen of the Lease.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    holder: Option<&'a Arc<str>>,
    obstacle: Option<&'a str>,
}

// === impl Seat ===

impl Seat {
    fn leads(&self, now: Instant) -> bool {
        match self.standing {
            Standing::Alone => true,
            Standing::StandingBy { .. } => false,
            Standing::Leading { .. } => self.until.is_some_and(|until| now < until),
        }
    }

    fn leads_in(&self, term: u64) -> bool {
        self.term == term && self.leads(Instant::now())
    }

    /// Takes the new standing and says it in words.
    fn change(&mut self, now: Timestamp, change: Change) -> String {
        match change {
            Change::TookOver { previous, how } => {
                let sentence = in_words(previous.as_deref(), &how);
                tracing::info!(me = %self.me, "{sentence}");
                self.standing = Standing::Leading { since: now, previous, how };
                self.term += 1;
                sentence
            }
            Change::SteppedDown(why) => {
                let sentence = format!("stepped down: {why}");
                tracing::warn!(me = %self.me, "{sentence}");
                self.standing = Standing::StandingBy { holder: None, since: now, obstacle: None };
                sentence
            }
            Change::Follows(holder) => {
                let sentence = format!("{holder} leads");
                tracing::info!(me = %self.me, "standing by: {sentence}");
                sentence
            }
        }
    }
}

fn in_words(previous: Option<&str>, how: &TookOver) -> String {
    let from = previous.map(|previous| format!(" from {previous}")).unwrap_or_default();
    match how {
        TookOver::First => "leads: the Lease had no holder".to_owned(),
        TookOver::Released => format!("took over{from}: it had given the Lease back"),
        TookOver::Expired { after } => {
            format!("took over{from}: its Lease was not renewed for {}", length(*after))
        }
        TookOver::Again => "leads again: nobody else had taken the Lease".to_owned(),
    }
}

#[cfg(test)]
mod tests;
