//! What must hold for every dashboard: the contract of its frame, its queries against the catalogue, its links, its words.
//! The rules of Grafana's own linter are in `tests/lint.rs`.

mod lint;
mod promql;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::words::{self, GREEN};
use super::{UNUSED, exporter, fleet, site};
use crate::cli::docs::{Page, stale};
use crate::metrics::catalogue;
use crate::report::runbook::REPOSITORY;

/// The file's stem, and what is in it.
fn all() -> Vec<(&'static str, Value)> {
    let all = [("dr-fleet", fleet()), ("dr-site", site()), ("dr-exporter", exporter())];
    all.into_iter().map(|(stem, text)| (stem, serde_json::from_str(&text).unwrap())).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row")
}

/// Every expression: where it stands, and itself.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        for target in list(&panel["targets"]) {
            let place = format!("{} of `{}`", text(&target["refId"]), text(&panel["title"]));
            found.push((place, text(&target["expr"]).to_owned()));
        }
    }
    for mark in list(&dashboard["annotations"]["list"]).iter().filter(|mark| mark["builtIn"].is_null()) {
        found.push((format!("annotation {}", mark["name"]), text(&mark["expr"]).to_owned()));
    }
    for variable in variables(dashboard) {
        found.push((format!("variable {}", variable["name"]), asked(variable).0));
    }
    found
}

/// The variables that ask Prometheus.
fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["templating"]["list"]).iter().filter(|variable| variable["type"] == "query")
}

/// The selector and the label of `label_values(…, …)`.
fn asked(variable: &Value) -> (String, String) {
    let query = text(&variable["query"]["query"]);
    let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(")"));
    let (selector, label) = inside.and_then(|inside| inside.rsplit_once(", ")).unwrap();
    (selector.to_owned(), label.to_owned())
}

/// Every object below a value that has this key, with what it holds there.
fn every<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key));
            map.values().for_each(|inside| every(inside, key, found));
        }
        Value::Array(list) => list.iter().for_each(|inside| every(inside, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_committed_files_are_what_the_code_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    assert_eq!(stale(Page::DASHBOARDS, &dir), Vec::<&str>::new(), "run `make docs`");
    let stems: Vec<_> = Page::DASHBOARDS.iter().map(|page| page.file()).collect();
    assert_eq!(stems, all().iter().map(|(stem, _)| format!("{stem}.json")).collect::<Vec<_>>());
}

#[test]
fn the_frame_is_what_provisioning_takes() {
    for (stem, dashboard) in all() {
        let is = |key: &str, value: Value| assert_eq!(dashboard[key], value, "{stem}: {key}");
        is("uid", stem.into());
        is("schemaVersion", 42.into());
        is("editable", false.into());
        is("timezone", "utc".into());
        assert!(!text(&dashboard["title"]).is_empty() && !list(&dashboard["tags"]).is_empty(), "{stem}");
        for key in ["id", "version", "iteration", "__inputs", "__requires", "gnetId"] {
            assert!(dashboard.get(key).is_none(), "{stem}: {key} belongs to one Grafana");
        }
        let names: Vec<_> = list(&dashboard["templating"]["list"]).iter().map(|v| text(&v["name"])).collect();
        assert_eq!(names, ["datasource", "job", "cluster", "instance", "site", "system"], "{stem}");
        let by_tag = list(&dashboard["links"]).iter().find(|link| link["type"] == "dashboards").unwrap();
        assert_eq!(by_tag["tags"], dashboard["tags"], "{stem}");
        assert!(by_tag["includeVars"] == true && by_tag["keepTime"] == true, "{stem}");
    }
}

#[test]
fn panels_have_their_own_place_and_number() {
    for (stem, dashboard) in all() {
        let all = list(&dashboard["panels"]);
        assert_eq!(all[0]["type"], "row", "{stem}: everything stands below a heading");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for (index, panel) in all.iter().enumerate() {
            let title = text(&panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{stem}: the id of `{title}` is taken");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{stem}: `{title}` is wider than the page");
            for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
                assert!(taken.insert(cell), "{stem}: `{title}` covers another panel at {cell:?}");
            }
            let empty = all.get(index + 1).is_none_or(|next| next["type"] == "row");
            assert!(panel["type"] != "row" || !empty, "{stem}: nothing is below `{title}`");
        }
    }
}

