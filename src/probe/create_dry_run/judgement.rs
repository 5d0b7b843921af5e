//! What a refusal of the API server means. Pure.
//!
//! Its messages are looked at for closed words and for names of Kubernetes objects in places that are known; nothing else
//! of them is repeated, because webhooks and policies write what they like.

use serde::Deserialize;

use crate::discovery::Gap;
use crate::model::{GapReason, Reason};
use crate::probe::Answer;

/// The parts of a `Status` (apimachinery, `meta/v1`) that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    #[serde(skip)]
    pub code: u16,
    pub message: String,
    pub reason: String,
    pub details: Option<Details>,
}

/// What a `Status` says beside its message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub causes: Vec<Cause>,
}

/// One cause.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cause {
    pub reason: String,
    pub field: String,
}

/// Judges a refusal that is not for want of a right of ours.
pub(super) fn judge(said: &Said) -> Result<Answer, Gap> {
    let message = said.message.as_str();
    // apiserver/pkg/admission/plugin/webhook: `failed calling webhook "x": ...`, `failed to call webhook` since 1.28.
    for head in ["failed calling webhook ", "failed to call webhook "] {
        if let Some((_, rest)) = message.split_once(head) {
            let webhook = named("admission webhook", quoted(rest, '"'));
            let (reason, words) = broken(rest);
            return Ok(Answer::fail(reason, format!("no pod can be created: the {webhook} {words}")));
        }
    }
    if let Some((_, rest)) = message.split_once("admission webhook ") {
        let webhook = named("admission webhook", quoted(rest, '"'));
        if rest.contains("does not support dry run") {
            let words = format!(
                "the {webhook} does not take dry runs, so that nobody can tell without creating a pod"
            );
            return Err(Gap::new(GapReason::Unsupported, words));
        }
        return Ok(Answer::fail(
            Reason::Permission,
            format!("no pod can be created: the {webhook} refuses it"),
        ));
    }
    for kind in ["ValidatingAdmissionPolicy ", "MutatingAdmissionPolicy "] {
        if let Some((_, rest)) = message.split_once(kind) {
            let policy = named("admission policy", quoted(rest, '\''));
            return Ok(Answer::fail(
                Reason::Permission,
                format!("no pod can be created: the {policy} refuses it"),
            ));
        }
    }
    match said.code {
        401 => Err(Gap::new(GapReason::Forbidden, "the Kubernetes API does not accept our account's token")),
        403 => Ok(refused(said)),
        404 => Err(Gap::new(GapReason::NotFound, "the namespace is not there any more")),
        409 => Err(Gap::blind("the dry run met a conflict of names or of counts; it is tried again")),
        400 | 422 => {
            let fields: Vec<&str> = said
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .filter_map(|cause| field(&cause.field))
                .collect();
            let fields = if fields.is_empty() { "a field".to_owned() } else { fields.join(", ") };
            let words = format!("no pod can be created: the API server finds it invalid in {fields}");
            Ok(Answer::fail(Reason::Misconfigured, words))
        }
        429 => Err(Gap::blind("the Kubernetes API has no room for us at the moment")),
        504 if said.reason == "Timeout" => {
            let words = "the API server did not finish within the time of this check: an admission webhook may be hanging";
            Ok(Answer::fail(Reason::Timeout, words))
        }
        500 if said.reason == "InternalError" => {
            Ok(Answer::fail(Reason::Other, "no pod can be created: the API server has an internal error"))
        }
        code => Err(Gap::blind(format!("the Kubernetes API answered {code}"))),
    }
}

