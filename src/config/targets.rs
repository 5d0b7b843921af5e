//! What a waiver may name: the targets of each check.

use std::collections::BTreeSet;

use super::site::Config;
use super::system::{System, Workload};
use crate::model::Check;

/// The targets that a check may have in a system.
pub(super) fn targets<'c>(check: Check, system: &'c System, config: &'c Config) -> BTreeSet<&'c str> {
    match section_of(check) {
        "databases" => system.databases.iter().map(|database| database.name.as_str()).collect(),
        "surfaces" => system.surfaces.iter().map(|surface| surface.name.as_str()).collect(),
        "requests" => system.requests.iter().map(|request| request.name.as_str()).collect(),
        "dependencies" => system.dependencies.iter().map(|dependency| dependency.name.as_str()).collect(),
        "workloads" => system.workloads.iter().filter_map(Workload::label).collect(),
        "dns" => system.dns.iter().map(|record| record.record.as_str()).collect(),
        "certificates" => system.certificates.iter().map(|certificate| certificate.name.as_str()).collect(),
        "infrastructure" => system.infrastructure.iter().map(|entry| entry.name.as_str()).collect(),
        "peers" => config.peers.iter().map(|peer| peer.site.as_str()).collect(),
        _ => BTreeSet::from([config.site.name.as_str()]),
    }
}

/// The section whose names are the targets of a check (DESIGN §10).
pub(super) fn section_of(check: Check) -> &'static str {
    match check {
        Check::SyntheticQuery
        | Check::DbEndpointRegion
        | Check::DbIdentity
        | Check::ReplicaPresent
        | Check::Replication
        | Check::SplitBrain
        | Check::DbSettings
        | Check::Heartbeat
        | Check::CloudDatabase => "databases",
        Check::Surface => "surfaces",
        Check::SyntheticRequest => "requests",
        Check::Traffic
        | Check::WorkloadReplicas
        | Check::ReadinessProbe
        | Check::ServiceEndpoints
        | Check::CreateDryRun
        | Check::NodeLease
        | Check::Storage
        | Check::Quota
        | Check::ImageOrigin
        | Check::CronJobs => "workloads",
        Check::Dependency => "dependencies",
        Check::DnsFailover => "dns",
        Check::Certificate => "certificates",
        Check::Infrastructure => "infrastructure",
        Check::Peer | Check::Drift => "peers",
        Check::SiteIdentity => "site",
    }
}
