//! `peer`: does the exporter of the other site answer, and what does it see? What it tells is set beside what we see
//! ourselves, by whoever asks for roles, identities and drift.
//!
//! Its silence says nothing of the standby: a peer out of reach is blindness, and no verdict rests on this check.

pub mod letter;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use jiff::Timestamp;
use url::Url;

use self::letter::{Between, Letter, read};
use super::drift::{Compared, Side};
use super::expect::ca_files;
use super::{Answer, Attempt, Kind, Probe, Question, Schedule, TRANSPORT, Tools, drift};
use crate::config;
use crate::discovery::fingerprints::{Fingerprint, Site};
use crate::model::{Check, CheckKey, GapReason, Metric, Reason, Role};
use crate::net::dial::Fault;
use crate::net::http::{BodyEnd, HttpRequest};
use crate::secret::Secret;
use crate::sightings::Told;

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Peer,
    about: "Whether the exporter of the other site answers at `/api/v1/report`, and is the one of that site. It tells the \
            roles in force, which database it sees where (system identifier, timeline, in recovery or not) and hashes of \
            what the site runs; it is asked for no more than that, so no host name and no secret travels. A peer \
            out of reach is blindness: it accuses nobody, and no verdict rests on this check. What fails is an exporter of another \
            site at the `url`, and two sites that both hold themselves for the primary although one was only promoted (`conflict`).",
    example: "peers:\n  - {site: primary-east, url: \"https://dr-exporter.east.example:10888\", tls: {ca_file: /etc/dr-exporter/ca.crt},\n     basic_auth: {user: dr-west, password: {file: /etc/dr-exporter/peer-password}}}\nsystems:\n  - name: orders\n    surfaces: [{name: health, url: \"http://10.1.4.7:8080/health\"}]",
    metrics: &[&EXPECTED],
    reasons: &[TRANSPORT, ANSWERS, &[Reason::Conflict]],
};

/// What can be wrong with the answer of a peer.
pub(super) const ANSWERS: &[Reason] = &[
    Reason::Auth,
    Reason::Permission,
    Reason::Limit,
    Reason::HttpStatus,
    Reason::BodyMismatch,
    Reason::Stale,
    Reason::Starting,
    Reason::Misconfigured,
    Reason::Missing,
    Reason::Other,
];

/// Which other sites are to be read; the frame renders it from what is declared.
pub static EXPECTED: Metric = Metric::gauge(
    "dr_peer_expected",
    &["site", "peer_site"],
    "1 for every other site whose exporter is to be read, as declared",
);

/// What a peer is asked for.
pub const VIEW: &str = "view=peer";
/// How much of a report is read: that of a thousand workloads.
const CAP: usize = 8 * 1024 * 1024;
/// How many replicas behind one name are asked, each on a new connection, until one is found that probes.
const REPLICAS: usize = 4;

/// A peer as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The question of each system, with the name of the other site as its target.
    pub keys: Vec<CheckKey>,
    /// What is compared for each system with workloads in a cluster.
    pub compared: Vec<Compared>,
    /// The name of our own site.
    pub us: Arc<str>,
    /// The region of our own site.
    pub region: String,
    /// The role that our site is declared to have.
    pub role: Role,
    /// The other site, and how its exporter is asked.
    pub peer: config::Peer,
    /// When to ask.
    pub schedule: Schedule,
}

/// The exporter of another site.
pub struct Peer {
    spec: Spec,
    site: Arc<str>,
    tools: Arc<Tools>,
    questions: Vec<Question>,
    /// When the last report was said, by their clock.
    said: Mutex<Option<Timestamp>>,
    /// Since when what differs, by system.
    differing: Mutex<BTreeMap<Arc<str>, drift::Memory>>,
}

// === impl Peer ===

