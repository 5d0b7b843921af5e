//! The small values of the configuration file, and how each of them is spelled.
//!
//! Every type here has one parser, which both the JSON Schema's `format` check and the deserialiser call: what
//! the schema accepts is what the program understands.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use url::Url;

use crate::model::Check;
use crate::secret::{Secret, SecretSource};

/// A length of time, spelled `500ms`, `30s`, `5m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// An `http` or `https` URL whose `Debug` shows where it points and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(pub Url);

/// A regular expression that is searched for anywhere in a text.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub struct Anchored(pub Regex);

/// An instant, spelled as RFC 3339 or as a date, which then means the end of that day in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

/// The address of a name server; port 53 unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

/// A host and a port, spelled `host:port` or `[address]:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Port, 1 to 65535.
    pub port: u16,
}

/// Where a connection goes instead of to the host of the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectTo {
    /// A host and a port.
    Address(HostPort),
    /// A Service of the cluster.
    Service {
        /// Namespace of the Service.
        namespace: String,
        /// Name of the Service.
        name: String,
        /// Port of the Service; its only one, when absent.
        port: Option<u16>,
    },
}

/// A format of the schema: name, what to write, and the parser that decides.
pub(super) type Format = (&'static str, &'static str, fn(&str) -> bool);

/// The formats of the schema: name, what to write, and the parser that decides.
pub(super) const FORMATS: &[Format] = &[
    ("duration", "a duration such as 500ms, 30s, 5m, 24h or 7d", |text| parse_span(text).is_some()),
    ("http-url", "a URL such as http://app.example:8080/health", |text| parse_http_url(text).is_some()),
    ("regex", "a regular expression that compiles (RE2 syntax)", |text| Regex::new(text).is_ok()),
    ("moment", "a date such as 2027-01-31 or a time such as 2027-01-31T06:00:00Z", |text| {
        parse_moment(text).is_some()
    }),
    ("cidr", "a network such as 10.0.0.0/16 or fd00::/8", |text| text.parse::<ipnet::IpNet>().is_ok()),
    ("name-server", "an IP address with or without a port, such as 10.1.0.2 or 10.1.0.2:53", |text| {
        parse_name_server(text).is_some()
    }),
    ("host-port", "an address such as lb.example:443", |text| parse_host_port(text).is_some()),
    ("service", "a Service as namespace/name", |text| parse_service(text).is_some()),
    ("method", "an HTTP method in capitals, such as GET", |text| parse_method(text).is_some()),
    ("json-pointer", "a JSON pointer, which starts with /, such as /items/0/id", |text| {
        is_json_pointer(text)
    }),
    ("label-name", "a label name such as handler", is_label_name),
    ("metric-name", "a metric name such as http_requests_total", is_metric_name),
    ("header-name", "the name of a header such as content-type", |text| {
        text.parse::<http::HeaderName>().is_ok()
    }),
    ("host-suffix", "the end of a host name, such as .us-west-2.rds.amazonaws.com", is_host_suffix),
    ("sql-name", "a table in small letters, as name or schema.name", is_sql_name),
    ("name", "a name of 1 to 63 letters, digits and . _ : / -", is_name),
    ("instances", "`instances` or {prometheus: {url: ...}}", |text| text == "instances"),
    ("url-path", "a path, which starts with /", |text| {
        text.starts_with('/') && !text.contains(char::is_whitespace)
    }),
    ("go-duration", "a duration such as 500ms or 1s, or 0", |text| parse_go_duration(text).is_some()),
    ("user", "a name without a colon", |text| !text.is_empty() && !text.contains(':')),
    ("not-blank", "some text", |text| !text.trim().is_empty()),
];

// === impl parsers ===

pub(super) fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A century is the bound: no sum of two spans overflows anywhere in the program.
    let total = number.checked_mul(milliseconds)?;
    (total <= 100 * 366 * 86_400_000).then(|| Duration::from_millis(total))
}

