//! Whole files in, whole answers out.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Attempts, Config, Loaded, Problems, Scheduled, masked_yaml, parse};

/// A copy of the contract, `config.example.yaml`.
const EXAMPLE: &str = include_str!("testdata/example.yaml");
const STATIC: &str = include_str!("testdata/static.yaml");
/// Bad files, each with every word that it must be answered with.
const BAD: &str = include_str!("testdata/bad.txt");
const SITE: &str = "site: {name: a, region: r, role: standby}\n";

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn read(text: &str) -> Result<Loaded, Problems> {
    parse("f", text, now())
}

fn warnings(text: &str) -> Vec<String> {
    read(text).unwrap().warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_without_a_cluster_is_read_with_its_defaults() {
    let Loaded { config, warnings, text } = read(STATIC).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(text, STATIC);
    let system = &config.systems[0];
    let schedule = system.databases[0].schedule(&config.defaults);
    assert_eq!(schedule.interval, Duration::from_secs(30));
    assert_eq!(schedule.timeout, Duration::from_secs(5));
    assert_eq!(schedule.attempts, Attempts { pass: 1, of: 1 });
    assert_eq!(system.strategy().as_str(), "hot");
    assert_eq!(system.surfaces[0].expect.status, [200]);
    assert!(!system.surfaces[0].decisive);
    assert_eq!(system.traffic[0].window.0, Duration::from_secs(86_400));
    let metrics = system.workload("api-server").unwrap().metrics.as_ref().unwrap();
    assert_eq!((metrics.port, metrics.path.as_str()), (Some(9102), "/metrics"));
    assert_eq!(config.defaults.limits.concurrency, 16);
}

#[test]
fn the_contract_is_understood_and_what_is_not_built_is_refused() {
    let expected = "\
f:73:9: systems[0].databases[0].identity: not supported yet
f:74:9: systems[0].databases[0].standby: not supported yet
f:80:9: systems[0].databases[0].cloud: not supported yet
f:98:5: systems[0].dns: not supported yet
f:102:5: systems[0].certificates: not supported yet
f:105:5: systems[0].infrastructure: not supported yet
f:108:1: cloud: not supported yet
7 errors";
    assert_eq!(read(EXAMPLE).unwrap_err().to_string(), expected);
}

#[test]
fn every_bad_file_is_told_all_that_is_wrong_with_it() {
    let (mut count, mut wrong) = (0, String::new());
    for case in BAD.split("=== file\n").skip(1) {
        let (text, says) = case.split_once("=== says\n").unwrap();
        let said = read(text).err().map_or_else(String::new, |problems| problems.to_string());
        if said != says.trim_end() {
            wrong += &format!("=== file\n{text}=== says\n{said}\n=== but should say\n{says}");
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 60, "{count} bad files");
}

#[test]
fn a_size_beyond_the_limit_is_refused() {
    let text = format!("{SITE}#{}", "x".repeat(super::MAX_BYTES));
    assert_eq!(read(&text).unwrap_err().to_string(), "f:1:1: larger than 8388608 bytes\n1 error");
}

#[test]
fn aliases_that_multiply_and_depth_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(read(&bomb).unwrap_err().to_string().contains("more than 1000000 values"));
    let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(read(&deep).is_err());
}

#[test]
fn an_alias_stands_for_its_value() {
    let text =
        format!("{SITE}defaults: {{interval: &i 40s, timeout: 7s}}\nsystems: [{{name: a, rpo: *i}}]\n");
    assert_eq!(read(&text).unwrap().config.systems[0].rpo.unwrap().0, Duration::from_secs(40));
}

#[test]
fn what_is_unwise_is_a_warning() {
    let database = |endpoint: &str| {
        format!("{SITE}systems: [{{name: s, databases: [{{name: d, endpoint: {endpoint}}}]}}]\n")
    };
    let inline = "f:2:59: systems[0].databases[0].endpoint.url: a password is written out in this address; prefer \
                  `password: {file: ...}` beside it";
    for url in [
        "postgres://u:pw@h/d",
        "host=h password=pw",
        "jdbc:postgresql://h/d?user=u&password=pw",
        "Host=h;Pwd=pw",
    ] {
        assert_eq!(warnings(&database(&format!("{{url: '{url}'}}"))), [inline], "{url}");
    }
    assert_eq!(warnings(&database("{url: 'postgres://u@h/d', password: {file: /pw}}")), Vec::<String>::new());
    let literal = "f:2:72: systems[0].databases[0].endpoint.password: a credential is written out here; prefer \
                   {file: ...}, {env: ...} or {secret: ...}";
    assert_eq!(warnings(&database("{url: x, password: {value: pw}}")), [literal]);
    let over = format!("{SITE}systems: [{{name: s, drill: {{until: 2026-05-01}}}}]\n");
    assert_eq!(
        warnings(&over),
        ["f:2:36: systems[0].drill.until: this time is over; the entry has no effect"]
    );
}

#[test]
fn a_waiver_may_use_the_name_of_the_metric() {
    let text = STATIC.replace("  - name: orders\n    workloads", "  - name: orders\n    waivers: [{check: db_setting_drift, target: orders, until: 2027-01-31, because: x}]\n    workloads");
    let config = read(&text).unwrap().config;
    let waiver = &config.systems[0].waivers[0];
    assert_eq!(waiver.check.unwrap().as_str(), "db_settings");
    assert_eq!(waiver.until.0.to_string(), "2027-02-01T00:00:00Z");
}

#[test]
fn no_spelling_of_a_credential_is_shown() {
    for literal in [
        "postgres://u:CANARY@h/d",
        "postgres://u:CANARY/x@h/d",
        "postgres://u:1/CANARY@h/d",
        "postgres://CANARY:1?x@h/d",
        "jdbc:postgresql://h/d?password=CANARY",
        "host=h password=CANARY",
        "Server=h;Pwd=CANARY",
        "CANARY",
        "http://CANARY@h/",
        "postgres://u:x@CANARY@h/d",
        "postgres://CANARY:1#x@h/d",
    ] {
        let text = format!(
            "{SITE}systems:\n- name: s\n  databases:\n  - {{name: d, endpoint: {{url: '{literal}', password: {{value: '{literal}'}}}}}}\n  \
             requests:\n  - {{name: r, url: 'http://h/CANARY?k=CANARY', method: POST, body: 'CANARY', headers: {{x-key: '{literal}', y: {{value: '{literal}'}}}}}}\n"
        );
        let loaded = read(&text).unwrap();
        assert!(!loaded.masked_yaml().contains("CANARY"), "{literal}: {}", loaded.masked_yaml());
        assert!(!format!("{loaded:?}").contains("CANARY"), "{literal}: {loaded:?}");
        for bad in [
            text.replace("name: d,", "nam: d,"),
            text.replace("{value: '", "{valu: '"),
            text.replace("url: '", "urll: '"),
        ] {
            assert!(!read(&bad).unwrap_err().to_string().contains("CANARY"), "{bad}");
        }
    }
}

#[test]
fn the_schema_tells_mistakes_one_by_one_and_every_key_is_explained() {
    let schema = super::json_schema();
    let text = schema.to_string();
    assert!(!text.contains("oneOf") && !text.contains("anyOf") && !text.contains("$ref"));
    let reference = super::reference_markdown();
    for row in reference.lines().filter(|row| row.starts_with("| `") || row.starts_with("| **")) {
        let meaning = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(meaning.ends_with('.') || meaning.ends_with('`') || meaning.ends_with('}'), "{row}");
    }
    assert!(reference.contains("`systems[].databases[].queries[].newest.max_age`"));
}

#[test]
fn everything_left_out_has_a_default() {
    assert!(serde_json::from_str::<Config>("{}").unwrap() == Config::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_text_is_answered(text in ".{0,200}") {
        let _ = read(&text);
        let _ = masked_yaml(&text);
    }

    /// Whatever is done to a good file, the answer is a configuration or a list of problems, and what the schema
    /// accepts, the structs accept.
    #[test]
    fn any_change_of_a_file_is_answered(
        example in any::<bool>(),
        at in 0.0..1.0f64,
        length in 0..30usize,
        put in "[-a-z0-9:{}\\[\\],&*!|>'\"# \n~.]{0,12}",
    ) {
        let base = if example { EXAMPLE } else { STATIC };
        let chars: Vec<char> = base.chars().collect();
        let start = (at * chars.len() as f64) as usize;
        let end = (start + length).min(chars.len());
        let text: String = chars[..start].iter().copied().chain(put.chars()).chain(chars[end..].iter().copied()).collect();
        let _ = masked_yaml(&text);
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(!problems.to_string().contains("a value does not fit its key"), "{}", text);
        }
    }
}

#[test]
fn a_file_that_is_not_there_yet_is_a_warning_when_the_file_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("here");
    std::fs::write(&here, "x").unwrap();
    let here = here.display();
    let text = format!(
        "{SITE}systems:\n  - name: s\n    databases:\n      - {{name: d, endpoint: {{url: {{file: /no/dsn}}, tls: {{ca_file: /no/ca}}}}}}\n\
         \x20     - {{name: e, endpoint: {{url: {{file: {here}}}}}}}\n"
    );
    let config = folder.path().join("c.yaml");
    std::fs::write(&config, &text).unwrap();
    let loaded = super::load(&config, now()).unwrap();
    let words = "this file does not exist now; it is read again at every attempt";
    let expected = [
        format!("{}:5:42: systems[0].databases[0].endpoint.url.file: {words}", config.display()),
        format!("{}:5:67: systems[0].databases[0].endpoint.tls.ca_file: {words}", config.display()),
    ];
    assert_eq!(loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    assert_eq!(read(&text).unwrap().warnings, [], "a text alone has no files to look for");
}

#[test]
fn user_and_password_in_a_url_are_refused_without_being_repeated() {
    let text = format!("{SITE}systems: [{{name: s, requests: [{{name: r, url: 'http://me:pw@h/'}}]}}]\n");
    let said = read(&text).unwrap_err().to_string();
    assert!(
        said.starts_with("f:2:47: systems[0].requests[0].url: user and password do not belong"),
        "{said}"
    );
    assert!(!said.contains("pw@"), "{said}");
}