impl Peer {
    /// Ready to ask; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let question = |key: &CheckKey| Question { key: key.clone(), at_first: vec![], promised: vec![] };
        let questions =
            spec.keys.iter().chain(spec.compared.iter().map(|of| &of.key)).map(question).collect();
        let site = Arc::from(spec.peer.site.as_str());
        Peer { spec, site, tools, questions, said: Mutex::new(None), differing: Mutex::default() }
    }

    /// Asks until a replica answers that probes.
    async fn letter(&self, now: Timestamp) -> Result<Letter, Answer> {
        let request = self.request().await?;
        let between = Between { us: &self.spec.us, them: &self.site };
        for _ in 0..REPLICAS {
            let blind = |Fault { reason, message, .. }: Fault| Answer::blind(reason, message);
            let answer = self.tools.http.send(&request).await.map_err(blind)?;
            match answer.status.as_u16() {
                200 => {}
                401 => {
                    let words = "it asks for a login: give `basic_auth` or `authorization`, and mind what its web configuration says";
                    return Err(Answer::blind(Reason::Auth, words));
                }
                403 => {
                    return Err(Answer::blind(
                        Reason::Permission,
                        "it does not let us read its report (status 403)",
                    ));
                }
                429 => {
                    return Err(Answer::blind(
                        Reason::Limit,
                        "it answers too many requests already (status 429)",
                    ));
                }
                other => {
                    let words = format!("status {other}, expected 200: does the `url` lead to an exporter?");
                    return Err(Answer::blind(Reason::HttpStatus, words));
                }
            }
            if answer.end == BodyEnd::Truncated {
                let words = format!("its report is longer than {} MiB, which is all that is read", CAP >> 20);
                return Err(Answer::blind(Reason::Limit, words));
            }
            let earlier = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let letter = read(&answer.body, between, now, earlier)?;
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(letter.told.said_at);
            if letter.leads {
                return Ok(letter);
            }
        }
        Err(Answer::blind(
            Reason::Starting,
            "only replicas answered that stand by and know nothing: is none of them the one that probes?",
        ))
    }

    async fn request(&self) -> Result<HttpRequest, Answer> {
        let config::Peer {
            site: _,
            url,
            tls,
            authorization,
            basic_auth,
            client_certificate,
            drift: _,
            interval: _,
            timeout: _,
            attempts: _,
        } = &self.spec.peer;
        let mut headers = vec![(CACHE_CONTROL, Secret::new("no-cache"))];
        let unread = |error| Answer::unread("the credential for the peer", &error);
        if let Some(source) = authorization {
            let token = source.read(&self.tools.secrets).await.map_err(unread)?;
            headers.push((AUTHORIZATION, Secret::new(format!("Bearer {}", token.expose()))));
        }
        if let Some(config::Credentials { user, password }) = basic_auth {
            let password = match password {
                Some(source) => source.read(&self.tools.secrets).await.map_err(unread)?,
                None => Secret::new(""),
            };
            let login = STANDARD.encode(format!("{user}:{}", password.expose()));
            headers.push((AUTHORIZATION, Secret::new(format!("Basic {login}"))));
        }
        let identity = client_certificate.as_ref().map(|own| (own.cert_file.clone(), own.key_file.clone()));
        Ok(HttpRequest {
            headers,
            identity,
            ca_files: ca_files(tls.as_ref()),
            cap: CAP,
            ..HttpRequest::get(report_at(&url.0))
        })
    }

    /// Whether the workloads of one system are the same at both sites.
    fn drift(&self, compared: &Compared, ours: &[Fingerprint], (told, region): (&Told, &str)) -> Answer {
        if told.fingerprints.is_empty() {
            let words = format!(
                "the exporter of {} tells of no workload in a cluster: there is nothing to compare",
                self.site
            );
            return Answer::skipped(words);
        }
        let here = Side { prints: ours, site: Site { name: &self.spec.us, region: &self.spec.region } };
        let there = Side { prints: &told.fingerprints, site: Site { name: &self.site, region } };
        let comparison = drift::compare(&compared.subjects, here, there);
        let mut all = self.differing.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = all.entry(compared.key.system.clone()).or_default();
        drift::judge(&comparison, memory, &self.spec.peer.drift, compared, told.read_at)
    }

    /// What one system is told.
    fn answer(&self, system: &str, told: &Told) -> Answer {
        let site = &self.site;
        let Some(theirs) = told.systems.get(system) else {
            let words = format!(
                "the exporter of {site} says nothing of {system}: is the system in its configuration?"
            );
            return Answer::gap(GapReason::NotFound, words);
        };
        if theirs.role == Role::Primary
            && told.declared_role != Role::Primary
            && self.spec.role == Role::Primary
        {
            let words = format!(
                "{site} is declared {} and says that it is the primary of {system} now, and this site is declared primary: \
                 after a failover that stands, declare the roles anew",
                told.declared_role
            );
            return Answer::fail(Reason::Conflict, words);
        }
        let seen: usize = theirs.databases.values().map(BTreeMap::len).sum();
        Answer::pass(format!(
            "the exporter of {site} answers: {system} is {} there; it told of {seen} database nodes and {} fingerprints",
            theirs.role,
            told.fingerprints.len()
        ))
    }
}

/// Where the report of an exporter is; `url` may end in a path below which a proxy serves it.
fn report_at(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/api/v1/report", base.path().trim_end_matches('/')));
    url.set_query(Some(VIEW));
    url.set_fragment(None);
    url
}

#[async_trait]
impl Probe for Peer {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        // If the deadline ends this, it was the peer's silence, which accuses nobody.
        attempt.answer_all(&Answer::blind(Reason::Timeout, "no complete answer in time"));
        match self.letter(attempt.now).await {
            Err(answer) => {
                let reason = answer.outcome.reason().unwrap_or(Reason::Other);
                let words = format!("nothing to compare with: the exporter of {} was not read", self.site);
                let nothing = Answer::blind(reason, words);
                for place in 0..self.questions.len() {
                    attempt.answer(
                        place,
                        if place < self.spec.keys.len() { answer.clone() } else { nothing.clone() },
                    );
                }
            }
            Ok(Letter { told, region, leads: _ }) => {
                let ours = if self.spec.compared.is_empty() { Vec::new() } else { self.tools.prints.now() };
                let systems = self.spec.keys.iter().map(|key| self.answer(&key.system, &told));
                let drift = self.spec.compared.iter().map(|of| self.drift(of, &ours, (&told, &region)));
                for (place, answer) in systems.chain(drift).enumerate() {
                    attempt.answer(place, answer);
                }
                self.tools.sightings.hear(&self.site, told);
            }
        }
    }

    fn forget(&self) {
        self.differing.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests;
