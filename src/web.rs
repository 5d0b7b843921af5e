//! The HTTP server. Every answer comes from memory: a request starts no probe and waits for none.
//!
//! | route | what it says |
//! | --- | --- |
//! | `GET /` | the page for people |
//! | `GET /metrics` (or `--web.telemetry-path`) | OpenMetrics, text 0.0.4 by default |
//! | `GET /api/v1/report` | the same as JSON |
//! | `GET /config` | the loaded configuration, secrets masked |
//! | `GET /dr-ready/<system>` | 200 and `DR_READY` only if the system is usable now, else 503 and why |
//! | `GET /-/healthy` | 200 while the process serves |
//! | `GET /-/ready` | 200 while our own loops are alive, else 503 and why |

mod negotiate;
pub mod page;
pub mod ready;
mod seats;

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use self::seats::{Seat, Seats};
use crate::metrics::to_text_format;
use crate::tasks::Stop;
use crate::view::View;

/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How large the head of a request may be.
const HEAD_CAP: usize = 16 * 1024;
/// How many connections are served at a time; the one that has been silent the longest makes room for the next.
const CONNECTIONS: usize = 256;
/// How long an idle or slow client may keep one of them.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// The page loads nothing and runs nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
/// Bodies below this are not worth compressing.
const COMPRESS_FROM: usize = 1024;

/// Sockets that are bound and not yet served, so that an address in use is known before anything is spawned.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

/// What is served.
#[derive(Clone, Debug)]
pub struct Site {
    /// What is known.
    pub view: View,
    /// Where the metrics are.
    pub telemetry_path: String,
}

/// What is answered, before it is compressed and dressed.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

// === impl Bound ===

impl Bound {
    /// Binds every address, or none.
    ///
    /// # Errors
    ///
    /// The first address that is not to be had, and why.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let mut listener = TcpListener::bind(address).await;
            // Every interface of a machine without IPv6 is every interface of IPv4.
            if listener.is_err() && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !has_ipv6() {
                listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
            }
            listeners.push(listener.map_err(|error| BindError { address: *address, error })?);
        }
        Ok(Bound { listeners })
    }

    /// The addresses as bound, port 0 replaced by the port.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until asked to stop; then lets answers under way end.
    pub async fn serve(self, site: Site, mut stop: Stop) {
        let site = Arc::new(site);
        let mut connections = FuturesUnordered::new();
        let mut seats = Seats::default();
        loop {
            tokio::select! {
                () = stop.requested() => break,
                Some(number) = connections.next() => seats.give_back(number),
                stream = accept(&self.listeners), if connections.len() < CONNECTIONS => {
                    let (number, seat) = seats.take();
                    let connection = connection(stream, site.clone(), seat, stop.clone());
                    connections.push(async move {
                        connection.await;
                        number
                    });
                    if connections.len() == CONNECTIONS {
                        seats.make_room();
                    }
                }
            }
        }
        while connections.next().await.is_some() {}
    }
}

fn has_ipv6() -> bool {
    tokio::net::TcpSocket::new_v6().is_ok_and(|socket| socket.bind((Ipv6Addr::LOCALHOST, 0).into()).is_ok())
}

async fn accept(listeners: &[TcpListener]) -> TcpStream {
    let mut accepting: FuturesUnordered<_> = listeners.iter().map(TcpListener::accept).collect();
    loop {
        match accepting.next().await {
            Some(Ok((stream, _))) => return stream,
            // Out of file descriptors, or the client is gone already: not a reason to stop serving, but one to
            // breathe before trying again.
            Some(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            None => {
                accepting = listeners.iter().map(TcpListener::accept).collect();
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>, seat: Arc<Seat>, mut stop: Stop) {
    let heard = seat.clone();
    let service = service_fn(move |request| {
        heard.heard();
        let site = site.clone();
        async move {
            let gzip = negotiate::accepts_gzip(header(&request, ACCEPT_ENCODING));
            Ok::<_, Infallible>(answer(&site, &request).respond(gzip))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_CAP)
        .half_close(false);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = seat.must_leave() => Ok(()),
            () = stop.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match tokio::time::timeout(CONNECTION_LIFE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client's connection ended badly"),
        Err(_elapsed) => tracing::debug!("a client's connection was closed: it lasted too long"),
    }
}

fn answer(site: &Site, request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Answer::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
    }
    match request.uri().path() {
        path if path == site.telemetry_path => metrics(site, header(request, ACCEPT)),
        "/" => Answer::html(page::page(&site.view.explained(), &site.telemetry_path)),
        "/api/v1/report" => match serde_json::to_string_pretty(&site.view.explained()) {
            Ok(json) => Answer { status: StatusCode::OK, content_type: "application/json", body: json },
            Err(_) => {
                Answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "the report could not be written as JSON")
            }
        },
        "/config" => Answer::plain(StatusCode::OK, &site.view.masked),
        "/-/healthy" => Answer::plain(StatusCode::OK, "dr-exporter is alive"),
        "/-/ready" => match site.view.ready() {
            Ok(()) => Answer::plain(StatusCode::OK, "dr-exporter is ready"),
            Err(why) => Answer::plain(StatusCode::SERVICE_UNAVAILABLE, &why),
        },
        path => match path.strip_prefix(ready::PATH) {
            Some(system) => dr_ready(site, system),
            None => Answer::plain(StatusCode::NOT_FOUND, "nothing is here; see /"),
        },
    }
}

fn dr_ready(site: &Site, system: &str) -> Answer {
    let View { leadership, shard, now, .. } = &site.view;
    let report = site.view.report();
    let knowledge = if leadership.is_leading() {
        ready::Knowledge::Report(&report, *shard)
    } else {
        ready::Knowledge::StandingBy
    };
    let (status, body) = ready::answer(system, knowledge, now());
    Answer::plain(status, &body)
}

fn metrics(site: &Site, accept: &str) -> Answer {
    let Ok(text) = site.view.open_metrics() else {
        return Answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written");
    };
    let (content_type, body) = if negotiate::wants_open_metrics(accept) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", to_text_format(&text))
    };
    Answer { status: StatusCode::OK, content_type, body }
}

fn header<T>(request: &Request<T>, name: http::HeaderName) -> &str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

// === impl Answer ===

impl Answer {
    fn plain(status: StatusCode, text: &str) -> Self {
        Answer { status, content_type: "text/plain; charset=utf-8", body: format!("{}\n", text.trim_end()) }
    }

    fn html(page: maud::Markup) -> Self {
        Answer { status: StatusCode::OK, content_type: "text/html; charset=utf-8", body: page.into_string() }
    }

    /// Dresses the answer for this client.
    fn respond(self, gzip: bool) -> Response<Full<Bytes>> {
        let Answer { status, content_type, body } = self;
        let packed = if gzip && body.len() >= COMPRESS_FROM { compress(body.as_bytes()).ok() } else { None };
        let encoded = packed.is_some();
        let mut response = Response::new(Full::new(packed.unwrap_or_else(|| body.into_bytes()).into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        if encoded {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// Level 1: a scrape is worth little CPU (level 6 costs seven times as much for a tenth less).
fn compress(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
