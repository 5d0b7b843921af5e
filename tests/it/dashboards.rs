//! Every query of the committed dashboards, asked of real Prometheus servers that scraped an incident and healthy sites: a
//! panel without data in its own incident is a failure.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{
    App, Claim, Config, Exporter, Kube, PgPair, PromVersion, Prometheus, Scrape, SeedCluster, Site,
    scratch_dir, west_ip,
};

const SECOND: Duration = Duration::from_secs(1);

/// Queries that are empty in these incidents: dashboard, panel, query, the reason.
const EMPTY: &[(&str, &str, &str, &str)] = &[(
    "dr-fleet",
    "Verdicts over time, the worst of now at the top",
    "G",
    "no site here is retired, of which nothing is expected",
)];

/// An alert as the shipped rules have it; Prometheus makes `ALERTS` of it.
const RULES: &str = "groups:\n- name: dr\n  rules:\n  - {alert: DrSiteHealthyButUnusable, expr: dr_healthy_but_unusable == 1, \
                     labels: {severity: critical}}\n";

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn dashboards() -> Vec<(String, Value)> {
    let files = ["dr-fleet", "dr-site", "dr-exporter"].map(|uid| {
        let text = std::fs::read_to_string(root(&format!("dashboards/{uid}.json"))).expect("a dashboard");
        (uid.to_owned(), serde_json::from_str(&text).expect("JSON"))
    });
    files.into()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An expression as Grafana sends it, for these choices of the variables.
fn chosen(expr: &str, choices: &[(&str, &str)]) -> String {
    let mut expr = expr.replace("$__rate_interval", "1m");
    for (name, value) in choices {
        expr = expr.replace(&format!("${name}"), value);
    }
    assert!(!expr.contains('$'), "a variable is left over: {expr}");
    expr
}

/// The sites of the test, and what has to stay alive for them.
struct World {
    pair: PgPair,
    cluster: SeedCluster<'static>,
    _site: Site,
    exporters: Vec<Exporter>,
    gone: Exporter,
    /// The other site of the incident. It is scraped by somebody else.
    _peer: Exporter,
}

impl World {
    /// The incident of the seed with everything configured; a site that is well; one of which nobody knows; one with a
    /// flaw, of which a second exporter sees nothing; one that is honestly dead; and one whose exporter will be gone.
    async fn start() -> Self {
        let kube = Kube::shared().await;
        let pair = PgPair::start().await;
        let cluster = SeedCluster::start(kube, &pair.east.dsn("app")).await;
        for app in &cluster.apps {
            app.behave(|b| (b.health, b.ready) = (Claim::StaticOk, Claim::StaticOk));
        }
        let more = format!(
            "    rpo: 5m\n    rto: 30m\n    maintenance: {{until: 2999-01-01, because: test}}\n    \
             drill: {{until: 2999-01-01, because: test}}\n    \
             databases:\n      - name: orders\n        endpoint: {{workload: api-server, env: DATABASE_URL, expected_url: \"{west}\"}}\n        \
             expected_regions: [us-west-2]\n        queries:\n          \
             - {{name: select_orders, sql: \"select id, created_at from orders order by created_at desc limit 1\", min_rows: 1, \
                 newest: {{column: created_at, max_age: 365d}}}}\n    \
             requests:\n      - {{name: list_orders, url: \"{api}\", workload: api-server}}\n    \
             traffic:\n      - {{workload: api-server, expected: false, counter: http_requests_total, business: {{handler: \"/api/.+\"}}, \
                 probes: {{handler: \"/health|/ready|/metrics\"}}, window: 3s, handlers_required: [/api/v1/orders]}}\n    \
             dependencies:\n      - {{name: database, endpoint: {{url: \"tcp://{near}\"}}, expected_regions: [us-west-2]}}\n      \
             - {{name: queue, endpoint: {{url: \"tcp://{far}\"}}, expected_regions: [us-west-2]}}\n",
            west = pair.west.dsn("app"),
            near = pair.west.address(),
            far = pair.east.address(),
            api = cluster.apps[0].url("/api/v1/orders"),
        );
        let incident = cluster.config(&kube.kubeconfig_for_admin(), &more).replace(
            "role: standby}",
            "role: standby, identity: {node_label: topology.kubernetes.io/region}}",
        );
        // The same workload, keyed by a key that the incident's site does not have: that cannot be compared.
        let peer = incident
            .replace("dr-west", "primary-east")
            .replace("role: standby", "role: primary")
            .replace("kubernetes: {", "kubernetes: {fingerprint_key: {value: key}, ");
        let peer = Exporter::start(&peer).await;
        let incident = format!("peers: [{{site: primary-east, url: \"{}\"}}]\n{incident}", peer.url(""));
        let site = Site::start().await;
        let named = |config: &Config, name: &str| config.yaml().replace("dr-west", name);
        let well = format!("sharding: {{shards: 1, ordinal: 0}}\n{}", named(&site.config(), "dr-south"));
        let unheard = App::start("west", west_ip(), "postgresql://app@127.20.0.1:1/orders").await;
        // Its own health check says that it cannot reach its database: a proven flaw that ends no failover by itself.
        let honest = Config::default().surface("health", &unheard.url("/health"), "decisive: true");
        let dead = honest.clone().database_at("postgresql://app:x@127.20.0.1:1/orders");
        // Nothing is tried there that would show that it can do the work.
        let untried = Config::default().surface("health", &site.app.url("/health"), "decisive: true");
        let mut exporters = Vec::new();
        // Nothing is asked for in it, but that it could be read is told.
        let web = scratch_dir("web").join("web.yml");
        std::fs::write(&web, "{}").expect("write a web configuration");
        let web = web.display().to_string();
        for yaml in [
            &incident,
            &well,
            &named(&untried, "dr-north"),
            &named(&honest, "dr-east"),
            &named(&site.config(), "dr-east"),
            &named(&dead, "dr-dead"),
        ] {
            exporters.push(Exporter::start_with(yaml, &["--web.config.file", &web]).await);
        }
        let gone = Exporter::start(&named(&site.config(), "dr-gone")).await;
        exporters[0].wait_for_sample("dr_healthy_but_unusable", &[], 1.0, 10 * SECOND).await;
        exporters[1].wait_for_sample("dr_verdict", &[("verdict", "usable")], 1.0, 10 * SECOND).await;
        Self { pair, cluster, _site: site, exporters, gone, _peer: peer }
    }
}

/// Every query of one dashboard, with these choices; what had to have data and has none.
async fn ask(server: &Prometheus, uid: &str, dashboard: &Value, choices: &[(&str, &str)]) -> Vec<String> {
    let mut missing = Vec::new();
    for panel in list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row") {
        let title = text(&panel["title"]);
        let mut seen = BTreeSet::new();
        for target in list(&panel["targets"]) {
            let (name, expr) = (text(&target["refId"]), chosen(text(&target["expr"]), choices));
            let found: Vec<_> = if target["instant"] == true {
                let all = server.query(&expr).await.into_iter();
                all.filter(|(_, value)| !value.is_nan()).map(|(labels, _)| labels).collect()
            } else {
                let all = server.query_range(&expr, 60 * SECOND, 2 * SECOND).await.into_iter();
                all.filter(|(_, values)| !values.is_empty()).map(|(labels, _)| labels).collect()
            };
            if found.is_empty() && !EMPTY.iter().any(|(u, t, r, _)| (*u, *t, *r) == (uid, title, name)) {
                missing.push(format!("{uid}, `{title}`, query {name}: no data: {expr}"));
            }
            let legend = text(&target["legendFormat"]);
            for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                for labels in &found {
                    if labels.get(label).is_none_or(String::is_empty) {
                        missing
                            .push(format!("{uid}, `{title}`, query {name}: no label {label} in {labels:?}"));
                    }
                }
            }
            seen.extend(found.into_iter().flat_map(|labels| labels.into_keys()));
        }
        for (field, _) in
            panel["transformations"][1]["options"]["renameByName"].as_object().into_iter().flatten()
        {
            // Not every Prometheus adds a label `cluster`.
            if !field.starts_with("Value") && field != "cluster" && !seen.contains(field) {
                missing.push(format!("{uid}, `{title}`: no query has the label {field}"));
            }
        }
    }
    for mark in list(&dashboard["annotations"]["list"]).iter().filter(|mark| mark["builtIn"].is_null()) {
        let expr = chosen(text(&mark["expr"]), choices);
        if server.query_range(&expr, 60 * SECOND, 2 * SECOND).await.is_empty() {
            missing.push(format!("{uid}, annotation {}: no data: {expr}", mark["name"]));
        }
    }
    missing
}

