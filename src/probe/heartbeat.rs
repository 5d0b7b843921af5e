//! `heartbeat`: writes the row whose age on the standby is the one number about replication that does not lie.
//!
//! The only thing that this program ever writes to a database: one row, in a table of its own, on a primary that nobody
//! else claims to be ([`decision`]). Off unless it is asked for.

pub mod decision;
pub mod sql;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::SimpleQueryMessage;

use self::decision::{Known, Leave, leave};
use super::database::visit::endpoint_of;
use super::{Answer, Attempt, Kind, Probe, Question, Schedule, TRANSPORT, Tools};
use crate::config::{Credentials, Endpoint};
use crate::discovery::dsn::{Settled, Wiring};
use crate::discovery::read::connection;
use crate::discovery::{self, Gap, WorkloadRef};
use crate::model::{Check, CheckKey, GapReason, Reason, Role};
use crate::net::dial::Fault;
use crate::net::dsn::{Dsn, Siblings};
use crate::net::postgres::{CancelSlot, Login, Options, Session, connect, fault_of};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::Heartbeat,
    about: "Writes one row for this site into a table of its own, by the server's clock: its age on the standby is how much would \
            be lost. Off by default; the table is made by what `dr-exporter docs heartbeat` prints. It is written through the endpoint of the \
            application and only where this site is the primary: never to a server that replays or is read-only, never \
            while another site says that it is the primary, and, while a configured peer is not heard, only by a server that feeds \
            another one at that moment. Where it is not to be written it is skipped, and says why. No verdict rests on it.",
    example: "databases:\n  - name: orders\n    endpoint: {url: \"postgres://app@pg-east:5432/orders\", password: {file: /etc/orders/password}}\n    \
              heartbeat_writer: {enabled: true, table: dr_heartbeat, every: 10s, credentials: {user: dr_heartbeat, password: {file: /etc/dr-exporter/beat}}}",
    metrics: &[],
    reasons: &[
        TRANSPORT,
        &[
            Reason::Auth,
            Reason::Permission,
            Reason::Limit,
            Reason::UndefinedObject,
            Reason::ReadOnly,
            Reason::Conflict,
            Reason::Starting,
            Reason::Misconfigured,
            Reason::Other,
        ],
    ],
};

/// How long taking leave may last.
const GOODBYE_WITHIN: Duration = Duration::from_millis(400);

/// A heartbeat as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and database.
    pub key: CheckKey,
    /// The name of our own site, which is the row's.
    pub site: Arc<str>,
    /// The role that it is declared to have.
    pub role: Role,
    /// Where the application looks.
    pub endpoint: Endpoint,
    /// The workload that the endpoint names, as the cluster knows it.
    pub workload: Option<WorkloadRef>,
    /// With which credentials, instead of the workload's own.
    pub credentials: Option<Credentials>,
    /// The table.
    pub table: String,
    /// The other sites, whose word counts.
    pub peers: Vec<String>,
    /// How old what they told may be.
    pub fresh: Duration,
    /// When to write.
    pub schedule: Schedule,
}

/// A heartbeat.
pub struct Heartbeat {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 1],
    cancel: CancelSlot,
    /// What the workload's wiring was at the last attempt.
    wiring: Mutex<Option<Result<Wiring, Gap>>>,
}

// === impl Heartbeat ===

