//! Whole expositions: the test is the documentation.

use super::*;
use crate::report::fixture::{incident, opened, report_on};

fn own() -> Own {
    Own {
        config_loaded: 1_734_531_700.0,
        config_ok: true,
        web_config_ok: None,
        leads: true,
        shard: None,
        scheduler_lag: 0.0,
        watches: BTreeMap::from([(Resource::Pods, true)]),
        process: None,
    }
}

/// The exposition without histograms, whose buckets say nothing here.
fn text_of(report: Report) -> String {
    let text = to_text_format(&open_metrics(report, own()).unwrap());
    let keep = |line: &&str| !line.contains("_duration_seconds") && !line.contains("build_info");
    text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_incident_as_prometheus_sees_it() {
    let found = text_of(report_on(&incident(), 0));
    let expected = include_str!("testdata/incident.txt");
    assert!(found == expected, "if this is meant, the new text is:\n{found}");
}

#[test]
fn everything_planned_is_exposed_before_anything_is_known() {
    let found = text_of(report_on(&opened(), 0));
    for present in [
        "dr_verdict{site=\"dr-west\",system=\"orders\",verdict=\"unknown\"} 1.0\n",
        "dr_healthy_but_unusable{site=\"dr-west\",system=\"orders\"} 0.0\n",
        "dr_check_status{site=\"dr-west\",system=\"orders\",check=\"traffic\",target=\"api-server\",status=\"unknown\"} 1.0\n",
        "dr_check_last_completed_timestamp_seconds{site=\"dr-west\",system=\"orders\",check=\"surface\",target=\"health\"} 0.0\n",
        "dr_exporter_checks_planned 4.0\n",
    ] {
        assert!(found.contains(present), "{present} is missing in:\n{found}");
    }
    for absent in
        ["dr_synthetic_query_success", "dr_surface_healthy", "dr_surface_contradicted", "dr_traffic_zero"]
    {
        assert!(!found.contains(absent), "{absent} is not known yet:\n{found}");
    }
}

#[test]
fn l93_a_stale_success_is_zero_and_nothing_is_ever_not_a_number() {
    let found = text_of(report_on(&incident(), 100_000));
    assert!(found.contains(
        "dr_synthetic_query_success{site=\"dr-west\",system=\"orders\",db=\"orders\",query=\"select_orders\"} 0.0\n"
    ));
    assert!(!found.contains("dr_surface_healthy"), "a claim that nobody repeated is not known");
    for line in found.lines() {
        let value = line.rsplit(' ').next().unwrap();
        assert!(!["NaN", "nan", "inf", "+Inf", "-Inf"].contains(&value), "{line}");
    }
}

#[test]
fn a_replica_that_stands_by_speaks_of_itself_only() {
    let shard = Some(Shard { ordinal: 1, shards: 3 });
    let standing_by = Own { leads: false, web_config_ok: Some(false), shard, ..own() };
    let text = to_text_format(&open_metrics(report_on(&incident(), 0), standing_by).unwrap());
    let names: std::collections::BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let about_itself = [
        "dr_exporter_build_info",
        "dr_exporter_checks_planned",
        "dr_exporter_config_last_reload_success_timestamp_seconds",
        "dr_exporter_config_last_reload_successful",
        "dr_exporter_leader",
        "dr_exporter_scheduler_lag_seconds",
        "dr_exporter_shard_info",
        "dr_exporter_watch_healthy",
        "dr_exporter_web_config_last_reload_successful",
        "dr_site_info",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), about_itself);
    assert!(text.contains("\ndr_exporter_leader 0.0\n"), "{text}");
    assert!(text.contains("\ndr_exporter_web_config_last_reload_successful 0.0\n"), "{text}");
    assert!(text.contains("\ndr_exporter_shard_info{shard=\"1\",shards=\"3\"} 1.0\n"), "{text}");
}

#[test]
fn both_formats_carry_the_same_samples() {
    use crate::exposition::{Format, samples};
    let open = open_metrics(report_on(&incident(), 0), own()).unwrap();
    let text = to_text_format(&open);
    let read = |body: &str, format| -> Vec<(String, Vec<(String, String)>, f64)> {
        samples(body.as_bytes(), format, |_| true)
            .map(|sample| {
                let sample = sample.unwrap();
                let labels =
                    sample.labels.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                (sample.name.into_owned(), labels, sample.value)
            })
            .collect()
    };
    let (open, text) = (read(&open, Format::OpenMetrics), read(&text, Format::Text));
    assert!(open.len() > 50);
    assert_eq!(open, text);
}

#[test]
fn text_of_counters_and_infos_is_what_0_0_4_wants() {
    let open = "# HELP a Things.\n# TYPE a counter\na_total{x=\"# HELP\"} 1\n# HELP b_seconds Time.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 2\n# EOF\n";
    let text = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"# HELP\"} 1\n# HELP b_seconds Time.\n# TYPE b_seconds gauge\nb_seconds 2\n";
    assert_eq!(to_text_format(open), text);
}
