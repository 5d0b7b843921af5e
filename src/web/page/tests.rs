//! The pages in every state: what must be readable, and what must never be there.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::discovery::learnt::Learnt;
use crate::ledger::Ledger;
use crate::model::{Check, CheckKey, Outcome, Reason, Verdict};
use crate::probe::Question;
use crate::report::fixture::{declared, incident, key, now, observe, opened, report_on};
use crate::report::{LearntOf, Refused, Waiver};

fn at(path: &str, report: &Report) -> Page {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    page(&Place::at(path).expect("a page"), query, report, "/metrics")
}

fn text(path: &str, report: &Report) -> String {
    at(path, report).html.into_string()
}

fn must_say(page: &str, all: &[&str]) {
    for said in all {
        assert!(page.contains(said), "{said} is missing in {page}");
    }
}

/// What every page owes to every reader.
fn is_sound(page: &str) {
    must_say(
        page,
        &[
            "<html lang=\"en\">",
            "<a class=\"skip\" href=\"#main\">",
            "<main id=\"main\"",
            "<header>",
            "<footer>",
        ],
    );
    assert!(!page.contains("<script") && !page.contains("javascript:"), "the pages work without scripts");
    assert_eq!(page.matches("<h1>").count(), 1);
    let levels: Vec<u8> = page
        .split("<h")
        .skip(1)
        .filter_map(|rest| rest.bytes().next().filter(u8::is_ascii_digit))
        .map(|digit| digit - b'0')
        .collect();
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "headings skip a level: {levels:?}");
    assert_eq!(page.matches("<svg").count(), page.matches("role=\"img\" aria-label=\"").count());
    let heads = page.split("<th").skip(1).filter(|rest| !rest.starts_with("ead"));
    assert!(
        heads.map(|rest| rest.split('>').next().unwrap_or_default()).all(|tag| tag.contains(" scope=\""))
    );
    let mut ids: Vec<_> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id is there twice");
}

/// Systems as in the seed, each with a check of its own; every one of them has this name and outcome.
fn many(of: &[(String, Outcome)]) -> Report {
    let mut site = declared();
    let one = site.systems.remove(0);
    let ledger = Ledger::default();
    for (name, outcome) in of {
        let name: Arc<str> = name.as_str().into();
        let key = CheckKey { system: name.clone(), check: Check::SyntheticQuery, target: "orders".into() };
        let schedule = opened().read().records.values().next().expect("one").schedule;
        ledger.open(&Question { key: key.clone(), at_first: vec![], promised: vec![] }, schedule);
        observe(&ledger, &key, *outcome, 55, &"connect to 10.0.50.11:5432: refused ".repeat(20), vec![]);
        site.systems.push(crate::report::DeclaredSystem { name, ..one.clone() });
    }
    crate::report::report(&Arc::new(site), &ledger.read(), now())
}

const REFUSED: Outcome = Outcome::Fail(Reason::Refused);
const BLIND: Outcome = Outcome::Blind(Reason::Auth);

#[test]
fn the_incident_is_understood_by_a_stranger() {
    let ledger = incident();
    ledger.judged(&"orders".into(), Verdict::Unusable, now() - Duration::from_secs(90));
    let page = text("/", &report_on(&ledger, 0));
    is_sound(&page);
    // In the order in which they stand on the page.
    let mut rest = &*page;
    for said in [
        "<meta http-equiv=\"refresh\" content=\"10\">",
        "<title>✖ 1 unusable · dr-west</title>",
        "✖ unusable</span>",
        "14:21:33 UTC</time>, for 90 s. A hot standby.",
        "dr-west says that it is healthy and cannot serve.",
        "Do not fail over to this site, and tell whoever would",
        "alerts/runbooks/DrSiteHealthyButUnusable.md\">",
        "Why, in the order to look",
        "href=\"/systems/orders/db_endpoint_region/orders\">The region of the database of orders</a>",
        "10.0.50.11 is in us-east-1, expected is us-west-2",
        "asked 5 s ago, every 30 s · fails like this since",
        "for 5 s · never passed",
        "alerts/runbooks/DrDatabaseInWrongRegion.md\">runbook DrDatabaseInWrongRegion</a>",
        "The business query of orders</a>",
        "connect to 10.0.50.11:5432: connection refused",
        "alerts/runbooks/DrSyntheticQueryFailing.md\">",
        "What the site says",
        "“healthy”",
        "✖ contradicted",
        "What happened when we tried",
        "aria-label=\"the last run, the newest on the right: 1 failed, 0 could not see; the longest took 0.004 s\"",
        "evidence only",
        "The verdict over time",
        "<strong>✖ unusable</strong> since",
    ] {
        let Some(at) = rest.find(said) else { panic!("{said} is missing or out of order in {page}") };
        rest = &rest[at + said.len()..];
    }
    assert!(!page.contains("What did not pass before"), "what lasts is not told twice");
    let check = text("/systems/orders/synthetic_query/orders", &report_on(&ledger, 0));
    must_say(&check, &["When it did not pass", "until now (for 5 s, 1 run)"]);
}

