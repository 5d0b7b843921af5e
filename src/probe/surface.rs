//! `surface`: what the site claims about itself, and since when.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::expect::{Seen, ca_files, compare, needs_body};
use super::instances::{Instance, Instances, dialled, path_of};
use super::own_requests::Counted;
use super::{Answer, Attempt, Kind, Probe, Question, Schedule, TRANSPORT, Tools};
use crate::config::{ConnectTo, Expect, Tls};
use crate::discovery::{Inventory, stirred};
use crate::model::{Check, CheckKey, Fact, Metric, Outcome, Reason};
use crate::net::dial::Fault;
use crate::net::http::{HttpRequest, SURFACE_CAP};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Surface,
    about: "What a place where the site claims to be well says: its status, JSON values, body and headers, asked of \
            every instance on a new connection. Redirects are not followed. A pass means that it claims health, not \
            that there is any. A claim that is contradicted by what was tried is shown as contradicted.",
    example: "surfaces:\n  - {name: health, url: \"http://10.1.4.7:8080/health\", decisive: true,\n     expect: {status: [200], json: {/database: connected}}}",
    metrics: &[&HEALTHY, &CLAIM_CHANGED],
    reasons: &[
        TRANSPORT,
        &[
            Reason::HttpStatus,
            Reason::BodyMismatch,
            Reason::StaleData,
            Reason::WrongValue,
            Reason::WrongIdentity,
        ],
    ],
};

/// The claim itself.
pub static HEALTHY: Metric = Metric::gauge(
    "dr_surface_healthy",
    &["site", "system", "surface", "decisive"],
    "1 if the surface claims health on every instance; 0 if it does not or did not answer; absent \
     while unknown; from a background check",
)
.withheld();

/// When the claim changed.
pub static CLAIM_CHANGED: Metric = Metric::gauge(
    "dr_surface_claim_last_change_timestamp_seconds",
    &["site", "system", "surface"],
    "When the claim of the surface last changed, in seconds since 1970; its first observation \
     counts as a change",
);

/// How many instances one attempt asks; of more, each attempt takes the next ones.
const AT_ONCE: usize = 32;

/// A surface as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and name of the surface.
    pub key: CheckKey,
    /// Somebody moves traffic because of it.
    pub decisive: bool,
    /// Where to ask.
    pub instances: Instances,
    /// Where the connection goes instead of the URL's host.
    pub connect_to: Option<ConnectTo>,
    /// Surfaces of the file that ask the same: path, port, name. The one that was found then asks nothing.
    pub covered_by: Vec<(String, Option<u16>, String)>,
    /// Which certificates are trusted.
    pub tls: Option<Tls>,
    /// Whose counters see our requests: a surface below a business path must not look like a user.
    pub counted: Counted,
    /// What makes it a claim of health.
    pub expect: Expect,
    /// When to ask.
    pub schedule: Schedule,
}

/// A surface that is asked.
pub struct Surface {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 1],
    claim: Mutex<Option<(bool, Timestamp)>>,
    /// Where the last attempt asked, and how many turns were taken among too many instances.
    asked: Mutex<(Option<String>, usize)>,
}

// === impl Surface ===

