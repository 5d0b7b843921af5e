//! Business as users make it: calls of our own, and the calls of theirs that the application counts.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::scalar::{self, Anchored, ConnectTo, HttpUrl, Span};
use super::site::{Attempts, Tls};
use super::system::Expect;
use crate::secret::SecretSource;

/// A business call as a user makes it, through the same door.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "url"]))]
pub struct Request {
    /// Name of the request, as in the `request` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Where the call goes.
    pub url: HttpUrl,
    /// Where the connection goes instead of to the host of `url`: `host:port` or `{service: namespace/name, port}`.
    pub connect_to: Option<ConnectTo>,
    /// HTTP method.
    #[schemars(extend("format" = "method"))]
    pub method: String,
    /// Headers of the call: each a text, or a credential.
    #[serde(deserialize_with = "scalar::headers")]
    #[schemars(schema_with = "scalar::headers_schema")]
    pub headers: BTreeMap<String, SecretSource>,
    /// Body of the call: a text, or where to read it.
    #[serde(deserialize_with = "scalar::text_or_credential")]
    #[schemars(schema_with = "scalar::text_or_credential_schema")]
    pub body: Option<SecretSource>,
    /// Name of the workload that answers; the only one of the system, when absent.
    pub workload: Option<String>,
    /// How the application's counter names this call, so that it is not counted as business; default: the path.
    #[schemars(extend("format" = "not-blank"))]
    pub handler: Option<String>,
    /// What a good answer looks like.
    pub expect: Expect,
    /// Longest time that a good answer may take.
    pub max_latency: Option<Span>,
    /// How its certificate is verified.
    pub tls: Option<Tls>,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// Business requests of one workload, counted over a window.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["workload", "counter", "business"]))]
pub struct Traffic {
    /// Name of the workload.
    pub workload: String,
    /// Whether business traffic reaches this site by design.
    pub expected: bool,
    /// Where the counters are read: `instances`, or `{prometheus: {url: ...}}`, which survives our restarts.
    #[schemars(schema_with = "source_schema")]
    pub source: TrafficSource,
    /// Name of the counter of requests.
    #[schemars(extend("format" = "metric-name"))]
    pub counter: String,
    /// What counts as business: anchored regular expressions per label; several labels are alternatives.
    #[schemars(extend("minProperties" = 1, "propertyNames" = {"type": "string", "format": "label-name"}))]
    pub business: BTreeMap<String, Anchored>,
    /// What counts as probes, spelled like `business`.
    #[schemars(extend("propertyNames" = {"type": "string", "format": "label-name"}))]
    pub probes: BTreeMap<String, Anchored>,
    /// Handlers that must have a series; a missing one is a finding, not a zero.
    #[schemars(extend("items" = {"type": "string", "format": "not-blank"}))]
    pub handlers_required: Vec<String>,
    /// A counter of errors: when it grows while requests stay 0, the counter of requests is not wired.
    pub errors: Option<ErrorCounter>,
    /// Time over which requests are counted.
    pub window: Span,
    /// Time from sample to sample; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// Where the counters are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TrafficSource {
    /// From the instances of the workload.
    #[default]
    Instances,
    /// From a Prometheus server that scrapes them already.
    Prometheus(Box<PrometheusSource>),
}

/// A Prometheus server that scrapes the workload already.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct PrometheusSource {
    /// Where the server answers, without `/api/v1`.
    pub url: HttpUrl,
    /// How often that server scrapes the workload; default: the check's interval, and at least a minute.
    pub scrape_interval: Option<Span>,
    /// Labels that select the series of the workload, each with its exact value.
    #[schemars(extend("propertyNames" = {"type": "string", "format": "label-name"}))]
    pub matchers: BTreeMap<String, String>,
    /// Bearer token for it.
    #[schemars(schema_with = "scalar::credential_schema")]
    pub authorization: Option<SecretSource>,
    /// How its certificate is verified.
    pub tls: Option<Tls>,
}

/// A counter of errors.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["metric"]))]
pub struct ErrorCounter {
    /// Name of the counter.
    #[schemars(extend("format" = "metric-name"))]
    pub metric: String,
}

// === impl TrafficSource ===

fn source_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut prometheus = PrometheusSource::json_schema(generator);
    prometheus
        .insert("description".to_owned(), "A Prometheus server that scrapes the workload already.".into());
    json_schema!({
        "type": ["string", "object"], "format": "instances", "default": "instances",
        "additionalProperties": false, "required": ["prometheus"], "x-all-or-nothing": true, "properties": { "prometheus": prometheus },
    })
}

impl<'de> Deserialize<'de> for TrafficSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let invalid = || de::Error::custom("neither `instances` nor {prometheus: {url: ...}}");
        match Value::deserialize(deserializer)? {
            Value::String(text) if text == "instances" => Ok(Self::Instances),
            Value::Object(mut keys) => {
                let inner = keys.remove("prometheus").ok_or_else(invalid)?;
                serde_json::from_value(inner).map(Self::Prometheus).map_err(|_| invalid())
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(invalid())
            }
        }
    }
}

// === impl Default ===

impl Default for Request {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: HttpUrl::default(),
            connect_to: None,
            method: "GET".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            workload: None,
            handler: None,
            expect: Expect::default(),
            max_latency: None,
            tls: None,
            interval: None,
            timeout: None,
            attempts: None,
        }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            workload: String::new(),
            expected: false,
            source: TrafficSource::Instances,
            counter: String::new(),
            business: BTreeMap::new(),
            probes: BTreeMap::new(),
            handlers_required: Vec::new(),
            errors: None,
            window: Span::seconds(24 * 3600),
            interval: None,
            timeout: None,
            attempts: None,
        }
    }
}
