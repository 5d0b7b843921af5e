//! What a running process can follow and what it cannot; the rest is in `tests/it/reload.rs`, with the real binary.

use super::*;
use crate::config;

const SITE: &str = "site: {name: a, region: b, role: standby}\n";
const LEASE: &str = "high_availability: {lease: {namespace: dr, name: dr-exporter}}\n";

fn config(head: &str, systems: &str) -> Config {
    let text = format!("{SITE}{head}systems: [{systems}]\n");
    config::parse("f", &text, jiff::Timestamp::UNIX_EPOCH).unwrap_or_else(|all| panic!("{all}")).config
}

#[test]
fn what_needs_a_restart_is_refused_in_a_sentence() {
    let orders = "{name: orders}";
    let refused =
        |before: &str, now: &str| needs_no_restart(&config(before, orders), &config(now, orders)).err();
    let other = LEASE.replace("dr-exporter", "other");
    for (before, now, key) in [
        ("", LEASE, "high_availability"),
        (LEASE, "", "high_availability"),
        (LEASE, other.as_str(), "high_availability"),
        (LEASE, &format!("{LEASE}kubernetes: {{kubeconfig: /k}}\n"), "kubernetes"),
    ] {
        let why = refused(before, now).unwrap_or_else(|| panic!("{before} -> {now}"));
        assert!(why.starts_with(key) && why.ends_with("needs a restart"), "{why}");
    }
    for (before, now) in [
        ("", "kubernetes: {mode: disabled}\n"),
        ("", "sharding: {shards: 2, ordinal: 0}\n"),
        (LEASE, &format!("{LEASE}kubernetes: {{create_dry_run: false}}\n")),
    ] {
        assert_eq!(refused(before, now), None, "{before} -> {now}");
    }
}

#[test]
fn the_ground_holds_unless_one_of_its_keys_changed() {
    let orders = "{name: orders}";
    let holds = |now: &str| Ground::holds(&config("", orders), &config(now, orders));
    assert!(
        holds("") && holds("kubernetes: {create_dry_run: false}\n") && holds("defaults: {interval: 7s}\n")
    );
    for now in [
        "kubernetes: {mode: disabled}\n",
        "regions: {b: {cidrs: [127.20.0.0/16]}}\n",
        "defaults: {resolvers: [127.0.0.1]}\n",
        "defaults: {limits: {concurrency: 3}}\n",
        "defaults: {limits: {connections_per_endpoint: 3}}\n",
    ] {
        assert!(!holds(now), "{now}");
    }
}

#[test]
fn every_ask_has_a_name_of_its_own_and_carries_on_only_from_the_same() {
    let surface = |name: &str, interval: &str| {
        format!(
            "{{name: {name}, surfaces: [{{name: health, url: 'http://127.0.0.1:1/', interval: {interval}}}]}}"
        )
    };
    let asks = |systems: String| {
        let mut config = config("", &systems);
        config.site.identity = Some(config::SiteIdentity { node_label: "region".to_owned() });
        plan(&config).asks
    };
    let before = asks(format!("{}, {}", surface("a", "10s"), surface("b", "10s")));
    let after = asks(format!("{}, {}", surface("b", "10s"), surface("a", "20s")));
    let names: BTreeSet<CheckKey> = before.iter().map(Ask::key).collect();
    assert_eq!((before.len(), names.len()), (3, 3));
    let now = |ask: &Ask| after.iter().find(|now| now.key() == ask.key()).cloned().unwrap();
    let carries_on: Vec<_> = before
        .iter()
        .map(|ask| (ask.key().system.to_string(), now(ask).carries_on(ask), now(ask) == *ask))
        .collect();
    let expected = [("a", false, false), ("b", true, true), ("", true, false)];
    assert_eq!(carries_on, expected.map(|(system, carries_on, same)| (system.to_owned(), carries_on, same)));
}

fn fleet(systems: &str) -> (Fleet, View) {
    let config = config("kubernetes: {mode: disabled}\n", systems);
    let Plan { declared, asks, wanted } = plan(&config);
    let (ledger, leadership) = (Arc::new(Ledger::default()), Leadership::alone());
    let ground = Ground::new(&config, wanted, ledger.clone(), leadership.clone());
    let generation = Generation {
        declared: Arc::new(declared),
        cluster: ground.tools.cluster.clone(),
        sightings: ground.tools.sightings.clone(),
        prints: ground.prints.clone(),
        shard: None,
        loaded: clock::now(),
        masked: Arc::from(""),
        unauthenticated: Arc::from([]),
        refused: None,
    };
    let view = View::new(generation, ledger, leadership, clock::now);
    (Fleet::start(view.clone(), String::new(), config, ground, asks), view)
}

#[tokio::test]
async fn an_early_end_inside_is_an_early_end_of_the_whole() {
    let (mut fleet, _) = fleet("{name: orders}");
    let mut tasks = Tasks::default();
    fleet.tasks.spawn("brittle", async { panic!("on purpose") });
    tasks.spawn("fleet", fleet.keep(None, tasks.stop()));
    let ended = tokio::time::timeout(Duration::from_secs(5), tasks.first_end()).await;
    assert_eq!(ended.unwrap().to_string(), "the task `fleet` ended early: it returned");
    tasks.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn l91_what_is_wedged_is_not_ready_and_says_why() {
    let surfaces = |names: [&str; 2]| {
        names.map(|name| format!("{{name: {name}, url: 'http://127.0.0.1:1/', interval: 10s}}")).join(", ")
    };
    let (fleet, view) = fleet(&format!("{{name: orders, surfaces: [{}]}}", surfaces(["health", "ready"])));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(view.ready(), Ok(()), "every target is down, and we are well");
    // The loops die with all that they had planned.
    drop(fleet);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(view.ready(), Ok(()), "not yet three intervals");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let why = view.ready().unwrap_err();
    assert!(why.contains("are 2 checks; surface of") && why.contains("in orders by "), "{why}");
}