/// The choices of every variable, from its own query.
async fn choices(server: &Prometheus, uid: &str, dashboard: &Value, labelled: bool) -> Vec<String> {
    let mut missing = Vec::new();
    for variable in list(&dashboard["templating"]["list"]).iter().filter(|each| each["type"] == "query") {
        let name = text(&variable["name"]);
        let query = chosen(
            text(&variable["query"]["query"]),
            &[("job", ".+"), ("instance", ".+"), ("cluster", ".*"), ("site", ".*")],
        );
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(")"));
        let (selector, label) =
            inside.and_then(|inside| inside.rsplit_once(", ")).expect("label_values(…, …)");
        let values = server.label_values(label, selector).await;
        let wanted: &[&str] = match name {
            "job" => &["dr-exporter"],
            "cluster" if labelled => &["here"],
            "cluster" => &[],
            "site" => &["dr-west", "dr-south", "dr-north", "dr-east"],
            "system" => &["orders"],
            "instance" => continue,
            other => panic!("{other} is not known here"),
        };
        if !wanted.iter().all(|value| values.iter().any(|found| found == value)) {
            missing.push(format!("{uid}, variable {name}: {values:?}, and not {wanted:?}"));
        }
    }
    missing
}

/// What the fleet shows is what happened, and the worst is at the top.
async fn the_fleet_tells_the_truth(server: &Prometheus, fleet: &Value, choices: &[(&str, &str)]) {
    let queries = |title: &str| {
        let panel = list(&fleet["panels"]).iter().find(|panel| panel["title"] == title).expect("a panel");
        let queries = list(&panel["targets"]).iter();
        queries.map(|target| chosen(text(&target["expr"]), choices)).collect::<Vec<_>>()
    };
    for (title, count) in [
        ("Says healthy, is unusable", 1.0),
        ("Unusable", 2.0),
        ("Not watched any more", 1.0),
        ("Unknown", 1.0),
        ("Degraded", 1.0),
        ("Usable", 1.0),
    ] {
        let found = server.query(&queries(title)[0]).await;
        assert!(matches!(found.as_slice(), [(_, value)] if *value == count), "{title}: {found:?}");
    }
    let reality = queries("Sites and systems").swap_remove(1);
    let mut sites: Vec<_> = server
        .query(&reality)
        .await
        .into_iter()
        .map(|(labels, value)| (labels["site"].clone(), value))
        .collect();
    sites.sort_by(|a, b| b.1.total_cmp(&a.1));
    let wanted = [
        ("dr-west", 6.0),
        ("dr-dead", 5.0),
        ("dr-gone", 4.0),
        ("dr-north", 3.0),
        ("dr-east", 2.0),
        ("dr-south", 1.0),
    ];
    assert_eq!(sites, wanted.map(|(site, value)| (site.to_owned(), value)));
    let mut groups = Vec::new();
    for query in queries("Verdicts over time, the worst of now at the top") {
        let found = server.query_range(&query, 60 * SECOND, 2 * SECOND).await;
        groups.extend(found.into_iter().map(|(labels, _)| labels["site"].clone()));
    }
    assert_eq!(groups, wanted.map(|(site, _)| site));
}

