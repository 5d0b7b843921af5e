//! Our own business requests, so that they can be subtracted from what an application counts: a synthetic request
//! must never look like a user.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use url::Url;

use super::Tools;
use crate::model::Reason;
use crate::net::dial::Fault;
use crate::net::http::{HttpRequest, HttpResponse};

/// How many are kept while nobody takes them; far more than are sent in an interval of the traffic check.
const KEPT: usize = 10_000;

/// A request of ours that got an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRequest {
    /// What the application's counter calls it, or its path.
    pub handler: Arc<str>,
    /// When it was sent.
    pub sent: Timestamp,
    /// When the answer came.
    pub answered: Timestamp,
}

/// Whose counters see a request of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The system.
    pub system: Arc<str>,
    /// Its workloads.
    pub workloads: Vec<String>,
}

/// What was sent and not yet taken into account, by system and workload.
#[derive(Debug, Default)]
pub struct OwnRequests(Mutex<BTreeMap<SystemAndWorkload, Vec<OwnRequest>>>);

type SystemAndWorkload = (Arc<str>, String);

impl OwnRequests {
    /// Notes a request to a workload that got an answer, whatever it was.
    pub fn note(&self, system: &Arc<str>, workload: &str, request: OwnRequest) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = all.entry((system.clone(), workload.to_owned())).or_default();
        if noted.len() < KEPT {
            noted.push(request);
        }
    }

    /// Takes what was noted since the last time.
    pub fn take(&self, system: &Arc<str>, workload: &str) -> Vec<OwnRequest> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&(system.clone(), workload.to_owned())).map(std::mem::take).unwrap_or_default()
    }
}

// === impl Counted ===

impl Counted {
    /// Sends a request, and notes it if it got an answer: as `handler`, else by its path.
    ///
    /// # Errors
    ///
    /// The [`Fault`] of the exchange.
    pub async fn send(
        &self,
        tools: &Tools,
        request: &HttpRequest,
        handler: Option<&str>,
    ) -> Result<HttpResponse, Fault> {
        let sent = crate::clock::now();
        let response = tools.http.send(request).await?;
        let answered = crate::clock::now();
        let handler: Arc<str> = Arc::from(handler.unwrap_or(request.url.path()));
        for workload in &self.workloads {
            tools.own_requests.note(
                &self.system,
                workload,
                OwnRequest { handler: handler.clone(), sent, answered },
            );
        }
        Ok(response)
    }

    /// Asks for a path beside this one that no application knows: what answers it with another status than these is
    /// not the application.
    ///
    /// # Errors
    ///
    /// `wrong_identity`, or the [`Fault`] of the exchange.
    pub async fn ask_unknown_path(
        &self,
        tools: &Tools,
        request: &HttpRequest,
        allowed: &[u16],
    ) -> Result<(), Fault> {
        if allowed.is_empty() {
            return Ok(());
        }
        let unknown = HttpRequest {
            method: http::Method::GET,
            url: beside(&request.url),
            body: None,
            cap: 0,
            ..request.clone()
        };
        let status = self.send(tools, &unknown, None).await?.status.as_u16();
        if allowed.contains(&status) {
            return Ok(());
        }
        let words =
            format!("a path that cannot exist was answered with {status}: this is not the application");
        Err(Fault::theirs(Reason::WrongIdentity, words))
    }
}

/// A path beside this one with a name that nobody else thinks of.
fn beside(url: &Url) -> Url {
    let mut beside = url.clone();
    let name = format!("dr-exporter-{:016x}", rand::random::<u64>());
    if let Ok(mut segments) = beside.path_segments_mut() {
        segments.pop().push(&name);
    }
    beside.set_query(None);
    beside
}
