//! The truth table, row by row, and the properties that every row must keep.

use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, proptest};

use proptest::strategy::Strategy as Strategy_;

use super::*;

fn intent() -> Intent {
    Intent { role: Role::Standby, strategy: Strategy::Hot, primary_down: false }
}

fn check(check: Check, status: Status, reason: Option<Reason>) -> Weighed {
    Weighed { check, target: "orders".to_owned(), status, reason }
}

fn pass(of: Check) -> Weighed {
    check(of, Status::Pass, None)
}

fn fail(of: Check, reason: Reason) -> Weighed {
    check(of, Status::Fail, Some(reason))
}

fn unknown(of: Check) -> Weighed {
    check(of, Status::Unknown, Some(Reason::Misconfigured))
}

const HEALTHY: Claim = Claim { decisive: true, healthy: Some(true) };

fn verdict(checks: &[Weighed]) -> Verdict {
    judge(intent(), checks, &[]).verdict
}

#[test]
fn the_seed_is_healthy_but_unusable() {
    // The facts of the incident, typed in: /health and /ready pass, the query is refused, the address is in the
    // east, and nobody has sent a business request.
    let checks = [
        fail(Check::SyntheticQuery, Reason::Refused),
        fail(Check::DbEndpointRegion, Reason::WrongRegion),
        fail(Check::SyntheticRequest, Reason::HttpStatus),
        pass(Check::Surface),
        pass(Check::Traffic),
    ];
    let claims = [HEALTHY, Claim { decisive: false, healthy: Some(true) }];
    let judgement = judge(intent(), &checks, &claims);
    assert_eq!(judgement.verdict, Verdict::Unusable);
    assert!(judgement.healthy_but_unusable);
    let order: Vec<_> = judgement.against.iter().map(|weighed| weighed.check).collect();
    assert_eq!(order, [Check::DbEndpointRegion, Check::SyntheticQuery, Check::SyntheticRequest]);
}

#[test]
fn every_row_of_the_table() {
    use Check::{
        DbSettings, Drift, Peer, Quota, Replication, Surface, SyntheticQuery, SyntheticRequest, Traffic,
    };
    use Reason::{HttpStatus, Lagging, Misconfigured, NotReplicating, Refused, WrongValue};
    let table: &[(&str, &[Weighed], Verdict)] = &[
        ("nothing is planned", &[], Verdict::Unknown),
        ("proof and nothing against it", &[pass(SyntheticQuery)], Verdict::Usable),
        ("a request proves too", &[pass(SyntheticRequest)], Verdict::Usable),
        ("a claim proves nothing", &[pass(Surface)], Verdict::Unknown),
        ("settings prove nothing", &[pass(DbSettings)], Verdict::Unknown),
        ("a fatal failure", &[pass(SyntheticRequest), fail(SyntheticQuery, Refused)], Verdict::Unusable),
        (
            "a failed request is fatal",
            &[pass(SyntheticQuery), fail(SyntheticRequest, HttpStatus)],
            Verdict::Unusable,
        ),
        (
            "a failure outranks ignorance",
            &[unknown(Surface), fail(SyntheticQuery, Refused)],
            Verdict::Unusable,
        ),
        (
            "ignorance outranks a flaw",
            &[pass(SyntheticQuery), unknown(Quota), fail(Surface, HttpStatus)],
            Verdict::Unknown,
        ),
        ("a peer out of reach is no evidence", &[pass(SyntheticQuery), unknown(Peer)], Verdict::Usable),
        ("nor is a wrong one", &[pass(SyntheticQuery), fail(Peer, Misconfigured)], Verdict::Usable),
        ("what only a peer could tell", &[pass(SyntheticQuery), unknown(Drift)], Verdict::Usable),
        ("the other site is another", &[pass(SyntheticQuery), fail(Drift, WrongValue)], Verdict::Degraded),
        ("ignorance is never usable", &[pass(SyntheticQuery), unknown(Surface)], Verdict::Unknown),
        ("a flaw", &[pass(SyntheticQuery), fail(Surface, HttpStatus)], Verdict::Degraded),
        ("a flaw without proof", &[fail(Surface, HttpStatus)], Verdict::Degraded),
        (
            "a waived flaw",
            &[pass(SyntheticQuery), check(Surface, Status::Waived, Some(HttpStatus))],
            Verdict::Usable,
        ),
        (
            "a skipped check",
            &[pass(SyntheticRequest), check(SyntheticQuery, Status::Skipped, None)],
            Verdict::Usable,
        ),
        (
            "silence of users is evidence, not a verdict",
            &[pass(SyntheticQuery), fail(Traffic, Reason::Missing)],
            Verdict::Usable,
        ),
        ("ignorance about users neither", &[pass(SyntheticQuery), unknown(Traffic)], Verdict::Usable),
        ("lagging beyond the RPO", &[pass(SyntheticQuery), fail(Replication, Lagging)], Verdict::Unusable),
        (
            "two sides that contradict each other",
            &[pass(SyntheticQuery), fail(Replication, Reason::Conflict)],
            Verdict::Unusable,
        ),
        (
            "replication broken, age still inside",
            &[pass(SyntheticQuery), fail(Replication, NotReplicating)],
            Verdict::Degraded,
        ),
    ];
    for (name, checks, expected) in table {
        assert_eq!(verdict(checks), *expected, "{name}");
    }
}

