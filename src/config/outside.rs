//! What stands around a system and moves with it: records, certificates, infrastructure code.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{ConnectTo, NameServer, Span};
use super::site::Attempts;

/// A DNS record that moves the traffic.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["record"]))]
pub struct Dns {
    /// Name of the record.
    #[schemars(extend("format" = "not-blank"))]
    pub record: String,
    /// Type of the record.
    #[serde(rename = "type")]
    pub record_type: RecordType,
    /// Provider of the zone.
    #[schemars(extend("enum" = ["route53", null]))]
    pub provider: Option<String>,
    /// Name of the zone.
    pub zone: Option<String>,
    /// Identifier of this site's record among those of the same name.
    pub set_identifier: Option<String>,
    /// What the record must lead to after a failover: `host:port` or `{service: namespace/name}`.
    pub target: Option<ConnectTo>,
    /// Longest time to live that the recovery time objective allows.
    pub max_ttl: Option<Span>,
    /// Name servers to ask; default: `defaults.resolvers`.
    pub resolvers: Vec<NameServer>,
    /// Whether a person moves the record.
    pub manual: bool,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// Type of a DNS record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline, extend("enum" = ["A", "AAAA", "CNAME"]), transform = super::site::plain_enum)]
pub enum RecordType {
    /// IPv4 addresses.
    #[default]
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name.
    Cname,
}

/// A certificate that users would see.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "server_name"]))]
pub struct Certificate {
    /// Name of the certificate, as in the `certificate` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Name that the server is asked for.
    #[schemars(extend("format" = "not-blank"))]
    pub server_name: String,
    /// Where the connection goes instead of to `server_name`.
    pub connect_to: Option<ConnectTo>,
    /// Page when the certificate ends within this time.
    pub page_within: Span,
    /// Open a ticket when the certificate ends within this time.
    pub ticket_within: Span,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// Infrastructure code that must be applied.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Infrastructure {
    /// Name of the entry.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Path of the plan (`terraform show -json PLAN`).
    pub plan_json: Option<PathBuf>,
    /// Path of the state (`terraform show -json`).
    pub state_json: Option<PathBuf>,
    /// Greatest age of these files.
    pub max_age: Option<Span>,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

// === impl Default ===

impl Default for Certificate {
    fn default() -> Self {
        Self {
            name: String::new(),
            server_name: String::new(),
            connect_to: None,
            page_within: Span::seconds(3 * 86_400),
            ticket_within: Span::seconds(14 * 86_400),
            interval: None,
            timeout: None,
            attempts: None,
        }
    }
}
