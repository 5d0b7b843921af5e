//! What the file says of the site as a whole: who it is, what holds for every check, whom it talks to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::Credentials;
use super::scalar::{self, Anchored, HttpUrl, NameServer, Span};
use super::system::System;
use crate::model::Role;
use crate::secret::SecretSource;

/// The whole configuration file. Only `site` and one entry of `systems` are required.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["site", "systems"]))]
pub struct Config {
    /// The site that this exporter runs in.
    pub site: Site,
    /// How an address becomes a region: the longest prefix wins. Two regions that claim it make it ambiguous.
    #[schemars(extend("propertyNames" = {"type": "string", "format": "name"}))]
    pub regions: BTreeMap<String, Region>,
    /// What every check takes unless it says otherwise.
    pub defaults: Defaults,
    /// The cluster that discovery reads.
    pub kubernetes: Kubernetes,
    /// Several replicas of the exporter, of which only the holder of a Lease probes.
    pub high_availability: Option<HighAvailability>,
    /// Several exporters that share the systems among them; each probes its own.
    pub sharding: Option<Sharding>,
    /// The HTTP server of the exporter.
    pub web: Web,
    /// The exporters of the other sites: roles, identities and fingerprints are compared.
    pub peers: Vec<Peer>,
    /// What has to survive the loss of a site, each with its checks.
    #[schemars(length(min = 1))]
    pub systems: Vec<System>,
    /// The interfaces of cloud providers.
    pub cloud: Option<Cloud>,
}

/// The site that this exporter runs in.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "region", "role"]))]
pub struct Site {
    /// Name of the site, as in the `site` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Region that the site is in; one of `regions` when these are given.
    #[schemars(extend("format" = "name"))]
    pub region: String,
    /// What the site is for, as its owner declares it; compared with what is observed.
    #[schemars(extend("enum" = ["primary", "standby", "retired"]))]
    pub role: Role,
    /// How the site proves to itself where it runs.
    pub identity: Option<SiteIdentity>,
}

/// How the site proves to itself where it runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["node_label"]))]
pub struct SiteIdentity {
    /// Label of the nodes whose value is the region.
    #[schemars(extend("format" = "not-blank"))]
    pub node_label: String,
}

/// The addresses of one region.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Region {
    /// Networks of the region.
    #[schemars(with = "Vec<String>", extend("items" = {"type": "string", "format": "cidr"}))]
    pub cidrs: Vec<IpNet>,
    /// Ends of host names of the region; asked only where no network holds the address.
    #[schemars(extend("items" = {"type": "string", "format": "host-suffix"}))]
    pub host_suffixes: Vec<String>,
}

/// What every check takes unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Time from the start of one run to the start of the next.
    pub interval: Span,
    /// Deadline of one attempt, waiting for a connection slot included.
    pub timeout: Span,
    /// How many attempts of one run must pass.
    pub attempts: Attempts,
    /// How much the exporter does at once.
    pub limits: Limits,
    /// Name servers to ask; those of the operating system, when empty.
    pub resolvers: Vec<NameServer>,
}

/// N of M, inside one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attempts {
    /// Attempts that must pass.
    #[schemars(range(min = 1, max = 100))]
    pub pass: u32,
    /// Attempts that are made.
    #[schemars(range(min = 1, max = 100))]
    pub of: u32,
}

/// How much the exporter does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Runs at the same time.
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: u32,
    /// Connections at the same time to one endpoint.
    #[schemars(range(min = 1, max = 100))]
    pub connections_per_endpoint: u32,
}

/// The cluster that discovery reads.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kubernetes {
    /// `auto`: the cluster around the exporter, else KUBECONFIG, else disabled, which is a supported way to run.
    pub mode: KubernetesMode,
    /// Path of a kubeconfig file; found by itself when absent.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file; its current one, when absent.
    pub context: Option<String>,
    /// Whether a pod of each workload is created as a dry run, to see that a new one would be admitted. Needs the right to
    /// `create` pods.
    pub create_dry_run: bool,
    /// Key for the fingerprints of Secrets, the same at every site that compares them. Without it only the names of
    /// their keys are in the fingerprint, not their values.
    #[schemars(schema_with = "scalar::credential_schema")]
    pub fingerprint_key: Option<SecretSource>,
}

/// Whether a cluster is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, extend("enum" = ["auto", "disabled"]), transform = plain_enum)]
pub enum KubernetesMode {
    /// Use a cluster when there is one.
    #[default]
    Auto,
    /// Never use a cluster.
    Disabled,
}

