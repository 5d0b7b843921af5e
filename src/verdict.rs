//! Weigh and judge: the truth table. Pure, and the only place that decides whether a site is fit.
//!
//! [`weigh`] turns the newest run of a check into a [`Status`]; [`judge`] turns all statuses and what the owner
//! declared into a [`Verdict`]. Debouncing lives in the alerts, not here.

use crate::model::{Check, Outcome, Reason, Role, Status, Strategy, Verdict};

/// What is declared or known about a system apart from its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The role that is in force: the declared one unless the databases show another.
    pub role: Role,
    /// What the owner promised.
    pub strategy: Strategy,
    /// The primary is known to be down, so that evidence which needs it accuses nobody.
    pub primary_down: bool,
}

/// The newest run of a check, as far as a judgement needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// How it ended; `None` before the first run.
    pub outcome: Option<Outcome>,
    /// Younger than three intervals.
    pub fresh: bool,
    /// The owner knows of this finding, until a date that has not passed.
    pub waived: bool,
}

/// A check with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// Which question.
    pub check: Check,
    /// Of whom.
    pub target: String,
    /// What stands.
    pub status: Status,
    /// Why it does not pass.
    pub reason: Option<Reason>,
}

/// What a surface says of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Somebody moves traffic because of it.
    pub decisive: bool,
    /// What it claims; `None` while that is not known.
    pub healthy: Option<bool>,
}

/// The judgement on one system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether a failover would work.
    pub verdict: Verdict,
    /// Everything that stands against `usable`, in the order to look at it.
    pub against: Vec<Weighed>,
    /// The product in one flag: unusable, and a decisive surface claims health.
    pub healthy_but_unusable: bool,
}

/// Proven failures of these end a failover by themselves.
const FATAL: &[Check] = &[
    Check::SyntheticQuery,
    Check::SyntheticRequest,
    Check::DbEndpointRegion,
    Check::ReplicaPresent,
    Check::DbIdentity,
    Check::SplitBrain,
    Check::ServiceEndpoints,
];

/// A pass of these shows that the site can do the work.
const PROOF: &[Check] = &[Check::SyntheticQuery, Check::SyntheticRequest];

/// The status of a check. A waiver turns a failure, and nothing else, into `waived`.
pub fn weigh(check: Check, evidence: Evidence) -> (Status, Option<Reason>) {
    let Evidence { outcome, fresh, waived } = evidence;
    match (outcome, fresh) {
        (None, _) => (Status::Unknown, None),
        (Some(_), false) => (Status::Unknown, Some(Reason::Stale)),
        (Some(Outcome::Pass), true) => (Status::Pass, None),
        (Some(Outcome::Skipped), true) => (Status::Skipped, None),
        (Some(Outcome::Blind(reason)), true) => (Status::Unknown, Some(reason)),
        (Some(Outcome::Fail(reason)), true) if waived && may_be_waived(check) => {
            (Status::Waived, Some(reason))
        }
        (Some(Outcome::Fail(reason)), true) => (Status::Fail, Some(reason)),
    }
}

/// Two writable copies of the data, or the wrong data, are never a known and dated flaw.
pub fn may_be_waived(check: Check) -> bool {
    !matches!(check, Check::SplitBrain | Check::DbIdentity)
}

/// Whether a pass of this check shows that the site can do the work.
pub fn is_proof(check: Check) -> bool {
    PROOF.contains(&check)
}

/// Whether a verdict may rest on this check under the strategy and in the role.
pub fn is_required(check: Check, role: Role, strategy: Strategy) -> bool {
    // Evidence beside others: silence of users on a passive site proves nothing by itself, and neither does anything
    // that the exporter of another site says or does not say, nor a row that only we need.
    if matches!(check, Check::Traffic | Check::Peer | Check::Heartbeat) {
        return false;
    }
    if role == Role::Primary && is_about_standing_by(check) {
        return false;
    }
    match strategy {
        Strategy::Hot | Strategy::Warm => true,
        Strategy::PilotLight => !matches!(check, Check::WorkloadReplicas | Check::SyntheticRequest),
        Strategy::BackupRestore => {
            matches!(check, Check::DnsFailover | Check::DbIdentity | Check::SplitBrain | Check::SiteIdentity)
        }
    }
}

/// Questions that make sense only where a site waits for a failover.
fn is_about_standing_by(check: Check) -> bool {
    matches!(check, Check::ReplicaPresent | Check::Replication | Check::Drift | Check::WorkloadReplicas)
}

/// Whether the only evidence of this failure needs a primary that answers.
fn needs_the_primary(weighed: &Weighed) -> bool {
    match weighed.check {
        Check::Drift => true,
        Check::Replication => {
            matches!(weighed.reason, Some(Reason::NotReplicating | Reason::Lagging | Reason::Stale))
        }
        _ => false,
    }
}

fn is_fatal(weighed: &Weighed) -> bool {
    FATAL.contains(&weighed.check)
        || (weighed.check == Check::Replication
            && matches!(weighed.reason, Some(Reason::Lagging | Reason::Conflict)))
}

/// The truth table of DESIGN section 7, its rows in their order.
pub fn judge(intent: Intent, checks: &[Weighed], claims: &[Claim]) -> Judgement {
    let Intent { role, strategy, primary_down } = intent;
    if role == Role::Retired {
        return Judgement {
            verdict: Verdict::NotApplicable,
            against: Vec::new(),
            healthy_but_unusable: false,
        };
    }
    let required = || checks.iter().filter(|weighed| is_required(weighed.check, role, strategy));
    let proven = || {
        required()
            .filter(|weighed| weighed.status == Status::Fail)
            .filter(|weighed| !(primary_down && needs_the_primary(weighed)))
    };
    // What only a peer can tell is not known when its site is gone, which is when this verdict is needed.
    let unknown = || {
        required()
            .filter(|weighed| weighed.status == Status::Unknown)
            .filter(|weighed| weighed.check != Check::Drift)
    };
    let able = checks.iter().any(|weighed| is_proof(weighed.check) && weighed.status == Status::Pass);

    let verdict = if proven().any(is_fatal) {
        Verdict::Unusable
    } else if unknown().next().is_some() {
        Verdict::Unknown
    } else if proven().next().is_some() {
        Verdict::Degraded
    } else if !able {
        Verdict::Unknown
    } else {
        Verdict::Usable
    };
    let mut against: Vec<Weighed> = proven().chain(unknown()).cloned().collect();
    against.sort_by(|a, b| {
        rank(a)
            .cmp(&rank(b))
            .then_with(|| (a.check, &a.target, a.reason).cmp(&(b.check, &b.target, b.reason)))
    });
    let claims_health = claims.iter().any(|claim| claim.decisive && claim.healthy == Some(true));
    let healthy_but_unusable = verdict == Verdict::Unusable && claims_health;
    Judgement { verdict, against, healthy_but_unusable }
}

/// The order to look at reasons: what is fatal, then what is proven, then what is not known. Among the fatal ones
/// the wrong database comes first: it explains the others.
fn rank(weighed: &Weighed) -> (u8, u8) {
    let cause = match weighed.check {
        Check::SplitBrain => 0,
        Check::DbIdentity => 1,
        Check::DbEndpointRegion => 2,
        Check::ReplicaPresent => 3,
        Check::SyntheticQuery => 4,
        _ => 5,
    };
    match weighed.status {
        Status::Fail if is_fatal(weighed) => (0, cause),
        Status::Fail => (1, cause),
        _ => (2, cause),
    }
}

#[cfg(test)]
mod tests;
