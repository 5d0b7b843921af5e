//! Timelines named after the catalogue, and properties. The window is 10 minutes, the interval 30 seconds.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::exposition::Format;

const T0: i64 = 1_700_000_000;
const ORDERS: &str = "/api/v1/orders";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(T0 + seconds).unwrap()
}

fn map(pairs: &[(&str, &str)]) -> Vec<(String, regex::Regex)> {
    let anchored = |pattern: &str| regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
    pairs.iter().map(|(label, pattern)| ((*label).to_owned(), anchored(pattern))).collect()
}

fn selectors(required: &[&str]) -> Selectors {
    let business = map(&[("handler", "/api/.+"), ("uri", "/api/.+")]);
    let probes = map(&[("handler", "/health|/ready|/metrics|/api/health")]);
    let required: Vec<_> = required.iter().map(|name| (*name).to_owned()).collect();
    Selectors::new("http_requests_total", business, probes, &required, Some("app_errors_total"))
}

fn window(required: &[&str]) -> Window {
    Window::new(selectors(required), Duration::from_secs(600), Duration::from_secs(30))
}

fn scrape(window: &Window, body: &str) -> Scrape {
    window.selectors().read(body.as_bytes(), Format::Text).unwrap()
}

fn line(handler: &str, value: impl std::fmt::Display) -> String {
    format!("http_requests_total{{handler=\"{handler}\",code=\"200\"}} {value}\n")
}

/// Reads `body(second)` from each of `names` every 30 s in `from..=to`.
fn run(window: &mut Window, names: &[&str], from: i64, to: i64, body: impl Fn(i64) -> String) {
    for second in (from..=to).step_by(30) {
        for name in names {
            let scrape = scrape(window, &body(second));
            window.observe(name, at(second), &scrape);
        }
    }
}

fn probes(second: i64) -> String {
    line("/health", second / 10)
}

#[test]
fn l51_nothing_but_probes_over_a_whole_window_is_zero() {
    let mut window = window(&[ORDERS]);
    window.set_instances(&["a", "b"], at(0));
    run(&mut window, &["a", "b"], 0, 660, |s| probes(s) + &line(ORDERS, 7));
    let found = window.judge(at(660));
    assert_eq!(
        (found.complete, found.zero, found.suspect.as_slice()),
        (true, Some(true), &[][..]),
        "{}",
        found.explanation
    );
    assert_eq!((found.business_increase, found.business_total, found.last_business), (0.0, 0.0, None));
    assert_eq!(found.probe_total, 132.0);
    // L54: one user's request, and it is not zero any more, for one window.
    run(&mut window, &["b"], 690, 690, |s| probes(s) + &line(ORDERS, 8));
    run(&mut window, &["a"], 690, 690, |s| probes(s) + &line(ORDERS, 7));
    let found = window.judge(at(690));
    assert_eq!((found.zero, found.business_increase, found.last_business), (Some(false), 1.0, Some(at(690))));
    run(&mut window, &["a"], 720, 1350, |s| probes(s) + &line(ORDERS, 7));
    run(&mut window, &["b"], 720, 1350, |s| probes(s) + &line(ORDERS, 8));
    assert_eq!(window.judge(at(1350)).zero, Some(true));
    assert_eq!(window.judge(at(1350)).business_total, 1.0);
}

