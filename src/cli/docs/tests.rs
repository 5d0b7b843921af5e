//! What documentation, catalogue and contract owe each other.

use std::collections::BTreeSet;

use clap::CommandFactory as _;

use super::super::Cli;
use super::{Page, checks, metrics, stale, write};
use crate::metrics::catalogue;
use crate::model::{Check, Metric, Reason, Role, Shape, Status, Strategy, Unrenewed, Verdict};
use crate::probe::{KINDS, Kind};
use crate::verdict::{Intent, Weighed, judge};

const README: &str = include_str!("../../../README.md");
const EXAMPLE: &str = include_str!("../../../docs/example.yaml");

/// Labels that Prometheus or its targets use: ours would collide with them. From METRICS.md.
const FORBIDDEN: &[&str] =
    &["region", "cluster", "zone", "env", "service", "namespace", "pod", "instance", "job", "type"];

/// What METRICS.md demands of the checks that this release has, with the labels that it demands.
const DEMANDED: &[(&str, &[&str])] = &[
    ("dr_synthetic_query_success", &["site", "system", "db", "query"]),
    ("dr_db_endpoint_region", &["site", "system", "db", "db_region", "expected_region", "evidence"]),
    ("dr_traffic_zero_business_requests", &["site", "system", "workload"]),
    ("dr_verdict", &["site", "system", "verdict"]),
    ("dr_verdict_reason", &["site", "system", "check", "reason"]),
    ("dr_healthy_but_unusable", &["site", "system"]),
    ("dr_verdict_last_change_timestamp_seconds", &["site", "system"]),
    ("dr_surface_healthy", &["site", "system", "surface", "decisive"]),
    ("dr_surface_contradicted", &["site", "system", "surface"]),
    ("dr_site_info", &["site", "site_region", "declared_role"]),
    ("dr_system_info", &["site", "system", "strategy"]),
    ("dr_role", &["site", "system", "role"]),
    ("dr_role_conflict", &["site", "system"]),
    ("dr_traffic_expected", &["site", "system"]),
    ("dr_maintenance_active", &["site", "system"]),
    ("dr_drill_active", &["site", "system"]),
    ("dr_maintenance_expiry_timestamp_seconds", &["site", "system"]),
    ("dr_drill_expiry_timestamp_seconds", &["site", "system"]),
    ("dr_db_rpo_target_seconds", &["site", "system", "db"]),
    ("dr_rto_target_seconds", &["site", "system"]),
    ("dr_check_status", &["site", "system", "check", "target", "status"]),
    ("dr_check_last_completed_timestamp_seconds", &["site", "system", "check", "target"]),
    ("dr_check_last_success_timestamp_seconds", &["site", "system", "check", "target"]),
    ("dr_check_interval_seconds", &["site", "system", "check", "target"]),
    ("dr_check_duration_seconds", &["site", "system", "check", "target"]),
    ("dr_check_attempts_total", &["site", "system", "check", "target"]),
    ("dr_check_failures_total", &["site", "system", "check", "target", "reason"]),
    ("dr_db_endpoint_region_match", &["site", "system", "db"]),
    ("dr_db_endpoint_info", &["site", "system", "db", "source", "is_ip_literal"]),
    ("dr_db_endpoint_config_match", &["site", "system", "db"]),
    ("dr_db_connect_success", &["site", "system", "db"]),
    ("dr_db_connect_seconds", &["site", "system", "db"]),
    ("dr_db_app_sessions", &["site", "system", "db"]),
    ("dr_db_clock_offset_seconds", &["site", "system", "db"]),
    ("dr_synthetic_query_duration_seconds", &["site", "system", "db", "query"]),
    ("dr_synthetic_query_rows", &["site", "system", "db", "query"]),
    ("dr_synthetic_data_newest_timestamp_seconds", &["site", "system", "db", "query"]),
    ("dr_synthetic_request_success", &["site", "system", "request"]),
    ("dr_synthetic_request_duration_seconds", &["site", "system", "request"]),
    ("dr_traffic_business_requests_total", &["site", "system", "workload"]),
    ("dr_traffic_probe_requests_total", &["site", "system", "workload"]),
    ("dr_traffic_synthetic_requests_total", &["site", "system", "workload"]),
    ("dr_traffic_last_business_request_timestamp_seconds", &["site", "system", "workload"]),
    ("dr_traffic_accounting_suspect", &["site", "system", "workload"]),
    ("dr_traffic_window_complete", &["site", "system", "workload"]),
    ("dr_k8s_workload_replicas_ready", &["site", "system", "workload"]),
    ("dr_k8s_workload_replicas_required", &["site", "system", "workload"]),
    ("dr_k8s_workload_oldest_pod_timestamp_seconds", &["site", "system", "workload"]),
    ("dr_k8s_readiness_probe_defined", &["site", "system", "workload"]),
    ("dr_k8s_service_ready_endpoints", &["site", "system", "workload"]),
    ("dr_exporter_config_last_reload_successful", &[]),
    ("dr_exporter_config_last_reload_success_timestamp_seconds", &[]),
    ("dr_exporter_leader", &[]),
    ("dr_exporter_scheduler_lag_seconds", &[]),
    ("dr_exporter_checks_planned", &[]),
    ("dr_exporter_check_gaps", &["reason"]),
];

