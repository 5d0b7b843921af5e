//! The HTTP server. Every answer but that of a reload comes from memory: a request starts no probe and waits for none.
//!
//! | route | what it says |
//! | --- | --- |
//! | `GET /` | the page for people: all systems, worst first; `?verdict=`, `?q=` and `?hold=1` choose |
//! | `GET /systems/<name>` | the page of one system |
//! | `GET /systems/<name>/<check>/<target>` | the page of one check |
//! | `GET /metrics` (or `--web.telemetry-path`) | OpenMetrics, text 0.0.4 by default |
//! | `GET /api/v1/report` | the same as JSON; with `?view=peer` no more of it than the exporter of another site reads |
//! | `GET /config` | the loaded configuration, secrets masked |
//! | `GET /dr-ready/<system>` | 200 and `DR_READY` only if the system is usable now, else 503 and why |
//! | `GET /-/healthy` | 200 while the process serves |
//! | `GET /-/ready` | 200 while our own loops are alive, else 503 and why |
//! | `POST /-/reload` | takes the configuration file anew: 200, or 500 with every mistake |

mod auth;
mod config;
mod limits;
mod negotiate;
pub mod page;
pub mod ready;
mod seats;
mod server;
mod tls;

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};

pub use self::config::Armour;
pub use self::server::{BindError, Bound};
use crate::metrics::to_text_format;
use crate::probe::peer;
use crate::reload::Reloader;
use crate::report::ForPeer;
use crate::view::View;

/// The pages load nothing, run nothing, and send their form to us alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Where a reload is asked for.
const RELOAD: &str = "/-/reload";
/// The methods of everything else.
const READING: &str = "GET, HEAD";
/// Bodies below this are not worth compressing.
const COMPRESS_FROM: usize = 1024;

/// What is served.
#[derive(Clone, Debug)]
pub struct Site {
    /// What is known.
    pub view: View,
    /// Where the metrics are.
    pub telemetry_path: String,
    /// Takes the configuration file anew; none where there is no file.
    pub reload: Option<Reloader>,
}

/// What is answered, before it is compressed and dressed.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
    /// The methods that would have been allowed here.
    allow: &'static str,
}

async fn answer(site: &Site, armour: &Armour, request: &Request<()>) -> Answer {
    if let Some(reloader) = site.reload.as_ref().filter(|_| request.uri().path() == RELOAD) {
        return reload(reloader, request.method()).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Answer::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
    }
    match request.uri().path() {
        path if path == site.telemetry_path => metrics(site, header(request, ACCEPT)),
        "/api/v1/report" => match report(&site.view, request.uri().query()) {
            Ok(json) => Answer {
                status: StatusCode::OK,
                content_type: "application/json",
                body: json,
                allow: READING,
            },
            Err(_) => {
                Answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "the report could not be written as JSON")
            }
        },
        "/config" => Answer::plain(StatusCode::OK, &format!("{}{}", site.view.masked(), armour.says())),
        "/-/healthy" => Answer::plain(StatusCode::OK, "dr-exporter is alive"),
        "/-/ready" => match site.view.ready() {
            Ok(()) => Answer::plain(StatusCode::OK, "dr-exporter is ready"),
            Err(why) => Answer::plain(StatusCode::SERVICE_UNAVAILABLE, &why),
        },
        path => match (path.strip_prefix(ready::PATH), page::Place::at(path)) {
            (Some(system), _) => dr_ready(site, system),
            (None, Some(place)) => people(site, &place, request.uri().query().unwrap_or_default()),
            (None, None) => Answer::plain(StatusCode::NOT_FOUND, "nothing is here; see /"),
        },
    }
}

/// Everything, indented for people; or what the exporter of another site reads.
fn report(view: &View, query: Option<&str>) -> serde_json::Result<String> {
    let report = view.explained();
    let for_peer = query.unwrap_or_default().split('&').any(|part| part == peer::VIEW);
    if for_peer { serde_json::to_string(&ForPeer(&report)) } else { serde_json::to_string_pretty(&report) }
}

/// The one answer that is waited for.
async fn reload(reloader: &Reloader, method: &Method) -> Answer {
    if *method != Method::POST {
        return Answer {
            allow: "POST",
            ..Answer::plain(StatusCode::METHOD_NOT_ALLOWED, "a reload is asked for with POST")
        };
    }
    match reloader.reload().await {
        Ok(()) => Answer::plain(StatusCode::OK, "the configuration was loaded"),
        Err(why) => Answer::plain(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}

fn people(site: &Site, place: &page::Place, query: &str) -> Answer {
    let page::Page { found, html } = page::page(place, query, &site.view.explained(), &site.telemetry_path);
    let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Answer { status, content_type: "text/html; charset=utf-8", body: html.into_string(), allow: READING }
}

fn dr_ready(site: &Site, system: &str) -> Answer {
    let view = &site.view;
    let report = view.report();
    let knowledge = if view.leadership().is_leading() {
        ready::Knowledge::Report(&report, view.shard())
    } else {
        ready::Knowledge::StandingBy
    };
    let (status, body) = ready::answer(system, knowledge, view.now());
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
    Answer { status: StatusCode::OK, content_type, body, allow: READING }
}

fn header<T>(request: &Request<T>, name: http::HeaderName) -> &str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

// === impl Answer ===

impl Answer {
    fn plain(status: StatusCode, text: &str) -> Self {
        Answer {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{}\n", text.trim_end()),
            allow: READING,
        }
    }

    /// The one who asks has not said who he is.
    fn login_needed() -> Self {
        Answer::plain(StatusCode::UNAUTHORIZED, "a user and a password are needed here")
    }

    /// There are more requests than are answered.
    fn too_many() -> Self {
        Answer::plain(StatusCode::TOO_MANY_REQUESTS, "too many requests; ask again later")
    }

    /// Dresses the answer for this client.
    fn respond(self, gzip: bool) -> Response<Bytes> {
        let Answer { status, content_type, body, allow } = self;
        let packed = if gzip && body.len() >= COMPRESS_FROM { compress(body.as_bytes()).ok() } else { None };
        let encoded = packed.is_some();
        let mut response = Response::new(Bytes::from(packed.unwrap_or_else(|| body.into_bytes())));
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
        let more = match status {
            StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, allow)),
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Basic realm=\"dr-exporter\"")),
            StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = more {
            headers.insert(name, HeaderValue::from_static(value));
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