#[test]
fn every_panel_says_what_it_is_and_what_it_does_not_prove() {
    for (stem, dashboard) in all() {
        for panel in panels(&dashboard) {
            let title = text(&panel["title"]);
            let (shows, not_proven) =
                text(&panel["description"]).split_once("\n\n**A good look of it does not prove:** ").unwrap();
            for sentence in [shows, not_proven] {
                assert!(sentence.len() > 12 && sentence.ends_with('.'), "{stem}, `{title}`: {sentence}");
            }
            let defaults = &panel["fieldConfig"]["defaults"];
            assert_eq!(defaults["noValue"], "no data", "{stem}, `{title}`");
            assert!(!text(&defaults["unit"]).is_empty(), "{stem}, `{title}`");
            assert!(!list(&defaults["thresholds"]["steps"]).is_empty(), "{stem}, `{title}`");
            let mut sources = vec![&panel["datasource"]];
            sources.extend(list(&panel["targets"]).iter().map(|target| &target["datasource"]));
            for source in sources {
                assert_eq!(source["uid"], "${datasource}", "{stem}, `{title}`");
            }
        }
    }
}

/// What is not known never looks like what works, and nobody has to see a colour to read a word.
#[test]
fn green_is_only_what_was_tried() {
    let colour = |words: words::Words, word: &str| {
        words.iter().find(|(_, text, _)| *text == word).unwrap_or_else(|| panic!("{word}")).2
    };
    assert_eq!(colour(words::VERDICT, "usable"), GREEN);
    assert_eq!(colour(words::VERDICT, "degraded"), words::AMBER);
    assert_eq!(colour(words::VERDICT, "unusable"), words::RED);
    assert_eq!(colour(words::VERDICT, "unknown"), words::UNKNOWN);
    assert_eq!(words::CLAIMS.iter().filter(|(_, _, colour)| *colour == GREEN).count(), 0);
    for (stem, dashboard) in all() {
        let mut mappings = Vec::new();
        every(&dashboard, "mappings", &mut mappings);
        let overrides = panels(&dashboard).flat_map(|panel| list(&panel["fieldConfig"]["overrides"]));
        let properties = overrides.flat_map(|each| list(&each["properties"]));
        mappings.extend(properties.filter(|each| each["id"] == "mappings").map(|each| &each["value"]));
        let (mut seen, mut said_nothing) = (0, 0);
        for mapping in mappings.into_iter().flat_map(list) {
            if mapping["type"] == "special" {
                let nothing = &mapping["options"]["result"];
                assert!(nothing["text"] == "no data" && nothing["color"] == words::GREY, "{stem}");
                said_nothing += 1;
                continue;
            }
            let results: Vec<_> = mapping["options"].as_object().unwrap().values().collect();
            let texts: BTreeSet<_> = results.iter().map(|result| text(&result["text"])).collect();
            assert!(texts.len() == results.len() && !texts.contains(""), "{stem}: {texts:?}");
            for result in results {
                let doubtful =
                    ["unknown", "not watched any more", "nothing expected", "skipped", "says healthy"];
                assert!(
                    !doubtful.contains(&text(&result["text"])) || result["color"] != GREEN,
                    "{stem}: {result}"
                );
                seen += 1;
            }
        }
        assert!(seen > 1 && said_nothing > 0, "{stem}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let all = all();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut followed = 0;
    for (stem, dashboard) in &all {
        let mut urls = Vec::new();
        every(dashboard, "url", &mut urls);
        for link in panels(dashboard).flat_map(|panel| list(&panel["fieldConfig"]["overrides"])) {
            every(link, "url", &mut urls);
        }
        for url in urls.into_iter().map(text).filter(|url| !url.is_empty()) {
            followed += 1;
            if let Some(path) = url.strip_prefix(REPOSITORY) {
                let (file, anchor) = path.split_once('#').unwrap_or((path, ""));
                if let Some(name) = file.strip_prefix("alerts/runbooks/") {
                    assert!(
                        name == "${__data.fields.Alert}.md" && root.join("alerts/runbooks").is_dir(),
                        "{stem}: {url}"
                    );
                    continue;
                }
                let page =
                    std::fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("{stem}: {url}"));
                let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
                let anchors: BTreeSet<_> = headings
                    .map(|heading| heading.trim_matches(['#', ' ', '`']).to_lowercase().replace(' ', "-"))
                    .collect();
                let names_a_check = anchor == "${__data.fields.Check}";
                assert!(anchor.is_empty() || names_a_check || anchors.contains(anchor), "{stem}: {url}");
                continue;
            }
            let (uid, parameters) = url.strip_prefix("/d/").and_then(|rest| rest.split_once('?')).unwrap();
            let (_, there) =
                all.iter().find(|(known, _)| *known == uid).unwrap_or_else(|| panic!("{stem}: {url}"));
            let has = |dashboard: &Value, name: &str| {
                list(&dashboard["templating"]["list"]).iter().any(|variable| variable["name"] == name)
            };
            for parameter in parameters.split('&') {
                if parameter == "${__url_time_range}" {
                    continue;
                }
                let carried = parameter.strip_prefix("${").and_then(|rest| rest.strip_suffix(":queryparam}"));
                let name = carried.or_else(|| parameter.strip_prefix("var-")?.split('=').next());
                let name = name.unwrap_or_else(|| panic!("{stem}: {parameter} of {url}"));
                assert!(has(there, name), "{stem}: {uid} has no variable {name}");
                assert!(carried.is_none() || has(dashboard, name), "{stem} has no variable {name}");
            }
        }
        for panel in panels(dashboard) {
            for name in fields_of(panel) {
                let titles = panel["transformations"][1]["options"]["renameByName"].as_object().unwrap();
                assert!(titles.values().any(|title| text(title) == name), "{stem}: no column {name}");
            }
        }
    }
    assert!(followed > 20, "{followed}");
}

/// The other way round: what a page links to is there, with the variables that it sets.
#[test]
fn alerts_link_to_dashboards_that_exist() {
    let (all, mut followed) = (all(), 0);
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts")).unwrap() {
        let path = file.unwrap().path();
        if !path.to_string_lossy().ends_with(".rules.yaml") {
            continue;
        }
        let rules = std::fs::read_to_string(&path).unwrap();
        for url in rules.lines().filter_map(|line| line.trim().strip_prefix("dashboard_url: ")) {
            followed += 1;
            let url = url.trim_matches(['"', '\'']);
            let (uid, parameters) =
                url.strip_prefix("/d/").unwrap().split_once('?').unwrap_or_else(|| (&url[3..], ""));
            let (_, there) = all.iter().find(|(known, _)| *known == uid).unwrap_or_else(|| panic!("{url}"));
            for parameter in parameters.split('&').filter_map(|parameter| parameter.strip_prefix("var-")) {
                let name = parameter.split('=').next().unwrap();
                let mut names =
                    list(&there["templating"]["list"]).iter().map(|variable| text(&variable["name"]));
                assert!(names.any(|known| known == name), "{url}: {uid} has no variable {name}");
            }
        }
    }
    assert!(followed > 20, "{followed}");
}

