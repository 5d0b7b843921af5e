//! The application of the lab: real routes, real counters, one real database connection, and every lie it can tell.

mod answers;
mod counters;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use tokio_postgres::NoTls;

use super::http::{self, Task};
use counters::Counters;

/// The routes whose counters exist from the start.
pub const ROUTES: [(&str, &str); 5] = [
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v1/orders"),
    ("POST", "/api/v1/orders"),
    ("GET", "/api/v1/users"),
];

/// One instance (a pod) of the application `orders`; gone on drop.
///
/// `GET /health`, `GET /ready`, `GET /api/v1/orders`, `POST /api/v1/orders`, `GET /api/v1/users`, `GET /metrics`,
/// 404 for the rest. Its own answers carry the header `x-service: orders` and the body's `service` and `site`.
pub struct App {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: Task,
}

/// What the application does wrong; the default does everything right.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// `/health`.
    pub health: Claim,
    /// `/ready`.
    pub ready: Claim,
    /// Where business answers come from.
    pub business: Business,
    /// Answers 200 with a page of somebody else's, whatever the path (L06).
    pub catch_all: bool,
    /// A broken way to answer, by exact path; the request is counted as a 200.
    pub faults: BTreeMap<String, Fault>,
    /// What the request counters count.
    pub counting: Counting,
    /// Whether the known routes have a counter before their first request.
    pub zeros_from_start: bool,
    /// Business calls without `Authorization: Bearer TOKEN` get 401 (L10).
    pub token: Option<String>,
    /// Added to every business answer.
    pub latency: Duration,
    /// The format of `/metrics`.
    pub metrics: MetricsFormat,
    /// Compresses `/metrics`, whatever the client accepts.
    pub gzip: bool,
}

/// What `/health` or `/ready` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Asks the database each time: 200 `ok` or 503 `unavailable`.
    Honest,
    /// Always 200 `ok`, with a current timestamp (L01).
    StaticOk,
    /// Always the same body, computed at the start (L02).
    Frozen,
    /// Asks another database than the business path does (L03).
    OtherDatabase(String),
    /// 200 with `degraded` (L05).
    OkButDegraded,
    /// 503 with `ok` (L05).
    UnavailableButOk,
}

/// Where business answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Business {
    /// The database: 503 when it does not answer.
    Database,
    /// The last body that the database gave, or one from long ago (L09).
    Memory,
}

/// What the request counters count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counting {
    /// Every request under its route.
    Honest,
    /// Successful requests only (L52).
    SuccessOnly,
    /// Under other handler labels: the route behind this prefix (L52).
    Renamed(String),
    /// Nothing: the counters are not wired (L52). Errors are still counted in `app_errors_total`.
    Dead,
}

/// A broken way to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Headers, then a body without an end, as fast as it is read.
    Endless,
    /// Headers, then one byte per this long, without an end.
    Trickle(Duration),
    /// A whole body of this many bytes.
    Huge(usize),
    /// 302 to there.
    Redirect(String),
    /// Nothing, not even a status line.
    Hang,
    /// Half of the promised body, then the connection ends.
    Cut,
    /// This status and this body.
    Fixed(u16, String),
}

/// The format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0 with exemplars.
    OpenMetrics,
}

struct Shared {
    site: String,
    started: String,
    behaviour: Mutex<Behaviour>,
    counters: Mutex<Counters>,
    dsn: Mutex<String>,
    remembered: Mutex<Option<String>>,
    /// The pool: one connection. A lock across a query is what a pool of one means.
    pool: tokio::sync::Mutex<Option<Connection>>,
}

struct Connection {
    client: tokio_postgres::Client,
    _task: Task,
}

// === impl App ===

impl App {
    /// Starts an instance of `site` (`east`, `west`) on a free port of `ip` that uses the database at `dsn`.
    pub async fn start(site: &str, ip: IpAddr, dsn: &str) -> Self {
        Self::start_at(site, SocketAddr::new(ip, 0), dsn).await
    }

    /// The same on exactly this address: all pods of a workload have the same port.
    pub async fn start_at(site: &str, address: SocketAddr, dsn: &str) -> Self {
        let shared = Arc::new(Shared {
            site: site.to_owned(),
            started: now(),
            behaviour: Mutex::default(),
            counters: Mutex::default(),
            dsn: Mutex::new(dsn.to_owned()),
            remembered: Mutex::default(),
            pool: tokio::sync::Mutex::default(),
        });
        let served = Arc::clone(&shared);
        let (address, task) = http::serve_at(address, move |request: Request<Incoming>| {
            let shared = Arc::clone(&served);
            async move { answers::answer(&shared, request).await }
        })
        .await;
        Self { address, shared, _task: task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` + `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Changes what it does wrong, from the next request on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// Points it at another database and drops the old connection, as a rolling restart would (counters stay).
    pub async fn set_dsn(&self, dsn: &str) {
        dsn.clone_into(&mut self.shared.dsn.lock().unwrap());
        self.shared.pool.lock().await.take();
    }

    /// All counters start again at zero, as after a restart of the pod (T14).
    pub fn reset_counters(&self) {
        *self.shared.counters.lock().unwrap() = Counters::default();
    }

    /// How many requests it counts for a handler, all methods and codes.
    pub fn counted(&self, handler: &str) -> u64 {
        self.shared.counters.lock().unwrap().of(handler)
    }

    /// The value of `app_errors_total`.
    pub fn errors(&self) -> u64 {
        self.shared.counters.lock().unwrap().errors()
    }

    /// Adds to a handler's counter without a request: traffic that a test does not want to wait for.
    pub fn pretend(&self, handler: &str, requests: u64) {
        self.shared.counters.lock().unwrap().add("GET", handler, 200, requests);
    }

    /// Sends real requests, one after the other, as a user would; the statuses.
    pub async fn drive(&self, path: &str, times: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..times {
            let answer = http::client().get(self.url(path)).header("user-agent", "a-user").send().await;
            statuses.push(answer.expect("an answer of the application").status().as_u16());
        }
        statuses
    }
}

// === impl Behaviour ===

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            health: Claim::Honest,
            ready: Claim::Honest,
            business: Business::Database,
            catch_all: false,
            faults: BTreeMap::new(),
            counting: Counting::Honest,
            zeros_from_start: true,
            token: None,
            latency: Duration::ZERO,
            metrics: MetricsFormat::Text,
            gzip: false,
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Rows of a query by the pool's connection, dialled when there is none or the old one has ended.
    async fn query(&self, query: &str) -> Result<Vec<tokio_postgres::Row>, String> {
        let work = async {
            let mut pool = self.pool.lock().await;
            if pool.as_ref().is_none_or(|c| c.client.is_closed()) {
                let dsn = self.dsn.lock().unwrap().clone();
                *pool = Some(connect(&dsn).await?);
            }
            let connection = pool.as_ref().expect("just filled");
            connection.client.query(query, &[]).await.map_err(|e| e.to_string())
        };
        tokio::time::timeout(Duration::from_secs(2), work).await.unwrap_or_else(|_| Err("timeout".to_owned()))
    }
}

async fn connect(dsn: &str) -> Result<Connection, String> {
    let mut config: tokio_postgres::Config = dsn.parse().map_err(|e| format!("{e}"))?;
    config.application_name("orders");
    let (client, connection) = config.connect(NoTls).await.map_err(|e| e.to_string())?;
    Ok(Connection { client, _task: Task::spawn(async move { drop(connection.await) }) })
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}
