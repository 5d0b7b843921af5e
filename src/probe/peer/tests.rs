use super::*;
use crate::model::Outcome;
use crate::probe::testing::tools;
use crate::sightings::ToldSystem;

fn peer(role: Role) -> Peer {
    let key = |system: &str| CheckKey {
        system: Arc::from(system),
        check: Check::Peer,
        target: Arc::from("dr-west"),
    };
    let spec = Spec {
        keys: vec![key("orders"), key("billing")],
        compared: vec![],
        us: Arc::from("primary-east"),
        region: "us-east-1".to_owned(),
        role,
        peer: config::Peer { site: "dr-west".to_owned(), ..config::Peer::default() },
        schedule: config::Defaults::default().schedule(),
    };
    Peer::new(spec, Arc::new(tools()))
}

fn told(declared: Role, in_force: Role) -> Told {
    let orders = ToldSystem { role: in_force, databases: BTreeMap::new() };
    Told {
        read_at: Timestamp::UNIX_EPOCH,
        said_at: Timestamp::UNIX_EPOCH,
        declared_role: declared,
        systems: BTreeMap::from([("orders".to_owned(), orders)]),
        fingerprints: vec![],
    }
}

#[test]
fn l98_the_old_primary_learns_that_its_declared_role_is_stale() {
    let answer = peer(Role::Primary).answer("orders", &told(Role::Standby, Role::Primary));
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Conflict));
    assert!(
        answer.detail.starts_with("dr-west is declared standby and says that it is the primary of orders")
    );
}

#[test]
fn l98_twin_sites_as_they_are_declared_pass() {
    for (ours, declared, in_force) in [
        (Role::Primary, Role::Standby, Role::Standby),
        (Role::Standby, Role::Primary, Role::Primary),
        // Two active sites, by declaration.
        (Role::Primary, Role::Primary, Role::Primary),
        // We were the standby all the time; what happened there is told there.
        (Role::Standby, Role::Standby, Role::Primary),
        (Role::Primary, Role::Standby, Role::Unknown),
    ] {
        let answer = peer(ours).answer("orders", &told(declared, in_force));
        assert_eq!(answer.outcome, Outcome::Pass, "{ours} {declared} {in_force}: {}", answer.detail);
    }
}

#[test]
fn l98_gap_a_system_that_the_peer_does_not_know_is_unknown() {
    let answer = peer(Role::Primary).answer("billing", &told(Role::Standby, Role::Primary));
    assert_eq!(
        (answer.outcome, answer.gap),
        (Outcome::Blind(Reason::Misconfigured), Some(GapReason::NotFound))
    );
}

#[test]
fn the_report_is_below_the_url() {
    for (base, expected) in [
        ("https://x:10888", "https://x:10888/api/v1/report?view=peer"),
        ("https://x/", "https://x/api/v1/report?view=peer"),
        ("https://x/dr/?a=b#c", "https://x/dr/api/v1/report?view=peer"),
    ] {
        assert_eq!(report_at(&base.parse().unwrap()).as_str(), expected);
    }
}
