//! What only the whole of a web configuration can tell: which keys belong together, and what is insecure.

use std::path::Path;
use std::time::Duration;

use bcrypt::HashParts;
use http::header::{
    CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    X_XSS_PROTECTION,
};
use http::{HeaderName, HeaderValue};
use rustls::SupportedCipherSuite;
use rustls::crypto::{SupportedKxGroup, ring};
use serde_json::Value;

use super::{
    Bucket, ClientAuth, Headers, HttpServer, Material, RateLimit, ServerTls, Source, TlsServer, WebConfig,
    WebFile,
};
use crate::config::yaml::{self, Fault, Node, Place};
use crate::config::{scalar, schema};
use crate::secret::Secret;

/// A login of this cost takes seconds of CPU; each step doubles it.
const MAX_COST: u32 = 16;

/// Judges one file.
pub(super) struct Judge<'t> {
    pub(super) tree: &'t Node,
    pub(super) directory: &'t Path,
    pub(super) faults: Vec<Fault>,
}

// === impl Judge ===

impl Judge<'_> {
    fn fault(&mut self, path: &str, message: impl Into<String>) {
        let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
        let (place, path) = schema::locate(self.tree, &pointer);
        self.faults.push((place, path, message.into()));
    }

    pub(super) fn file(&mut self, file: WebFile) -> WebConfig {
        let WebFile { tls_server_config, http_server_config, basic_auth_users, rate_limit } = file;
        let HttpServer { http2, headers } = http_server_config.unwrap_or_default();
        let users = basic_auth_users.unwrap_or_default();
        for (user, hash) in &users {
            self.hash(user, hash);
        }
        WebConfig {
            tls: tls_server_config.and_then(|tls| self.tls(tls)),
            http2: http2.unwrap_or(true),
            headers: self.headers(headers.unwrap_or_default()),
            users,
            rate_limit: rate_limit.and_then(|bucket| self.bucket(&bucket)),
        }
    }

    fn hash(&mut self, user: &str, hash: &Secret) {
        // A name may hold anything, so it is found by its key and not by its path.
        let entry = self.tree.get("basic_auth_users").and_then(|users| users.node.get(user));
        let place = entry.map_or(Place::START, |entry| entry.node.place);
        let shown = yaml::may_show("basic_auth_users", user);
        let path = if shown { yaml::join("basic_auth_users", user) } else { "basic_auth_users".to_owned() };
        let message = match hash.expose().parse::<HashParts>() {
            Err(_) => "expected the bcrypt hash of a password, such as `htpasswd -nB` and `dr-exporter hash-password` print it".to_owned(),
            Ok(parts) if parts.get_cost() > MAX_COST => {
                format!("a bcrypt cost of {} takes too long for a login; at most {MAX_COST}, usual is 10", parts.get_cost())
            }
            Ok(_) => return,
        };
        self.faults.push((place, path, message));
    }

    fn headers(&mut self, headers: Headers) -> Vec<(HeaderName, HeaderValue)> {
        let Headers {
            content_security_policy,
            strict_transport_security,
            x_content_type_options,
            x_frame_options,
            x_xss_protection,
        } = headers;
        let table: [(HeaderName, &str, &[&str], Option<String>); 5] = [
            (CONTENT_SECURITY_POLICY, "Content-Security-Policy", &[], content_security_policy),
            (STRICT_TRANSPORT_SECURITY, "Strict-Transport-Security", &[], strict_transport_security),
            (X_CONTENT_TYPE_OPTIONS, "X-Content-Type-Options", &["nosniff"], x_content_type_options),
            (X_FRAME_OPTIONS, "X-Frame-Options", &["deny", "sameorigin"], x_frame_options),
            (X_XSS_PROTECTION, "X-XSS-Protection", &[], x_xss_protection),
        ];
        let mut set = Vec::new();
        for (name, key, allowed, value) in table {
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            let path = format!("http_server_config.headers.{key}");
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                self.fault(&path, format!("expected one of {}", allowed.join(", ")));
                continue;
            }
            match HeaderValue::from_str(&value) {
                Ok(value) => set.push((name, value)),
                Err(_) => self.fault(&path, "a header holds one line of visible characters"),
            }
        }
        set
    }

    fn bucket(&mut self, bucket: &Bucket) -> Option<RateLimit> {
        let Bucket { interval, burst } = bucket;
        let interval = match interval {
            Value::String(text) => scalar::parse_go_duration(text).unwrap_or_default(),
            Value::Number(number) if number.as_i64() != Some(0) => {
                // Go would take it for nanoseconds, which nobody means.
                self.fault("rate_limit.interval", "expected a duration such as 500ms or 1s, or 0");
                return None;
            }
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Duration::ZERO
            }
        };
        if interval.is_zero() {
            return None;
        }
        let burst = burst.unwrap_or(0);
        if burst == 0 {
            self.fault("rate_limit", "`burst` must be at least 1: a bucket for no tokens answers nobody");
            return None;
        }
        Some(RateLimit { interval, burst })
    }

    fn tls(&mut self, tls: TlsServer) -> Option<ServerTls> {
        let TlsServer {
            cert_file,
            key_file,
            cert,
            key,
            client_ca_file,
            client_ca,
            client_auth_type,
            client_allowed_sans,
            min_version,
            max_version,
            cipher_suites,
            curve_preferences,
            prefer_server_cipher_suites,
        } = tls;
        if self.tree.get("tls_server_config").is_some_and(|entry| entry.node.is_empty()) {
            return None;
        }
        let certificate = self.material("cert_file", cert_file, "cert", cert.map(Secret::new));
        let key = self.material("key_file", key_file, "key", key);
        let client_cas =
            self.material("client_ca_file", client_ca_file, "client_ca", client_ca.map(Secret::new));
        for (missing, name) in
            [(certificate.is_none(), "cert_file or cert"), (key.is_none(), "key_file or key")]
        {
            if missing {
                self.fault(
                    "tls_server_config",
                    format!("{name} is missing: without it there would be no TLS"),
                );
            }
        }
        let client_auth = self.client_auth(client_auth_type.as_deref());
        if let Some(kind) = client_auth {
            self.clients(kind, client_cas.is_some(), client_allowed_sans.as_deref());
        }
        let (tls12, tls13) = self.versions(min_version.as_deref(), max_version.as_deref());
        let client_auth = client_auth.unwrap_or_default();
        let cipher_suites = cipher_suites.filter(|list| !list.is_empty()).map(|list| self.suites(&list));
        if !tls13 && cipher_suites.as_ref().is_some_and(Vec::is_empty) {
            self.fault(
                "tls_server_config.cipher_suites",
                "none of these is a suite of TLS 1.2, and max_version is TLS12",
            );
        }
        Some(ServerTls {
            certificate: certificate?,
            key: key?,
            client_cas: client_cas.filter(|_| client_auth.verifies()),
            client_auth,
            allowed_sans: client_allowed_sans,
            tls12,
            tls13,
            cipher_suites,
            curves: curve_preferences.filter(|list| !list.is_empty()).map(|list| self.curves(&list)),
            prefer_server_order: prefer_server_cipher_suites.unwrap_or(true),
        })
    }

    /// One of two keys. Both would be a question of which one wins.
    fn material(
        &mut self,
        file_key: &'static str,
        file: Option<String>,
        inline_key: &'static str,
        inline: Option<Secret>,
    ) -> Option<Material> {
        let file = file.filter(|path| !path.is_empty());
        let inline = inline.filter(|text| !text.expose().is_empty());
        if file.is_some() && inline.is_some() {
            self.fault(
                &format!("tls_server_config.{inline_key}"),
                format!("both {inline_key} and {file_key} are given; keep one"),
            );
        }
        let (key, source) = match (file, inline) {
            (Some(path), _) => (file_key, Source::File(self.directory.join(path))),
            (None, Some(text)) => (inline_key, Source::Inline(text)),
            (None, None) => return None,
        };
        let (place, _) = schema::locate(self.tree, &format!("/tls_server_config/{key}"));
        Some(Material { source, key, place })
    }

    fn client_auth(&mut self, name: Option<&str>) -> Option<ClientAuth> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Some(ClientAuth::None) };
        let found = ClientAuth::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        if found.is_none() {
            let names: Vec<_> = ClientAuth::NAMES.iter().map(|(name, _)| *name).collect();
            self.fault("tls_server_config.client_auth_type", format!("expected one of {}", names.join(", ")));
        }
        found
    }

    fn clients(&mut self, kind: ClientAuth, cas: bool, sans: Option<&[String]>) {
        let path = |key: &str| format!("tls_server_config.{key}");
        match (kind, cas) {
            (ClientAuth::None, true) => self.fault(
                "tls_server_config",
                "authorities of clients are given and client_auth_type asks for no certificate; \
                 RequireAndVerifyClientCert is what is usually meant",
            ),
            // Go would take the system's authorities, and with them everybody who has a certificate of any of them.
            (ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify, false) => self.fault(
                &path("client_auth_type"),
                "client_ca_file is missing: there is nothing to verify a client's certificate against",
            ),
            (
                ClientAuth::None
                | ClientAuth::Request
                | ClientAuth::RequireAny
                | ClientAuth::VerifyIfGiven
                | ClientAuth::RequireAndVerify,
                _,
            ) => {}
        }
        let Some(sans) = sans else { return };
        if sans.is_empty() {
            self.fault(&path("client_allowed_sans"), "an empty list lets nobody in; leave the key out");
        } else if !kind.verifies() {
            // The toolkit compares them all the same, which keeps nobody out.
            self.fault(
                &path("client_allowed_sans"),
                "names prove nothing in a certificate that is not verified: set client_auth_type to RequireAndVerifyClientCert",
            );
        }
    }

    fn versions(&mut self, min: Option<&str>, max: Option<&str>) -> (bool, bool) {
        let order = ["TLS10", "TLS11", "TLS12", "TLS13"];
        let mut rank = |key: &str, name: Option<&str>, default: usize| {
            let path = format!("tls_server_config.{key}");
            match name.map(|name| order.iter().position(|known| *known == name)) {
                None => default,
                Some(Some(rank)) if rank >= 2 => rank,
                Some(Some(rank)) => {
                    let name = order[rank];
                    self.fault(
                        &path,
                        format!("{name} is not to be had: the TLS library here speaks TLS12 and TLS13 only"),
                    );
                    default
                }
                Some(None) => {
                    self.fault(&path, "expected one of TLS12, TLS13");
                    default
                }
            }
        };
        let (min, max) = (rank("min_version", min, 2), rank("max_version", max, 3));
        if min > max {
            self.fault(
                "tls_server_config.min_version",
                "min_version is above max_version: nothing is left to speak",
            );
        }
        (min == 2, max == 3)
    }

    /// Those of TLS 1.2: as with Go, those of TLS 1.3 are all on and cannot be chosen.
    fn suites(&mut self, names: &[String]) -> Vec<SupportedCipherSuite> {
        let known: Vec<(String, SupportedCipherSuite)> = ring::ALL_CIPHER_SUITES
            .iter()
            .map(|suite| {
                let name = suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_");
                (name, *suite)
            })
            .collect();
        let mut chosen = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match known.iter().find(|(known, _)| known == name) {
                Some((_, suite)) if suite.version().version == rustls::ProtocolVersion::TLSv1_2 => {
                    chosen.push(*suite);
                }
                Some(_) => {}
                None => {
                    let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
                    self.fault(
                        &format!("tls_server_config.cipher_suites[{index}]"),
                        format!(
                            "the TLS library here does not have this cipher suite; it has {}",
                            names.join(", ")
                        ),
                    );
                }
            }
        }
        chosen
    }

    fn curves(&mut self, names: &[String]) -> Vec<&'static dyn SupportedKxGroup> {
        let known: [(&str, &'static dyn SupportedKxGroup); 3] = [
            ("X25519", ring::kx_group::X25519),
            ("CurveP256", ring::kx_group::SECP256R1),
            ("CurveP384", ring::kx_group::SECP384R1),
        ];
        let mut chosen = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match known.iter().find(|(known, _)| known == name) {
                Some((_, group)) => chosen.push(*group),
                None => self.fault(
                    &format!("tls_server_config.curve_preferences[{index}]"),
                    "the TLS library here does not have this curve; it has X25519, CurveP256, CurveP384",
                ),
            }
        }
        chosen
    }
}