/// Several replicas of the exporter, of which only the holder of a Lease probes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["lease"]))]
pub struct HighAvailability {
    /// The Lease whose holder probes.
    pub lease: Lease,
}

/// A Lease object of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["namespace", "name"]))]
pub struct Lease {
    /// Namespace of the Lease.
    #[schemars(extend("format" = "not-blank"))]
    pub namespace: String,
    /// Name of the Lease.
    #[schemars(extend("format" = "not-blank"))]
    pub name: String,
}

/// Several exporters that share the systems among them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["shards"]))]
pub struct Sharding {
    /// How many there are.
    #[schemars(range(min = 1, max = 1_000))]
    pub shards: u32,
    /// Which of them this one is, from 0; default: the number at the end of the host name, as a StatefulSet gives it.
    #[schemars(range(min = 0, max = 999))]
    pub ordinal: Option<u32>,
}

/// The HTTP server of the exporter.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Paths that the users of `--web.config.file` need not log in for; one that ends in `/` stands for all below it.
    #[schemars(extend("items" = {"type": "string", "format": "url-path"}))]
    pub unauthenticated: Vec<String>,
}

/// The exporter of another site.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["site", "url"]))]
pub struct Peer {
    /// Name of the other site.
    #[schemars(extend("format" = "name"))]
    pub site: String,
    /// Where its exporter answers.
    pub url: HttpUrl,
    /// How its certificate is verified.
    pub tls: Option<Tls>,
    /// Bearer token for it, where something before it asks for one.
    #[schemars(schema_with = "scalar::credential_schema")]
    pub authorization: Option<SecretSource>,
    /// User and password, as its own `--web.config.file` asks for them; instead of `authorization`.
    pub basic_auth: Option<Credentials>,
    /// A certificate to show, where its own `--web.config.file` asks clients for one.
    pub client_certificate: Option<ClientCertificate>,
    /// How what the two sites run is compared.
    pub drift: DriftRules,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// A certificate that a client shows.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cert_file", "key_file"]))]
pub struct ClientCertificate {
    /// Path of the certificate with its chain (PEM), read again for every attempt.
    pub cert_file: PathBuf,
    /// Path of its key (PEM).
    pub key_file: PathBuf,
}

/// How what two sites run is compared.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DriftRules {
    /// How long a difference may last: a deployment or a rotation reaches one site after the other.
    pub after: Span,
    /// What may differ, as anchored regular expressions over kind and object, such as
    /// `configuration variable api/LOG_LEVEL` or `secrets Secret tls-.* key .*`.
    pub ignore: Vec<Anchored>,
}

/// How a certificate is verified.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Path of a file with the certificates to trust (PEM); those of the operating system, when absent.
    pub ca_file: Option<PathBuf>,
}

/// The interfaces of cloud providers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cloud {
    /// Amazon Web Services, with credentials by the usual chain: environment, profile, web identity, instance.
    pub aws: Option<Aws>,
}

/// Amazon Web Services.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Aws {
    /// Region whose interface is asked.
    pub region: Option<String>,
    /// Another address of the interface.
    pub endpoint_url: Option<HttpUrl>,
    /// Role to assume (ARN).
    pub assume_role: Option<String>,
}

// === schema ===

/// Turns the `oneOf` of documented variants into a plain `enum`, whose errors can be told in one sentence.
pub(super) fn plain_enum(schema: &mut schemars::Schema) {
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
}

// === impl Default ===

impl Default for Site {
    fn default() -> Self {
        Self { name: String::new(), region: String::new(), role: Role::Unknown, identity: None }
    }
}

impl Default for DriftRules {
    fn default() -> Self {
        Self { after: Span::seconds(15 * 60), ignore: Vec::new() }
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            interval: Span::seconds(30),
            timeout: Span::seconds(5),
            attempts: Attempts::default(),
            limits: Limits::default(),
            resolvers: Vec::new(),
        }
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self { pass: 1, of: 1 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 16, connections_per_endpoint: 1 }
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            mode: KubernetesMode::Auto,
            kubeconfig: None,
            context: None,
            create_dry_run: true,
            fingerprint_key: None,
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self { unauthenticated: ["/-/healthy", "/-/ready", "/dr-ready/"].map(str::to_owned).to_vec() }
    }
}