#[test]
fn the_states_without_an_incident_have_their_words() {
    let unknown = text("/", &report_on(&opened(), 0));
    is_sound(&unknown);
    must_say(
        &unknown,
        &["? unknown", "(says nothing)", "never asked, every 30 s", "Do not rely on this site."],
    );

    let ledger = incident();
    for check in [Check::SyntheticQuery, Check::DbEndpointRegion] {
        observe(&ledger, &key(check, "orders"), Outcome::Pass, 60, "fine", vec![]);
    }
    let fine = text("/", &report_on(&ledger, 0));
    is_sound(&fine);
    must_say(&fine, &["<title>✔ usable · dr-west</title>", "dr-west can serve: 4 of 4 checks pass."]);
    assert!(!fine.contains("What to do now") && !fine.contains("✖ contradicted"));

    // What was fine and is not asked any more does not pass: it is not known.
    let stale = report_on(&ledger, 600);
    for path in ["/", "/systems/orders/synthetic_query/orders"] {
        let page = text(path, &stale);
        is_sound(&page);
        must_say(&page, &["? unknown", "the last answer is from 10 min ago: fine"]);
        assert!(!page.contains("passes since") && !page.contains("Ends like this"), "{page}");
    }
    must_say(&text("/", &stale), &["asked 10 min ago, every 30 s · overdue · last passed 10 min ago"]);

    let mut nobody = declared();
    nobody.systems.clear();
    let empty = crate::report::report(&nobody.into(), &opened().read(), now());
    let empty = text("/", &empty);
    is_sound(&empty);
    must_say(&empty, &["No system falls to this shard.", "href=\"/config\""]);
}

#[test]
fn last_nights_failure_is_there_after_a_thousand_passes() {
    let ledger = incident();
    let query = key(Check::SyntheticQuery, "orders");
    for run in 0..1_000 {
        observe(&ledger, &query, Outcome::Pass, 60 + run * 30, "3 rows", vec![]);
    }
    let report = report_on(&ledger, 30_000);
    for path in ["/", "/systems/orders", "/systems/orders/synthetic_query/orders"] {
        let page = text(path, &report);
        must_say(
            &page,
            &["connect to 10.0.50.11:5432: connection refused", "14:22:58 UTC</time> (8 h ago, 1 run)"],
        );
    }
    let check = text("/systems/orders/synthetic_query/orders", &report);
    assert_eq!(check.matches("<td class=\"any\">3 rows</td>").count(), 60, "every remembered run");
}

#[test]
fn one_that_stands_by_says_so_on_every_page() {
    let mut report = report_on(&incident(), 0);
    report.systems.clear();
    let says = "Standing by: other probes.".to_owned();
    report.replica = Some(Replica { name: "me".to_owned(), leads: false, says, history: vec![] });
    for path in ["/", "/systems/orders", "/systems/orders/surface/health"] {
        let page = at(path, &report);
        assert!(page.found);
        let page = page.html.into_string();
        is_sound(&page);
        must_say(
            &page,
            &["<title>… standing by · dr-west</title>", "Standing by: other probes.", "on its own page"],
        );
    }
    assert!(!at("/systems/else", &report).found);
}

