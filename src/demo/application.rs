//! The stand-in application: three instances of `api-server` in the west, as the incident found them.
//!
//! | route | answer |
//! | --- | --- |
//! | `GET /health` | the claim: `{"status":"ok","database":"connected",...}`, whatever the database does, until deepened |
//! | `GET /ready` | the same claim in other words |
//! | `GET /api/v1/orders?limit=N` | the newest orders, read over a new connection; 503 when they cannot be read |
//! | `GET /api/v1/users?limit=N` | the users, likewise |
//! | `GET /metrics` | counters of this instance, Prometheus text format 0.0.4 |

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_postgres::{NoTls, Row};

use super::Now;

/// What each instance has counted of its probes when the story starts: one a second, for a day.
pub const PROBES_AT_START: u64 = 86_400;

/// How long the application waits for its database, all in all.
const DATABASE_PATIENCE: Duration = Duration::from_millis(500);

/// Names of the instances: the pods of the incident.
const INSTANCES: [&str; 3] =
    ["api-server-6b8f9a7c43-d2f4g", "api-server-6b8f9a7c43-h5j7k", "api-server-6b8f9a7c43-m8n1p"];

/// The stand-in application, bound and not yet serving.
#[derive(Debug)]
pub struct Application {
    shared: Arc<Shared>,
    instances: Vec<Arc<Instance>>,
    listeners: Vec<TcpListener>,
}

/// One instance ("pod") with counters of its own.
#[derive(Debug)]
pub struct Instance {
    /// The pod's name.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    requests: [AtomicU64; Handler::ALL.len()],
    errors: AtomicU64,
    /// The latest durations of `select_orders`, in seconds.
    durations: Mutex<VecDeque<f64>>,
}

#[derive(Debug)]
struct Shared {
    /// What the variable `DATABASE_URL` is in the story: read anew for each request.
    dsn: PathBuf,
    /// Whether the claims look at the database.
    deep: AtomicBool,
    started: Timestamp,
    now: Now,
}

/// The routes, in the order in which the metrics show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Health,
    Ready,
    Orders,
    Users,
    Metrics,
}

/// Why the database gave no rows, in words that hold nothing of its connection string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ReadError {
    #[error("DATABASE_URL is not set to a connection string")]
    Configuration,
    #[error("connection refused")]
    Refused,
    #[error("no answer from the database in time")]
    Timeout,
    #[error("the database did not execute the query")]
    Query,
}

// === impl Application ===

impl Application {
    /// Binds every instance to a free port of `address`. The application reads its connection string from the file
    /// `dsn`, for each request anew.
    ///
    /// # Errors
    /// The address is not one of this machine, or has no free port.
    pub async fn bind(address: IpAddr, dsn: PathBuf, now: Now) -> io::Result<Self> {
        let shared = Arc::new(Shared { dsn, deep: AtomicBool::new(false), started: now(), now });
        let mut instances = Vec::new();
        let mut listeners = Vec::new();
        for name in INSTANCES {
            let listener = TcpListener::bind((address, 0)).await?;
            instances.push(Arc::new(Instance::new(name, listener.local_addr()?)));
            listeners.push(listener);
        }
        Ok(Self { shared, instances, listeners })
    }

    /// The instances, in a fixed order.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    /// From now on `/health` and `/ready` ask the database before they claim that it is connected.
    pub fn deepen_health(&self) {
        self.shared.deep.store(true, Ordering::Relaxed);
    }

    /// Serves every instance. Never ends by itself; dropping it cuts every connection.
    pub async fn run(&self) {
        let instances = self.listeners.iter().zip(&self.instances);
        join_all(instances.map(|(listener, instance)| self.accept(listener, instance))).await;
    }