/// The text of every fenced block of that language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn parses(yaml: &str) -> Result<(), String> {
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    crate::config::parse("example", yaml, now).map(drop).map_err(|problems| problems.to_string())
}

fn metric(name: &str) -> Option<&'static Metric> {
    catalogue::all().into_iter().find(|metric| metric.name == name)
}

#[test]
fn everything_that_the_contract_demands_is_there() {
    for (name, labels) in DEMANDED {
        let metric = metric(name).unwrap_or_else(|| panic!("METRICS.md demands {name}"));
        assert_eq!(metric.labels, *labels, "{name}");
    }
}

#[test]
fn a_name_is_defined_once() {
    let all = catalogue::all();
    let names: BTreeSet<_> = all.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), all.len());
    for kind in KINDS {
        for own in kind.metrics {
            let first = metric(own.name).unwrap();
            assert!(std::ptr::eq(first, *own), "{} is defined twice", own.name);
        }
    }
    let frame = include_str!("../../metrics/catalogue.rs");
    for name in names {
        assert!(frame.matches(&format!(": \"{name}\",")).count() <= 1, "{name} is twice in the frame");
    }
}

#[test]
fn names_helps_and_labels_follow_the_rules() {
    for Metric { name, help, shape, labels, unrenewed } in catalogue::all() {
        let snake = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && !text.contains("__")
                && !text.ends_with('_')
        };
        assert!(snake(name) && (name.starts_with("dr_") || name.starts_with("process_")), "{name}");
        assert_eq!(name.ends_with("_total"), *shape == Shape::Counter, "{name}: only counters end in _total");
        for sample in ["_bucket", "_sum", "_count", "_created"] {
            assert!(!name.ends_with(sample), "{name} looks like a sample of another family");
        }
        if let Shape::Histogram(bounds) = shape {
            assert!(name.ends_with("_seconds"), "{name}: bounds are in seconds");
            assert!(bounds.is_sorted_by(|a, b| a < b), "{name}: bounds do not grow");
            assert_eq!(*unrenewed, Unrenewed::Stays, "{name}: a histogram only grows");
        }
        for word in
            ["_milliseconds", "_ms", "_minutes", "_hours", "_age", "_age_seconds", "_kilobytes", "_percent"]
        {
            assert!(!name.ends_with(word), "{name}: base units, and never an age");
        }
        if help.contains("seconds since 1970") {
            let is_moment = name.ends_with("_timestamp_seconds") || *name == "process_start_time_seconds";
            assert!(is_moment, "{name} is a moment");
        } else {
            assert!(!name.contains("_timestamp_"), "{name}: HELP says since when");
        }
        assert!(!help.is_empty() && !help.contains('\n') && !help.ends_with('.'), "{name}: HELP is one line");
        assert!(!help.contains('\\') && !help.contains('|'), "{name}: HELP is written unescaped");
        assert!(labels.iter().all(|label| snake(label) && !FORBIDDEN.contains(label)), "{name}: {labels:?}");
        assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len(), "{name}: {labels:?}");
        if name.starts_with("dr_") && !name.starts_with("dr_exporter_") {
            let of_site = matches!(*name, "dr_site_info" | "dr_site_identity_verified" | "dr_peer_expected");
            let first: &[&str] = if of_site { &["site"] } else { &["site", "system"] };
            assert!(labels.starts_with(first), "{name}: {labels:?}");
        } else {
            assert!(!labels.contains(&"site") && !labels.contains(&"system"), "{name} is about the exporter");
        }
    }
}

#[test]
fn every_metric_is_on_the_page_once() {
    let page = metrics::markdown();
    for Metric { name, .. } in catalogue::all() {
        assert_eq!(page.matches(&format!("\n| `{name}` |")).count(), 1, "{name}");
    }
}