#[test]
fn a_check_has_a_page_with_everything_about_it() {
    let ledger = incident();
    let mut site = declared();
    site.systems[0].waivers = vec![Waiver {
        check: Check::DbEndpointRegion,
        target: None,
        until: now() + Duration::from_secs(86_400),
        because: "the move is booked".to_owned(),
    }];
    let mut report = crate::report::report(&site.into(), &ledger.read(), now());
    let fact = |what: &str, value: &str, from: &str| Learnt {
        what: what.to_owned(),
        value: value.to_owned(),
        from: from.to_owned(),
        overridden: true,
        gap: None,
    };
    let facts = vec![
        fact("database orders", "10.0.50.11:5432/orders", "deployment shop/api, variable DATABASE_URL"),
        fact("replicas", "3", "deployment shop/api, spec.replicas"),
    ];
    report.systems[0].learnt = vec![LearntOf { workload: "api-server".into(), facts }];
    let page = text("/systems/orders/db_endpoint_region/orders", &report);
    is_sound(&page);
    must_say(
        &page,
        &[
            "<title>▲ waived · The region of the database of orders · orders · dr-west</title>",
            "<a href=\"/systems/orders\">orders</a>",
            "aria-current=\"page\"",
            "(5 s ago), took 4 ms",
            "in about 25 s",
            "every 30 s, with 5 s for an answer; one attempt a run",
            "1 run ended with wrong_region",
            "2024-12-19 14:23:03 UTC</time>: the move is booked",
            "<code>dr_db_endpoint_region</code>",
            "db_region=us-east-1",
            "<td class=\"short\">5 s ago</td>",
            "variable DATABASE_URL",
            "overridden by the configuration",
        ],
    );
    assert!(!page.contains("spec.replicas"), "what was learnt of other things is not here");
    let traffic = text("/systems/orders/traffic/api-server", &report);
    must_say(&traffic, &["spec.replicas", "evidence only"]);
    let whole = text("/systems/orders", &report);
    is_sound(&whole);
    must_say(&whole, &["id=\"learnt\"", "spec.replicas", "variable DATABASE_URL"]);
}

#[test]
fn a_fact_that_was_not_renewed_shows_its_own_age() {
    let ledger = incident();
    let region = key(Check::DbEndpointRegion, "orders");
    observe(&ledger, &region, REFUSED, 60, "connection refused", vec![]);
    let page = text("/systems/orders/db_endpoint_region/orders", &report_on(&ledger, 10));
    must_say(&page, &["(10 s ago), took 4 ms", "db_region=us-east-1", "<td class=\"short\">15 s ago</td>"]);
}

#[test]
fn what_is_not_there_is_told_with_a_way_back() {
    let report = report_on(&incident(), 0);
    for path in [
        "/systems/billing",
        "/systems/billing/surface/health",
        "/systems/orders/surface/x",
        "/systems/orders/nonsense/health",
        "/systems/%3Cscript%3E",
    ] {
        let page = at(path, &report);
        assert!(!page.found, "{path}");
        let page = page.html.into_string();
        is_sound(&page);
        must_say(&page, &["There is no such page", "“", "<a href=\"/\">All systems</a>"]);
    }
}

#[test]
fn what_comes_from_outside_is_escaped_and_linked() {
    let hostile = "<script>alert(1)</script> & \"quoted\" '/..?#%";
    let ledger = incident();
    let name = CheckKey { system: hostile.into(), check: Check::Surface, target: hostile.into() };
    let schedule = ledger.read().records.values().next().expect("one").schedule;
    ledger.open(&Question { key: name.clone(), at_first: vec![], promised: vec![] }, schedule);
    observe(&ledger, &name, Outcome::Fail(Reason::BodyMismatch), 58, hostile, vec![]);
    let mut site = declared();
    site.site = hostile.into();
    site.systems[0].name = hostile.into();
    site.systems[0].surfaces[0].name = hostile.into();
    let mut report = crate::report::report(&site.into(), &ledger.read(), now());
    report.refused = Some(Refused { at: now(), why: vec![hostile.to_owned()], in_force_since: now() });
    let places = [
        Place::Home,
        Place::System(hostile.to_owned()),
        Place::Check(hostile.to_owned(), "surface".to_owned(), hostile.to_owned()),
        Place::System(format!("{hostile}!")),
    ];
    for (place, found) in places.iter().zip([true, true, true, false]) {
        let page = page(place, "q=%3Cscript%3E%22&verdict=%22", &report, "/metrics");
        assert_eq!(page.found, found, "{place:?}");
        let page = page.html.into_string();
        is_sound(&page);
        must_say(&page, &["&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot;"]);
        for link in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(
                ["/", "#", "https://github.com/"].iter().any(|start| link.starts_with(start))
                    && !link.contains('<'),
                "{link}"
            );
        }
    }
}

