//! The shipped rules and the shipped example for Alertmanager, on a clock that runs faster.
//!
//! One factor for everything: the interval of the rules, `for`, `keep_firing_for`, and the times of Alertmanager. Scrapes
//! are made each second instead of each 30 s and checks every two instead of each minute, which is the same factor. Expressions, and the ranges
//! inside of them, are not touched: a range longer than the test only remembers longer. Texts, labels, routes and
//! inhibitions are not touched either.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::lab::run::repository;
use crate::lab::scratch_dir;

/// How much faster than in production.
pub const FACTOR: u32 = 30;
/// What is scaled: the values of these keys, wherever they stand, and nothing else.
const TIMES: [&str; 6] =
    ["interval", "for", "keep_firing_for", "group_wait", "group_interval", "repeat_interval"];

/// How long an alert waits, unscaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// `for`.
    pub pending: Duration,
    /// `keep_firing_for`.
    pub keeps: Duration,
}

/// The shipped rule files, scaled, in files of this test run.
pub fn rules() -> Vec<PathBuf> {
    let dir = scratch_dir("rules");
    let write = |path: PathBuf| {
        let mut rules = yaml(&path);
        scale(&mut rules);
        let to = dir.join(path.file_name().expect("a name"));
        std::fs::write(&to, rules.to_string()).expect("write scaled rules");
        to
    };
    shipped().into_iter().map(write).collect()
}

/// The shipped example, scaled; its receivers are at this address, each under the host that it had as first part of the
/// path.
pub fn alertmanager(sink: SocketAddr) -> String {
    let mut config = yaml(&repository().join("alerts/alertmanager.example.yml"));
    scale(&mut config);
    let receivers = config["receivers"].as_array_mut().expect("receivers");
    for webhook in receivers.iter_mut().filter_map(|r| r["webhook_configs"].as_array_mut()).flatten() {
        let url = webhook["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("a plain URL");
        webhook["url"] = format!("http://{sink}/{url}").into();
    }
    // JSON is YAML.
    config.to_string()
}

/// A time of the first route of the example, unscaled.
pub fn of_routes(key: &str) -> Duration {
    let config = yaml(&repository().join("alerts/alertmanager.example.yml"));
    duration(config["route"][key].as_str().expect("a time of the route"))
}

/// How long a shipped alert waits.
pub fn waits(alert: &str) -> Waits {
    let files: Vec<_> = shipped().iter().map(yaml).collect();
    let groups = files.iter().flat_map(|file| file["groups"].as_array().expect("groups"));
    let mut rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    let rule = rules.find(|rule| rule["alert"] == alert).unwrap_or_else(|| panic!("no alert {alert}"));
    let time = |key: &str| rule[key].as_str().map_or(Duration::ZERO, duration);
    Waits { pending: time("for"), keeps: time("keep_firing_for") }
}

fn shipped() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("alerts")).expect("alerts/");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".rules.yaml"));
    files.sort();
    assert!(!files.is_empty(), "no rules");
    files
}

fn yaml(path: &PathBuf) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn scale(value: &mut Value) {
    let fields = |object: &mut Map<String, Value>| {
        for (key, value) in object {
            match value {
                Value::String(time) if TIMES.contains(&key.as_str()) => {
                    *time = format!("{}ms", (duration(time) / FACTOR).as_millis());
                }
                other => scale(other),
            }
        }
    };
    match value {
        Value::Object(object) => fields(object),
        Value::Array(items) => items.iter_mut().for_each(scale),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One number and one unit, as all times of the files are written.
fn duration(text: &str) -> Duration {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or_else(|| panic!("{text} has no unit"));
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => panic!("{text}: a unit that the files do not use"),
    };
    Duration::from_secs(number * seconds)
}

#[test]
fn only_times_are_scaled() {
    let mut some = serde_json::json!({
        "groups": [{"interval": "30s", "rules": [
            {"alert": "A", "expr": "x[15m] offset 1h > 30", "for": "5m", "keep_firing_for": "1h",
             "labels": {"severity": "for"}, "annotations": {"summary": "for 5m"}},
        ]}],
        "route": {"group_wait": "0s", "routes": [{"repeat_interval": "1d"}]}, "send_resolved": false,
    });
    scale(&mut some);
    let scaled = serde_json::json!({
        "groups": [{"interval": "1000ms", "rules": [
            {"alert": "A", "expr": "x[15m] offset 1h > 30", "for": "10000ms", "keep_firing_for": "120000ms",
             "labels": {"severity": "for"}, "annotations": {"summary": "for 5m"}},
        ]}],
        "route": {"group_wait": "0ms", "routes": [{"repeat_interval": "2880000ms"}]}, "send_resolved": false,
    });
    assert_eq!(some, scaled);
    // The shipped files have nothing that would be lost in whole milliseconds.
    assert_eq!(waits("DrSiteHealthyButUnusable").pending, Duration::from_secs(300));
    assert_eq!(waits("DrHeartbeat"), Waits { pending: Duration::ZERO, keeps: Duration::ZERO });
}