    async fn accept(&self, listener: &TcpListener, instance: &Arc<Instance>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => {
                        drop(connections.spawn(serve(client, Arc::clone(&self.shared), Arc::clone(instance))));
                    }
                    // Out of file descriptors, or the client has gone: neither mends faster by spinning.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Serves one connection to its end; how a client goes is no news to anybody.
async fn serve(client: TcpStream, shared: Arc<Shared>, instance: Arc<Instance>) {
    let service = service_fn(|request| {
        let (shared, instance) = (Arc::clone(&shared), Arc::clone(&instance));
        async move { Ok::<_, Infallible>(shared.answer(&instance, &request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(5))
        .serve_connection(TokioIo::new(client), service)
        .await;
}

// === impl Shared ===

impl Shared {
    async fn answer(&self, instance: &Instance, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let Some(handler) = Handler::ALL.into_iter().find(|handler| handler.path() == path) else {
            return respond(StatusCode::NOT_FOUND, &json!({"error": "no such path"}));
        };
        if request.method() != Method::GET {
            let mut response =
                respond(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "only GET is served"}));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        instance.requests[handler as usize].fetch_add(1, Ordering::Relaxed);
        let limit = limit(request.uri().query().unwrap_or_default());
        match handler {
            Handler::Health => self.health().await,
            Handler::Ready => self.ready().await,
            Handler::Orders => self.orders(instance, limit).await,
            Handler::Users => self.users(instance, limit).await,
            Handler::Metrics => {
                let mut response = Response::new(Full::from(instance.metrics(self.started)));
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
        }
    }

    async fn health(&self) -> Response<Full<Bytes>> {
        let connected = self.database_claimed().await;
        let (code, status, database) = if connected {
            (StatusCode::OK, "ok", "connected")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "error", "unreachable")
        };
        // Whole seconds, as the incident's answer has them.
        let now = Timestamp::from_second((self.now)().as_second()).unwrap_or_default();
        let body = json!({"status": status, "database": database, "cache": "connected", "timestamp": now.to_string()});
        respond(code, &body)
    }

    async fn ready(&self) -> Response<Full<Bytes>> {
        let database = self.database_claimed().await;
        let (code, status) =
            if database { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "error") };
        let checks = json!({"database": database, "cache": true, "queue": true});
        respond(code, &json!({"status": status, "checks": checks}))
    }

    /// What the claims say of the database: the shallow check does not ask it.
    async fn database_claimed(&self) -> bool {
        !self.deep.load(Ordering::Relaxed) || self.read("select id from orders limit 1").await.is_ok()
    }

    async fn orders(&self, instance: &Instance, limit: u16) -> Response<Full<Bytes>> {
        let sql = format!("select id, created_at from orders order by created_at desc limit {limit}");
        let asked = tokio::time::Instant::now();
        let rows = self.read(&sql).await;
        if rows.is_ok() {
            instance.measured(asked.elapsed());
        }
        instance.page(rows, "orders", |row| {
            let at = Timestamp::try_from(row.try_get::<_, SystemTime>("created_at").ok()?).ok()?;
            Some(json!({"id": row.try_get::<_, i64>("id").ok()?, "created_at": at.to_string()}))
        })
    }

    async fn users(&self, instance: &Instance, limit: u16) -> Response<Full<Bytes>> {
        let rows = self.read(&format!("select id, name from users order by id limit {limit}")).await;
        instance.page(rows, "users", |row| {
            let name: String = row.try_get("name").ok()?;
            Some(json!({"id": row.try_get::<_, i64>("id").ok()?, "name": name}))
        })
    }

    /// Reads rows over a new connection to wherever the connection string points now.
    async fn read(&self, sql: &str) -> Result<Vec<Row>, ReadError> {
        let dsn = tokio::fs::read_to_string(&self.dsn).await.map_err(|_| ReadError::Configuration)?;
        let config: tokio_postgres::Config = dsn.trim().parse().map_err(|_| ReadError::Configuration)?;
        let work = async {
            let (client, connection) = config.connect(NoTls).await.map_err(|_| ReadError::Refused)?;
            tokio::select! {
                rows = client.query(sql, &[]) => rows.map_err(|_| ReadError::Query),
                _ = connection => Err(ReadError::Query),
            }
        };
        tokio::time::timeout(DATABASE_PATIENCE, work).await.unwrap_or(Err(ReadError::Timeout))
    }
}

/// The `limit` of a query string: 1 to 100, 20 when it does not say.
fn limit(query: &str) -> u16 {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("limit="))
        .and_then(|limit| limit.parse().ok())
        .map_or(20, |limit: u16| limit.clamp(1, 100))
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

// === impl Handler ===

impl Handler {
    const ALL: [Self; 5] = [Self::Health, Self::Ready, Self::Orders, Self::Users, Self::Metrics];

    fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Orders => "/api/v1/orders",
            Self::Users => "/api/v1/users",
            Self::Metrics => "/metrics",
        }
    }
}

// === impl Instance ===

impl Instance {
    fn new(name: &'static str, address: SocketAddr) -> Self {
        let requests = Handler::ALL.map(|handler| match handler {
            Handler::Health | Handler::Ready => AtomicU64::new(PROBES_AT_START),
            Handler::Orders | Handler::Users | Handler::Metrics => AtomicU64::new(0),
        });
        Self { name, address, requests, errors: AtomicU64::new(0), durations: Mutex::default() }
    }

    fn measured(&self, took: Duration) {
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        durations.push_back(took.as_secs_f64());
        if durations.len() > 256 {
            durations.pop_front();
        }
    }

    /// A page of items, or 503 with the reason; a row that lacks what it must have is no page either.
    fn page(
        &self,
        rows: Result<Vec<Row>, ReadError>,
        table: &str,
        item: impl Fn(&Row) -> Option<Value>,
    ) -> Response<Full<Bytes>> {
        let items =
            rows.and_then(|rows| rows.iter().map(item).collect::<Option<Vec<_>>>().ok_or(ReadError::Query));
        match items {
            Ok(items) => respond(StatusCode::OK, &json!({"items": items})),
            Err(why) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                let error = format!("Failed to execute query on {table} table: {why}");
                respond(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": error}))
            }
        }
    }

    /// The incident's series. The pool's gauges stay what they were that day: they are part of the lie.
    fn metrics(&self, started: Timestamp) -> String {
        const CLUSTER: &str = r#"cluster="dr-west""#;
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (series, value) in samples {
                let _ = writeln!(text, "{series} {value}");
            }
        };
        let requests = Handler::ALL.map(|handler| {
            let count = self.requests[handler as usize].load(Ordering::Relaxed);
            (format!(r#"http_requests_total{{{CLUSTER},handler="{}"}}"#, handler.path()), count.to_string())
        });
        family("http_requests_total", "counter", "Requests served, by handler.", &requests);
        let errors = self.errors.load(Ordering::Relaxed).to_string();
        let errors = [(format!("app_errors_total{{{CLUSTER}}}"), errors)];
        family("app_errors_total", "counter", "Requests that ended in an error.", &errors);
        for (name, kind, help, value) in [
            ("db_pool_active_connections", "gauge", "Connections in use.", "2"),
            ("db_pool_idle_connections", "gauge", "Connections at rest.", "8"),
            ("db_pool_max_connections", "gauge", "Most connections that the pool opens.", "50"),
            ("db_pool_wait_count_total", "counter", "Times that a request waited for a connection.", "0"),
        ] {
            family(name, kind, help, &[(format!("{name}{{{CLUSTER}}}"), value.to_owned())]);
        }
        let quantile = |query: &str, value: f64| {
            let series = format!(r#"db_query_duration_seconds{{{CLUSTER},query="{query}",quantile="0.99"}}"#);
            (series, if value.is_nan() { "NaN".to_owned() } else { value.to_string() })
        };
        let durations = [quantile("health_check", 0.003), quantile("select_orders", self.slow_orders())];
        family("db_query_duration_seconds", "summary", "How long queries took.", &durations);
        let started = [("process_start_time_seconds".to_owned(), started.as_second().to_string())];
        family("process_start_time_seconds", "gauge", "Start of the process, Unix time.", &started);
        text
    }

    /// The 99th percentile of the latest reads of orders, in seconds; not a number while there is none.
    fn slow_orders(&self) -> f64 {
        let durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<f64> = durations.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * 99).div_ceil(100);
        rank.checked_sub(1).and_then(|at| sorted.get(at)).copied().unwrap_or(f64::NAN)
    }
}
