//! One line: a sample, a declaration, or nothing.

use std::borrow::Cow;

use super::labels::{self, Labels};
use super::{Fault, Format, MetricType};

/// What a line is.
pub(super) enum Line<'a> {
    /// Nothing to report: empty, a comment, `HELP`, `UNIT`.
    Blank,
    /// The end mark of OpenMetrics.
    Eof,
    /// A declaration.
    Type { family: Cow<'a, str>, kind: MetricType },
    /// A sample.
    Sample { name: Cow<'a, str>, labels: Labels<'a>, value: f64, timestamp: Option<f64> },
}

type At<T> = Result<T, (usize, Fault)>;

/// How many bytes at the start are a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(super) fn name_length(bytes: &[u8]) -> usize {
    let is_start = |byte: &u8| is_label_start(*byte) || *byte == b':';
    if !bytes.first().is_some_and(is_start) {
        return 0;
    }
    bytes.iter().position(|byte| !is_start(byte) && !byte.is_ascii_digit()).unwrap_or(bytes.len())
}

/// How many bytes at the start are a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(super) fn label_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_label_start(*byte) && !byte.is_ascii_digit()).unwrap_or(bytes.len())
}

/// Whether a label name may start with it.
pub(super) fn is_label_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// Whether a comment line is a `HELP`, `TYPE` or `UNIT` line.
pub(super) fn is_metadata(comment: &[u8]) -> bool {
    let rest = comment.strip_prefix(b"#").unwrap_or(comment).trim_ascii_start();
    [b"HELP", b"TYPE", b"UNIT"].iter().any(|word| rest.starts_with(*word))
}

/// Reads one line without its line feed. Errors carry the offset in the line.
pub(super) fn read(line: &str, format: Format) -> At<Line<'_>> {
    let start = match format {
        Format::Text => line.len() - line.trim_start_matches([' ', '\t']).len(),
        Format::OpenMetrics => 0,
    };
    let is_comment = line.as_bytes().get(start) == Some(&b'#');
    // In a free comment of the text format a carriage return is harmless.
    if line.ends_with('\r')
        && (!is_comment || format == Format::OpenMetrics || is_metadata(&line.as_bytes()[start..]))
    {
        return Err((line.len() - 1, Fault::CarriageReturn));
    }
    match (line.as_bytes().get(start), format) {
        (None, Format::Text) => Ok(Line::Blank),
        (None, Format::OpenMetrics) => Err((start, Fault::EmptyLine)),
        (Some(b'#'), Format::Text) => text_comment(line, start),
        (Some(b'#'), Format::OpenMetrics) => open_comment(line),
        (Some(_), _) => sample(line, start, format),
    }
}

/// `# TYPE name type`, with any blanks. The content of `HELP` is nothing to us.
fn text_comment(line: &str, start: usize) -> At<Line<'_>> {
    let blanks = [' ', '\t'];
    let comment = line[start + 1..].trim_start_matches(blanks);
    // `#TYPE` is a comment for the server, and so it is for us.
    let is_spaced = line[start + 1..].starts_with(blanks);
    let Some(rest) = comment.strip_prefix("TYPE").filter(|rest| is_spaced && rest.starts_with(blanks)) else {
        return Ok(Line::Blank);
    };
    declaration(line, rest.trim_matches(blanks), Format::Text)
}

/// `# HELP name text`, `# TYPE name type`, `# UNIT name unit` or `# EOF`, with single spaces.
fn open_comment(line: &str) -> At<Line<'_>> {
    let body = line.strip_prefix("# ").ok_or((0, Fault::Comment))?;
    if body == "EOF" {
        return Ok(Line::Eof);
    }
    let (word, rest) = body.split_once(' ').ok_or((2, Fault::Comment))?;
    match word {
        "TYPE" => declaration(line, rest, Format::OpenMetrics),
        "HELP" | "UNIT" => {
            let (family, text) = family(line, rest)?;
            let unit = text.strip_prefix(' ').ok_or((line.len(), Fault::Comment))?;
            let fits = family.strip_suffix(unit).is_some_and(|stem| stem.len() > 1 && stem.ends_with('_'));
            if word == "UNIT" && !unit.is_empty() && !fits {
                return Err((line.len() - unit.len(), Fault::Comment));
            }
            Ok(Line::Blank)
        }
        _ => Err((2, Fault::Comment)),
    }
}

fn declaration<'a>(line: &'a str, rest: &'a str, format: Format) -> At<Line<'a>> {
    let (family, kind) = family(line, rest)?;
    let at = offset(line, kind);
    let kind = match format {
        Format::Text if kind.starts_with([' ', '\t']) => kind.trim_start_matches([' ', '\t']),
        Format::OpenMetrics if kind.starts_with(' ') => &kind[1..],
        Format::Text | Format::OpenMetrics => return Err((at, Fault::Comment)),
    };
    let kind = MetricType::from_name(kind, format).ok_or((offset(line, kind), Fault::TypeName))?;
    Ok(Line::Type { family, kind })
}