#[test]
fn l52_a_counter_that_is_not_wired_is_suspect_and_never_zero() {
    let mut renamed = window(&[ORDERS]);
    run(&mut renamed, &["a"], 0, 660, |s| probes(s) + &line("orders#index", 3));
    let found = renamed.judge(at(660));
    assert_eq!(found.suspect, [Suspicion::RequiredHandlerMissing(ORDERS.to_owned())]);
    assert_eq!((found.complete, found.zero), (true, None));

    let mut errors = window(&[ORDERS]);
    run(&mut errors, &["a"], 0, 660, |s| {
        probes(s) + &line(ORDERS, 0) + &format!("app_errors_total {}\n", s / 60)
    });
    let found = errors.judge(at(660));
    assert_eq!((found.suspect, found.zero), (vec![Suspicion::ErrorsGrowWithoutRequests], None));

    let mut dead = window(&[]);
    run(&mut dead, &["a", "b"], 0, 660, |_| line(ORDERS, 3) + &line("/health", 9));
    run(&mut dead, &["c"], 0, 660, probes);
    let found = dead.judge(at(660));
    let (a, b) = (Suspicion::NothingMoves("a".to_owned()), Suspicion::NothingMoves("b".to_owned()));
    assert_eq!((found.suspect, found.zero), (vec![a, b], None));

    let mut died = window(&[]);
    run(&mut died, &["a"], 0, 720, |s| line("/health", s.min(90)));
    assert_eq!(died.judge(at(660)).zero, Some(true), "it moved within the window");
    assert_eq!(died.judge(at(720)).suspect, [Suspicion::NothingMoves("a".to_owned())]);

    let mut gauge = window(&[]);
    run(&mut gauge, &["a"], 0, 660, |s| format!("# TYPE http_requests_total gauge\n{}", probes(s)));
    assert_eq!(gauge.judge(at(660)).suspect, [Suspicion::DeclaredNotCounter]);
}

#[test]
fn l93_values_that_no_counter_has_are_never_zero() {
    for bad in ["NaN", "-1", "+Inf", "-Inf"] {
        let mut window = window(&[]);
        run(&mut window, &["a"], 0, 660, |s| probes(s) + &line(ORDERS, bad));
        let found = window.judge(at(660));
        assert_eq!((found.suspect, found.zero), (vec![Suspicion::InvalidValue], None), "{bad}");
        assert_eq!(found.business_increase, 0.0);
    }
    let mut twice = window(&[]);
    run(&mut twice, &["a"], 0, 660, |s| probes(s) + &line(ORDERS, 1) + &line(ORDERS, 2));
    assert_eq!(twice.judge(at(660)).suspect, [Suspicion::InvalidValue]);
}

#[test]
fn l53_our_own_requests_are_no_business_and_hide_none() {
    let mut window = window(&[ORDERS]);
    let (mut orders, mut users) = (5, 5);
    for second in (0..=660).step_by(30) {
        let body = probes(second) + &line(ORDERS, orders) + &line("/api/v1/users/{id}", users);
        let scrape = scrape(&window, &body);
        window.observe("a", at(second), &scrape);
        window.own("/api/v1/orders/?page=1", at(second + 5), at(second + 6));
        window.own("/api/v1/users/42", at(second + 5), at(second + 6));
        (orders, users) = (orders + 1, users + 1);
    }
    let found = window.judge(at(660));
    assert_eq!(
        (found.zero, found.business_increase, found.synthetic_total),
        (Some(true), 0.0, 44.0),
        "{}",
        found.explanation
    );
    // Probing the orders cannot hide a call to the users, nor the other way round.
    let scrape =
        scrape(&window, &(probes(690) + &line(ORDERS, orders) + &line("/api/v1/users/{id}", users + 1)));
    window.observe("a", at(690), &scrape);
    let found = window.judge(at(690));
    assert_eq!((found.zero, found.business_increase, found.business_total), (Some(false), 1.0, 1.0));
}

#[test]
fn l53_an_own_request_that_a_scrape_saw_before_its_answer_is_put_right() {
    let mut window = window(&[]);
    run(&mut window, &["a"], 0, 600, |s| probes(s) + &line(ORDERS, 1));
    run(&mut window, &["a"], 630, 660, |s| probes(s) + &line(ORDERS, 2));
    assert_eq!(window.judge(at(660)).business_increase, 1.0);
    window.own(ORDERS, at(629), at(661));
    let found = window.judge(at(661));
    assert_eq!((found.zero, found.business_increase, found.synthetic_increase), (Some(true), 0.0, 1.0));
    assert_eq!((found.business_total, found.last_business), (1.0, None), "a total never falls");
    run(&mut window, &["a"], 690, 690, |s| probes(s) + &line(ORDERS, 4));
    assert_eq!(window.judge(at(690)).business_total, 2.0, "the next ones pay it back");
}

