//! Who holds the Lease, as far as one candidate can know. Pure: time is the length since an origin of the caller's own
//! monotonic clock; nobody else's clock is ever believed.
//!
//! **Why there are never two.** A holder's time ends [`DEADLINE`] after it *sent* the last write that was accepted. A
//! candidate takes over no earlier than [`DURATION`] after it *saw* the claim change, which is later than that write was
//! sent; and it writes over exactly the version that it saw, so that a renewal in between makes the server refuse. The
//! difference between the two lengths is what clocks may drift apart meanwhile. A Lease that vanished might have had a
//! holder, so that it is made anew only after the same time.
//!
//! The method is that of client-go's `leaderelection` (kubernetes/client-go, `tools/leaderelection`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// How long a claim is respected after it was seen to change. Written into the Lease for people to read.
pub const DURATION: Duration = Duration::from_secs(10);
/// How long after it was sent the last accepted write is worth something to its holder.
pub const DEADLINE: Duration = Duration::from_secs(6);
/// From one renewal to the next, and from one look of a candidate to the next.
pub const RENEW: Duration = Duration::from_secs(2);
/// From a failure to the next attempt.
pub const RETRY: Duration = Duration::from_millis(500);
/// How long one request may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Who claims the Lease. Any difference shows that its holder lives; its times are never compared with a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The identity of the holder.
    pub holder: Option<Arc<str>>,
    /// When it took the Lease, by its own clock.
    pub acquired: Option<Timestamp>,
    /// When it renewed it, by its own clock.
    pub renewed: Option<Timestamp>,
    /// How often the holder has changed.
    pub transitions: i32,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look at the Lease.
    Read,
    /// Claim it, for the first time or again.
    Write,
}

/// A write that the server must refuse if the Lease is not `over` any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<V> {
    /// The version that is replaced; none: the Lease is made.
    pub over: Option<V>,
    /// Its holder changes with this write.
    pub is_new: bool,
    /// How often the holder has changed, this write included.
    pub transitions: i32,
}

/// What the server said. `V` is what it takes to name a version of the Lease.
#[derive(Clone, Debug)]
pub enum Heard<V> {
    /// The Lease as it is now; to a write: it was accepted.
    Lease(V, Claim),
    /// There is none.
    Missing,
    /// Somebody else was faster.
    Conflict,
    /// Nothing that could be used, and why.
    Silence(String),
}

/// How somebody came to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TookOver {
    /// There was no holder before.
    First,
    /// The holder before had given the Lease back.
    Released,
    /// The holder before had not renewed it for so long.
    Expired {
        /// From the last renewal that we saw.
        after: Duration,
    },
    /// We ourselves were the holder before, had stopped, and nobody else had come.
    Again,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// We lead.
    TookOver {
        /// Who did before, as far as we know.
        previous: Option<Arc<str>>,
        /// How we came to.
        how: TookOver,
    },
    /// We lead no longer, and why.
    SteppedDown(String),
    /// Another one leads.
    Follows(Arc<str>),
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Machine<V> {
    me: Arc<str>,
    /// Until when we lead.
    until: Option<Duration>,
    /// The Lease as it was last heard of, and when its claim was first seen so.
    seen: Option<(V, Claim, Duration)>,
    /// Since when there is no Lease although there was one.
    vanished: Option<Duration>,
    /// The last holder other than ourselves.
    other: Option<Arc<str>>,
    obstacle: Option<String>,
    next: (Duration, Step),
}

// === impl Machine ===

impl<V: Clone> Machine<V> {
    /// A candidate of that identity, which must be like no other's.
    pub fn new(me: Arc<str>, now: Duration) -> Self {
        Machine {
            me,
            until: None,
            seen: None,
            vanished: None,
            other: None,
            obstacle: None,
            next: (now, Step::Read),
        }
    }

