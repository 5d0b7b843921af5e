//! Scrapes added up over a window.
//!
//! **Memory.** Nothing raw is kept. Per instance and series: a 128-bit key and its last value (at most 20,000 of
//! 24 bytes plus the table's room). Per workload: at most 1,025 slots of 48 bytes, however long the window and
//! however many the instances; at most 2,000 handler names and 10,000 own requests under way. An instance that left
//! is remembered for one window, and at most 500 of them. So 10 pods of 200 series over 24 h take about 150 KB.
//!
//! **Rounding.** A slot leaves the window when all of it is too old, so the window is up to 1/1024 longer than
//! asked for. That errs towards seeing business.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::own::{Own, OwnRequests};
use super::{Class, Judgement, Scrape, Selectors, Suspicion};

const SLOTS: i64 = 1_024;
const MAX_GONE: usize = 500;

/// The accounting of one workload.
#[derive(Clone, Debug)]
pub struct Window {
    selectors: Selectors,
    length: i64,
    interval: i64,
    started: Option<i64>,
    current: BTreeMap<String, Instance>,
    gone: BTreeMap<String, Instance>,
    /// The latest moment at which an instance left that had not been read up to its end.
    lost_until: Option<i64>,
    slots: VecDeque<Slot>,
    own: OwnRequests,
    /// Business increases that an own request answered later may still explain.
    recent: VecDeque<Recent>,
    total: Slot,
    /// Own requests found out after they had been exposed as business; the next increases pay them back.
    debt: f64,
    last_business: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct Instance {
    appeared: i64,
    /// Whether it was there when we began, so that its past is not ours to count.
    is_old: bool,
    last: Option<i64>,
    /// Since when there is no gap; `None` while nothing was read.
    covered_from: Option<i64>,
    start_time: Option<f64>,
    requests: HashMap<u128, f64>,
    errors: HashMap<u128, f64>,
    moved: Option<i64>,
    required_present: Vec<bool>,
    has_invalid: bool,
    is_gauge: bool,
    is_too_large: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    index: i64,
    business: f64,
    synthetic: f64,
    probe: f64,
    other: f64,
    errors: f64,
}

#[derive(Clone, Debug)]
struct Recent {
    at: i64,
    handler: String,
    left: f64,
    previous_business: Option<i64>,
}

// === impl Window ===

impl Window {
    /// An empty window. `interval` is that of the scrapes; `length` is at least as long.
    pub fn new(selectors: Selectors, length: Duration, interval: Duration) -> Self {
        let interval = millis(interval).max(1);
        Window {
            selectors,
            length: millis(length).max(interval),
            interval,
            started: None,
            current: BTreeMap::new(),
            gone: BTreeMap::new(),
            lost_until: None,
            slots: VecDeque::new(),
            own: OwnRequests::default(),
            recent: VecDeque::new(),
            total: Slot::default(),
            debt: 0.0,
            last_business: None,
        }
    }

    /// What the window was made to read with.
    pub fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// The instances that were read, or asked in vain, and those that left within the last window.
    pub fn remembered(&self) -> BTreeSet<String> {
        self.current.keys().chain(self.gone.keys()).cloned().collect()
    }

    /// Says which instances the workload has now. The first call decides whose past is unknown.
    pub fn set_instances(&mut self, names: &[&str], at: Timestamp) {
        let at = at.as_millisecond();
        let wanted: BTreeSet<&str> = names.iter().copied().collect();
        let left: Vec<String> =
            self.current.keys().filter(|name| !wanted.contains(name.as_str())).cloned().collect();
        for name in left {
            self.leave(&name, at, true);
        }
        let is_first = self.started.is_none();
        self.started.get_or_insert(at);
        for name in wanted {
            self.appear(name, at, is_first);
        }
    }

    /// Records that an instance could not be read. Its gap shows by itself; this makes it known.
    pub fn missed(&mut self, instance: &str, at: Timestamp) {
        let at = at.as_millisecond();
        let is_first = self.started.is_none();
        self.started.get_or_insert(at);
        self.appear(instance, at, is_first);
    }