#[test]
fn a_refused_file_stands_above_everything() {
    let mut report = report_on(&incident(), 0);
    assert!(!text("/", &report).contains("class=\"banner\""));
    report.refused =
        Some(Refused { at: now(), why: vec!["dr.yaml:3:1: wrong".to_owned()], in_force_since: now() });
    for path in ["/", "/systems/orders"] {
        let page = text(path, &report);
        let place = |text: &str| page.find(text).expect("it is there");
        assert!(place("The newest configuration file was refused") < place("<h2"), "{path}");
        must_say(&page, &["<li>dr.yaml:3:1: wrong</li>"]);
    }
}

#[test]
fn what_a_reader_chose_survives_the_refresh_and_can_be_held_still() {
    let report = many(&(0..5).map(|n| (format!("s{n}"), REFUSED)).collect::<Vec<_>>());
    let page = text("/?verdict=unusable&q=s1", &report);
    // A refresh without an address asks for the address that the page has, with its query.
    must_say(
        &page,
        &[
            "<meta http-equiv=\"refresh\" content=\"10\">",
            "?verdict=unusable&amp;q=s1&amp;hold=1\">Hold still",
        ],
    );
    let held = text("/?verdict=unusable&q=s1&hold=1", &report);
    assert!(!held.contains("http-equiv"));
    must_say(&held, &["<a href=\"/?verdict=unusable&amp;q=s1\">Refresh again", "name=\"hold\" value=\"1\""]);
}

#[test]
fn many_systems_are_a_list_that_folds_what_is_well() {
    let outcome = |n: usize| match n % 10 {
        0 => REFUSED,
        1 => BLIND,
        _ => Outcome::Pass,
    };
    let report = many(&(0..100).map(|n| (format!("s{n:02}"), outcome(n))).collect::<Vec<_>>());
    let page = text("/", &report);
    is_sound(&page);
    assert!(!page.contains("class=\"card"), "with many that want a look none is shown in full");
    must_say(
        &page,
        &[
            "<title>✖ 10 unusable · dr-west</title>",
            ">100 systems</a>",
            "<details class=\"group\" open><summary><h2 class=\"unusable\">✖ 10 unusable</h2>",
            "<details class=\"group\" open><summary><h2 class=\"unknown\">? 10 unknown</h2>",
            "<details class=\"group\"><summary><h2 class=\"usable\">✔ 80 usable</h2>",
            "<a href=\"/systems/s10\">s10</a>",
        ],
    );
    assert!(page.find("/systems/s90\"").expect("bad") < page.find("/systems/s11\"").expect("unknown"));
    assert!(page.find("/systems/s91\"").expect("unknown") < page.find("/systems/s02\"").expect("usable"));

    let only = text("/?verdict=usable&q=S9", &report);
    is_sound(&only);
    must_say(
        &only,
        &["8 of 100 systems.", "<details class=\"group\" open><summary><h2 class=\"usable\">✔ 8 usable"],
    );
    assert!(!only.contains("/systems/s90\"") && !only.contains("/systems/s02\""));
    let one = text("/?q=s42", &report);
    assert_eq!(one.matches("class=\"card ").count(), 1, "the one that was looked for is shown in full");
    must_say(&text("/?q=nothing", &report), &["No system fits.", "<a href=\"/\">Show all 100</a>"]);
}

#[test]
fn the_only_one_that_wants_a_look_is_shown_in_full() {
    let outcome = |n: usize| if n == 7 { REFUSED } else { Outcome::Pass };
    let page = text("/", &many(&(0..20).map(|n| (format!("s{n:02}"), outcome(n))).collect::<Vec<_>>()));
    assert_eq!(page.matches("class=\"card ").count(), 1);
    must_say(&page, &["<a href=\"/systems/s07\">s07</a></h2>"]);
}

#[test]
fn five_hundred_dead_systems_are_a_page_of_bounded_size() {
    let name = |n: usize| format!("{n:03}{}", "x".repeat(60));
    let page = text("/", &many(&(0..500).map(|n| (name(n), REFUSED)).collect::<Vec<_>>()));
    is_sound(&page);
    assert_eq!(page.matches("<li class=\"unusable\">").count(), 500);
    assert!(page.len() < 500 * 800, "{} bytes", page.len());
}

#[test]
fn a_few_systems_are_in_full_the_worst_first() {
    let report = many(&[("billing".to_owned(), Outcome::Pass), ("orders".to_owned(), REFUSED)]);
    let page = text("/", &report);
    is_sound(&page);
    let place = |name: &str| page.find(&format!("href=\"/systems/{name}\"")).expect("a card");
    assert!(place("orders") < place("billing"));
    assert_eq!(page.matches("class=\"card ").count(), 2);
}