/// Which systems the exporters disagree about.
async fn one_exporter_sees_less(server: &Prometheus, exporter: &Value, choices: &[(&str, &str)]) {
    let mut panels = list(&exporter["panels"]).iter();
    let panel =
        panels.find(|panel| panel["title"] == "Do the exporters of a system agree?").expect("a panel");
    let found = server.query(&chosen(text(&panel["targets"][1]["expr"]), choices)).await;
    let different: Vec<_> = found.iter().filter(|(_, value)| *value == 2.0).collect();
    assert!(matches!(different.as_slice(), [(labels, _)] if labels["site"] == "dr-east"), "{found:?}");
    assert!(found.len() > 2, "the others agree: {found:?}");
}

/// The answers of which `tests/lab/dashboards-preview` makes pictures.
async fn preview(server: &Prometheus, dir: &Path) {
    tokio::time::sleep(120 * SECOND).await;
    let done = Command::new("node")
        .arg(root("tests/lab/dashboards/preview/ask.mjs"))
        .arg(format!("http://{}", server.address()))
        .arg(dir)
        .arg("4")
        .status();
    assert!(done.expect("node starts").success(), "ask.mjs");
}

#[tokio::test]
async fn no_panel_is_empty_in_its_own_incident() {
    let world = World::start().await;
    let targets: Vec<_> = world.exporters.iter().chain([&world.gone]).map(Exporter::address).collect();
    let rules = scratch_dir("dashboards").join("rules.yml");
    std::fs::write(&rules, RULES).expect("write the rules");
    let plain = Scrape::new("dr-exporter", &targets);
    let old = Prometheus::start(PromVersion::Old, SECOND, std::slice::from_ref(&plain), &[&rules]).await;
    let labelled = plain.labelled("cluster", "here");
    let new = Prometheus::start(PromVersion::New, SECOND, &[labelled], &[&rules]).await;
    let servers = [(old, false), (new, true)];
    for (server, _) in &servers {
        server.wait_up("dr-exporter", 10 * SECOND).await;
        let known = |series: &[(_, f64)]| series.iter().all(|(_, value)| *value > 3.0) && !series.is_empty();
        server.wait_for("min(count_over_time(dr_verdict{verdict=\"usable\"}[1h]))", 10 * SECOND, known).await;
    }
    world.cluster.apps[0].drive("/api/v1/orders", 5).await;
    let served = "dr_traffic_last_business_request_timestamp_seconds > 0";
    for (server, _) in &servers {
        server.wait_for(served, 10 * SECOND, |series| !series.is_empty()).await;
    }
    // What was far away is gone now, and so is one exporter.
    world.pair.east.stop_immediate().await;
    world.gone.kill().await;
    for (server, _) in &servers {
        let failed = "dr_verdict_reason{site=\"dr-west\", check=\"synthetic_query\"} == 1";
        server.wait_for(failed, 10 * SECOND, |series| !series.is_empty()).await;
        server.wait_for("count(up == 0)", 5 * SECOND, |series| !series.is_empty()).await;
    }
    let all = [("job", ".+"), ("instance", ".+"), ("cluster", ".*"), ("site", ".*"), ("system", ".*")];
    let mut missing = Vec::new();
    for (server, labelled) in &servers {
        for (uid, dashboard) in dashboards() {
            missing.extend(choices(server, &uid, &dashboard, *labelled).await);
            missing.extend(ask(server, &uid, &dashboard, &all).await);
        }
        // As a page links to it: one site, one system.
        let incident = [
            ("job", "dr-exporter"),
            ("instance", ".+"),
            ("cluster", ".*"),
            ("site", "dr-west"),
            ("system", "(orders)"),
        ];
        let (uid, site) = &dashboards()[1];
        missing.extend(ask(server, uid, site, &incident).await);
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    for (server, _) in &servers {
        the_fleet_tells_the_truth(server, &dashboards()[0].1, &all).await;
        one_exporter_sees_less(server, &dashboards()[2].1, &all).await;
    }
    if let Some(dir) = std::env::var_os("DASHBOARDS_PREVIEW") {
        preview(&servers[1].0, Path::new(&dir)).await;
    }
}

#[test]
fn the_published_schema_knows_every_key() {
    let done =
        Command::new(root("tests/lab/dashboards-check")).output().expect("tests/lab/dashboards-check starts");
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success(), "{said}");
}