#[test]
fn every_fatal_check_alone_makes_a_site_unusable_and_no_other_does() {
    let fatal = [
        "synthetic_query",
        "synthetic_request",
        "db_endpoint_region",
        "replica_present",
        "db_identity",
        "split_brain",
        "service_endpoints",
    ];
    for of in Check::ALL {
        let checks = [pass(Check::SyntheticQuery), pass(Check::SyntheticRequest), fail(*of, Reason::Other)];
        let expected = match of.as_str() {
            name if fatal.contains(&name) => Verdict::Unusable,
            "traffic" | "peer" | "heartbeat" => Verdict::Usable,
            _ => Verdict::Degraded,
        };
        assert_eq!(verdict(&checks), expected, "{of}");
    }
}

#[test]
fn t24_a_dead_primary_never_makes_the_standby_unusable() {
    let down = Intent { primary_down: true, ..intent() };
    for of in [
        fail(Check::Replication, Reason::Lagging),
        fail(Check::Replication, Reason::NotReplicating),
        fail(Check::Drift, Reason::Other),
    ] {
        let checks = [pass(Check::SyntheticQuery), of.clone()];
        assert_eq!(judge(down, &checks, &[]).verdict, Verdict::Usable, "{of:?}");
        assert_ne!(judge(intent(), &checks, &[]).verdict, Verdict::Usable, "{of:?}");
    }
    // What the standby cannot do by itself still counts.
    for of in [
        fail(Check::SyntheticQuery, Reason::Refused),
        fail(Check::Replication, Reason::Conflict),
        fail(Check::SplitBrain, Reason::Conflict),
    ] {
        assert_eq!(judge(down, std::slice::from_ref(&of), &[]).verdict, Verdict::Unusable, "{of:?}");
    }
}

#[test]
fn roles_and_strategies_select_what_is_required() {
    let standing_by = [Check::ReplicaPresent, Check::Replication, Check::Drift, Check::WorkloadReplicas];
    let never = [Check::Traffic, Check::Peer, Check::Heartbeat];
    for of in Check::ALL.iter().copied().filter(|of| !never.contains(of)) {
        assert_eq!(is_required(of, Role::Primary, Strategy::Hot), !standing_by.contains(&of), "{of}");
        assert!(is_required(of, Role::Standby, Strategy::Warm), "{of}");
        let in_pilot_light = !matches!(of, Check::WorkloadReplicas | Check::SyntheticRequest);
        assert_eq!(is_required(of, Role::Standby, Strategy::PilotLight), in_pilot_light, "{of}");
        let in_backup =
            matches!(of, Check::DnsFailover | Check::DbIdentity | Check::SplitBrain | Check::SiteIdentity);
        assert_eq!(is_required(of, Role::Standby, Strategy::BackupRestore), in_backup, "{of}");
    }
    let retired = Intent { role: Role::Retired, ..intent() };
    let judgement = judge(retired, &[fail(Check::SyntheticQuery, Reason::Refused)], &[HEALTHY]);
    let nothing = Judgement { verdict: Verdict::NotApplicable, against: vec![], healthy_but_unusable: false };
    assert_eq!(judgement, nothing);
}

#[test]
fn weighing_row_by_row() {
    let weigh_one =
        |outcome, fresh, waived| weigh(Check::SyntheticQuery, Evidence { outcome, fresh, waived });
    assert_eq!(weigh_one(None, false, false), (Status::Unknown, None));
    assert_eq!(weigh_one(Some(Outcome::Pass), true, false), (Status::Pass, None));
    assert_eq!(weigh_one(Some(Outcome::Pass), true, true), (Status::Pass, None));
    assert_eq!(weigh_one(Some(Outcome::Pass), false, false), (Status::Unknown, Some(Reason::Stale)));
    assert_eq!(weigh_one(Some(Outcome::Fail(Reason::Dns)), true, false), (Status::Fail, Some(Reason::Dns)));
    assert_eq!(weigh_one(Some(Outcome::Fail(Reason::Dns)), true, true), (Status::Waived, Some(Reason::Dns)));
    assert_eq!(
        weigh_one(Some(Outcome::Fail(Reason::Dns)), false, true),
        (Status::Unknown, Some(Reason::Stale))
    );
    assert_eq!(
        weigh_one(Some(Outcome::Blind(Reason::Internal)), true, true),
        (Status::Unknown, Some(Reason::Internal))
    );
    assert_eq!(weigh_one(Some(Outcome::Skipped), true, false), (Status::Skipped, None));
    for of in [Check::SplitBrain, Check::DbIdentity] {
        let evidence = Evidence { outcome: Some(Outcome::Fail(Reason::Conflict)), fresh: true, waived: true };
        assert_eq!(weigh(of, evidence).0, Status::Fail, "{of} is never waived");
    }
}

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy_<Value = T> {
    proptest::sample::select(all)
}

