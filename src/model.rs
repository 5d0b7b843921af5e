//! The nouns of the product. Pure: no I/O, no clock, no randomness.
//!
//! A [`Check`] is one question asked on a schedule against one target. Its run ends in an [`Outcome`], which
//! with its facts makes an [`Observation`]. Everything that we say is a function of observations and of what
//! the owner declared ([`Role`], [`Strategy`]).

mod observation;
mod time;

use std::fmt;

pub use observation::{CheckKey, DURATION_BOUNDS, Fact, Metric, Observation, Outcome, Shape, Unrenewed};
pub use time::{age, ago, length, seconds};

/// A closed set of label values: the variants, their wire names and an iterator over all of them.
///
/// One macro instead of a derive per enum, so that the name in a metric, in JSON, in the configuration and in
/// the documentation is written once.
macro_rules! closed_set {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every member, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The name as it stands in labels, JSON and the configuration file.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The member of that name, if there is one.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.as_str() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::from_name(&name).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|member| member.as_str()).collect();
                    serde::de::Error::custom(format!("`{name}` is none of: {}", known.join(", ")))
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let names: Vec<_> = Self::ALL.iter().map(|member| member.as_str()).collect();
                schemars::json_schema!({ "type": "string", "enum": names })
            }
        }
    };
}

closed_set! {
    /// What a site is for. `Unknown` is never declared; it is the effective role while nothing is known.
    Role {
        /// Serves users now.
        Primary => "primary",
        /// Waits for the failover.
        Standby => "standby",
        /// Out of service: nothing is judged there.
        Retired => "retired",
        /// Neither declared nor observed.
        Unknown => "unknown",
    }
}

closed_set! {
    /// What the owner of a system promised about its failover; selects the required checks.
    Strategy {
        /// Runs at full size and serves at once.
        Hot => "hot",
        /// Runs, perhaps smaller.
        Warm => "warm",
        /// Data is there, the application is started in a failover.
        PilotLight => "pilot_light",
        /// Only backups are there.
        BackupRestore => "backup_restore",
    }
}

closed_set! {
    /// The judgement on one system at one site.
    Verdict {
        /// A failover would work, as far as we can try it.
        Usable => "usable",
        /// It would work with a proven flaw.
        Degraded => "degraded",
        /// It is proven that it would fail.
        Unusable => "unusable",
        /// We cannot tell; never the same as fine.
        Unknown => "unknown",
        /// Nothing is expected of the site.
        NotApplicable => "not_applicable",
    }
}

closed_set! {
    /// The name of a check, as in the `check` label and in waivers.
    Check {
        /// Business queries on a fresh connection, with the workload's credentials.
        SyntheticQuery => "synthetic_query",
        /// The region that the application's database address is in.
        DbEndpointRegion => "db_endpoint_region",
        /// The database is the one that it should be.
        DbIdentity => "db_identity",
        /// A standby database exists.
        ReplicaPresent => "replica_present",
        /// The standby database is fed and fresh.
        Replication => "replication",
        /// Two writable nodes of one cluster.
        SplitBrain => "split_brain",
        /// Settings that stop a promotion or make it dangerous.
        DbSettings => "db_settings",
        /// The row by which replication is measured.
        Heartbeat => "heartbeat",
        /// The cloud's own status of the database.
        CloudDatabase => "cloud_database",
        /// What the site claims about itself.
        Surface => "surface",
        /// A business call as a user makes it.
        SyntheticRequest => "synthetic_request",
        /// Business requests counted over a window.
        Traffic => "traffic",
        /// Ready replicas against what a failover needs.
        WorkloadReplicas => "workload_replicas",
        /// A readiness probe is defined.
        ReadinessProbe => "readiness_probe",
        /// The Service has ready endpoints.
        ServiceEndpoints => "service_endpoints",
        /// A new pod would be admitted.
        CreateDryRun => "create_dry_run",
        /// The nodes renew their Leases.
        NodeLease => "node_lease",
        /// Volumes are bound.
        Storage => "storage",
        /// Quota leaves room for the failover's size.
        Quota => "quota",
        /// Images come from a registry that survives the disaster.
        ImageOrigin => "image_origin",
        /// CronJobs are active on the right side only.
        CronJobs => "cron_jobs",
        /// Something else that the application needs.
        Dependency => "dependency",
        /// The DNS record that moves the traffic.
        DnsFailover => "dns_failover",
        /// The certificate that users would see.
        Certificate => "certificate",
        /// Infrastructure code is applied.
        Infrastructure => "infrastructure",
        /// The exporter of the other site.
        Peer => "peer",
        /// Differences between the sites.
        Drift => "drift",
        /// The site is where it says it is.
        SiteIdentity => "site_identity",
    }
}