/// The family that metadata is about, plain or quoted, and what follows it.
fn family<'a>(line: &'a str, rest: &'a str) -> At<(Cow<'a, str>, &'a str)> {
    if rest.starts_with('"') {
        let at = offset(line, rest);
        let (name, end) = labels::quoted(rest, 0).map_err(|(_, fault)| (at, fault))?;
        return Ok((labels::unescape(name), &rest[end..]));
    }
    match name_length(rest.as_bytes()) {
        0 => Err((offset(line, rest), Fault::MetricName)),
        length => Ok((Cow::Borrowed(&rest[..length]), &rest[length..])),
    }
}

/// Where `part`, a slice of the end of `line` as far as its start is concerned, starts in it.
fn offset(line: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(line.as_ptr() as usize).min(line.len())
}

fn sample(line: &str, start: usize, format: Format) -> At<Line<'_>> {
    let bytes = line.as_bytes();
    let length = name_length(&bytes[start..]);
    let mut name = (length > 0).then(|| Cow::Borrowed(&line[start..start + length]));
    if name.is_none() && bytes[start] != b'{' {
        return Err((start, Fault::MetricName));
    }
    let mut at = start + length;
    if format == Format::Text {
        at = skip_blanks(bytes, at);
    }
    let mut labels = Labels::none();
    if bytes.get(at) == Some(&b'{') {
        let open = at + 1;
        let set = labels::check(&line[open..], format).map_err(|(inner, fault)| (open + inner, fault))?;
        at = open + set.length;
        labels = set.labels;
        if let Some(inside) = set.name {
            if name.is_some() {
                return Err((open, Fault::NameCount));
            }
            name = Some(labels::unescape(inside));
        }
    }
    let name = name.ok_or((at, Fault::NameCount))?;
    let (value, timestamp) = match format {
        Format::Text => text_numbers(line, at)?,
        Format::OpenMetrics => open_numbers(line, at)?,
    };
    Ok(Line::Sample { name, labels, value, timestamp })
}

/// `value [milliseconds]` between any blanks.
fn text_numbers(line: &str, at: usize) -> At<(f64, Option<f64>)> {
    let mut tokens = line[at..].split([' ', '\t']).filter(|token| !token.is_empty());
    let value = tokens.next().ok_or((line.len(), Fault::Number))?;
    let number = float(value).ok_or((offset(line, value), Fault::Number))?;
    let timestamp = match tokens.next() {
        None => None,
        Some(text) => {
            let millis: i64 = text.parse().map_err(|_| (offset(line, text), Fault::Timestamp))?;
            Some(millis as f64 / 1e3)
        }
    };
    match tokens.next() {
        None => Ok((number, timestamp)),
        Some(token) => Err((offset(line, token), Fault::Trailing)),
    }
}

/// ` value[ seconds][ # {labels} value[ seconds]]` with single spaces.
fn open_numbers(line: &str, at: usize) -> At<(f64, Option<f64>)> {
    let (value, mut at) = token(line, at)?;
    let number = float(value).ok_or((offset(line, value), Fault::Number))?;
    let mut timestamp = None;
    if at < line.len() && !line[at..].starts_with(" # ") {
        let (text, next) = token(line, at)?;
        timestamp = Some(seconds(line, text)?);
        at = next;
    }
    let Some(exemplar) = line[at..].strip_prefix(" # {") else {
        return if at == line.len() { Ok((number, timestamp)) } else { Err((at, Fault::Trailing)) };
    };
    let open = line.len() - exemplar.len();
    let set = labels::check(exemplar, Format::OpenMetrics).map_err(|(inner, fault)| (open + inner, fault))?;
    if set.name.is_some() {
        return Err((open, Fault::Exemplar));
    }
    let (value, next) = token(line, open + set.length).map_err(|(at, _)| (at, Fault::Exemplar))?;
    float(value).ok_or((offset(line, value), Fault::Number))?;
    if next < line.len() {
        let (text, end) = token(line, next)?;
        seconds(line, text)?;
        if end < line.len() {
            return Err((end, Fault::Trailing));
        }
    }
    Ok((number, timestamp))
}

/// The token behind the one space at `at`, and where it ends.
fn token(line: &str, at: usize) -> At<(&str, usize)> {
    let rest = line[at..].strip_prefix(' ').ok_or((at, Fault::Space))?;
    let token = rest.split(' ').next().unwrap_or_default();
    if token.is_empty() { Err((at + 1, Fault::Space)) } else { Ok((token, at + 1 + token.len())) }
}

fn seconds(line: &str, text: &str) -> At<f64> {
    float(text).filter(|value| value.is_finite()).ok_or((offset(line, text), Fault::Timestamp))
}

fn skip_blanks(bytes: &[u8], at: usize) -> usize {
    let blanks = bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    at + blanks
}

/// A decimal number as Go's `ParseFloat` reads it before Go 1.13: no hex, no underscores, no signed NaN, and a
/// number too large for a float is an error, not an infinity.
fn float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let is_signed_nan = value.is_nan() && text.starts_with(['+', '-']);
    let is_overflow = value.is_infinite() && has_digit;
    if is_signed_nan || is_overflow { None } else { Some(value) }
}
