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
mod turns;

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};

pub use self::config::Armour;
pub use self::server::{BindError, Bound};
use self::turns::Turns;
use crate::metrics::to_text_format;
use crate::probe::peer;
use crate::reload::Reloader;
use crate::report::ForPeer;
use crate::view::{Explained, View};

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

/// What answers are made of, and where they wait for their turn.
#[derive(Debug)]
struct House {
    site: Site,
    armour: Arc<Armour>,
    /// Scrapes do not wait for what people ask.
    scrapes: Turns<Question>,
    pages: Turns<Question>,
}

/// What takes CPU to answer. Equal ones have equal answers at any one moment.
#[derive(Clone, Debug, PartialEq)]
struct Question {
    of: Costly,
    gzip: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Costly {
    Metrics { open_metrics: bool },
    Report { for_peer: bool },
    Config,
    Page { place: page::Place, query: String },
}

// === impl House ===

impl House {
    fn new(site: Site, armour: Arc<Armour>) -> Self {
        House { site, armour, scrapes: Turns::default(), pages: Turns::default() }
    }

    /// Answers a request that was let in.
    async fn answer(self: &Arc<Self>, request: &Request<()>) -> Response<Bytes> {
        let House { site, armour: _, scrapes, pages } = &**self;
        let gzip = negotiate::accepts_gzip(header(request, ACCEPT_ENCODING));
        let path = request.uri().path();
        if let Some(reloader) = site.reload.as_ref().filter(|_| path == RELOAD) {
            return reload(reloader, request.method()).await.respond(gzip);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let refused = "only GET and HEAD are answered here";
            return Answer::plain(StatusCode::METHOD_NOT_ALLOWED, refused).respond(gzip);
        }
        let Some(of) = Costly::asked(site, request) else { return at_once(site, path).respond(gzip) };
        let turns = match of {
            Costly::Metrics { .. } => scrapes,
            Costly::Report { .. } | Costly::Config | Costly::Page { .. } => pages,
        };
        let house = self.clone();
        let made = turns.answer(Question { of, gzip }, move |Question { of, gzip }| {
            of.answer(&house.site, &house.armour).respond(*gzip)
        });
        made.await.unwrap_or_else(|| Answer::too_many().respond(gzip))
    }

    /// Frees answers that nobody waits for.
    fn forget(&self) {
        let House { site: _, armour: _, scrapes, pages } = self;
        scrapes.forget();
        pages.forget();
    }
}

/// What a health check asks is answered at once, whatever else is asked.
fn at_once(site: &Site, path: &str) -> Answer {
    match path {
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

// === impl Costly ===

impl Costly {
    fn asked(site: &Site, request: &Request<()>) -> Option<Self> {
        match request.uri().path() {
            path if path == site.telemetry_path => {
                let open_metrics = negotiate::wants_open_metrics(header(request, ACCEPT));
                Some(Costly::Metrics { open_metrics })
            }
            "/api/v1/report" => {
                let query = request.uri().query().unwrap_or_default();
                Some(Costly::Report { for_peer: query.split('&').any(|part| part == peer::VIEW) })
            }
            "/config" => Some(Costly::Config),
            path => {
                let query = request.uri().query().unwrap_or_default().to_owned();
                page::Place::at(path).map(|place| Costly::Page { place, query })
            }
        }
    }

    fn answer(&self, site: &Site, armour: &Armour) -> Answer {
        match self {
            Costly::Metrics { open_metrics } => metrics(site, armour, *open_metrics),
            Costly::Report { for_peer } => match report(&site.view, *for_peer) {
                Ok(json) => Answer {
                    status: StatusCode::OK,
                    content_type: "application/json",
                    body: json,
                    allow: READING,
                },
                Err(_) => Answer::plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the report could not be written as JSON",
                ),
            },
            Costly::Config => {
                Answer::plain(StatusCode::OK, &format!("{}{}", site.view.masked(), armour.says()))
            }
            Costly::Page { place, query } => people(site, place, query),
        }
    }
}

/// Everything, indented for people; or what the exporter of another site reads.
fn report(view: &View, for_peer: bool) -> serde_json::Result<String> {
    if for_peer {
        serde_json::to_string(&ForPeer(&view.explained(Explained::None)))
    } else {
        serde_json::to_string_pretty(&view.explained(Explained::All))
    }
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
    let of = match place {
        page::Place::Home if site.view.systems() > page::FEW => Explained::None,
        page::Place::Home => Explained::All,
        page::Place::System(name) | page::Place::Check(name, _, _) => Explained::Only(name),
    };
    let page::Page { found, html } = page::page(place, query, &site.view.explained(of), &site.telemetry_path);
    let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Answer { status, content_type: "text/html; charset=utf-8", body: html.into_string(), allow: READING }
}

fn dr_ready(site: &Site, system: &str) -> Answer {
    let view = &site.view;
    let report = view.report_of(&ready::name(system));
    let knowledge = if view.leadership().is_leading() {
        ready::Knowledge::Report(&report, view.shard())
    } else {
        ready::Knowledge::StandingBy
    };
    let (status, body) = ready::answer(system, knowledge, view.now());
    Answer::plain(status, &body)
}

fn metrics(site: &Site, armour: &Armour, open_metrics: bool) -> Answer {
    let Ok(text) = site.view.open_metrics(armour.is_current()) else {
        return Answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written");
    };
    let (content_type, body) = if open_metrics {
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
