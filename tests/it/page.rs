//! The pages of the real binary in a headless Chromium with scripts off: every state, phone to wide, light and dark.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::time::Duration;

use crate::lab::{App, Browser, Claim, Config, Exporter, Heard, Screen, Site, eventually, west_ip};

const SECOND: Duration = Duration::from_secs(1);
const SCREENS: [Screen; 6] = [
    Screen { width: 360, dark: false },
    Screen { width: 360, dark: true },
    Screen { width: 768, dark: false },
    Screen { width: 768, dark: true },
    Screen { width: 1600, dark: false },
    Screen { width: 1600, dark: true },
];
const NARROW_AND_WIDE: [Screen; 2] = [Screen { width: 360, dark: false }, Screen { width: 1600, dark: true }];
const WIDE: Screen = Screen { width: 1600, dark: false };
const PHONE: Screen = Screen { width: 360, dark: false };

/// Looks at a page on these screens: nothing sticks out, the scheme is the reader's, and the browser has no complaint.
fn looks_right(browser: &mut Browser, url: &str, screens: &[Screen]) {
    for screen in screens.iter().copied() {
        browser.open(url, screen);
        assert_eq!(browser.overflow(), 0.0, "{url} on {screen:?} is wider than the screen");
        let ground = if screen.dark { "rgb(17, 22, 28)" } else { "rgb(244, 246, 248)" };
        assert_eq!(browser.ground(), ground, "{url} on {screen:?}");
        assert_eq!(browser.complaints, Vec::<String>::new(), "{url} on {screen:?}");
    }
    let told = browser.told();
    let names = |role: &str| -> Vec<&str> {
        told.iter().filter(|node| node.role == role).map(|node| node.name.as_str()).collect()
    };
    for landmark in ["banner", "main", "contentinfo"] {
        assert_eq!(names(landmark).len(), 1, "{url}: {landmark} in {told:?}");
    }
    assert_eq!(names("link")[0], "Skip to the content", "{url}");
    assert!(names("heading").iter().all(|name| !name.is_empty()), "{url}");
    assert!(names("image").iter().all(|name| !name.is_empty()), "{url}: a plot without words");
}

fn is_told(told: &[Heard], role: &str, name: &str) {
    let there = told.iter().any(|node| node.role == role && node.name.contains(name));
    assert!(there, "no {role} {name} in {told:#?}");
}

// The browser blocks this thread; the application answers on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_on_every_screen_without_scripts() {
    let site = Site::start().await;
    let fine = site.config().request("list_orders", &site.app.url("/api/v1/orders"), "workload: api");
    let fine = fine.start().await;
    let liar = App::start("west", west_ip(), "postgresql://app@127.20.0.1:1/orders").await;
    liar.behave(|b| (b.health, b.ready) = (Claim::StaticOk, Claim::StaticOk));
    let long = "n".repeat(63);
    let incident = Config::default()
        .workload("api", &[&liar])
        .surface("health", &liar.url("/health"), "decisive: true")
        .database_at("postgresql://app:x@127.20.0.1:1/orders")
        .request(&long, &liar.url(&format!("/{}", "x".repeat(300))), "workload: api")
        .traffic("3s", "");
    let incident = incident.start().await;
    let untried = Config::default().surface("health", &site.app.url("/health"), "decisive: true");
    let unknown = untried.start().await;
    incident.wait_for_sample("dr_healthy_but_unusable", &[], 1.0, 10 * SECOND).await;
    fine.is_fine().await;

    let mut browser = Browser::start();
    looks_right(&mut browser, &incident.url("/"), &SCREENS);
    for (exporter, path) in [
        (&incident, "/systems/orders"),
        (&incident, "/systems/orders/db_endpoint_region/orders"),
        (&incident, "/systems/orders/surface/health"),
        (&incident, &format!("/systems/orders/synthetic_request/{long}")),
        (&incident, "/systems/orders/traffic/api"),
        (&fine, "/"),
        (&unknown, "/"),
        (&fine, "/systems/nobody"),
    ] {
        looks_right(&mut browser, &exporter.url(path), &NARROW_AND_WIDE);
    }
    assert_eq!(fine.get("/systems/nobody").await.status, 404);

    browser.open(&incident.url("/"), PHONE);
    let told = browser.told();
    is_told(&told, "heading", "✖ unusable orders");
    is_told(&told, "heading", "What to do now");
    is_told(&told, "link", "runbook DrSiteHealthyButUnusable");
    is_told(&told, "image", "failed");
    browser.open(&fine.url("/"), WIDE);
    is_told(&browser.told(), "heading", "✔ usable orders");
    browser.open(&unknown.url("/"), WIDE);
    is_told(&browser.told(), "heading", "? unknown orders");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_systems_are_a_list_that_is_found_through() {
    let app = App::start("west", west_ip(), "postgresql://app@127.20.0.1:1/orders").await;
    app.behave(|b| b.health = Claim::StaticOk);
    let mut config = String::from(
        "site: {name: dr-west, region: us-west-2, role: standby}\nkubernetes: {mode: disabled}\n\
         defaults: {interval: 10s, timeout: 5s}\nsystems:\n",
    );
    for n in 0..500 {
        // Of every hundred, five ask for what is not there; the others for what is.
        let path = if n % 100 < 5 { "/nowhere" } else { "/health" };
        let (long, url) = ("x".repeat(50), app.url(path));
        writeln!(config, "- {{name: s{n}-{long}, strategy: hot, requests: [{{name: r, url: \"{url}\"}}]}}")
            .expect("a String");
    }
    let exporter = Exporter::start(&config).await;
    let page = eventually("every system is judged", 20 * SECOND, async || {
        let page = exporter.get("/").await.text();
        let judged = page.contains("✖ 25 unusable") && page.contains("✔ 475 usable");
        if judged { Ok(page) } else { Err(page[..page.len().min(9_000)].to_owned()) }
    })
    .await;
    assert!(page.len() < 400_000, "{} bytes", page.len());

    let mut browser = Browser::start();
    looks_right(&mut browser, &exporter.url("/"), &SCREENS);
    let links = |told: &[Heard]| told.iter().filter(|n| n.role == "link" && n.name.starts_with('s')).count();
    assert_eq!(links(&browser.told()), 25, "what is well is folded");
    is_told(&browser.told(), "button", "Filter");
    browser.open(&exporter.url("/?verdict=usable&q=S49"), PHONE);
    assert_eq!(browser.overflow(), 0.0);
    assert_eq!(links(&browser.told()), 11, "s49 and s490 to s499, without those that are not usable");
    looks_right(&mut browser, &exporter.url(&format!("/systems/s0-{}", "x".repeat(50))), &NARROW_AND_WIDE);
}

/// A measurement that finds nothing has to be able to find something.
#[test]
fn what_sticks_out_is_found() {
    let mut browser = Browser::start();
    browser.open("data:text/html,<meta name=viewport content=width=device-width><div style='width:700px;background:red'>wide</div>", PHONE);
    assert!(browser.overflow() > 300.0);
    browser.open("data:text/html,<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><style>*{}</style>", PHONE);
    assert!(
        browser.complaints.iter().any(|said| said.contains("Content Security Policy")),
        "{:?}",
        browser.complaints
    );
}
