//! `dependency`: is what else the application needs there, and in the region where it has to be?

pub mod address;
mod judgement;
mod redis;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;

use self::address::{Address, AddressError};
use self::judgement::{Expected, Reached};
use super::db_endpoint_region::Found;
use super::expect::ca_files;
use super::{Answer, Attempt, Kind, Probe, Question, Schedule, TRANSPORT, Tools};
use crate::config::{DependencyKind, HostPort, Tls};
use crate::discovery::lookup::{Named, lookup};
use crate::discovery::read::text;
use crate::discovery::recipe::Value;
use crate::discovery::{Gap, WorkloadRef, stirred};
use crate::model::{Check, CheckKey, GapReason, Metric, Reason};
use crate::net::dial::{self, Fault};
use crate::net::tls::{Roots, TlsSettings, Verify, fault_of_handshake};
use crate::secret::{Secret, SecretSource};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Dependency,
    about: "Whether something else that the application needs - a cache, a queue, another service - is in the expected region \
            and can be connected to. Its address is a URL, host and port, or a list of brokers; all names are resolved anew each time, \
            the region is told as a database's is. A TCP connection is opened to every host, with a verified TLS handshake where \
            the scheme or `kind: tls` says so; of a list one that answers is enough, and the others are named. Redis is asked \
            PING and ROLE: a replica whose link to its master is down fails. AMQP, Kafka and all others are asked no more \
            than the connection. Nothing is written. A wrong region fails whether or not there is a connection.",
    example: "systems:\n  - name: orders\n    dependencies:\n      - {name: cache, endpoint: {url: \"rediss://cache.us-west-2.example.com\"}, password: {file: /etc/orders/cache}}",
    metrics: &[&REGION, &CONNECT],
    reasons: &[
        TRANSPORT,
        &[
            Reason::WrongRegion,
            Reason::Auth,
            Reason::Permission,
            Reason::Limit,
            Reason::Starting,
            Reason::NotReplicating,
            Reason::Misconfigured,
            Reason::Internal,
            Reason::Other,
        ],
    ],
};

/// The region as an info gauge.
pub static REGION: Metric = Metric::gauge(
    "dr_dependency_endpoint_region",
    &["site", "system", "dependency", "dependency_region", "expected_region", "evidence"],
    "Region of the dependency that the application is wired to, always 1: a configured region, unknown or ambiguous; \
     the last known one stays while its name does not resolve",
);

/// Whether there was a connection.
pub static CONNECT: Metric = Metric::gauge(
    "dr_dependency_connect_success",
    &["site", "system", "dependency"],
    "1 if the dependency answered, by TCP, TLS or Redis' PING and ROLE as its address says; from a background check",
)
.becoming_zero();

/// What is left of an attempt for its answer: a host that stays silent must not hide what the others said.
const RESERVE: Duration = Duration::from_millis(200);

/// A dependency as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and name of the dependency.
    pub key: CheckKey,
    /// Where its address is.
    pub place: Place,
    /// How it is asked.
    pub kind: DependencyKind,
    /// The password, when the address holds none.
    pub password: Option<SecretSource>,
    /// Which certificates are trusted.
    pub tls: Option<Tls>,
    /// The regions in which it may be.
    pub expected_regions: Vec<String>,
    /// When to ask.
    pub schedule: Schedule,
}

/// Where an address is.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Given, or in a place of ours.
    Given(SecretSource),
    /// In the configuration of a workload.
    Learnt(WorkloadRef, Named),
}

/// A dependency that is asked.
pub struct Dependency {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 1],
    /// What was looked up for the last attempt.
    seen: Mutex<Option<Result<Value, Gap>>>,
}

/// What holds for every host of one attempt.
struct Way {
    tls: Option<Arc<ClientConfig>>,
    redis: Option<redis::Login>,
    patience: Duration,
}

// === impl Dependency ===