/// A 403 that the admission gave: plugins of the API server itself.
fn refused(said: &Said) -> Answer {
    let message = said.message.as_str();
    let terminating = said.details.iter().flat_map(|details| &details.causes);
    let (reason, words) = if let Some((_, rest)) = message.split_once("exceeded quota: ") {
        let quota = rest.split([',', ' ']).next().filter(|name| is_name(name));
        (Reason::Limit, format!("the {} has no room for it", named("quota", quota)))
    } else if let Some((_, rest)) = message.split_once("failed quota: ") {
        let quota = rest.split([':', ' ']).next().filter(|name| is_name(name));
        (
            Reason::Limit,
            format!("the {} demands requests and limits that it does not have", named("quota", quota)),
        )
    } else if let Some((_, rest)) = message.split_once("violates PodSecurity ") {
        let level = quoted(rest, '"').and_then(|level| level.split(':').next());
        let level = ["restricted", "baseline"].into_iter().find(|known| Some(*known) == level);
        (
            Reason::Permission,
            format!(
                "it violates the namespace's Pod Security{}",
                level.map(|level| format!(" ({level})")).unwrap_or_default()
            ),
        )
    } else if message.contains("error looking up service account ") {
        (Reason::Missing, "its service account does not exist".to_owned())
    } else if message.contains("no PriorityClass with name ") {
        (Reason::Missing, "its PriorityClass does not exist".to_owned())
    } else if message.contains("RuntimeClass") {
        (Reason::Missing, "its RuntimeClass does not exist or forbids it".to_owned())
    } else if terminating.into_iter().any(|cause| cause.reason == "NamespaceTerminating") {
        (Reason::Missing, "its namespace is being deleted".to_owned())
    } else if (message.contains("maximum ") || message.contains("minimum ")) && message.contains(" per ") {
        (Reason::Limit, "a LimitRange of its namespace forbids its size".to_owned())
    } else {
        (Reason::Permission, "the admission refuses it".to_owned())
    };
    Answer::fail(reason, format!("no pod can be created: {words}"))
}

/// Why a webhook could not be asked, from the words of Go's network library.
fn broken(text: &str) -> (Reason, &'static str) {
    const WORDS: &[(&str, Reason, &str)] = &[
        ("connection refused", Reason::Refused, "refuses connections"),
        ("no endpoints available", Reason::Missing, "has no endpoint that is ready"),
        ("not found", Reason::Missing, "leads to a Service that does not exist"),
        ("no such host", Reason::Dns, "has a name that does not resolve"),
        ("x509:", Reason::Certificate, "has a certificate that does not verify"),
        ("tls:", Reason::Tls, "does not speak TLS as it should"),
        ("no route to host", Reason::Unreachable, "cannot be reached"),
        ("network is unreachable", Reason::Unreachable, "cannot be reached"),
        ("deadline exceeded", Reason::Timeout, "does not answer in time"),
        ("timeout", Reason::Timeout, "does not answer in time"),
        ("Timeout", Reason::Timeout, "does not answer in time"),
    ];
    // What stands before is the webhook's URL, which may hold any word: `?timeout=10s`.
    let text = text.rsplit_once("\": ").map_or(text, |(_, error)| error);
    let found = WORDS.iter().find(|(word, _, _)| text.contains(word));
    found.map_or((Reason::Other, "cannot be called"), |(_, reason, words)| (*reason, words))
}

/// What stands first in quotes, if it is the name of an object.
fn quoted(text: &str, quote: char) -> Option<&str> {
    let inner = text.split(quote).nth(1)?;
    (is_name(inner) || inner.split_once(':').is_some_and(|(a, b)| is_name(a) && is_name(b))).then_some(inner)
}

/// A name of an object of Kubernetes: a DNS name.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    (1..=253).contains(&text.len()) && text.chars().all(allowed)
}

/// A path of a field, without the keys of maps, which people choose.
fn field(path: &str) -> Option<&str> {
    let path = path.split("[\"").next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '[' | ']' | '_' | '-');
    let path = path.split(|c: char| !allowed(c)).next().unwrap_or_default();
    let known = ["spec.", "metadata."].iter().any(|part| path.starts_with(part));
    (known && path.len() <= 100).then_some(path)
}

