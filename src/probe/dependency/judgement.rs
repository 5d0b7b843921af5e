//! What follows from where a dependency is and from what answered there. Pure.

use crate::model::{Fact, GapReason, Reason};
use crate::net::dial::Fault;
use crate::net::region::RegionAnswer;
use crate::probe::Answer;
use crate::probe::db_endpoint_region::Found;

use super::{CONNECT, REGION};

/// What is asked about a dependency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// Its name.
    pub dependency: &'a str,
    /// The regions in which it may be.
    pub regions: &'a [String],
}

/// What came of one host.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    /// Host and port.
    pub host: String,
    /// A few words about what answered.
    pub said: Result<String, Fault>,
}

// === impl Expected ===

impl Expected<'_> {
    /// The info gauge.
    pub(super) fn region(&self, found: &Found) -> Fact {
        let mut expected = self.regions.to_vec();
        expected.sort();
        let expected = expected.join(",");
        let labels = [
            ("dependency", self.dependency),
            ("dependency_region", found.label()),
            ("expected_region", &expected),
            ("evidence", found.evidence),
        ];
        Fact::new(&REGION, &labels, 1.0)
    }

    /// Whether there was a connection.
    pub(super) fn connected(&self, connected: bool) -> Fact {
        Fact::flag(&CONNECT, &[("dependency", self.dependency)], connected)
    }

    /// The answer. A wrong region outranks everything: a dependency that answers from there is the lie. Then a failure to
    /// connect, which is proven, outranks a region that nobody can tell.
    pub(super) fn judge(
        &self,
        regions_are_configured: bool,
        found: Option<&Found>,
        reached: &[Reached],
    ) -> Answer {
        let answered: Vec<&Reached> = reached.iter().filter(|reached| reached.said.is_ok()).collect();
        let reach = Reach::of(reached, &answered);
        let facts =
            found.map(|found| self.region(found)).into_iter().chain([self.connected(!answered.is_empty())]);
        self.verdict(regions_are_configured, found, reach).with(facts)
    }

    fn verdict(&self, regions_are_configured: bool, found: Option<&Found>, reach: Reach) -> Answer {
        let wrong: Option<String> = match found.map(|found| &found.region) {
            Some(RegionAnswer::Known(name)) if !self.regions.contains(name) => Some(name.clone()),
            Some(RegionAnswer::Ambiguous(names)) if !names.iter().any(|name| self.regions.contains(name)) => {
                Some(names.join(" and "))
            }
            Some(RegionAnswer::Known(_) | RegionAnswer::Ambiguous(_) | RegionAnswer::Unknown) | None => None,
        };
        if let (Some(region), Some(found)) = (wrong, found) {
            let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
            let expected = self.regions.join(" or ");
            let words =
                format!("{} is in {region}, expected is {expected}; {}", addresses.join(", "), reach.words);
            return Answer::fail(Reason::WrongRegion, words);
        }
        if let Some((reason, ours)) = reach.failed {
            return Answer::not_passed(ours, reason, reach.words);
        }
        if !regions_are_configured {
            return Answer::pass(reach.words);
        }
        match found.map(|found| &found.region) {
            Some(RegionAnswer::Known(name)) => {
                Answer::pass(format!("{}, in {name} as expected", reach.words))
            }
            Some(RegionAnswer::Ambiguous(names)) if names.iter().all(|name| self.regions.contains(name)) => {
                Answer::pass(format!("{}, in {} as expected", reach.words, names.join(" and ")))
            }
            Some(RegionAnswer::Ambiguous(names)) => {
                let names = names.join(" and ");
                let words =
                    format!("{}, in {names}: nobody can tell which one the application gets", reach.words);
                Answer::gap(GapReason::Ambiguous, words)
            }
            Some(RegionAnswer::Unknown) | None => Answer::gap(
                GapReason::NotFound,
                format!("{}, in none of the configured regions", reach.words),
            ),
        }
    }
}

/// What came of all hosts together: one that answers is enough, as it is for clients.
struct Reach {
    failed: Option<(Reason, bool)>,
    words: String,
}

// === impl Reach ===

impl Reach {
    fn of(all: &[Reached], answered: &[&Reached]) -> Self {
        let named = |reached: &Reached| match &reached.said {
            Ok(words) => format!("{}: {words}", reached.host),
            Err(fault) => format!("{}: {}", reached.host, fault.message),
        };
        let silent: Vec<String> = all.iter().filter(|reached| reached.said.is_err()).map(named).collect();
        let Some(first) = answered.first() else {
            // A proven failure outranks blindness; among equals the first host speaks.
            let faults = || all.iter().filter_map(|reached| reached.said.as_ref().err());
            let worst = faults().find(|fault| !fault.ours).or_else(|| faults().next());
            let failed = worst.map_or((Reason::Internal, true), |fault| (fault.reason, fault.ours));
            return Reach { failed: Some(failed), words: silent.join("; ") };
        };
        let words = match (all.len(), silent.is_empty()) {
            (1, _) => named(first),
            (count, true) => format!("all {count} hosts answer, {}", named(first)),
            (count, false) => {
                format!("{} of {count} hosts answer, {}; {}", answered.len(), named(first), silent.join("; "))
            }
        };
        Reach { failed: None, words }
    }
}
