//! `synthetic_request`: a business call as a user makes it, through the same door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;
use url::Url;

use super::expect::{Seen, ca_files, compare};
use super::instances::dialled;
use super::own_requests::Counted;
use super::{Answer, Attempt, Kind, Probe, Question, Schedule, TRANSPORT, Tools};
use crate::config::{ConnectTo, Expect, Tls};
use crate::model::{Check, CheckKey, Fact, Metric, Reason, length};
use crate::net::dial::Fault;
use crate::net::http::HttpRequest;
use crate::secret::{Secret, SecretSource};

/// How much of a body is read.
const BODY_CAP: usize = 1024 * 1024;

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::SyntheticRequest,
    about: "A business call as a user makes it, on a new connection, with credentials, and within a latency. It counts \
            as proof that the site can do the work. Its own requests are subtracted from the traffic check's counters. \
            With `unknown_path_status` a second call asks for a path that cannot exist: what answers that as well is \
            not the application.",
    example: "requests:\n  - {name: list_orders, url: \"http://10.1.4.7:8080/api/v1/orders?limit=1\",\n     headers: {authorization: {file: /etc/dr-exporter/token}},\n     expect: {status: [200], json_exists: [/items/0/id]}, max_latency: 800ms}",
    metrics: &[&SUCCESS, &DURATION],
    reasons: &[
        TRANSPORT,
        &[
            Reason::HttpStatus,
            Reason::BodyMismatch,
            Reason::StaleData,
            Reason::WrongValue,
            Reason::WrongIdentity,
            Reason::Misconfigured,
        ],
    ],
};

/// Whether the call worked.
pub static SUCCESS: Metric = Metric::gauge(
    "dr_synthetic_request_success",
    &["site", "system", "request"],
    "1 if the last business request was answered as expected, in time, and is younger than three \
     intervals; else 0; absent before the first run ended",
)
.becoming_zero();

/// How long the call took.
pub static DURATION: Metric = Metric::histogram(
    "dr_synthetic_request_duration_seconds",
    &["site", "system", "request"],
    crate::model::DURATION_BOUNDS,
    "How long business requests took that got an answer: resolution, connection, TLS and answer \
     together",
);

/// A business call as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and name of the request.
    pub key: CheckKey,
    /// Where to.
    pub url: Url,
    /// How.
    pub method: http::Method,
    /// With which headers.
    pub headers: BTreeMap<String, SecretSource>,
    /// With which body.
    pub body: Option<SecretSource>,
    /// Where the connection goes instead of the URL's host.
    pub connect_to: Option<ConnectTo>,
    /// Which certificates are trusted.
    pub tls: Option<Tls>,
    /// What a good answer is.
    pub expect: Expect,
    /// How long it may take.
    pub max_latency: Option<Duration>,
    /// Whose counters see this request.
    pub counted: Counted,
    /// What those counters call it, if not by its path.
    pub handler: Option<String>,
    /// When to ask.
    pub schedule: Schedule,
}

/// A business call that is made.
pub struct SyntheticRequest {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 1],
}

// === impl SyntheticRequest ===

impl SyntheticRequest {
    /// Ready to ask; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let question =
            Question { key: spec.key.clone(), at_first: vec![], promised: vec![spec.success(false)] };
        SyntheticRequest { spec, tools, questions: [question] }
    }

    async fn read(&self, source: &SecretSource, what: &str) -> Result<Secret, Answer> {
        let read = source.read(&self.tools.secrets).await;
        read.map_err(|error| Answer::unread(what, &error))
    }

    async fn try_once(&self, attempt: &Attempt) -> Result<Answer, Answer> {
        let mut headers = Vec::with_capacity(self.spec.headers.len());
        for (name, source) in &self.spec.headers {
            let value = self.read(source, &format!("the header {name}")).await?;
            let name = HeaderName::try_from(name.as_str()).map_err(|_| {
                Answer::blind(Reason::Misconfigured, format!("`{name}` is not the name of a header"))
            })?;
            headers.push((name, value));
        }
        let body = match &self.spec.body {
            None => None,
            Some(source) => Some(self.read(source, "the body").await?),
        };
        let connect_to = self
            .tools
            .cluster
            .read(|inventory| self.spec.connect_to.as_ref().map(|to| dialled(to, inventory)).transpose())?;
        let request = HttpRequest {
            method: self.spec.method.clone(),
            headers,
            body: body.map(|body| Bytes::copy_from_slice(body.expose().as_bytes())),
            connect_to,
            ca_files: ca_files(self.spec.tls.as_ref()),
            cap: BODY_CAP,
            ..HttpRequest::get(self.spec.url.clone())
        };
        let begun = tokio::time::Instant::now();
        let answer = self.spec.counted.send(&self.tools, &request, self.spec.handler.as_deref()).await;
        let answer = answer.map_err(not_answered)?;
        let took = begun.elapsed();
        let duration = Fact::span(&DURATION, &[("request", &self.spec.key.target)], took);
        if let Err((reason, words)) = compare(&self.spec.expect, Seen::of(&answer, &request), attempt.now) {
            return Err(Answer::fail(reason, words).with([duration]));
        }
        if let Some(allowed) = self.spec.max_latency.filter(|allowed| took > *allowed) {
            let words = format!("answered after {}, allowed are {}", length(took), length(allowed));
            return Err(Answer::fail(Reason::Timeout, words).with([duration]));
        }
        let allowed = &self.spec.expect.unknown_path_status;
        let elsewhere = self.spec.counted.ask_unknown_path(&self.tools, &request, allowed).await;
        elsewhere.map_err(|fault| not_answered(fault).with([duration.clone()]))?;
        let words = format!("status {} as expected, after {}", answer.status.as_u16(), length(took));
        Ok(Answer::pass(words).with([duration, self.spec.success(true)]))
    }
}

#[async_trait]
impl Probe for SyntheticRequest {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        let answer = self.try_once(attempt).await.unwrap_or_else(|not_passed| not_passed);
        attempt.answer(0, answer);
    }
}

fn not_answered(fault: Fault) -> Answer {
    Answer::not_passed(fault.ours, fault.reason, fault.message)
}

// === impl Spec ===

impl Spec {
    fn success(&self, success: bool) -> Fact {
        Fact::flag(&SUCCESS, &[("request", &self.key.target)], success)
    }
}
