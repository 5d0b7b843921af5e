//! Every metric of the frame, once: full name, help, labels in their order. The metrics of a check stand in the
//! file of its kind; [`all`] joins both.

use crate::model::{Metric, Shape, Unrenewed};
use crate::probe::KINDS;

/// Every metric that this program can emit, sorted by name.
pub fn all() -> Vec<&'static Metric> {
    let mut all: Vec<_> = FRAME.to_vec();
    all.push(&crate::discovery::cluster::WATCH_HEALTHY);
    all.extend(KINDS.iter().flat_map(|kind| kind.metrics.iter().copied()));
    all.sort_by_key(|metric| metric.name);
    all.dedup_by_key(|metric| metric.name);
    all
}

/// The values that a label can have, where they are a closed set.
pub fn label_values(metric: &Metric, label: &str) -> Option<Vec<&'static str>> {
    use crate::model::{
        Check, FingerprintKind, GapReason, Reason, Resource, Role, Status, Strategy, Verdict,
    };
    Some(match label {
        "verdict" => Verdict::ALL.iter().map(|value| value.as_str()).collect(),
        "status" if metric.name == CHECK_STATUS.name => {
            Status::ALL.iter().map(|value| value.as_str()).collect()
        }
        "check" => Check::ALL.iter().map(|value| value.as_str()).collect(),
        "reason" if metric.name == CHECK_GAPS.name => {
            GapReason::ALL.iter().map(|value| value.as_str()).collect()
        }
        "reason" => Reason::ALL.iter().map(|value| value.as_str()).collect(),
        "role" | "declared_role" => Role::ALL.iter().map(|value| value.as_str()).collect(),
        "strategy" => Strategy::ALL.iter().map(|value| value.as_str()).collect(),
        "resource" => Resource::ALL.iter().map(|value| value.as_str()).collect(),
        "object_kind" => FingerprintKind::ALL.iter().map(|value| value.as_str()).collect(),
        "state" if metric.name == crate::probe::drift::OBJECTS.name => crate::probe::drift::STATES.to_vec(),
        "decisive" => vec!["true", "false"],
        "evidence" => crate::probe::db_endpoint_region::EVIDENCE.to_vec(),
        _ => return None,
    })
}

macro_rules! frame {
    ($($name:ident: $full:literal, $shape:expr, $labels:expr, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub static $name: Metric =
                Metric { name: $full, help: $help, shape: $shape, labels: $labels, unrenewed: Unrenewed::Stays };
        )+
        const FRAME: &[&Metric] = &[$(&$name,)+];
    };
}

const SYSTEM: &[&str] = &["site", "system"];
const CHECK: &[&str] = &["site", "system", "check", "target"];

