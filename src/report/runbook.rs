//! Which runbook says what to do about a finding. They are named after the alerts that link to them.

use crate::model::{Check, Verdict};

/// Where this project's files can be read.
pub const REPOSITORY: &str = "https://github.com/dr-exporter/dr-exporter/blob/main/";

/// Where the runbook of an alert can be read.
pub fn url(alert: &str) -> String {
    format!("{REPOSITORY}alerts/runbooks/{alert}.md")
}

/// The alert about a check that fails.
pub const fn of_check(check: Check) -> &'static str {
    match check {
        Check::SyntheticQuery => "DrSyntheticQueryFailing",
        Check::DbEndpointRegion => "DrDatabaseInWrongRegion",
        Check::Surface => "DrSurfaceFailing",
        Check::SyntheticRequest => "DrSyntheticRequestFailing",
        Check::WorkloadReplicas => "DrReplicasMissing",
        Check::ReadinessProbe => "DrReadinessProbeMissing",
        Check::ServiceEndpoints => "DrServiceWithoutEndpoints",
        Check::CreateDryRun => "DrPodCreationRefused",
        Check::NodeLease => "DrNodeSilent",
        Check::Storage => "DrStorageNotReady",
        Check::Quota => "DrQuotaTooSmall",
        Check::ImageOrigin => "DrImageOutOfReach",
        Check::CronJobs => "DrCronJobActive",
        Check::Dependency => "DrDependencyFailing",
        Check::SiteIdentity => "DrSiteIdentityWrong",
        Check::Drift => "DrSitesDiffer",
        Check::Peer => "DrPeerContradicts",
        Check::Heartbeat => "DrBeatNotWritten",
        Check::Traffic
        | Check::DbIdentity
        | Check::ReplicaPresent
        | Check::Replication
        | Check::SplitBrain
        | Check::DbSettings
        | Check::CloudDatabase
        | Check::DnsFailover
        | Check::Certificate
        | Check::Infrastructure => "DrCheckFailing",
    }
}

/// The alert about a verdict, if somebody has to do something.
pub const fn of_verdict(verdict: Verdict, healthy_but_unusable: bool) -> Option<&'static str> {
    match verdict {
        Verdict::Unusable if healthy_but_unusable => Some("DrSiteHealthyButUnusable"),
        Verdict::Unusable => Some("DrSiteUnusable"),
        Verdict::Unknown => Some("DrVerdictUnknown"),
        // What stands against it has runbooks of its own.
        Verdict::Degraded | Verdict::Usable | Verdict::NotApplicable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_a_runbook_that_is_there() {
        let of_verdicts = Verdict::ALL.iter().flat_map(|v| [of_verdict(*v, true), of_verdict(*v, false)]);
        for alert in Check::ALL.iter().map(|check| of_check(*check)).chain(of_verdicts.flatten()) {
            let file = format!("{}/alerts/runbooks/{alert}.md", env!("CARGO_MANIFEST_DIR"));
            assert!(std::path::Path::new(&file).is_file(), "{file} is not there");
            assert!(url(alert).ends_with(&format!("/main/alerts/runbooks/{alert}.md")));
        }
    }

    #[test]
    fn the_rules_of_a_check_and_its_runbook_are_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/dr-causes.rules.yaml");
        let rules = std::fs::read_to_string(file).expect("the rules");
        for check in Check::ALL.iter().filter(|check| of_check(**check) != "DrCheckFailing") {
            let selector = format!("check:dr_check_failing:min{{check=\"{check}\"}}");
            let Some(at) = rules.find(&selector) else {
                // The rules of these read what no verdict rests on.
                let others = [Check::SiteIdentity, Check::Peer, Check::Heartbeat];
                assert!(others.contains(check), "{check} has no rule of its own");
                continue;
            };
            let name = rules[..at].rsplit("- alert: ").next().and_then(|rest| rest.lines().next());
            assert_eq!(name, Some(of_check(*check)));
        }
    }
}
