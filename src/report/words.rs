//! The report's sentences. Pure.

use super::{Against, CheckReport, Declared};
use crate::model::{Check, Status, Verdict};
use crate::verdict::is_proof;

/// The verdict in one sentence that somebody understands who has never seen us.
pub fn sentence(
    site: &Declared,
    verdict: Verdict,
    healthy_but_unusable: bool,
    against: &[Against],
    checks: &[CheckReport],
) -> String {
    let site = &site.site;
    let proves = |check: &CheckReport| is_proof(check.key.check) && check.status == Status::Pass;
    let proven = checks.iter().any(proves);
    let first = against.first().map(|first| {
        format!("{} of {}: {}", check_in_words(first.check), first.target, first.detail.trim_end_matches('.'))
    });
    let first = first.unwrap_or_else(|| "Nothing has proven yet that it can do the work".to_owned());
    let more = match against.len() {
        0 | 1 => String::new(),
        2 => " (and 1 more reason)".to_owned(),
        many => format!(" (and {} more reasons)", many - 1),
    };
    match verdict {
        Verdict::Usable => {
            let passed = checks.iter().filter(|check| check.status == Status::Pass).count();
            let known = checks.iter().filter(|check| check.status == Status::Waived).count();
            let waived = if known > 0 { format!(", {known} known and waived") } else { String::new() };
            format!("{site} can serve: {passed} of {} checks pass{waived}.", checks.len())
        }
        Verdict::Degraded if proven => format!("{site} can serve, with a proven flaw. {first}{more}."),
        Verdict::Degraded => {
            format!("{site} has a proven flaw, and nothing has shown yet that it can serve. {first}{more}.")
        }
        Verdict::Unusable if healthy_but_unusable => {
            format!("{site} says that it is healthy and cannot serve. {first}{more}.")
        }
        Verdict::Unusable => format!("{site} cannot serve. {first}{more}."),
        Verdict::Unknown => format!("Nobody knows whether {site} can serve. {first}{more}."),
        Verdict::NotApplicable => format!("{site} is retired; nothing is expected of it."),
    }
}

/// What a check asks, as the subject of a sentence.
pub fn check_in_words(check: Check) -> &'static str {
    match check {
        Check::SyntheticQuery => "The business query",
        Check::DbEndpointRegion => "The region of the database",
        Check::DbIdentity => "The identity of the database",
        Check::ReplicaPresent => "The standby database",
        Check::Replication => "Replication",
        Check::SplitBrain => "Split brain",
        Check::DbSettings => "The settings of the database",
        Check::Heartbeat => "The heartbeat",
        Check::CloudDatabase => "The cloud's status of the database",
        Check::Surface => "The claim",
        Check::SyntheticRequest => "The business request",
        Check::Traffic => "Business traffic",
        Check::WorkloadReplicas => "The replicas",
        Check::ReadinessProbe => "The readiness probe",
        Check::ServiceEndpoints => "The Service",
        Check::CreateDryRun => "Starting a new pod",
        Check::NodeLease => "The nodes",
        Check::Storage => "The volumes",
        Check::Quota => "The quota",
        Check::ImageOrigin => "The image",
        Check::CronJobs => "The CronJobs",
        Check::Dependency => "The dependency",
        Check::DnsFailover => "The DNS failover",
        Check::Certificate => "The certificate",
        Check::Infrastructure => "The infrastructure code",
        Check::Peer => "The other site's exporter",
        Check::Drift => "Drift between the sites",
        Check::SiteIdentity => "The identity of the site",
    }
}
