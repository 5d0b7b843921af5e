use super::*;
use crate::model::Reason;

const ORDERS: (&str, &str) = ("orders", "orders");

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn ago(seconds: u64) -> Timestamp {
    now() - Duration::from_secs(seconds)
}

fn node(identifier: &str, timeline: u32, writable: bool) -> Node {
    Node {
        system_identifier: Some(identifier.to_owned()),
        timeline: Some(timeline),
        in_recovery: !writable,
        read_only: !writable,
    }
}

fn seen(place: Place, node: Node) -> (Place, Sighting) {
    (place, Sighting { at: ago(5), node: Ok(node) })
}

/// The other site, with what it sees as the application's database.
fn told(
    declared: Role,
    in_force: Role,
    node: Option<Node>,
    read_at: Timestamp,
) -> BTreeMap<Arc<str>, Arc<Told>> {
    let nodes = node.into_iter().map(|node| seen(Place::Application, node)).collect();
    let system = ToldSystem { role: in_force, databases: BTreeMap::from([("orders".to_owned(), nodes)]) };
    let told = Told {
        read_at,
        said_at: read_at,
        declared_role: declared,
        systems: BTreeMap::from([("orders".to_owned(), system)]),
        fingerprints: vec![],
    };
    BTreeMap::from([(Arc::from("there"), Arc::new(told))])
}

fn asked(
    role: Role,
    ours: &[(Place, Sighting)],
    told: &BTreeMap<Arc<str>, Arc<Told>>,
    peers: usize,
) -> Leave {
    let peers = vec!["there".to_owned(); peers];
    let ours = ours.iter().cloned().collect();
    leave(Known {
        role,
        of: ORDERS,
        ours: &ours,
        peers: &peers,
        told,
        fresh: Duration::from_secs(90),
        now: now(),
    })
}

fn withheld(leave: &Leave) -> &str {
    match leave {
        Leave::Withheld(why) => why,
        Leave::Given | Leave::IfItFeeds(_) => panic!("{leave:?}"),
    }
}

#[test]
fn a_primary_beats_while_the_other_site_says_that_it_stands_by() {
    let standby = told(Role::Standby, Role::Standby, Some(node("7", 1, false)), ago(10));
    assert_eq!(asked(Role::Primary, &[], &standby, 1), Leave::Given);
    assert_eq!(asked(Role::Primary, &[], &BTreeMap::new(), 0), Leave::Given, "nobody else is configured");
    // The incident: the standby's application is wired to our database. Its site still stands by.
    let wired_here = told(Role::Standby, Role::Standby, Some(node("7", 1, true)), ago(10));
    assert_eq!(asked(Role::Primary, &[], &wired_here, 1), Leave::Given);
}

#[test]
fn l98_an_old_primary_that_came_back_writes_nothing() {
    let ours = [seen(Place::Application, node("7", 1, true))];
    let promoted = |read_at| told(Role::Standby, Role::Primary, Some(node("7", 2, true)), read_at);
    for (ours, told) in [
        (&ours[..], promoted(ago(10))),
        // Its last word counts, however old.
        (&ours[..], promoted(ago(86_400))),
        // Before we know anything of our own database.
        (&[], promoted(ago(10))),
        // It says no more than that.
        (&ours[..], told(Role::Standby, Role::Primary, None, ago(10))),
    ] {
        let leave = asked(Role::Primary, ours, &told, 1);
        assert_eq!(withheld(&leave), "there says that it is the primary of orders");
    }
    // The site that was promoted does not mind the old one.
    let old = told(Role::Primary, Role::Primary, Some(node("7", 1, true)), ago(10));
    let west = [seen(Place::Standby, node("7", 2, true)), seen(Place::Application, node("7", 2, true))];
    assert_eq!(asked(Role::Standby, &west, &old, 1), Leave::Given);
    assert_eq!(asked(Role::Primary, &west, &old, 1), Leave::Given);
}

#[test]
fn l98_gap_who_has_not_heard_the_other_site_writes_only_where_somebody_is_fed() {
    let unheard = Leave::IfItFeeds("there".to_owned());
    assert_eq!(asked(Role::Primary, &[], &BTreeMap::new(), 1), unheard);
    let old = told(Role::Standby, Role::Standby, None, ago(91));
    assert_eq!(asked(Role::Primary, &[], &old, 1), unheard);
}

#[test]
fn two_sites_with_databases_of_their_own_both_beat() {
    let ours = [seen(Place::Application, node("7", 1, true))];
    let other = told(Role::Primary, Role::Primary, Some(node("8", 5, true)), ago(10));
    assert_eq!(asked(Role::Primary, &ours, &other, 1), Leave::Given);
    assert!(matches!(asked(Role::Primary, &[], &other, 1), Leave::Withheld(_)), "ours is not known yet");
}

#[test]
fn nothing_is_written_on_a_standby_even_when_the_configuration_says_so() {
    let primary = told(Role::Primary, Role::Primary, Some(node("7", 1, true)), ago(10));
    let dead = told(Role::Primary, Role::Unknown, None, ago(10));
    let standby = seen(Place::Standby, node("7", 1, false));
    let to_east = seen(Place::Application, node("7", 1, true));
    let both = [standby, to_east];
    for ours in [&[][..], &both[..1], &both[..], &both[1..]] {
        for told in [&primary, &dead, &BTreeMap::new()] {
            assert!(matches!(asked(Role::Standby, ours, told, 1), Leave::Withheld(_)), "{ours:?}");
        }
    }
    for role in [Role::Retired, Role::Unknown] {
        assert!(matches!(asked(role, &[], &BTreeMap::new(), 0), Leave::Withheld(_)));
    }
}

#[test]
fn a_promoted_standby_beats_without_a_change_of_configuration() {
    let promoted = [seen(Place::Standby, node("7", 2, true)), seen(Place::Application, node("7", 2, true))];
    let down = told(Role::Primary, Role::Primary, None, ago(10));
    assert_eq!(asked(Role::Standby, &promoted, &down, 1), Leave::Given);
    // Rebuilt as a standby of ours.
    let rebuilt = told(Role::Primary, Role::Standby, Some(node("7", 2, false)), ago(10));
    assert_eq!(asked(Role::Standby, &promoted, &rebuilt, 1), Leave::Given);
    // The other site is silent: it may be the primary still.
    assert!(withheld(&asked(Role::Standby, &promoted, &BTreeMap::new(), 1)).ends_with("there was not heard"));
    for ours in [
        // The application still writes to the old one.
        vec![seen(Place::Standby, node("7", 2, true)), seen(Place::Application, node("7", 1, true))],
        // It is another database.
        vec![seen(Place::Standby, node("7", 2, true)), seen(Place::Application, node("8", 2, true))],
        // Somebody was promoted after us.
        [promoted.to_vec(), vec![seen(Place::Primary, node("7", 3, true))]].concat(),
        // Nobody has looked for a while.
        vec![
            (Place::Standby, Sighting { at: ago(91), node: Ok(node("7", 2, true)) }),
            seen(Place::Application, node("7", 2, true)),
        ],
        vec![
            (Place::Standby, Sighting { at: ago(5), node: Err(Reason::Refused) }),
            seen(Place::Application, node("7", 2, true)),
        ],
    ] {
        assert!(matches!(asked(Role::Standby, &ours, &rebuilt, 1), Leave::Withheld(_)), "{ours:?}");
    }
}