/// The columns that links and overrides of a panel name.
fn fields_of(panel: &Value) -> BTreeSet<&str> {
    let overrides = list(&panel["fieldConfig"]["overrides"]);
    let mut urls = Vec::new();
    overrides.iter().for_each(|each| every(each, "url", &mut urls));
    let named = urls.into_iter().flat_map(|url| text(url).split("${__data.fields.").skip(1));
    let named = named.filter_map(|rest| rest.split('}').next());
    named.chain(overrides.iter().map(|each| text(&each["matcher"]["options"]))).collect()
}

#[test]
fn every_metric_is_shown_or_left_out_on_purpose() {
    let mut shown = BTreeSet::new();
    for (_, dashboard) in all() {
        for (_, query) in queries(&dashboard) {
            shown.extend(
                promql::selectors(&query).iter().map(|selector| promql::family(&selector.name).to_owned()),
            );
        }
    }
    for metric in catalogue::all() {
        let left_out = UNUSED.iter().any(|(name, reason)| *name == metric.name && !reason.is_empty());
        assert!(shown.contains(metric.name) != left_out, "{}: shown or in UNUSED, and not both", metric.name);
    }
    assert!(UNUSED.iter().all(|(name, _)| catalogue::all().iter().any(|metric| metric.name == *name)));
}