    /// Whether we lead at that time.
    pub fn leads(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Until when we lead, if nothing more is heard.
    pub fn until(&self) -> Option<Duration> {
        self.until
    }

    /// What is to be done, and when; never later than our time ends.
    pub fn next(&self) -> (Duration, Step) {
        let (at, step) = self.next;
        (self.until.map_or(at, |until| at.min(until)), step)
    }

    /// How long a request that begins now may take.
    pub fn patience(&self, now: Duration) -> Duration {
        self.until.map_or(PATIENCE, |until| until.saturating_sub(now).min(PATIENCE))
    }

    /// Who holds the Lease, as far as is known.
    pub fn holder(&self) -> Option<&Arc<str>> {
        self.seen.as_ref().and_then(|(_, claim, _)| claim.holder.as_ref())
    }

    /// Why nothing was heard the last time.
    pub fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    /// The write that claims or renews the Lease.
    pub fn write(&self) -> Write<V> {
        match &self.seen {
            None => Write { over: None, is_new: true, transitions: 0 },
            Some((version, claim, _)) => {
                let is_new = claim.holder.as_ref() != Some(&self.me);
                let first = claim.holder.is_none() && claim.acquired.is_none();
                let transitions = claim.transitions.saturating_add(i32::from(is_new && !first));
                Write { over: Some(version.clone()), is_new, transitions }
            }
        }
    }

    /// Stops leading; the version to give back, if the Lease is ours.
    pub fn release(&mut self) -> Option<V> {
        self.until = None;
        let (version, claim, _) = self.seen.take()?;
        (claim.holder.as_ref() == Some(&self.me)).then_some(version)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Option<Change> {
        let until = self.until.filter(|until| now >= *until)?;
        self.next = (now, Step::Read);
        let silent = (now.saturating_sub(until) + DEADLINE).as_secs();
        let why = self.obstacle.as_deref().unwrap_or("no answer came in time");
        Some(self.step_down(format!("the Lease could not be renewed for {silent} s ({why})")))
    }

    /// What came of a step that was `sent` then. Two changes only if our time ended while we waited.
    pub fn hear(&mut self, step: Step, sent: Duration, heard: Heard<V>, now: Duration) -> Vec<Change> {
        let ended = self.tick(now);
        self.obstacle = None;
        let change = match heard {
            Heard::Silence(why) => {
                self.obstacle = Some(why);
                let again = if self.until.is_some() { step } else { Step::Read };
                self.next = (now + RETRY, again);
                None
            }
            Heard::Conflict => {
                // Perhaps a write of our own whose answer was lost: look, before anything is concluded.
                let pause = if self.until.is_some() { Duration::ZERO } else { RETRY };
                self.next = (now + pause, Step::Read);
                None
            }
            Heard::Missing => self.missing(now),
            Heard::Lease(version, claim) => match step {
                Step::Read => self.read(version, claim, now),
                Step::Write => self.accepted(version, claim, sent, now),
            },
        };
        ended.into_iter().chain(change).collect()
    }

    fn missing(&mut self, now: Duration) -> Option<Change> {
        let change = self.until.is_some().then(|| self.step_down("the Lease was deleted".to_owned()));
        if self.seen.take().is_some() {
            self.vanished = Some(now);
        }
        let from = self.vanished.map_or(now, |since| since + DURATION);
        self.next = self.claim_at(from, now);
        change
    }

    fn read(&mut self, version: V, claim: Claim, now: Duration) -> Option<Change> {
        self.vanished = None;
        let holder = claim.holder.clone();
        let (followed, since) = match self.seen.take() {
            Some((_, before, since)) if before == claim => (before.holder, since),
            Some((_, before, _)) => (before.holder, now),
            None => (None, now),
        };
        self.seen = Some((version, claim, since));
        let other = holder.as_ref().filter(|holder| **holder != self.me).cloned();
        let Some(other) = other else {
            let lost = self.until.is_some() && holder.is_none();
            self.next = (now, Step::Write);
            return lost.then(|| self.step_down("somebody emptied the Lease".to_owned()));
        };
        self.other = Some(other.clone());
        self.next = self.claim_at(since + DURATION, now);
        if self.until.is_some() {
            return Some(self.step_down(format!("{other} holds the Lease")));
        }
        (followed.as_ref() != Some(&other)).then_some(Change::Follows(other))
    }

    fn accepted(&mut self, version: V, claim: Claim, sent: Duration, now: Duration) -> Option<Change> {
        let until = sent + DEADLINE;
        let before = self.seen.replace((version, claim, now));
        self.vanished = None;
        if now >= until {
            // The answer took so long that it is worth nothing.
            self.until = None;
            self.next = (now, Step::Read);
            return None;
        }
        self.next = (now.max(sent + RENEW), Step::Write);
        if self.until.replace(until).is_some() {
            return None;
        }
        let (previous, how) = match before {
            None => (None, TookOver::First),
            Some((_, Claim { holder: None, acquired: None, .. }, _)) => (None, TookOver::First),
            Some((_, Claim { holder: None, .. }, _)) => (self.other.clone(), TookOver::Released),
            Some((_, Claim { holder: Some(me), .. }, _)) if me == self.me => (None, TookOver::Again),
            Some((_, Claim { holder, .. }, since)) => {
                (holder, TookOver::Expired { after: now.saturating_sub(since) })
            }
        };
        Some(Change::TookOver { previous, how })
    }

    /// The claim at that time, or a look before it.
    fn claim_at(&self, from: Duration, now: Duration) -> (Duration, Step) {
        if from <= now + RENEW { (from.max(now), Step::Write) } else { (now + RENEW, Step::Read) }
    }

    fn step_down(&mut self, why: String) -> Change {
        self.until = None;
        Change::SteppedDown(why)
    }
}

#[cfg(test)]
mod tests;
