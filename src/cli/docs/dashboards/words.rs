//! Which number is shown by which word in which colour. A word always, so that nobody needs to see colours; green only
//! for what was tried and worked. Pure.

use serde_json::{Map, Value, json};

/// A number, its word, its colour.
pub(super) type Words = &'static [(u8, &'static str, &'static str)];

pub(super) const GREEN: &str = "green";
pub(super) const AMBER: &str = "orange";
pub(super) const RED: &str = "red";
pub(super) const ALARM: &str = "dark-red";
/// Not known: to be seen beside what nobody said anything of.
pub(super) const UNKNOWN: &str = "yellow";
/// Was known by somebody who is gone.
pub(super) const GONE: &str = "purple";
/// Nothing said of it.
pub(super) const GREY: &str = "#8e8e8e";
/// Somebody's word, which proves nothing.
pub(super) const CLAIM: &str = "blue";

/// For [`super::query::verdict`], the worst first.
pub(super) const VERDICT: Words = &[
    (6, "UNUSABLE, SAYS HEALTHY", ALARM),
    (5, "unusable", RED),
    (4, "not watched any more", GONE),
    (3, "unknown", UNKNOWN),
    (2, "degraded", AMBER),
    (1, "usable", GREEN),
    (0, "nothing expected", GREY),
];
/// For [`super::query::status`].
pub(super) const STATUS: Words = &[
    (4, "fail", RED),
    (3, "unknown", UNKNOWN),
    (2, "waived", AMBER),
    (1, "pass", GREEN),
    (0, "skipped", GREY),
];
pub(super) const CLAIMS: Words = &[(1, "says healthy", CLAIM), (0, "does not say healthy", AMBER)];
pub(super) const WORKED: Words = &[(1, "worked", GREEN), (0, "failed", RED)];
pub(super) const CONTRADICTED: Words = &[(1, "contradicted", RED), (0, "not contradicted", GREY)];
pub(super) const ENOUGH: Words = &[(1, "enough pods ready", CLAIM), (0, "too few pods ready", RED)];
pub(super) const ADMITTED: Words = &[(1, "would be admitted", GREEN), (0, "would be refused", RED)];
pub(super) const DEFINED: Words = &[(1, "defined", GREEN), (0, "missing", AMBER)];
pub(super) const AS_DECLARED: Words = &[(1, "NOT as declared", RED), (0, "as declared", GREEN)];
pub(super) const IN_REGION: Words = &[(1, "in its region", GREEN), (0, "in another region", RED)];
pub(super) const EXPECTED: Words = &[(1, "as expected", GREEN), (0, "another than expected", RED)];
pub(super) const SILENT: Words = &[(1, "no request of users", GREY), (0, "users are served", CLAIM)];
pub(super) const BY_DESIGN: Words = &[(1, "traffic expected", CLAIM), (0, "no traffic expected", GREY)];
pub(super) const COMPLETE: Words = &[(1, "complete", GREEN), (0, "incomplete", GREY)];
pub(super) const SUSPECT: Words = &[(1, "not to be believed", AMBER), (0, "plausible", GREEN)];
pub(super) const GATES: Words =
    &[(3, "maintenance and drill", CLAIM), (2, "drill", CLAIM), (1, "maintenance", CLAIM), (0, "none", GREY)];
pub(super) const STANDS: Words = &[(1, "stands", RED), (0, "past", GREY)];
pub(super) const ALIVE: Words = &[(1, "alive", GREEN), (0, "DEAD", RED)];
pub(super) const LEADS: Words = &[(1, "probes", GREEN), (0, "stands by", GREY)];
pub(super) const SCRAPED: Words = &[(1, "yes", GREEN), (0, "NO", RED)];
pub(super) const AGREE: Words = &[(2, "DISAGREE", AMBER), (1, "agree", GREY)];
pub(super) const LOADED: Words = &[(1, "loaded", GREEN), (0, "refused", RED)];
pub(super) const FIRING: Words = &[(1, "firing", RED)];

/// As a field's `mappings`, with words for what is not there.
pub(super) fn mappings(words: Words) -> Value {
    let mut options = Map::new();
    for (index, (number, text, color)) in words.iter().enumerate() {
        options.insert(number.to_string(), json!({ "color": color, "index": index, "text": text }));
    }
    let nothing = json!({ "color": GREY, "index": words.len(), "text": "no data" });
    json!([
        { "type": "value", "options": options },
        { "type": "special", "options": { "match": "null+nan", "result": nothing } },
    ])
}

/// As a field's `thresholds`: a colour, and others from a number on.
pub(super) fn thresholds(base: &str, steps: &[(f64, &str)]) -> Value {
    let first = json!({ "color": base, "value": null });
    let others = steps.iter().map(|(from, color)| json!({ "color": color, "value": from }));
    json!({ "mode": "absolute", "steps": std::iter::once(first).chain(others).collect::<Vec<_>>() })
}