#[test]
fn own_requests_that_no_counter_showed_do_not_hide_later_users() {
    let mut window = window(&[]);
    run(&mut window, &["a"], 0, 60, |s| probes(s) + &line(ORDERS, 0));
    window.own(ORDERS, at(61), at(62));
    run(&mut window, &["a"], 90, 600, |s| probes(s) + &line(ORDERS, 0));
    run(&mut window, &["a"], 630, 660, |s| probes(s) + &line(ORDERS, 1));
    assert_eq!(window.judge(at(660)).zero, Some(false));
}

#[test]
fn t13_just_started_is_unknown() {
    let mut window = window(&[]);
    assert_eq!(window.judge(at(0)).zero, None);
    run(&mut window, &["a"], 0, 570, probes);
    let found = window.judge(at(570));
    assert_eq!((found.complete, found.zero, found.suspect.len()), (false, None, 0));
    assert!(found.explanation.contains("has not been watched for that long"), "{}", found.explanation);
}

#[test]
fn t14_a_restarted_pod_resets_its_counters_and_nothing_is_lost_or_invented() {
    let mut window = window(&[]);
    let start = |second: i64, from: i64| format!("process_start_time_seconds {}\n", second + from);
    run(&mut window, &["a"], 0, 300, |s| probes(s) + &line(ORDERS, 100));
    run(&mut window, &["a"], 330, 660, |s| line("/health", s / 100) + &line(ORDERS, 0));
    assert_eq!(window.judge(at(660)).zero, Some(true));
    run(&mut window, &["a"], 690, 690, |s| line("/health", s / 100) + &line(ORDERS, 3) + &start(T0, 310));
    assert_eq!(window.judge(at(690)).business_increase, 3.0);
    // A restart that a comparison cannot see: more requests since than before.
    run(&mut window, &["a"], 720, 720, |s| line("/health", s) + &line(ORDERS, 5) + &start(T0, 700));
    assert_eq!(window.judge(at(720)).business_increase, 8.0);
}

#[test]
fn t14_a_replaced_pod_counts_whole_and_keeps_the_window_complete() {
    let mut window = window(&[]);
    window.set_instances(&["a"], at(0));
    run(&mut window, &["a"], 0, 600, |s| probes(s) + &line(ORDERS, 50));
    window.set_instances(&["b"], at(615));
    run(&mut window, &["b"], 630, 660, |s| probes(s - 600) + &line(ORDERS, 2));
    let found = window.judge(at(660));
    assert_eq!((found.complete, found.business_increase), (true, 2.0), "{}", found.explanation);
    // The old one flaps back: it goes on from 50 and is not counted anew.
    window.set_instances(&["a", "b"], at(665));
    run(&mut window, &["a"], 690, 690, |s| probes(s) + &line(ORDERS, 51));
    run(&mut window, &["b"], 690, 690, |s| probes(s - 600) + &line(ORDERS, 2));
    let found = window.judge(at(690));
    assert_eq!((found.complete, found.zero, found.business_increase), (false, None, 3.0));
}

#[test]
fn t15_a_quiet_night_is_inside_the_window() {
    let mut window = Window::new(selectors(&[]), Duration::from_secs(86_400), Duration::from_secs(30));
    let day = 86_400;
    let busy = |second: i64| probes(second) + &line(ORDERS, (second / 30).min(100));
    run(&mut window, &["a"], 0, day, busy);
    assert_eq!(window.judge(at(day)).zero, Some(false), "the evening's requests are still in the window");
    run(&mut window, &["a"], day + 30, day + 3600, busy);
    let later = window.judge(at(day + 3600));
    assert_eq!((later.zero, later.last_business), (Some(true), Some(at(3000))));
}