impl Surface {
    /// Ready to ask; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let question =
            Question { key: spec.key.clone(), at_first: vec![], promised: vec![spec.healthy(false)] };
        Surface { spec, tools, questions: [question], claim: Mutex::new(None), asked: Mutex::default() }
    }

    async fn ask_one(
        &self,
        instance: &Instance,
        connect_to: Option<&(String, u16)>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let expect = &self.spec.expect;
        let request = HttpRequest {
            connect_to: connect_to.cloned(),
            ca_files: ca_files(self.spec.tls.as_ref()),
            cap: if needs_body(expect) { SURFACE_CAP } else { 0 },
            ..instance.request()
        };
        let answer = self.spec.counted.send(&self.tools, &request, None).await?;
        compare(expect, Seen::of(&answer, &request), now)
            .map_err(|(reason, words)| Fault::theirs(reason, words))?;
        self.spec.counted.ask_unknown_path(&self.tools, &request, &expect.unknown_path_status).await
    }

    /// Whom to ask in this attempt, and how many there are: all of them, or in turns when they are too many.
    fn whom(&self) -> Result<(Vec<Instance>, usize), Answer> {
        let mut instances = self.spec.instances.now(&self.tools.cluster)?;
        if let Some(first) = instances.first()
            && let Some((.., name)) = self.spec.covered_by.iter().find(|(path, port, _)| {
                path_of(&first.url) == *path
                    && port.is_none_or(|port| first.url.port_or_known_default() == Some(port))
            })
        {
            return Err(Answer::skipped(format!("the surface {name} asks the same")));
        }
        let count = instances.len();
        if count > AT_ONCE {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            instances.rotate_left(asked.1 * AT_ONCE % count);
            instances.truncate(AT_ONCE);
            asked.1 += 1;
        }
        Ok((instances, count))
    }

    fn look(&self, inventory: &Inventory) -> String {
        let to = self.spec.connect_to.as_ref().map(|to| dialled(to, inventory));
        format!("{} {to:?}", self.spec.instances.fingerprint(inventory))
    }

    /// Notes the claim and returns since when it stands.
    fn claimed(&self, healthy: bool, now: Timestamp) -> Timestamp {
        let mut claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        match *claim {
            Some((before, since)) if before == healthy => since,
            _ => {
                *claim = Some((healthy, now));
                now
            }
        }
    }
}

#[async_trait]
impl Probe for Surface {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn stirred(&self) {
        let last = self.asked.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        let Some(last) = last else { return std::future::pending().await };
        stirred(&self.tools.cluster, &last, |inventory| self.look(inventory)).await;
    }

    async fn ask(&self, attempt: &Attempt) {
        let (look, connect_to) = self.tools.cluster.read(|inventory| {
            (self.look(inventory), self.spec.connect_to.as_ref().map(|to| dialled(to, inventory)).transpose())
        });
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(look);
        let connect_to = match connect_to {
            Ok(connect_to) => connect_to,
            Err(answer) => return attempt.answer(0, answer),
        };
        let (instances, count) = match self.whom() {
            Ok(whom) => whom,
            Err(answer) => {
                let nobody = matches!(answer.outcome, Outcome::Fail(_));
                let facts =
                    if nobody { self.spec.facts(false, self.claimed(false, attempt.now)) } else { vec![] };
                return attempt.answer(0, answer.with(facts));
            }
        };
        let asked = instances.iter().map(|instance| self.ask_one(instance, connect_to.as_ref(), attempt.now));
        let answers = join_all(asked).await;
        let several = count > 1;
        let mut worst: Option<Answer> = None;
        for (instance, answer) in instances.iter().zip(answers) {
            let Err(Fault { ours, reason, message: words }) = answer else { continue };
            let words = if several { format!("{}: {words}", instance.name) } else { words };
            let answer = Answer::not_passed(ours, reason, words);
            // A proven failure outranks blindness; among equals the first instance speaks.
            let outranks = matches!(answer.outcome, Outcome::Fail(_));
            if worst.as_ref().is_none_or(|worst| outranks && !matches!(worst.outcome, Outcome::Fail(_))) {
                worst = Some(answer);
            }
        }
        let answer = worst.unwrap_or_else(|| {
            Answer::pass(match (count, instances.len()) {
                (0 | 1, _) => "claims to be healthy".to_owned(),
                (all, asked) if asked < all => {
                    format!("{asked} of {all} instances, asked in turns, claim to be healthy")
                }
                (all, _) => format!("all {all} instances claim to be healthy"),
            })
        });
        let facts = match answer.outcome {
            Outcome::Blind(_) | Outcome::Skipped => Vec::new(),
            Outcome::Pass => self.spec.facts(true, self.claimed(true, attempt.now)),
            Outcome::Fail(_) => self.spec.facts(false, self.claimed(false, attempt.now)),
        };
        attempt.answer(0, answer.with(facts));
    }
}

// === impl Spec ===

impl Spec {
    fn healthy(&self, healthy: bool) -> Fact {
        let decisive = if self.decisive { "true" } else { "false" };
        Fact::flag(&HEALTHY, &[("surface", &self.key.target), ("decisive", decisive)], healthy)
    }

    fn facts(&self, healthy: bool, since: Timestamp) -> Vec<Fact> {
        vec![self.healthy(healthy), Fact::time(&CLAIM_CHANGED, &[("surface", &self.key.target)], since)]
    }
}