fn any_weighed() -> impl Strategy_<Value = Weighed> {
    (any_of(Check::ALL), any_of(Status::ALL), any_of(Reason::ALL), "[a-c]").prop_map(
        |(check, status, reason, target)| {
            let reason = matches!(status, Status::Fail | Status::Waived | Status::Unknown).then_some(reason);
            Weighed { check, target, status, reason }
        },
    )
}

fn any_intent() -> impl Strategy_<Value = Intent> {
    (any_of(Role::ALL), any_of(Strategy::ALL), any::<bool>())
        .prop_map(|(role, strategy, primary_down)| Intent { role, strategy, primary_down })
}

fn any_claims() -> impl Strategy_<Value = Vec<Claim>> {
    let claim =
        (any::<bool>(), any::<Option<bool>>()).prop_map(|(decisive, healthy)| Claim { decisive, healthy });
    proptest::collection::vec(claim, 0..4)
}

fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotApplicable | Verdict::Usable => 0,
        Verdict::Unknown => 1,
        Verdict::Degraded => 2,
        Verdict::Unusable => 3,
    }
}

proptest! {
    #[test]
    fn the_order_of_observations_is_irrelevant(
        intent in any_intent(), claims in any_claims(),
        (sorted, shuffled) in proptest::collection::vec(any_weighed(), 0..12)
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        prop_assert_eq!(judge(intent, &sorted, &claims), judge(intent, &shuffled, &claims));
    }

    #[test]
    fn nobody_is_accused_without_a_fresh_failure(
        intent in any_intent(), claims in any_claims(),
        checks in proptest::collection::vec(any_weighed(), 0..12),
    ) {
        let none_failed: Vec<_> = checks.into_iter().filter(|weighed| weighed.status != Status::Fail).collect();
        let judgement = judge(intent, &none_failed, &claims);
        prop_assert!(!matches!(judgement.verdict, Verdict::Unusable | Verdict::Degraded));
        prop_assert!(!judgement.healthy_but_unusable);
    }

    #[test]
    fn going_blind_neither_accuses_nor_clears(
        intent in any_intent(), claims in any_claims(),
        checks in proptest::collection::vec(any_weighed(), 1..12), place in any::<prop::sample::Index>(),
    ) {
        let before = judge(intent, &checks, &claims);
        let mut blinded = checks;
        let place = place.index(blinded.len());
        blinded[place].status = Status::Unknown;
        let after = judge(intent, &blinded, &claims);
        // Blindness never makes a fatal accusation out of none, and never makes a usable site out of another.
        prop_assert!(badness(after.verdict) < 2 || badness(before.verdict) >= 2);
        if after.verdict == Verdict::Usable {
            prop_assert_eq!(before.verdict, Verdict::Usable);
        }
    }

    #[test]
    fn another_failure_never_helps(
        intent in any_intent(), claims in any_claims(),
        checks in proptest::collection::vec(any_weighed(), 0..12), of in any_of(Check::ALL), reason in any_of(Reason::ALL),
    ) {
        let before = judge(intent, &checks, &claims).verdict;
        let mut worse = checks;
        worse.push(fail(of, reason));
        let after = judge(intent, &worse, &claims).verdict;
        prop_assert!(badness(after) >= badness(before), "{before} became {after}");
    }

    #[test]
    fn healthy_but_unusable_is_exactly_both(
        intent in any_intent(), claims in any_claims(),
        checks in proptest::collection::vec(any_weighed(), 0..12),
    ) {
        let judgement = judge(intent, &checks, &claims);
        let claimed = claims.iter().any(|claim| claim.decisive && claim.healthy == Some(true));
        prop_assert_eq!(judgement.healthy_but_unusable, claimed && judgement.verdict == Verdict::Unusable);
    }

    #[test]
    fn a_stale_or_missing_run_is_unknown_whatever_it_said(
        of in any_of(Check::ALL), reason in any_of(Reason::ALL), waived in any::<bool>(), kind in 0..4u8,
    ) {
        let outcome = [Outcome::Pass, Outcome::Fail(reason), Outcome::Blind(reason), Outcome::Skipped][usize::from(kind)];
        prop_assert_eq!(weigh(of, Evidence { outcome: Some(outcome), fresh: false, waived }).0, Status::Unknown);
    }
}
