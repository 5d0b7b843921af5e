//! Forms without a scheme: libpq's `key=value` and .NET's `Key=Value;`.

use super::draft::Draft;
use super::{Dsn, DsnError, DsnForm};

/// Reads both ways and takes the one reading that makes sense.
///
/// The two grammars overlap (`host=x` is both), so the text alone does not say which it is. A reading that names a
/// host that can be dialled wins; two that differ are an error.
pub(super) fn parse(text: &str) -> Result<Dsn, DsnError> {
    if !text.contains('=') {
        return Err(DsnError::new("this is neither a URL nor key=value pairs"));
    }
    let libpq = collect(DsnForm::KeyValue, key_value(text));
    let npgsql = collect(DsnForm::Npgsql, semicolons(text));
    match (libpq, npgsql) {
        (Ok(libpq), Ok(npgsql)) => {
            let same = Dsn { form: DsnForm::KeyValue, ..npgsql.clone() } == libpq;
            match (libpq.hosts.is_empty(), npgsql.hosts.is_empty()) {
                _ if same => Ok(libpq),
                (false, true) => Ok(libpq),
                (true, false) => Ok(npgsql),
                _ => Err(DsnError::new(
                    "this reads as libpq's key=value and as .NET's, with different results",
                )),
            }
        }
        (Ok(dsn), Err(_)) | (Err(_), Ok(dsn)) => Ok(dsn),
        (Err(libpq), Err(npgsql)) => Err(if text.contains(';') { npgsql } else { libpq }),
    }
}

type Pairs = Vec<(String, String)>;

fn collect(form: DsnForm, pairs: Result<Pairs, DsnError>) -> Result<Dsn, DsnError> {
    let mut draft = Draft::new(form);
    for (name, value) in pairs? {
        draft.set_named(&name, &value)?;
    }
    draft.finish()
}

/// libpq's `conninfo_parse`: spaces around `=`, values in single quotes, backslash escapes in and out of quotes.
fn key_value(text: &str) -> Result<Pairs, DsnError> {
    let mut pairs = Vec::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let Some((offset, _)) = chars.peek().copied() else { return Ok(pairs) };
        let mut name = String::new();
        while let Some((_, c)) = chars.next_if(|(_, c)| *c != '=' && !c.is_ascii_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        if name.is_empty() || chars.next_if(|(_, c)| *c == '=').is_none() {
            return Err(DsnError::new(format!(
                "at offset {offset}: `key=value` is expected (quote values with spaces)"
            )));
        }
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let quoted = chars.next_if(|(_, c)| *c == '\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                None if quoted => {
                    return Err(DsnError::new(format!("at offset {offset}: the quote is not closed")));
                }
                None => break,
                Some((_, '\'')) if quoted => break,
                Some((_, c)) if !quoted && c.is_ascii_whitespace() => break,
                Some((_, '\\')) => value.extend(chars.next().map(|(_, c)| c)),
                Some((_, c)) => value.push(c),
            }
        }
        pairs.push((name, value));
    }
}

/// .NET's `DbConnectionStringBuilder`: `;` between pairs, values in single or double quotes that are doubled inside,
/// unquoted values trimmed.
fn semicolons(text: &str) -> Result<Pairs, DsnError> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        let offset = text.len() - rest.len();
        if rest.is_empty() {
            return Ok(pairs);
        }
        let Some((name, after)) = rest.split_once('=').filter(|(name, _)| !name.contains([';', '\'', '"']))
        else {
            return Err(DsnError::new(format!(
                "at offset {offset}: `Key=Value;` is expected (quote values with `;`)"
            )));
        };
        let after = after.trim_start();
        let value;
        match after.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            Some(quote) => {
                let (inner, tail) = quoted(&after[1..], quote)
                    .ok_or_else(|| DsnError::new(format!("at offset {offset}: the quote is not closed")))?;
                value = inner;
                rest = tail.trim_start();
                if !rest.is_empty() && !rest.starts_with(';') {
                    return Err(DsnError::new(format!(
                        "at offset {offset}: `;` is expected after the closing quote"
                    )));
                }
            }
            None => {
                let (plain, tail) = after.split_at(after.find(';').unwrap_or(after.len()));
                value = plain.trim_end().to_owned();
                rest = tail;
            }
        }
        pairs.push((name.trim().to_owned(), value));
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            inner.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            inner.push(quote);
        } else {
            return Some((inner, &text[at + 1..]));
        }
    }
    None
}