/// A length of time as Go spells it (`time.ParseDuration`), which may be a sum: `1m30s`. A negative one means nothing here.
pub(super) fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (tail, unit) = units.iter().find_map(|(name, unit)| Some((rest.strip_prefix(name)?, unit)))?;
        seconds += number * unit;
        rest = tail;
        if rest.is_empty() {
            // Go's own bound is 292 years; no interval is longer than a year.
            return Duration::try_from_secs_f64(seconds).ok().filter(|span| span.as_secs() < 366 * 86_400);
        }
    }
}

fn parse_http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    // `Url::parse` forgives tabs and line ends inside, which nobody means.
    let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    (clean && matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

fn parse_moment(text: &str) -> Option<Timestamp> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp);
    }
    if text.len() != "2027-01-31".len() {
        return None;
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let midnight = date.tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight());
    jiff::tz::Offset::UTC.to_timestamp(midnight).ok()
}

fn parse_name_server(text: &str) -> Option<SocketAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address, 53)),
        Err(_) => text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0),
    }
}

fn parse_host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => host,
    };
    let bare =
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | '[' | ']'));
    let bracketed = text.starts_with('[') || !host.contains(':');
    (bare && bracketed).then(|| HostPort { host: host.to_owned(), port })
}

fn parse_service(text: &str) -> Option<(&str, &str)> {
    let (namespace, name) = text.split_once('/')?;
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    (label(namespace) && label(name)).then_some((namespace, name))
}

fn parse_method(text: &str) -> Option<http::Method> {
    let known = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
    known.contains(&text).then(|| text.parse().ok()).flatten()
}

fn is_json_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn is_label_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_metric_name(text: &str) -> bool {
    is_label_name(&text.replace(':', "_"))
}

fn is_host_suffix(text: &str) -> bool {
    !text.trim_matches('.').is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// A table as it is written without quotes, so that it means the same with them.
fn is_sql_name(text: &str) -> bool {
    let plain = |part: &str| {
        (1..=63).contains(&part.len())
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.split('.').count() <= 2 && text.split('.').all(plain)
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-'))
}

// === impl Span ===

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        for (size, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            // A day reads well only when there are several: `24h` is how people write one.
            let enough = if unit == "d" { milliseconds > size } else { milliseconds >= size };
            if enough && milliseconds.is_multiple_of(size) {
                return write!(f, "{}{unit}", milliseconds / size);
            }
        }
        if milliseconds == 0 { f.write_str("0s") } else { write!(f, "{milliseconds}ms") }
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl HttpUrl ===

impl Default for HttpUrl {
    /// Never seen outside the parser: the schema demands the key wherever this default stands in.
    #[allow(clippy::expect_used, reason = "a literal that a test parses")]
    fn default() -> Self {
        Self(Url::parse("http://unset.invalid/").expect("a literal URL"))
    }
}

impl HttpUrl {
    /// Scheme, host and port: what may be shown of a URL that may hold credentials anywhere else.
    pub fn origin(&self) -> String {
        origin_of(&self.0)
    }
}

pub(super) fn origin_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

// === impl Pattern and Anchored ===

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl PartialEq for Anchored {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

// === impl Deserialize, JsonSchema ===

/// Gives a type its place in the schema and its deserialiser, from the format's one parser.
macro_rules! spelled {
    ($name:ident, $format:literal, $parse:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<$name> = $parse;
                parse(&text).ok_or_else(|| de::Error::custom(concat!("not a valid ", $format)))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

spelled!(Span, "duration", |text| parse_span(text).map(Span));
spelled!(HttpUrl, "http-url", |text| parse_http_url(text).map(HttpUrl));
spelled!(Pattern, "regex", |text| Regex::new(text).ok().map(Pattern));
// The inner text is checked alone first: `a)|(b` would otherwise become valid by the brackets around it.
spelled!(Anchored, "regex", |text| {
    Regex::new(text).ok()?;
    Regex::new(&format!("^(?:{text})$"))
        .or_else(|_| Regex::new(&format!("^(?:{text}\n)$")))
        .ok()
        .map(Anchored)
});
spelled!(Moment, "moment", |text| parse_moment(text).map(Moment));
spelled!(NameServer, "name-server", |text| parse_name_server(text).map(NameServer));
spelled!(HostPort, "host-port", parse_host_port);

impl<'de> Deserialize<'de> for ConnectTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let invalid = || de::Error::custom("not a valid address or Service");
        match Value::deserialize(deserializer)? {
            Value::String(text) => parse_host_port(&text).map(Self::Address).ok_or_else(invalid),
            Value::Object(keys) => {
                let service = keys.get("service").and_then(Value::as_str).and_then(parse_service);
                let (namespace, name) = service.ok_or_else(invalid)?;
                let port = keys.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
                Ok(Self::Service { namespace: namespace.to_owned(), name: name.to_owned(), port })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(invalid()),
        }
    }
}

impl schemars::JsonSchema for ConnectTo {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConnectTo".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "object"],
            "format": "host-port",
            "additionalProperties": false,
            "required": ["service"], "x-all-or-nothing": true,
            "properties": {
                "service": { "type": "string", "format": "service", "description": "A Service of the cluster, as namespace/name." },
                "port": { "type": ["integer", "null"], "minimum": 1, "maximum": 65535, "description": "The port of the Service." },
            },
        })
    }
}

// === credentials ===

fn source_properties() -> Value {
    serde_json::json!({
        "file": { "type": "string", "format": "not-blank", "description": "Path of a file that holds the credential, read again for every attempt." },
        "env": { "type": "string", "format": "not-blank", "description": "Name of an environment variable of the exporter that holds the credential." },
        "secret": {
            "type": "object",
            "description": "A key of a Kubernetes Secret that holds the credential.",
            "additionalProperties": false,
            "required": ["namespace", "name", "key"], "x-all-or-nothing": true,
            "properties": {
                "namespace": { "type": "string", "format": "not-blank", "description": "Namespace of the Secret." },
                "name": { "type": "string", "format": "not-blank", "description": "Name of the Secret." },
                "key": { "type": "string", "format": "not-blank", "description": "Key in the Secret." },
            },
        },
        "value": { "type": "string", "description": "The credential itself. Accepted with a warning; meant for demonstrations." },
    })
}

/// The schema of a credential: exactly one of the four forms.
pub(super) fn credential_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"], "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        "properties": source_properties(),
    })
}

