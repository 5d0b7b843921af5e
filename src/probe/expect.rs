//! Whether an HTTP answer is the expected one. Pure.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;

use crate::config::{Expect, NewestInBody, Tls};
use crate::model::{Reason, age, length};
use crate::net::http::{BodyEnd, HttpRequest, HttpResponse};

/// How far in the future a moment may be before it is wrong: clocks differ a little.
const SKEW: std::time::Duration = std::time::Duration::from_secs(5);
/// How much of a value that the owner expects is repeated in a sentence.
const SHOWN: usize = 60;
/// How long a text may be that is repeated from an answer.
const WORDS: usize = 32;
/// How long a piece of what we sent is, at least, that nobody is to read in an answer.
const PIECE: usize = 4;

/// An answer, as far as expectations reach.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: &'a http::HeaderMap,
    /// The body, or its beginning.
    pub body: &'a [u8],
    /// The whole body was read.
    pub whole: bool,
    /// What was asked; an answer may repeat the credentials in it.
    pub asked: Option<&'a HttpRequest>,
}

impl<'a> Seen<'a> {
    /// What an answer to that request shows.
    pub fn of(answer: &'a HttpResponse, asked: &'a HttpRequest) -> Self {
        Seen {
            status: answer.status.as_u16(),
            headers: &answer.headers,
            body: &answer.body,
            whole: answer.end == BodyEnd::Complete,
            asked: Some(asked),
        }
    }

    /// A value of the answer as a sentence repeats it: numbers, and words of which we know that they are no credential.
    /// Health endpoints like to say with which connection string they failed, and error pages what they were sent.
    fn repeated(&self, found: &Value) -> String {
        let Value::String(text) = found else { return brief(found) };
        let are_words = text.chars().count() <= WORDS
            && text.chars().all(|c| c.is_ascii_alphanumeric() || [' ', '.', '_', '-'].contains(&c));
        if are_words && !self.was_sent(text) { brief(found) } else { "another text".to_owned() }
    }

    /// Whether something that may be secret in the request is a part of the text, or the other way round.
    fn was_sent(&self, text: &str) -> bool {
        let Some(asked) = self.asked else { return false };
        let headers = asked.headers.iter().map(|(_, value)| value.expose().to_owned());
        let body = asked.body.iter().map(|body| String::from_utf8_lossy(body).into_owned());
        let query = asked.url.query_pairs().map(|(_, value)| value.into_owned());
        headers.chain(body).chain(query).chain(asked.url.query().map(str::to_owned)).any(|sent| {
            let mut pieces = sent.split(|c: char| !c.is_alphanumeric()).filter(|piece| piece.len() >= PIECE);
            text.len() >= PIECE && sent.contains(text) || pieces.any(|piece| text.contains(piece))
        })
    }
}

/// The certificates that are trusted beside the system's.
pub fn ca_files(tls: Option<&Tls>) -> Vec<PathBuf> {
    tls.and_then(|tls| tls.ca_file.clone()).into_iter().collect()
}

/// What is wrong with an answer.
pub type Wrong = (Reason, String);

/// Whether anybody looks at the body.
pub fn needs_body(expect: &Expect) -> bool {
    let Expect { status: _, json, json_exists, body_regex, header: _, newest, unknown_path_status: _ } =
        expect;
    !json.is_empty() || !json_exists.is_empty() || body_regex.is_some() || newest.is_some()
}