    /// Adds what an instance exposed at `at`. Not later than its last sample: ignored.
    pub fn observe(&mut self, instance: &str, at: Timestamp, scrape: &Scrape) {
        let at = at.as_millisecond();
        // An instance that nobody listed and that shows up at once was there before us.
        let started = *self.started.get_or_insert(at);
        self.appear(instance, at, at - started <= 2 * self.interval);
        let gap = 2 * self.interval;
        let Some(state) = self.current.get_mut(instance) else { return };
        if state.last.is_some_and(|last| at <= last) {
            return;
        }
        let slot_index = at.div_euclid(slot_length(self.length, self.interval));
        let mut slot = Slot { index: slot_index, ..Slot::default() };
        let business = state.take(scrape, at, started, gap, &mut slot, &mut self.own);
        self.count(at, slot, business);
        self.settle();
        self.prune(at);
    }

    /// Replays what a Prometheus server remembers, before the first live scrape: (time, instance, samples).
    ///
    /// An instance whose samples end is taken to have ended; the next [`Window::set_instances`] brings back the
    /// ones that are still there, with a gap if they were silent.
    pub fn replay(&mut self, mut history: Vec<(Timestamp, String, Scrape)>) {
        history.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (at, instance, scrape) in history {
            let now = at.as_millisecond();
            let is_silent = |state: &Instance| state.last.is_some_and(|last| now - last > 2 * self.interval);
            let silent: Vec<String> = self
                .current
                .iter()
                .filter(|(_, state)| is_silent(state))
                .map(|(name, _)| name.clone())
                .collect();
            for name in silent {
                self.leave(&name, now, false);
            }
            self.observe(&instance, at, &scrape);
        }
    }

    /// Records a request of ours that got an answer. `path` is a URL path or the value of the handler label.
    ///
    /// Only increases seen at or after `sent` can be this request. If a scrape between `sent` and `answered` counted
    /// it as business, that is put right here.
    pub fn own(&mut self, path: &str, sent: Timestamp, answered: Timestamp) {
        let own =
            Own { path: path.to_owned(), sent: sent.as_millisecond(), answered: answered.as_millisecond() };
        let handler = self.own.handler_of(path).map(|(name, _)| name.to_owned());
        let during = |recent: &&mut Recent| {
            recent.at >= own.sent
                && recent.at <= own.answered
                && recent.left >= 1.0
                && Some(&recent.handler) == handler.as_ref()
        };
        let Some(recent) = self.recent.iter_mut().find(during) else {
            return self.own.wait(own);
        };
        recent.left -= 1.0;
        let index = recent.at.div_euclid(slot_length(self.length, self.interval));
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.index == index) {
            slot.business -= 1.0;
            slot.synthetic += 1.0;
        }
        if recent.left < 1.0 && self.last_business == Some(recent.at) {
            self.last_business = recent.previous_business;
        }
        self.total.synthetic += 1.0;
        self.debt += 1.0;
    }

    /// What the window proves at `now`.
    pub fn judge(&self, now: Timestamp) -> Judgement {
        let at = now.as_millisecond();
        let sum = self.sum(at);
        let incomplete = self.incomplete(at);
        let complete = incomplete.is_none();
        let suspect = self.suspicions(at, complete, &sum);
        let zero = match (complete, sum.business > 0.0, suspect.is_empty()) {
            (true, true, _) => Some(false),
            (true, false, true) => Some(true),
            (true, false, false) | (false, ..) => None,
        };
        let mut explanation = match (&incomplete, zero) {
            (Some(why), _) => format!("The window is not complete: {why}."),
            (None, Some(true)) => {
                "No business request in the whole window, while the counters are alive.".to_owned()
            }
            (None, Some(false)) => format!("Business requests in the window: {}.", sum.business),
            (None, None) => "No business request was counted, but the counters cannot be trusted.".to_owned(),
        };
        explanation += &format!(" Probes: {}, requests of our own: {}.", sum.probe, sum.synthetic);
        for reason in &suspect {
            explanation += &format!(" Suspect: {reason}.");
        }
        Judgement {
            complete,
            business_increase: sum.business,
            probe_increase: sum.probe,
            synthetic_increase: sum.synthetic,
            zero,
            suspect,
            last_business: self.last_business.and_then(timestamp),
            business_total: self.total.business,
            probe_total: self.total.probe,
            synthetic_total: self.total.synthetic,
            window_started: self.started.and_then(timestamp),
            explanation,
        }
    }