impl Dependency {
    /// Ready to ask; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let expected = spec.expected();
        let question = Question {
            key: spec.key.clone(),
            at_first: vec![expected.region(&Found::nothing())],
            promised: vec![expected.connected(false)],
        };
        Dependency { spec, tools, questions: [question], seen: Mutex::new(None) }
    }

    async fn answer(&self, attempt: &Attempt) -> Result<Answer, Gap> {
        let Spec { key: _, place, kind, password, tls, expected_regions: _, schedule: _ } = &self.spec;
        let text = address_text(&self.tools, place).await?;
        let address = Address::parse(text.expose(), *kind).map_err(|AddressError(gap, why)| {
            Gap::new(gap, format!("the address of the dependency cannot be used: {why}"))
        })?;
        let Address { hosts, redis, tls: by_tls, insecure, user, password: inline } = address;
        let login = match (redis, inline, password) {
            (false, _, _) => None,
            (true, Some(password), _) => Some(redis::Login { user, password: Some(password) }),
            (true, None, None) => Some(redis::Login { user, password: None }),
            (true, None, Some(source)) => {
                let read = source.read(&self.tools.secrets).await;
                let password = read
                    .map_err(|error| Gap { reason: error.gap, detail: format!("the password: {error}") })?;
                Some(redis::Login { user, password: Some(password) })
            }
        };
        let settings = TlsSettings {
            verify: if insecure { Verify::Nothing } else { Verify::Full },
            roots: Roots::SystemAnd(ca_files(tls.as_ref())),
            identity: None,
            sni: true,
            alpn: None,
        };
        let config = by_tls.then(|| settings.build()).transpose();
        let config = config.map_err(|fault| Gap::new(GapReason::NotFound, fault.message))?;

        // All names before any connection, so that the region is known even if nothing answers.
        let patience = attempt.left().saturating_sub(RESERVE);
        let resolved = join_all(hosts.iter().map(|HostPort { host, port: _ }| async move {
            let looked = timeout(patience, self.tools.resolver.lookup(host)).await;
            let silent =
                || Fault::theirs(Reason::Dns, format!("no name server gave an answer for {host} in time"));
            looked.unwrap_or_else(|_| Err(silent()))
        }));
        let resolved = resolved.await;
        let placed: Vec<(Option<String>, Vec<IpAddr>)> = hosts
            .iter()
            .zip(&resolved)
            .filter_map(|(HostPort { host, port: _ }, ips)| Some((Some(host.clone()), ips.clone().ok()?)))
            .collect();
        let found = (!placed.is_empty()).then(|| Found::by_addresses(&self.tools.regions, &placed));

        let way = Way { tls: config, redis: login, patience: attempt.left().saturating_sub(RESERVE) };
        let reached = hosts.iter().zip(resolved).map(|(host, ips)| async {
            let said = match ips {
                Ok(ips) => way.reach(host, &ips).await,
                Err(fault) => Err(fault),
            };
            Reached { host: format!("{}:{}", host.host, host.port), said }
        });
        let reached = join_all(reached).await;
        Ok(self.spec.expected().judge(!self.tools.regions.is_empty(), found.as_ref(), &reached))
    }
}

/// The address as the application has it, read anew each time.
///
/// # Errors
///
/// Where it cannot be read: which source, and what to do.
async fn address_text(tools: &Tools, place: &Place) -> Result<Secret, Gap> {
    match place {
        Place::Given(source) => {
            let read = source.read(&tools.secrets).await;
            read.map_err(|error| Gap {
                reason: error.gap,
                detail: format!("the address of the dependency: {error}"),
            })
        }
        Place::Learnt(workload, named) => text(&tools.cluster, &tools.secrets, workload, named).await,
    }
}

#[async_trait]
impl Probe for Dependency {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn stirred(&self) {
        let last = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (&self.spec.place, last) {
            (Place::Learnt(workload, named), Some(last)) => {
                stirred(&self.tools.cluster, &last, |inventory| lookup(inventory, workload, named)).await;
            }
            (Place::Learnt(..) | Place::Given(_), _) => std::future::pending().await,
        }
    }

    async fn ask(&self, attempt: &Attempt) {
        if let Place::Learnt(workload, named) = &self.spec.place {
            let seen = self.tools.cluster.read(|inventory| lookup(inventory, workload, named));
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
        let answer = self.answer(attempt).await.unwrap_or_else(Gap::answer);
        attempt.answer(0, answer);
    }
}

// === impl Spec ===

impl Spec {
    fn expected(&self) -> Expected<'_> {
        Expected { dependency: &self.key.target, regions: &self.expected_regions }
    }
}

// === impl Way ===

impl Way {
    /// Connects to a host as far as its address says, and says in a few words what answered.
    async fn reach(&self, HostPort { host, port }: &HostPort, ips: &[IpAddr]) -> Result<String, Fault> {
        let addresses: Vec<_> = ips.iter().map(|ip| SocketAddr::new(*ip, *port)).collect();
        let reached = timeout(self.patience, async {
            let (stream, _) = dial::first_of(&addresses).await?;
            let Some(config) = &self.tls else {
                return match &self.redis {
                    None => Ok("connected".to_owned()),
                    Some(login) => redis::ask(stream, login).await,
                };
            };
            let name = ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|_| {
                Fault::ours(Reason::Misconfigured, "the host cannot be the name of a certificate")
            })?;
            let shaken = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await;
            let stream = shaken.map_err(|error| fault_of_handshake(&error))?;
            match &self.redis {
                None => Ok("connected, with TLS".to_owned()),
                Some(login) => redis::ask(stream, login).await,
            }
        });
        reached.await.unwrap_or_else(|_| {
            Err(Fault::theirs(Reason::Timeout, format!("no answer within {} ms", self.patience.as_millis())))
        })
    }
}

#[cfg(test)]
mod tests;