/// The schema of a text that may be a credential: written out, or one of the four forms.
pub(super) fn text_or_credential_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "object", "null"], "format": "not-blank", "additionalProperties": false,
        "minProperties": 1, "maxProperties": 1, "properties": source_properties(),
    })
}

/// The schema of request headers: names, each with a text or one of the four forms of a credential.
pub(super) fn headers_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "type": "string", "format": "header-name" },
        "additionalProperties": {
            "type": ["string", "object"], "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
            "properties": source_properties(),
        },
    })
}

struct TextOrSource(SecretSource);

impl<'de> Deserialize<'de> for TextOrSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(SecretSource::Value(Secret::new(text)))),
            other => serde_json::from_value(other)
                .map(Self)
                .map_err(|_| de::Error::custom("neither a text nor one of file, env, secret, value")),
        }
    }
}

pub(super) fn text_or_credential<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretSource>, D::Error> {
    Ok(Option::<TextOrSource>::deserialize(deserializer)?.map(|TextOrSource(source)| source))
}

pub(super) fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<std::collections::BTreeMap<String, SecretSource>, D::Error> {
    let raw = std::collections::BTreeMap::<String, TextOrSource>::deserialize(deserializer)?;
    Ok(raw.into_iter().map(|(name, TextOrSource(source))| (name.to_ascii_lowercase(), source)).collect())
}

// === check names ===

/// How the example of the contract calls `db_settings` in a waiver: after its metric.
const CHECK_ALIAS: (&str, Check) = ("db_setting_drift", Check::DbSettings);

pub(super) fn check_schema(_: &mut SchemaGenerator) -> Schema {
    let mut names: Vec<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
    names.push(CHECK_ALIAS.0);
    json_schema!({ "type": "string", "enum": names })
}

pub(super) fn check<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Check>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let alias = (name == CHECK_ALIAS.0).then_some(CHECK_ALIAS.1);
    Check::from_name(&name).or(alias).map(Some).ok_or_else(|| de::Error::custom("not the name of a check"))
}