#[test]
fn a_gap_a_missing_pod_or_no_pod_leaves_the_window_incomplete() {
    let mut gap = window(&[]);
    run(&mut gap, &["a"], 0, 300, probes);
    gap.missed("a", at(330));
    run(&mut gap, &["a"], 360, 600, probes);
    assert!(gap.judge(at(600)).complete, "one failed scrape is no gap");
    run(&mut gap, &["a"], 720, 1290, probes);
    assert_eq!((gap.judge(at(1290)).complete, gap.judge(at(1290)).zero), (false, None));
    run(&mut gap, &["a"], 1320, 1320, probes);
    assert!(gap.judge(at(1320)).complete);
    assert!(!gap.judge(at(1381)).complete, "and now it is silent");

    let mut missing = window(&[]);
    missing.set_instances(&["a", "b"], at(0));
    run(&mut missing, &["a"], 0, 660, probes);
    assert!(missing.judge(at(660)).explanation.contains("instance `b` has never been read"));
    missing.set_instances(&["a"], at(660));
    assert!(!missing.judge(at(660)).complete, "what b did is not known");
    run(&mut missing, &["a"], 690, 1260, probes);
    assert!(missing.judge(at(1260)).complete);
    missing.set_instances(&[], at(1270));
    assert!(missing.judge(at(1270)).explanation.contains("no instance"));
}

#[test]
fn t13_history_from_a_prometheus_saves_the_window() {
    let mut window = window(&[]);
    let read = |second: i64, orders: i64| scrape(&window, &(probes(second) + &line(ORDERS, orders)));
    let mut history: Vec<_> = (0..=600).step_by(30).map(|s| (at(s), "b".to_owned(), read(s, 4))).collect();
    history.extend((0..=200).step_by(30).map(|s| (at(s), "gone".to_owned(), read(s, 9))));
    history.reverse();
    window.replay(history);
    window.set_instances(&["b"], at(610));
    let found = window.judge(at(610));
    assert_eq!((found.complete, found.zero), (true, Some(true)), "{}", found.explanation);
    // Again, and out of order: nothing is counted twice.
    run(&mut window, &["b"], 570, 600, |s| probes(s) + &line(ORDERS, 99));
    assert_eq!(window.judge(at(610)).business_increase, 0.0);
}

#[test]
fn classes_and_handlers() {
    let selectors = selectors(&[]);
    for (labels, expected) in [
        (&[("handler", "/api/x")][..], (Class::Business, "/api/x")),
        (&[("code", "200"), ("uri", "/api/x")], (Class::Business, "/api/x")),
        (&[("handler", "home"), ("uri", "/api/x")], (Class::Business, "/api/x")),
        (&[("handler", "/health")], (Class::Probe, "/health")),
        (&[("handler", "/api/health")], (Class::Probe, "/api/health")),
        (&[("handler", "/healthy")], (Class::Other, "/healthy")),
        (&[("handler", "x/api/y")], (Class::Other, "x/api/y")),
        (&[("code", "500")], (Class::Other, "")),
    ] {
        assert_eq!(selectors.classify(labels), expected);
    }
}

#[test]
fn a_path_finds_its_handler() {
    let mut own = own::OwnRequests::default();
    for handler in [
        "/api/v1/orders",
        "/api/v1/{thing}",
        "/api/<kind>/:id/items",
        "/files/{rest...}",
        "/",
        "Orders#index",
    ] {
        own.know(handler, Class::Business);
    }
    for (path, handler) in [
        ("/api/v1/orders?x=/y", Some("/api/v1/orders")),
        ("/api/v1/orders/", Some("/api/v1/orders")),
        ("/api/v1/users", Some("/api/v1/{thing}")),
        ("/api/v2/7/items", Some("/api/<kind>/:id/items")),
        ("/files/a/b/c", Some("/files/{rest...}")),
        ("/?q", Some("/")),
        ("Orders#index", Some("Orders#index")),
        ("/api/v1/users/7", None),
        ("/api/v1/", None),
        ("/api/v1/orders/7/items/9", None),
    ] {
        let path = if path.contains("Orders") { "Orders#index" } else { path };
        assert_eq!(own.handler_of(path).map(|(name, _)| name), handler, "{path}");
    }
}