closed_set! {
    /// Why a check failed or could not see; the closed list of the `reason` label.
    Reason {
        /// The peer answered with a refusal (RST).
        Refused => "refused",
        /// No route: EHOSTUNREACH or ENETUNREACH.
        Unreachable => "unreachable",
        /// No end within the deadline, a black-holed SYN included.
        Timeout => "timeout",
        /// The name does not resolve.
        Dns => "dns",
        /// TLS was demanded and is not to be had, or the handshake broke.
        Tls => "tls",
        /// The certificate does not verify.
        Certificate => "certificate",
        /// The login was refused.
        Auth => "auth",
        /// Logged in, but not allowed.
        Permission => "permission",
        /// A limit was reached: connections, slots, size.
        Limit => "limit",
        /// The database, table, column or function does not exist.
        UndefinedObject => "undefined_object",
        /// Fewer rows than the assertion demands.
        TooFewRows => "too_few_rows",
        /// The newest row is older than the assertion allows.
        StaleData => "stale_data",
        /// A value is not the expected one.
        WrongValue => "wrong_value",
        /// The server refused because it is read-only.
        ReadOnly => "read_only",
        /// Cancelled by a conflict, or two sides contradict each other.
        Conflict => "conflict",
        /// The server is starting up or shutting down.
        Starting => "starting",
        /// The address is in another region than expected.
        WrongRegion => "wrong_region",
        /// It is another database than expected.
        WrongIdentity => "wrong_identity",
        /// An unexpected HTTP status.
        HttpStatus => "http_status",
        /// The body, or a header, does not say what was expected.
        BodyMismatch => "body_mismatch",
        /// Something expected is not there.
        Missing => "missing",
        /// The configuration cannot be carried out.
        Misconfigured => "misconfigured",
        /// Behind by more than is allowed.
        Lagging => "lagging",
        /// Nothing is replicated.
        NotReplicating => "not_replicating",
        /// The last answer is too old.
        Stale => "stale",
        /// A fault of the exporter itself.
        Internal => "internal",
        /// None of the above.
        Other => "other",
    }
}

closed_set! {
    /// The state of a check as `dr_check_status` shows it.
    Status {
        /// The last run passed and is fresh.
        Pass => "pass",
        /// The last run failed.
        Fail => "fail",
        /// No run yet, a blind run, or one that is too old.
        Unknown => "unknown",
        /// Does not apply here.
        Skipped => "skipped",
        /// Failed, known and dated by a waiver.
        Waived => "waived",
    }
}

closed_set! {
    /// Why a check that was asked for could not be planned.
    GapReason {
        /// What it refers to does not exist.
        NotFound => "not_found",
        /// We may not read it.
        Forbidden => "forbidden",
        /// There is more than one candidate.
        Ambiguous => "ambiguous",
        /// It is written in a way we do not understand.
        Unparsable => "unparsable",
        /// We understand it and cannot do it.
        Unsupported => "unsupported",
    }
}

closed_set! {
    /// Which question the kubelet puts to a container.
    ProbeKind {
        /// Whether it may get requests.
        Readiness => "readiness",
        /// Whether it must be started again.
        Liveness => "liveness",
    }
}

closed_set! {
    /// What a fingerprint is of; compared between sites.
    FingerprintKind {
        /// The images of a workload.
        Images => "images",
        /// Its variables and ConfigMaps.
        Configuration => "configuration",
        /// Its Secrets.
        Secrets => "secrets",
        /// The custom resources that the cluster knows.
        Crds => "crds",
    }
}

closed_set! {
    /// A kind of object of a cluster that is watched; the `resource` label.
    Resource {
        /// Deployments.
        Deployments => "deployments",
        /// StatefulSets.
        StatefulSets => "statefulsets",
        /// The pods of the watched workloads.
        Pods => "pods",
        /// Services.
        Services => "services",
        /// EndpointSlices.
        EndpointSlices => "endpointslices",
        /// The ConfigMaps that workloads refer to.
        ConfigMaps => "configmaps",
        /// PersistentVolumeClaims.
        PersistentVolumeClaims => "persistentvolumeclaims",
        /// StorageClasses.
        StorageClasses => "storageclasses",
        /// ResourceQuotas.
        ResourceQuotas => "resourcequotas",
        /// CronJobs.
        CronJobs => "cronjobs",
        /// HorizontalPodAutoscalers.
        HorizontalPodAutoscalers => "horizontalpodautoscalers",
        /// Nodes.
        Nodes => "nodes",
        /// The Leases by which nodes show that they are alive; polled.
        NodeLeases => "node_leases",
        /// CustomResourceDefinitions.
        CustomResourceDefinitions => "customresourcedefinitions",
        /// ServiceMonitors of the Prometheus operator.
        ServiceMonitors => "servicemonitors",
        /// PodMonitors of the Prometheus operator.
        PodMonitors => "podmonitors",
    }
}

impl Resource {
    /// The name in the rules of a Role.
    pub const fn plural(self) -> &'static str {
        match self {
            Resource::NodeLeases => "leases",
            other => other.as_str(),
        }
    }

    /// The group in the rules of a Role; empty for the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Resource::Deployments | Resource::StatefulSets => "apps",
            Resource::Pods
            | Resource::Services
            | Resource::ConfigMaps
            | Resource::PersistentVolumeClaims
            | Resource::ResourceQuotas
            | Resource::Nodes => "",
            Resource::EndpointSlices => "discovery.k8s.io",
            Resource::StorageClasses => "storage.k8s.io",
            Resource::CronJobs => "batch",
            Resource::HorizontalPodAutoscalers => "autoscaling",
            Resource::NodeLeases => "coordination.k8s.io",
            Resource::CustomResourceDefinitions => "apiextensions.k8s.io",
            Resource::ServiceMonitors | Resource::PodMonitors => "monitoring.coreos.com",
        }
    }
}
