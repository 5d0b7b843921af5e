//! The file of `--web.config.file`, in the format that Prometheus exporters share.
//!
//! Source: prometheus/exporter-toolkit, `docs/web-configuration.md` and `web/tls_config.go`. Stricter in what would be
//! silently insecure there, or ignored here: each such rule says so. Nothing is read but the text that is given.

mod judge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use self::judge::Judge;
use super::problem::{Problem, Problems};
use super::yaml::{self, Place};
use super::{problem_in, schema};
use crate::secret::Secret;

/// How the web server is to be served, checked.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// TLS; plain HTTP if absent.
    pub tls: Option<ServerTls>,
    /// Whether HTTP/2 is offered, which it is with TLS only.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Users with the bcrypt hashes of their passwords; everybody is let in if there are none.
    pub users: BTreeMap<String, Secret>,
    /// How many requests are answered; all if absent.
    pub rate_limit: Option<RateLimit>,
}

/// TLS as a server speaks it.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The certificate with its chain, PEM.
    pub certificate: Material,
    /// Its key, PEM.
    pub key: Material,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// The authorities that clients' certificates are verified against, PEM; there if and only if they are verified.
    pub client_cas: Option<Material>,
    /// One of these names must be in a client's certificate.
    pub allowed_sans: Option<Vec<String>>,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// The suites of TLS 1.2 in the order of preference; the library's if absent.
    pub cipher_suites: Option<Vec<SupportedCipherSuite>>,
    /// The curves in the order of preference; the library's if absent.
    pub curves: Option<Vec<&'static dyn SupportedKxGroup>>,
    /// Our order decides, and not the client's.
    pub prefer_server_order: bool,
}

/// Something in PEM form, and where it is asked for.
#[derive(Clone, Debug)]
pub struct Material {
    /// Where it is.
    pub source: Source,
    key: &'static str,
    place: Place,
}

/// Where something in PEM form is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In the web configuration itself.
    Inline(Secret),
}

/// What is asked of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    #[default]
    None,
    /// A certificate, which may be any or missing.
    Request,
    /// A certificate, which may be any.
    RequireAny,
    /// A certificate that verifies, or none.
    VerifyIfGiven,
    /// A certificate that verifies.
    RequireAndVerify,
}

/// A bucket of tokens, one for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The time in which a token comes back; greater than 0.
    pub interval: Duration,
    /// How many tokens there are at most; at least 1.
    pub burst: u32,
}

/// The file as it is written.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebFile {
    tls_server_config: Option<TlsServer>,
    http_server_config: Option<HttpServer>,
    #[schemars(schema_with = "users_schema")]
    basic_auth_users: Option<BTreeMap<String, Secret>>,
    rate_limit: Option<Bucket>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct TlsServer {
    cert_file: Option<String>,
    key_file: Option<String>,
    cert: Option<String>,
    #[schemars(schema_with = "text_schema")]
    key: Option<Secret>,
    client_ca_file: Option<String>,
    client_ca: Option<String>,
    client_auth_type: Option<String>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<String>>,
    curve_preferences: Option<Vec<String>>,
    prefer_server_cipher_suites: Option<bool>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct HttpServer {
    http2: Option<bool>,
    headers: Option<Headers>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Headers {
    #[serde(rename = "Content-Security-Policy")]
    content_security_policy: Option<String>,
    #[serde(rename = "Strict-Transport-Security")]
    strict_transport_security: Option<String>,
    #[serde(rename = "X-Content-Type-Options")]
    x_content_type_options: Option<String>,
    #[serde(rename = "X-Frame-Options")]
    x_frame_options: Option<String>,
    #[serde(rename = "X-XSS-Protection")]
    x_xss_protection: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Bucket {
    #[schemars(schema_with = "interval_schema")]
    interval: Value,
    #[schemars(range(min = 0, max = 1_000_000))]
    burst: Option<u32>,
}

/// Reads the file of `--web.config.file` from its text; its relative paths begin in the directory of `path`.
///
/// # Errors
///
/// Every mistake in it, with its place. Values are not repeated: they may be credentials.
pub fn parse_web(path: &Path, text: &str) -> Result<WebConfig, Problems> {
    let name = path.display().to_string();
    let empty = |line: &str| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#');
    if text.lines().all(empty) {
        // As the exporters have it: nothing is asked for.
        return Ok(WebConfig { http2: true, ..WebConfig::default() });
    }
    let (tree, mut faults) = yaml::read(text);
    let mut config = None;
    if let Some(tree) = tree {
        let (rest, mistakes, _) = schema::judge(&schema::WEB, tree);
        faults.extend(mistakes);
        if let Some(rest) = rest {
            match serde_json::from_value::<WebFile>(rest.to_json()) {
                Ok(file) => {
                    let directory = path.parent().unwrap_or(Path::new(""));
                    let mut judge = Judge { tree: &rest, directory, faults: Vec::new() };
                    config = Some(judge.file(file));
                    faults.append(&mut judge.faults);
                }
                Err(_) => {
                    faults.push((Place::START, String::new(), "a value does not fit its key".to_owned()));
                }
            }
        }
    }
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(Problems::sorted(faults.into_iter().map(|fault| problem_in(&name, fault)).collect())),
    }
}

fn users_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "propertyNames": { "type": "string", "format": "user" },
        "additionalProperties": { "type": "string" },
    })
}

fn text_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"] })
}

fn interval_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer", "null"], "format": "go-duration" })
}

// === impl Material ===

impl Material {
    /// What is wrong with it, at its place in the web configuration `file`.
    pub fn problem(&self, file: &Path, message: impl Into<String>) -> Problem {
        problem_in(
            &file.display().to_string(),
            (self.place, format!("tls_server_config.{}", self.key), message.into()),
        )
    }
}

// === impl ClientAuth ===

impl ClientAuth {
    /// The names of the format, `RequireClientCert` being an old one.
    const NAMES: &'static [(&'static str, ClientAuth)] = &[
        ("NoClientCert", ClientAuth::None),
        ("RequestClientCert", ClientAuth::Request),
        ("RequireAnyClientCert", ClientAuth::RequireAny),
        ("RequireClientCert", ClientAuth::RequireAny),
        ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
        ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
    ];

    /// Whether a certificate that is given must verify.
    pub fn verifies(self) -> bool {
        match self {
            ClientAuth::None | ClientAuth::Request | ClientAuth::RequireAny => false,
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => true,
        }
    }
}

#[cfg(test)]
mod tests;
