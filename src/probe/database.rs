//! The visit to a database: one resolution, one connection, one login, and every question that it answers.
//!
//! The questions stand in [`super::synthetic_query`] and [`super::db_endpoint_region`]; this file brings them there
//! and keeps what a visit costs small: one connection at a time at one endpoint, nothing left behind.

pub(super) mod text;
pub(super) mod visit;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::db_endpoint_region::{Expected, Found};
use super::{Attempt, Probe, Question, Schedule, Tools, synthetic_query};
use crate::config::{Credentials, Endpoint, Query};
use crate::discovery::dsn::Wiring;
use crate::discovery::{self, Gap, Inventory, WorkloadRef};
use crate::model::{CheckKey, Fact, Metric, Role};
use crate::net::postgres::CancelSlot;

/// Where the time of connecting goes.
const CONNECT_BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// How long taking leave may last.
const GOODBYE_WITHIN: Duration = Duration::from_millis(400);
/// The place of each question in [`Probe::questions`].
const QUERIES: usize = 0;
const REGION: usize = 1;

/// Whether we were let in.
pub static CONNECT_SUCCESS: Metric = Metric::gauge(
    "dr_db_connect_success",
    &["site", "system", "db"],
    "1 if the last login to the database, with the workload's credentials on a new connection, \
     succeeded and is younger than three intervals; else 0",
)
.becoming_zero();

/// How long it takes to be let in.
pub static CONNECT_SECONDS: Metric = Metric::histogram(
    "dr_db_connect_seconds",
    &["site", "system", "db"],
    CONNECT_BOUNDS,
    "How long successful logins took: resolution, connection, TLS and authentication together",
);

/// Where the endpoint was learnt.
pub static ENDPOINT_INFO: Metric = Metric::gauge(
    "dr_db_endpoint_info",
    &["site", "system", "db", "source", "is_ip_literal"],
    "How the database endpoint is written, always 1: where it was learnt and whether it is an \
     address instead of a name",
);

/// Whether the endpoint is the one that the owner expects.
pub static CONFIG_MATCH: Metric = Metric::gauge(
    "dr_db_endpoint_config_match",
    &["site", "system", "db"],
    "1 if the endpoint that the workload is wired to is the expected one, by host, port and \
     database; absent if none is configured",
)
.withheld();

/// Whether the application is connected there.
pub static APP_SESSIONS: Metric = Metric::gauge(
    "dr_db_app_sessions",
    &["site", "system", "db"],
    "Sessions of the workload's database user that the server showed at the last login, ours not \
     counted",
);

/// How far the clocks differ.
pub static CLOCK_OFFSET: Metric = Metric::gauge(
    "dr_db_clock_offset_seconds",
    &["site", "system", "db"],
    "By how much the clock of the database server was ahead of the exporter's at the last login",
);

/// A database as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and database of the business queries.
    pub queries_key: CheckKey,
    /// System and database of the region.
    pub region_key: CheckKey,
    /// The role that the site is declared to have.
    pub role: Role,
    /// Where the application looks.
    pub endpoint: Endpoint,
    /// The workload that the endpoint names, as the cluster knows it.
    pub workload: Option<WorkloadRef>,
    /// With which credentials, instead of the workload's own.
    pub credentials: Option<Credentials>,
    /// The regions in which the endpoint may be.
    pub expected_regions: Vec<String>,
    /// The business queries.
    pub queries: Vec<Query>,
    /// When to ask.
    pub schedule: Schedule,
}

/// A database that is visited.
pub struct Database {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 2],
    known: Mutex<Known>,
    cancel: CancelSlot,
}

/// What earlier visits leave for later ones.
#[derive(Default)]
struct Known {
    /// The last region that was found, which stays while nothing better is.
    region: Option<Found>,
    /// The addresses that were dialled when the server told its own.
    behind: Vec<IpAddr>,
    /// What the workload's wiring was at the last attempt.
    wiring: Option<Result<Wiring, Gap>>,
}

// === impl Database ===

impl Database {
    /// Ready to visit; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let db = &*spec.queries_key.target;
        let mut promised = vec![Fact::flag(&CONNECT_SUCCESS, &[("db", db)], false)];
        promised.extend(spec.queries.iter().map(|query| success(db, query)));
        let queries = Question { key: spec.queries_key.clone(), at_first: vec![], promised };
        let at_first = vec![spec.expected().fact(&Found::nothing())];
        let region = Question { key: spec.region_key.clone(), at_first, promised: vec![] };
        let known = Mutex::default();
        Database { spec, tools, questions: [queries, region], known, cancel: CancelSlot::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Probe for Database {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        self.visit(attempt).await;
    }

    async fn stirred(&self) {
        let last = self.known().wiring.clone();
        let (Some(workload), Some(last)) = (&self.spec.workload, last) else {
            return std::future::pending().await;
        };
        discovery::stirred(&self.tools.cluster, &last, |inventory| self.spec.wiring(inventory, workload))
            .await;
    }

    async fn abandon(&self) {
        if let Some(cancel) = self.cancel.take() {
            // The scheduler bounds this; whether the server took it, nobody is left to tell.
            let _ = cancel.send(GOODBYE_WITHIN).await;
        }
    }
}

// === impl Spec ===

impl Spec {
    /// What the cluster says about where the application looks.
    fn wiring(&self, inventory: &Inventory, workload: &WorkloadRef) -> Result<Wiring, Gap> {
        let Endpoint { env, file, .. } = &self.endpoint;
        discovery::dsn::endpoint(inventory, workload, env.as_deref(), file.as_deref())
    }

    fn expected(&self) -> Expected<'_> {
        Expected { db: &self.region_key.target, regions: &self.expected_regions }
    }
}

fn success(db: &str, query: &Query) -> Fact {
    Fact::flag(&synthetic_query::SUCCESS, &[("db", db), ("query", &query.name)], false)
}