/// Compares an answer with what is expected; the first difference counts.
///
/// # Errors
///
/// `http_status`, `body_mismatch`, or `stale_data` and `wrong_value` for the moment in the body.
pub fn compare(expect: &Expect, seen: Seen<'_>, now: Timestamp) -> Result<(), Wrong> {
    let Expect { status, json, json_exists, body_regex, header, newest, unknown_path_status: _ } = expect;
    if !status.contains(&seen.status) {
        let wanted: Vec<_> = status.iter().map(u16::to_string).collect();
        return Err((
            Reason::HttpStatus,
            format!("status {}, expected {}", seen.status, wanted.join(" or ")),
        ));
    }
    for (name, wanted) in header {
        let found = seen.headers.get(name).and_then(|value| value.to_str().ok());
        if found != Some(wanted) {
            let what = if found.is_some() { "has another value than expected" } else { "is missing" };
            return Err((Reason::BodyMismatch, format!("the header {name} {what}")));
        }
    }
    if let Some(pattern) = body_regex
        && !pattern.0.is_match(&String::from_utf8_lossy(seen.body))
    {
        let where_ = if seen.whole { "the body" } else { "the part of the body that was read" };
        return Err((Reason::BodyMismatch, format!("{where_} does not match the expected pattern")));
    }
    if json.is_empty() && json_exists.is_empty() && newest.is_none() {
        return Ok(());
    }
    if !seen.whole {
        return Err((Reason::BodyMismatch, format!("the body is longer than {} bytes", seen.body.len())));
    }
    // A byte order mark is no part of the text, and parsers may pass over it (RFC 8259, section 8.1).
    let text = seen.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(seen.body);
    let Ok(body) = serde_json::from_slice::<Value>(text) else {
        return Err((Reason::BodyMismatch, "the body is not JSON".to_owned()));
    };
    for (pointer, wanted) in json {
        let found = body.pointer(pointer);
        if !found.is_some_and(|found| same(found, wanted)) {
            let found = found.map_or_else(|| "missing".to_owned(), |found| seen.repeated(found));
            return Err((Reason::BodyMismatch, format!("{pointer} is {found}, expected {}", brief(wanted))));
        }
    }
    for pointer in json_exists {
        if body.pointer(pointer).is_none_or(Value::is_null) {
            return Err((Reason::BodyMismatch, format!("{pointer} is missing")));
        }
    }
    newest.as_ref().map_or(Ok(()), |newest| compare_age(newest, &body, now))
}

fn compare_age(newest: &NewestInBody, body: &Value, now: Timestamp) -> Result<(), Wrong> {
    let NewestInBody { pointer, max_age } = newest;
    let found = match body.pointer(pointer) {
        Some(Value::String(text)) => text.parse::<Timestamp>().ok(),
        Some(Value::Number(number)) => number.as_f64().and_then(from_seconds),
        _ => None,
    };
    let Some(found) = found else {
        return Err((Reason::BodyMismatch, format!("{pointer} is not a moment in time")));
    };
    is_recent(found, max_age.0, now).map_err(|(reason, words)| (reason, format!("{pointer} {words}")))
}

/// Whether a moment is neither too old nor in the future.
///
/// # Errors
///
/// `stale_data` or `wrong_value`, with the rest of a sentence.
pub fn is_recent(moment: Timestamp, max_age: std::time::Duration, now: Timestamp) -> Result<(), Wrong> {
    let (old, ahead) = (age(now, moment), age(moment, now));
    if ahead > SKEW {
        return Err((Reason::WrongValue, format!("is {} in the future", length(ahead))));
    }
    if old > max_age {
        return Err((Reason::StaleData, format!("is {} old, allowed are {}", length(old), length(max_age))));
    }
    Ok(())
}

/// A moment from seconds since 1970.
pub fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let whole = seconds.is_finite().then(|| (seconds * 1e6).round())?;
    (whole.abs() < 1e18).then(|| Timestamp::from_microsecond(whole as i64).ok()).flatten()
}