#[test]
fn the_example_of_every_kind_is_configuration() {
    let site = "site: {name: a, region: us-west-2, role: standby}\n";
    for Kind { check, about, example, metrics: _, reasons } in KINDS {
        let site = if example.starts_with("site:") { "" } else { site };
        let yaml = if example.contains("systems:\n") {
            format!("{site}{example}\n")
        } else {
            let indented = example.lines().map(|line| format!("    {line}\n")).collect::<String>();
            format!(
                "{site}systems:\n  - name: orders\n    workloads: [{{name: api-server, instances: [{{name: a, url: \
                 \"http://10.1.4.7:8080\"}}]}}]\n{indented}"
            )
        };
        assert_eq!(parses(&yaml), Ok(()), "{check}:\n{yaml}");
        assert!(parses(&yaml.replace("name:", "nam:")).is_err(), "{check}: the example was not even read");
        assert!(about.ends_with('.'), "{check}");
        let reasons = reasons.concat();
        assert_eq!(reasons.iter().collect::<BTreeSet<_>>().len(), reasons.len(), "{check}: a reason twice");
    }
}

/// The table is written by hand, so the judge is asked whether it is true.
#[test]
fn the_page_names_what_is_fatal() {
    let row = checks::TABLE.lines().find(|row| row.ends_with("| `unusable` |")).unwrap();
    let intent = Intent { role: Role::Standby, strategy: Strategy::Hot, primary_down: false };
    let weighed = |check, status, reason| Weighed { check, target: "x".to_owned(), status, reason };
    for check in Check::ALL.iter().copied() {
        let reason = if check == Check::Replication { Reason::Lagging } else { Reason::Other };
        let able = weighed(Check::SyntheticQuery, Status::Pass, None);
        let judgement = judge(intent, &[able, weighed(check, Status::Fail, Some(reason))], &[]);
        let fatal = judgement.verdict == Verdict::Unusable;
        assert_eq!(row.contains(&format!("`{check}`")), fatal, "{check}");
    }
}

#[test]
fn a_stale_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for pages in [Page::DOCS, Page::DASHBOARDS] {
        let all: Vec<_> = pages.iter().map(|page| page.file()).collect();
        assert_eq!(stale(pages, dir.path()), all);
        write(pages, dir.path()).unwrap();
        assert_eq!(stale(pages, dir.path()), Vec::<&str>::new());
        std::fs::write(dir.path().join(all[1]), pages[1].text() + " ").unwrap();
        std::fs::remove_file(dir.path().join(all[2])).unwrap();
        assert_eq!(stale(pages, dir.path()), all[1..=2]);
    }
}

#[test]
fn the_readme_quotes_the_example_and_it_parses() {
    assert!(
        blocks(README, "yaml").iter().any(|block| block == EXAMPLE),
        "README.md and docs/example.yaml differ"
    );
    assert_eq!(parses(EXAMPLE), Ok(()));
}

#[test]
fn the_readme_names_every_flag_and_command() {
    let cli = Cli::command();
    for flag in cli.get_arguments().filter_map(|argument| argument.get_long()) {
        assert!(README.contains(&format!("`--{flag}`")), "README.md does not name --{flag}");
    }
    for command in cli.get_subcommands() {
        let name = command.get_name();
        assert!(README.contains(&format!("`dr-exporter {name}")), "README.md does not name {name}");
    }
}

#[test]
fn the_readme_names_every_route() {
    let web = include_str!("../../web.rs");
    let routes: Vec<_> =
        web.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next()).collect();
    assert!(routes.len() >= 6, "{routes:?}");
    for route in routes {
        assert!(README.contains(&format!("`{route}`")), "README.md does not name {route}");
    }
}

#[test]
fn the_queries_of_the_readme_parse_and_name_real_series() {
    let queries = blocks(README, "promql").join("\n");
    let queries: Vec<_> = queries.split("\n\n").map(str::trim).filter(|query| !query.is_empty()).collect();
    assert!(queries.len() >= 5, "{} queries", queries.len());
    for query in queries {
        promql_parser::parser::parse(query).unwrap_or_else(|error| panic!("{error}: {query}"));
        let words = query.lines().filter(|line| !line.starts_with('#')).collect::<String>();
        for word in words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            let real = metric(word).or_else(|| family.and_then(metric)).is_some();
            assert!(!word.starts_with("dr_") || real, "there is no {word}: {query}");
        }
    }
}