fn named(kind: &str, name: Option<&str>) -> String {
    name.map_or_else(|| kind.to_owned(), |name| format!("{kind} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    fn said(code: u16, reason: &str, message: &str) -> Said {
        Said { code, message: message.to_owned(), reason: reason.to_owned(), details: None }
    }

    fn failed(code: u16, reason: &str, message: &str) -> (Reason, String) {
        let answer = judge(&said(code, reason, message)).unwrap();
        match answer.outcome {
            Outcome::Fail(reason) => (reason, answer.detail),
            other => panic!("{other:?}: {}", answer.detail),
        }
    }

    /// The messages are those of Kubernetes 1.34 and of the components named.
    #[test]
    fn l80_refusals_are_told_apart_by_closed_words() {
        let webhook = |end: &str| {
            format!(
                "Internal error occurred: failed calling webhook \"policy.example.com\": failed to call webhook: Post \"https://hook.prod.svc:443/x?timeout=10s&token=c4n4ry\": {end}"
            )
        };
        for (end, reason, words) in [
            ("dial tcp 10.0.0.1:443: connect: connection refused", Reason::Refused, "refuses connections"),
            ("no endpoints available for service \"hook\"", Reason::Missing, "has no endpoint that is ready"),
            ("service \"hook\" not found", Reason::Missing, "leads to a Service that does not exist"),
            ("context deadline exceeded", Reason::Timeout, "does not answer in time"),
            (
                "tls: failed to verify certificate: x509: certificate has expired",
                Reason::Certificate,
                "has a certificate that does not verify",
            ),
            ("EOF", Reason::Other, "cannot be called"),
        ] {
            let (found, detail) = failed(500, "InternalError", &webhook(end));
            assert_eq!(found, reason, "{end}");
            assert_eq!(
                detail,
                format!("no pod can be created: the admission webhook policy.example.com {words}")
            );
        }
        for (code, message, reason, words) in [
            (
                403,
                "pods \"x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=4, limited: pods=4",
                Reason::Limit,
                "the quota compute has no room for it",
            ),
            (
                403,
                "pods \"x\" is forbidden: failed quota: compute: must specify limits.cpu for: c4n4ry",
                Reason::Limit,
                "the quota compute demands requests and limits that it does not have",
            ),
            (
                403,
                "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged (container \"c4n4ry\")",
                Reason::Permission,
                "it violates the namespace's Pod Security (restricted)",
            ),
            (
                403,
                "pods \"x\" is forbidden: error looking up service account prod/api: serviceaccount \"api\" not found",
                Reason::Missing,
                "its service account does not exist",
            ),
            (
                403,
                "pods \"x\" is forbidden: no PriorityClass with name high was found",
                Reason::Missing,
                "its PriorityClass does not exist",
            ),
            (
                403,
                "pods \"x\" is forbidden: [maximum memory usage per Container is 1Gi, but limit is 2Gi]",
                Reason::Limit,
                "a LimitRange of its namespace forbids its size",
            ),
            (403, "c4n4ry", Reason::Permission, "the admission refuses it"),
            (
                400,
                "admission webhook \"images.example.com\" denied the request: c4n4ry",
                Reason::Permission,
                "the admission webhook images.example.com refuses it",
            ),
            (
                403,
                "admission webhook \"c4n4ry is <no> name\" denied the request: x",
                Reason::Permission,
                "the admission webhook refuses it",
            ),
            (
                422,
                "Pod \"x\" is invalid: : ValidatingAdmissionPolicy 'no-root' with binding 'b' denied request: c4n4ry",
                Reason::Permission,
                "the admission policy no-root refuses it",
            ),
        ] {
            let (found, detail) = failed(code, "Forbidden", message);
            assert_eq!((found, &*detail), (reason, &*format!("no pod can be created: {words}")), "{message}");
        }
        assert_eq!(failed(504, "Timeout", "Timeout: request did not complete").0, Reason::Timeout);
    }

    #[test]
    fn l80_an_invalid_pod_is_told_by_its_fields_only() {
        let cause = |field: &str| Cause { reason: "FieldValueInvalid".to_owned(), field: field.to_owned() };
        let causes = vec![
            cause("spec.containers[0].image"),
            cause("metadata.labels[\"c4n4ry\"]"),
            cause("c4n4ry is "),
        ];
        let said = Said { details: Some(Details { causes }), ..said(422, "Invalid", "c4n4ry") };
        let answer = judge(&said).unwrap();
        assert_eq!(answer.outcome, Outcome::Fail(Reason::Misconfigured));
        let words = "no pod can be created: the API server finds it invalid in spec.containers[0].image, metadata.labels";
        assert_eq!(answer.detail, words);
    }

    #[test]
    fn l80_gap_what_says_nothing_about_admission_accuses_nobody() {
        for (code, reason, message, gap) in [
            (
                400,
                "BadRequest",
                "admission webhook \"a.b\" does not support dry run",
                Some(GapReason::Unsupported),
            ),
            (401, "Unauthorized", "Unauthorized", Some(GapReason::Forbidden)),
            (404, "NotFound", "namespaces \"prod\" not found", Some(GapReason::NotFound)),
            (409, "Conflict", "", None),
            (429, "TooManyRequests", "", None),
            (500, "", "<html>", None),
            (502, "", "<html>", None),
            (503, "ServiceUnavailable", "", None),
            (504, "", "<html>", None),
        ] {
            assert_eq!(judge(&said(code, reason, message)).unwrap_err().reason, gap, "{code} {message}");
        }
    }
}