/// Numbers compare as numbers when both sides are numbers, containers by their parts, the rest as text.
pub fn same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_i128().is_none() || b.as_i128().is_none()) && a.as_f64() == b.as_f64()
        }
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => found == wanted,
        _ => text(found) == text(wanted),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as a sentence repeats it: short, and never a container.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => {
            let text = scalar.to_string();
            match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use serde_json::json;

    fn seen(body: &'static [u8], headers: &http::HeaderMap) -> Result<(), Wrong> {
        let expect: Expect = serde_json::from_value(json!({
            "status": [200], "json": {"/database": "connected", "/n": 1}, "json_exists": ["/items/0/id"],
            "newest": {"pointer": "/at", "max_age": "60s"},
        }))
        .unwrap();
        compare(
            &expect,
            Seen { status: 200, headers, body, whole: true, asked: None },
            "2026-01-01T00:01:00Z".parse().unwrap(),
        )
    }

    #[test]
    fn the_first_difference_is_named() {
        let none = http::HeaderMap::new();
        let table: &[(&'static [u8], Result<(), (Reason, &str)>)] = &[
            (br#"{"database":"connected","n":1.0,"items":[{"id":7}],"at":"2026-01-01T00:00:30Z"}"#, Ok(())),
            (br#"{"database":"connected","n":"1","items":[{"id":7}],"at":1767225630}"#, Ok(())),
            (b"<html>", Err((Reason::BodyMismatch, "the body is not JSON"))),
            (
                br#"{"database":"degraded","n":1}"#,
                Err((Reason::BodyMismatch, r#"/database is "degraded", expected "connected""#)),
            ),
            (br#"{"n":1}"#, Err((Reason::BodyMismatch, r#"/database is missing, expected "connected""#))),
            (
                br#"{"database":"connected","n":1,"items":[]}"#,
                Err((Reason::BodyMismatch, "/items/0/id is missing")),
            ),
            (
                br#"{"database":"connected","n":1,"items":[{"id":7}],"at":"2025-12-31T00:00:00Z"}"#,
                Err((Reason::StaleData, "/at is 24 h old, allowed are 60 s")),
            ),
            (
                br#"{"database":"connected","n":1,"items":[{"id":7}],"at":"2026-01-01T00:02:00Z"}"#,
                Err((Reason::WrongValue, "/at is 60 s in the future")),
            ),
            (
                br#"{"database":"connected","n":1,"items":[{"id":7}],"at":true}"#,
                Err((Reason::BodyMismatch, "/at is not a moment in time")),
            ),
        ];
        for (body, expected) in table {
            let expected = expected.map_err(|(reason, words)| (reason, words.to_owned()));
            assert_eq!(seen(body, &none), expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn an_answer_is_repeated_only_where_it_can_hold_no_credential() {
        let asked = HttpRequest {
            headers: vec![(http::header::AUTHORIZATION, Secret::new("Bearer hunter-two"))],
            ..HttpRequest::get("http://h/x?token=swordfish".parse().unwrap())
        };
        let headers = http::HeaderMap::new();
        let seen = Seen { status: 200, headers: &headers, body: b"", whole: true, asked: Some(&asked) };
        for shown in ["degraded", "2024.12.1", "not ready yet", "DOWN", ""] {
            assert_eq!(seen.repeated(&json!(shown)), format!("{shown:?}"));
        }
        for hidden in [
            "postgres://app:pw@h/d",
            "password=pw",
            "user: pw",
            "hunter-two",
            "two words with hunter in",
            "Bearer",
            "swordfish",
            "sword",
            "a text that is longer than anybody expects",
            "umlaut ü",
        ] {
            assert_eq!(seen.repeated(&json!(hidden)), "another text", "{hidden}");
        }
        assert_eq!(seen.repeated(&json!(7)), "7");
        assert_eq!(seen.repeated(&json!(["swordfish"])), "a list");
    }

    #[test]
    fn numbers_compare_as_numbers_and_large_ones_exactly() {
        assert!(same(&json!(1), &json!(1.0)));
        assert!(same(&json!("20241201"), &json!(20_241_201)));
        assert!(!same(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992_u64)));
        assert!(!same(&json!([1]), &json!("[1]")));
        assert!(same(&json!({"a": [1]}), &json!({"a": [1]})));
    }

    #[test]
    fn a_body_that_was_cut_matches_nothing_that_needs_the_whole() {
        let expect: Expect = serde_json::from_value(json!({"json_exists": ["/a"]})).unwrap();
        let headers = http::HeaderMap::new();
        let cut = Seen { status: 200, headers: &headers, body: b"{\"a\":1", whole: false, asked: None };
        assert_eq!(compare(&expect, cut, Timestamp::UNIX_EPOCH).unwrap_err().0, Reason::BodyMismatch);
        let by_pattern: Expect = serde_json::from_value(json!({"body_regex": "\"a\""})).unwrap();
        assert_eq!(compare(&by_pattern, cut, Timestamp::UNIX_EPOCH), Ok(()));
    }
}