#[test]
fn memory_is_bounded_whatever_the_window() {
    let mut window = Window::new(selectors(&[]), Duration::from_secs(2 * 86_400), Duration::from_secs(30));
    run(&mut window, &["a"], 0, 3 * 86_400, probes);
    assert!(window.slot_count() <= 1_026, "{}", window.slot_count());
}

/// What happens to one handler of one pod between two scrapes: requests, and perhaps a restart first.
fn steps() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    prop::collection::vec((0_u8..3, 0_u8..3, prop::bool::weighted(0.15)), 1..30)
}

fn play(window: &mut Window, names: &[&str], steps: &[(u8, u8, bool)], reverse: bool) -> f64 {
    let mut counters = vec![(0_u32, 0_u32, 0_i64); names.len()];
    let mut users = 0.0;
    for (index, (orders, own, restart)) in steps.iter().enumerate() {
        let second = 30 * (index as i64 + 1);
        let pod = index % names.len();
        if *restart {
            counters[pod] = (0, 0, second);
        }
        counters[pod].0 += u32::from(*orders) + u32::from(*own);
        counters[pod].1 += 1;
        users += f64::from(*orders);
        for _ in 0..*own {
            window.own(ORDERS, at(second - 20), at(second - 19));
        }
        let mut order: Vec<_> = (0..names.len()).collect();
        if reverse {
            order.reverse();
        }
        for pod in order {
            let (orders, health, start) = counters[pod];
            let body = line(ORDERS, orders)
                + &line("/health", health)
                + &format!("process_start_time_seconds {}\n", T0 + start);
            let scrape = scrape(window, &body);
            window.observe(names[pod], at(second), &scrape);
        }
    }
    users
}

proptest! {
    #[test]
    fn every_user_is_counted_once_whatever_restarts_splits_and_probes(steps in steps(), pods in 1_usize..4) {
        let names = &["a", "b", "c"][..pods];
        let mut judged = Vec::new();
        for reverse in [false, true] {
            let mut window = Window::new(selectors(&[]), Duration::from_secs(3_600), Duration::from_secs(30));
            window.set_instances(names, at(0));
            let users = play(&mut window, names, &steps, reverse);
            let found = window.judge(at(30 * steps.len() as i64));
            prop_assert_eq!(found.business_increase, users);
            prop_assert_eq!(found.business_total, users);
            judged.push((found.business_increase, found.probe_increase, found.synthetic_increase, found.complete));
        }
        prop_assert_eq!(judged[0], judged[1]);
    }

    #[test]
    fn nothing_is_ever_negative_and_totals_never_fall(
        values in prop::collection::vec((0_u32..50, 0_u32..50, 0_u8..3, any::<bool>()), 1..40),
    ) {
        let mut window = window(&[]);
        let (mut business, mut synthetic) = (0.0, 0.0);
        for (index, (orders, health, own, late)) in values.iter().enumerate() {
            let second = 30 * index as i64;
            let scrape = scrape(&window, &(line(ORDERS, orders) + &line("/health", health)));
            window.observe("a", at(second), &scrape);
            for _ in 0..*own {
                window.own(ORDERS, at(second - i64::from(*late)), at(second + 1));
            }
            let found = window.judge(at(second));
            prop_assert!(found.business_increase >= 0.0 && found.synthetic_increase >= 0.0 && found.probe_increase >= 0.0);
            prop_assert!(found.business_total >= business && found.synthetic_total >= synthetic);
            prop_assert!(found.zero.is_none() || found.complete);
            (business, synthetic) = (found.business_total, found.synthetic_total);
        }
    }
}