impl Heartbeat {
    /// Ready to write; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let question = Question { key: spec.key.clone(), at_first: vec![], promised: vec![] };
        Heartbeat {
            spec,
            tools,
            questions: [question],
            cancel: CancelSlot::default(),
            wiring: Mutex::default(),
        }
    }

    async fn beat(&self, attempt: &Attempt) -> Result<Answer, Answer> {
        let CheckKey { system, check: _, target } = &self.spec.key;
        let sightings = &self.tools.sightings;
        let known = Known {
            role: self.spec.role,
            of: (system, target),
            ours: &sightings.ours(system, target),
            peers: &self.spec.peers,
            told: &sightings.all_told(),
            fresh: self.spec.fresh,
            now: attempt.now,
        };
        let unless_fed = match leave(known) {
            Leave::Given => None,
            Leave::IfItFeeds(unheard) => Some(unheard),
            Leave::Withheld(why) => return Ok(Answer::skipped(format!("nothing is written: {why}"))),
        };
        let dsn = self.dsn().await?;
        let half = self.spec.schedule.timeout / 2;
        let place = self.tools.slots.acquire(&endpoint_of(&dsn), half).await;
        let mut place = place.map_err(|_| {
            Answer::fail(
                Reason::Timeout,
                "the endpoint gave no answer to another attempt of ours at the same time",
            )
        })?;
        let logged_in = self.log_in(&dsn, attempt).await;
        if !matches!(&logged_in, Err(fault) if fault.reason == Reason::Timeout) {
            place.answered();
        }
        let failed = |Fault { reason, ours, message }: Fault| Answer::not_passed(ours, reason, message);
        let mut session = logged_in.map_err(failed)?;
        let answer = self.write(&mut session, unless_fed.as_deref(), attempt).await.map_err(failed);
        session.goodbye(GOODBYE_WITHIN.min(attempt.left())).await;
        self.cancel.take();
        answer
    }

    /// Looks what the server is, and writes if it is a primary.
    async fn write(
        &self,
        session: &mut Session,
        unless_fed: Option<&str>,
        attempt: &Attempt,
    ) -> Result<Answer, Fault> {
        let Session { client, driver, .. } = session;
        let fault = |error: &tokio_postgres::Error| {
            let mut fault = fault_of(error, "write the heartbeat");
            // DESIGN section 10: what our own credentials may not do is our blindness.
            fault.ours |= self.spec.credentials.is_some() && fault.reason == Reason::Permission;
            fault
        };
        let look = sql::look(attempt.left());
        let looked = driver.drive(client.simple_query(&look)).await.map_err(|error| fault(&error))?;
        let says = |column: usize| {
            looked.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(column),
                _ => None,
            })
        };
        let hindrance = if says(sql::REPLAYS) != Some("f") {
            Some(Answer::skipped("nothing is written: the server replays what another one writes"))
        } else if says(sql::READ_ONLY) != Some("off") {
            let words =
                "nothing is written: the server or the login is read-only (`default_transaction_read_only`)";
            Some(Answer::fail(Reason::ReadOnly, words))
        } else {
            unless_fed.filter(|_| says(sql::FEEDS) != Some("t")).map(|site| {
                Answer::skipped(format!(
                    "nothing is written: {site} was not heard, and the server feeds no other one; an old primary that came back looks alike"
                ))
            })
        };
        if let Some(answer) = hindrance {
            driver.drive(client.batch_execute("rollback")).await.map_err(|error| fault(&error))?;
            return Ok(answer);
        }
        let beat = sql::beat(&self.spec.table, &self.spec.site);
        let written = match driver.drive(client.simple_query(&beat)).await {
            Ok(written) => written,
            Err(error) => {
                let fault = fault(&error);
                // A pooler is not left with a broken transaction; if this fails as well, the first error says more.
                let _ = driver.drive(client.batch_execute("rollback")).await;
                return Err(fault);
            }
        };
        let is_written = written.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)));
        Ok(if is_written {
            Answer::pass(format!("the row {} of {} was written", self.spec.site, self.spec.table))
        } else {
            Answer::skipped("nothing is written: the server began to replay what another one writes")
        })
    }

    /// Where the application looks, read anew.
    async fn dsn(&self) -> Result<Dsn, Answer> {
        let Endpoint { workload, env, file, url, expected_url: _, password, tls } = &self.spec.endpoint;
        let secrets = &self.tools.secrets;
        let password = match password {
            Some(source) => {
                Some(source.read(secrets).await.map_err(|error| Answer::unread("the password", &error))?)
            }
            None => None,
        };
        if let Some(source) = url {
            let what = "the connection string";
            let text = source.read(secrets).await.map_err(|error| Answer::unread(what, &error))?;
            let unparsable = |error| Answer::gap(GapReason::Unparsable, format!("{what}: {error}"));
            let dsn = Dsn::parse(text.expose()).map_err(unparsable)?;
            return dsn.with_siblings(&Siblings { password, ..Siblings::default() }).map_err(unparsable);
        }
        let Some(object) = &self.spec.workload else {
            let name = workload.as_deref().unwrap_or_default();
            let words = format!("nothing can be learnt from the workload {name}: give the endpoint's `url`");
            return Err(Answer::gap(GapReason::Unsupported, words));
        };
        let wiring = self
            .tools
            .cluster
            .read(|inventory| discovery::dsn::endpoint(inventory, object, env.as_deref(), file.as_deref()));
        *self.wiring.lock().unwrap_or_else(PoisonError::into_inner) = Some(wiring.clone());
        let ca_file = tls.as_ref().and_then(|tls| tls.ca_file.as_deref());
        let wiring = wiring.map_err(Gap::answer)?;
        let settled = connection(&wiring, &self.tools.cluster, secrets, password.as_ref(), ca_file).await;
        let Settled { dsn, .. } = settled.map_err(Gap::answer)?;
        Ok(dsn)
    }

    async fn log_in(&self, dsn: &Dsn, attempt: &Attempt) -> Result<Session, Fault> {
        let login = match &self.spec.credentials {
            None => Login::default(),
            Some(Credentials { user, password }) => {
                let password = match password {
                    None => None,
                    Some(source) => Some(source.read(&self.tools.secrets).await.map_err(|error| {
                        Fault::ours(Reason::Misconfigured, format!("the password: {error}"))
                    })?),
                };
                Login { user: Some(user.clone()), password, ours: true }
            }
        };
        let options = Options {
            application_name: Some("dr-exporter".to_owned()),
            ca_files: self.spec.endpoint.tls.iter().filter_map(|tls| tls.ca_file.clone()).collect(),
        };
        let connected = connect(dsn, &login, &self.tools.resolver, &options, attempt.deadline).await;
        let session = connected.map_err(|error| error.fault)?;
        self.cancel.arm(session.cancel());
        Ok(session)
    }
}

#[async_trait]
impl Probe for Heartbeat {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        let answer = self.beat(attempt).await.unwrap_or_else(|answer| answer);
        attempt.answer(0, answer);
    }

    async fn stirred(&self) {
        let last = self.wiring.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (Some(workload), Some(last)) = (&self.spec.workload, last) else {
            return std::future::pending().await;
        };
        let Endpoint { env, file, .. } = &self.spec.endpoint;
        discovery::stirred(&self.tools.cluster, &last, |inventory| {
            discovery::dsn::endpoint(inventory, workload, env.as_deref(), file.as_deref())
        })
        .await;
    }

    async fn abandon(&self) {
        if let Some(cancel) = self.cancel.take() {
            // The scheduler bounds this; whether the server took it, nobody is left to tell.
            let _ = cancel.send(GOODBYE_WITHIN).await;
        }
    }
}