    #[cfg(test)]
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    fn sum(&self, now: i64) -> Slot {
        let width = slot_length(self.length, self.interval);
        let mut sum = Slot::default();
        for slot in self.slots.iter().filter(|slot| (slot.index + 1) * width > now - self.length) {
            sum.add(slot);
        }
        sum
    }

    /// Why the window is not complete, if it is not.
    fn incomplete(&self, now: i64) -> Option<String> {
        let (from, gap) = (now - self.length, 2 * self.interval);
        if self.started.is_none_or(|started| started > from) {
            return Some("it has not been watched for that long".to_owned());
        }
        if self.current.is_empty() {
            return Some("the workload has no instance".to_owned());
        }
        if self.lost_until.is_some_and(|lost| lost > from) {
            return Some("an instance left that could not be read before".to_owned());
        }
        self.current.iter().find_map(|(name, state)| match (state.last, state.covered_from) {
            (Some(last), _) if now - last > gap => {
                Some(format!("instance `{name}` has not been read lately"))
            }
            (Some(_), Some(covered)) if covered > from => Some(format!("instance `{name}` has a gap")),
            (Some(_), _) => None,
            (None, _) if !state.is_old && now - state.appeared <= gap => None,
            (None, _) => Some(format!("instance `{name}` has never been read")),
        })
    }

    fn suspicions(&self, now: i64, complete: bool, sum: &Slot) -> Vec<Suspicion> {
        let (from, gap) = (now - self.length, 2 * self.interval);
        let fresh: Vec<_> = self
            .current
            .iter()
            .filter(|(_, state)| state.last.is_some_and(|last| now - last <= gap))
            .collect();
        let mut found = Vec::new();
        for (index, name) in self.selectors.required().iter().enumerate() {
            let is_present = |state: &Instance| state.required_present.get(index) == Some(&true);
            if !fresh.is_empty() && !fresh.iter().any(|(_, state)| is_present(state)) {
                found.push(Suspicion::RequiredHandlerMissing(name.clone()));
            }
        }
        if sum.errors > 0.0 && sum.business + sum.synthetic <= 0.0 {
            found.push(Suspicion::ErrorsGrowWithoutRequests);
        }
        for (name, state) in &fresh {
            // A new instance gets two intervals to move; without a whole window nobody is accused.
            if complete && state.moved.is_none_or(|moved| moved <= from) && now - state.appeared > gap {
                found.push(Suspicion::NothingMoves((*name).clone()));
            }
        }
        if fresh.iter().any(|(_, state)| state.is_gauge) {
            found.push(Suspicion::DeclaredNotCounter);
        }
        if fresh.iter().any(|(_, state)| state.has_invalid) {
            found.push(Suspicion::InvalidValue);
        }
        if fresh.iter().any(|(_, state)| state.is_too_large) {
            found.push(Suspicion::TooManySeries);
        }
        found
    }

    fn appear(&mut self, name: &str, at: i64, is_old: bool) {
        if self.current.contains_key(name) {
            return;
        }
        // Back again (readiness flapped, a label moved): its counters go on where we left them.
        let state =
            self.gone.remove(name).unwrap_or(Instance { appeared: at, is_old, ..Instance::default() });
        self.current.insert(name.to_owned(), state);
    }

    /// `is_witnessed`: we tried to read it up to now, so silence at its end is a hole in what we know.
    fn leave(&mut self, name: &str, at: i64, is_witnessed: bool) {
        let Some(state) = self.current.remove(name) else { return };
        if is_witnessed && at - state.last.unwrap_or(state.appeared) > 2 * self.interval {
            self.lost_until = Some(at);
        }
        if state.last.is_some() {
            self.gone.insert(name.to_owned(), state);
        }
    }

    fn count(&mut self, at: i64, mut slot: Slot, mut business: BTreeMap<String, f64>) {
        slot.synthetic = self.own.consume(&mut business, at);
        slot.business = business.values().sum();
        if slot.business > 0.0 {
            for (handler, left) in business.into_iter().filter(|(_, left)| *left > 0.0) {
                self.recent.push_back(Recent { at, handler, left, previous_business: self.last_business });
            }
            self.last_business = self.last_business.max(Some(at));
        }
        let mut counted = slot;
        let repaid = self.debt.min(counted.business);
        self.debt -= repaid;
        counted.business -= repaid;
        self.total.add(&counted);
        match self.slots.iter_mut().rev().find(|known| known.index == slot.index) {
            Some(known) => known.add(&slot),
            None => self.slots.push_back(slot),
        }
    }