frame! {
    VERDICT: "dr_verdict", Shape::Gauge, &["site", "system", "verdict"],
        "Judgement on a system, 1 for the verdict that stands; from background checks, each as old as its dr_check_last_completed_timestamp_seconds";
    VERDICT_REASON: "dr_verdict_reason", Shape::Gauge, &["site", "system", "check", "reason"],
        "1 for every check and reason that stands against usable; from background checks no older than three intervals";
    VERDICT_SINCE: "dr_verdict_last_change_timestamp_seconds", Shape::Gauge, SYSTEM,
        "When the verdict last changed, in seconds since 1970; the start of the exporter if it never did";
    HEALTHY_BUT_UNUSABLE: "dr_healthy_but_unusable", Shape::Gauge, SYSTEM,
        "1 while the verdict is unusable and a decisive surface claims health; from background checks no older than three intervals";
    SURFACE_CONTRADICTED: "dr_surface_contradicted", Shape::Gauge, &["site", "system", "surface"],
        "1 while a surface claims health and a fresh check of what it vouches for fails and is not waived; absent while the claim is unknown";
    SITE_INFO: "dr_site_info", Shape::Gauge, &["site", "site_region", "declared_role"],
        "What is declared of the site, always 1";
    SYSTEM_INFO: "dr_system_info", Shape::Gauge, &["site", "system", "strategy"],
        "What is promised of the system, always 1";
    ROLE: "dr_role", Shape::Gauge, &["site", "system", "role"],
        "Role in force, 1 for the role that is";
    ROLE_CONFLICT: "dr_role_conflict", Shape::Gauge, SYSTEM,
        "1 while the role in force is not the declared one";
    TRAFFIC_EXPECTED: "dr_traffic_expected", Shape::Gauge, SYSTEM,
        "1 if business traffic reaches this site by design; absent if nobody said";
    MAINTENANCE_ACTIVE: "dr_maintenance_active", Shape::Gauge, SYSTEM,
        "1 during declared maintenance; gates pages, never the verdict";
    MAINTENANCE_EXPIRY: "dr_maintenance_expiry_timestamp_seconds", Shape::Gauge, SYSTEM,
        "When the declared maintenance ends, in seconds since 1970; absent if none is declared";
    DRILL_ACTIVE: "dr_drill_active", Shape::Gauge, SYSTEM,
        "1 during a declared failover exercise; gates pages, never the verdict";
    DRILL_EXPIRY: "dr_drill_expiry_timestamp_seconds", Shape::Gauge, SYSTEM,
        "When the declared failover exercise ends, in seconds since 1970; absent if none is declared";
    RPO_TARGET: "dr_db_rpo_target_seconds", Shape::Gauge, &["site", "system", "db"],
        "Recovery point objective that is promised for the database";
    RTO_TARGET: "dr_rto_target_seconds", Shape::Gauge, SYSTEM,
        "Recovery time objective that is promised for the system";
    CHECK_STATUS: "dr_check_status", Shape::Gauge, &["site", "system", "check", "target", "status"],
        "State of a check, 1 for the status that stands; unknown if the last run is older than three intervals";
    CHECK_COMPLETED: "dr_check_last_completed_timestamp_seconds", Shape::Gauge, CHECK,
        "When the last run of the check ended, in seconds since 1970; 0 if none did";
    CHECK_SUCCESS: "dr_check_last_success_timestamp_seconds", Shape::Gauge, CHECK,
        "When the check last passed, in seconds since 1970; 0 if it never did";
    CHECK_INTERVAL: "dr_check_interval_seconds", Shape::Gauge, CHECK,
        "Time from one run of the check to the next";
    CHECK_DURATION: "dr_check_duration_seconds", Shape::Histogram(crate::model::DURATION_BOUNDS), CHECK,
        "How long runs of the check took, all attempts of a run together";
    CHECK_ATTEMPTS: "dr_check_attempts_total", Shape::Counter, CHECK,
        "Attempts that the check made";
    CHECK_FAILURES: "dr_check_failures_total", Shape::Counter, &["site", "system", "check", "target", "reason"],
        "Runs of the check that failed or could not see, by reason";
    BUILD_INFO: "dr_exporter_build_info", Shape::Gauge, &["version"],
        "Which dr-exporter this is, always 1";
    CONFIG_SUCCESS: "dr_exporter_config_last_reload_successful", Shape::Gauge, &[],
        "1 if the configuration was last loaded without an error";
    CONFIG_TIME: "dr_exporter_config_last_reload_success_timestamp_seconds", Shape::Gauge, &[],
        "When the configuration was last loaded without an error, in seconds since 1970";
    WEB_CONFIG_SUCCESS: "dr_exporter_web_config_last_reload_successful", Shape::Gauge, &[],
        "1 if --web.config.file and the files that it names were last read without an error; absent without the flag";
    LEADER: "dr_exporter_leader", Shape::Gauge, &[],
        "1 if this replica is the one that probes";
    SHARD_INFO: "dr_exporter_shard_info", Shape::Gauge, &["shard", "shards"],
        "Which of how many exporters that share the systems among them this is, counted from 0, always 1; absent if they do not";
    SCHEDULER_LAG: "dr_exporter_scheduler_lag_seconds", Shape::Gauge, &[],
        "By how much the most overdue check is overdue at the time of the scrape";
    CHECKS_PLANNED: "dr_exporter_checks_planned", Shape::Gauge, &[],
        "How many checks are planned";
    CHECK_GAPS: "dr_exporter_check_gaps", Shape::Gauge, &["reason"],
        "Checks that were asked for and cannot be put at all, by reason";
    PROCESS_CPU: "process_cpu_seconds_total", Shape::Counter, &[],
        "CPU time that this process used";
    PROCESS_RESIDENT: "process_resident_memory_bytes", Shape::Gauge, &[],
        "Resident memory of this process";
    PROCESS_VIRTUAL: "process_virtual_memory_bytes", Shape::Gauge, &[],
        "Virtual memory of this process";
    PROCESS_OPEN_FDS: "process_open_fds", Shape::Gauge, &[],
        "Open file descriptors of this process";
    PROCESS_MAX_FDS: "process_max_fds", Shape::Gauge, &[],
        "How many file descriptors this process may open";
    PROCESS_START: "process_start_time_seconds", Shape::Gauge, &[],
        "When this process started, in seconds since 1970";
}