    /// Lets go of own requests that every instance has had the time to show.
    fn settle(&mut self) {
        let slowest = self.current.values().map(|state| state.last.unwrap_or(state.appeared)).min();
        if let Some(slowest) = slowest {
            self.own.settle(slowest - self.interval);
        }
    }

    fn prune(&mut self, now: i64) {
        let (from, width) = (now - self.length, slot_length(self.length, self.interval));
        self.slots.retain(|slot| (slot.index + 1) * width > from);
        self.recent.retain(|recent| now - recent.at <= 2 * self.interval);
        self.gone.retain(|_, state| state.last.is_some_and(|last| last > from));
        while self.gone.len() > MAX_GONE {
            let oldest = self.gone.iter().min_by_key(|(_, state)| state.last).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            self.gone.remove(&oldest);
        }
    }
}

// === impl Instance ===

impl Instance {
    /// Takes a scrape in; returns the business increase per handler, the rest goes into the slot.
    fn take(
        &mut self,
        scrape: &Scrape,
        at: i64,
        started: i64,
        gap: i64,
        slot: &mut Slot,
        own: &mut OwnRequests,
    ) -> BTreeMap<String, f64> {
        let Scrape { requests, errors, start_time, required_present, has_invalid, is_gauge, is_too_large } =
            scrape;
        // Times of other machines are compared loosely: a start is "ours" from two intervals before we began.
        let is_started_after_us = start_time.map(|start| start * 1e3 >= (started - gap) as f64);
        let is_first = self.last.is_none();
        let is_whole = match (self.is_old, is_started_after_us) {
            (true, Some(true)) | (false, Some(true) | None) => true,
            (true, Some(false) | None) | (false, Some(false)) => false,
        };
        let is_restarted = match (self.start_time, start_time) {
            (Some(before), Some(now)) => *now > before + 1.0,
            (Some(_) | None, _) => false,
        };
        self.covered_from = match self.last {
            Some(last) if at - last > gap => Some(at),
            Some(_) => self.covered_from,
            // Whole from its start, if we came soon enough to have missed no earlier life of it.
            None if is_whole && at - self.appeared <= gap => Some(i64::MIN),
            None => Some(at),
        };
        let increase = |known: &mut HashMap<u128, f64>, key: u128, value: f64| {
            let before = known.insert(key, value);
            match before {
                Some(before) if value >= before && !is_restarted => value - before,
                // A reset, or a series that was born under our eyes: all of it is new.
                Some(_) => value,
                None if is_first && !is_whole => 0.0,
                None => value,
            }
        };
        let mut business: BTreeMap<String, f64> = BTreeMap::new();
        let mut moved = 0.0;
        for (key, series) in requests {
            own.know(&series.handler, series.class);
            let grown = increase(&mut self.requests, *key, series.value);
            moved += grown;
            match series.class {
                Class::Business => *business.entry(series.handler.clone()).or_default() += grown,
                Class::Probe => slot.probe += grown,
                Class::Other => slot.other += grown,
            }
        }
        for (key, value) in errors {
            slot.errors += increase(&mut self.errors, *key, *value);
        }
        // Series that are no longer exposed are dropped once they outnumber the living.
        if self.requests.len() > 2 * requests.len().max(1_000) {
            self.requests.retain(|key, _| requests.contains_key(key));
        }
        if self.errors.len() > 2 * errors.len().max(1_000) {
            self.errors.retain(|key, _| errors.contains_key(key));
        }
        if moved > 0.0 {
            self.moved = Some(at);
        }
        self.last = Some(at);
        self.start_time = start_time.or(self.start_time);
        self.required_present.clone_from(required_present);
        (self.has_invalid, self.is_gauge, self.is_too_large) = (*has_invalid, *is_gauge, *is_too_large);
        business
    }
}

// === impl Slot ===

impl Slot {
    fn add(&mut self, more: &Slot) {
        let Slot { index: _, business, synthetic, probe, other, errors } = more;
        self.business += business;
        self.synthetic += synthetic;
        self.probe += probe;
        self.other += other;
        self.errors += errors;
    }
}

fn slot_length(length: i64, interval: i64) -> i64 {
    interval.max(length / SLOTS).max(1)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

fn timestamp(millis: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(millis).ok()
}
