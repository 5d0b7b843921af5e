//! The label set between braces: checked once, decoded when asked for.

use std::borrow::Cow;

use super::line::{is_label_start, label_length};
use super::{Fault, Format};

/// The labels of a sample, in the order of the line; an iterator of decoded names and values.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    set: &'a str,
    at: usize,
}

/// One element of a label set, still escaped.
pub(super) enum Element<'a> {
    /// The name of the metric in its quoted form.
    MetricName(&'a str),
    /// A label.
    Pair(&'a str, &'a str),
}

/// A walk over the elements of `text`, which starts behind the opening brace.
pub(super) struct Walk<'a> {
    text: &'a str,
    at: usize,
    format: Format,
}

/// A checked label set.
pub(super) struct LabelSet<'a> {
    pub(super) labels: Labels<'a>,
    /// The quoted metric name, still escaped.
    pub(super) name: Option<&'a str>,
    /// How long the set is, the closing brace included.
    pub(super) length: usize,
}

/// Undoes the escapes `\\`, `\"` and `\n`. As the server does, another escape stands for itself.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(next @ ('\\' | '"'))) => {
                out.push(next);
                chars.next();
            }
            ('\\', Some('n')) => {
                out.push('\n');
                chars.next();
            }
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The text between the quotes of which the first stands at `at`, and where it ends behind the second.
pub(super) fn quoted(text: &str, at: usize) -> Result<(&str, usize), (usize, Fault)> {
    let bytes = text.as_bytes();
    let mut end = at + 1;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'"' => return Ok((&text[at + 1..end], end + 1)),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    Err((at, Fault::Unterminated))
}

/// Checks the label set that starts in `text` behind its opening brace.
pub(super) fn check<'a>(text: &'a str, format: Format) -> Result<LabelSet<'a>, (usize, Fault)> {
    let mut walk = Walk::new(text, format);
    let mut name = None;
    let mut names: Vec<Cow<'a, str>> = Vec::new();
    while let Some(element) = walk.step()? {
        match element {
            Element::MetricName(_) if name.is_some() => return Err((walk.at, Fault::NameCount)),
            Element::MetricName(raw) => name = Some(raw),
            Element::Pair(raw, _) => names.push(unescape(raw)),
        }
    }
    // Sorted, so that a line of a hundred thousand labels is no way to keep us busy.
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) || names.iter().any(|name| name == "__name__") {
        return Err((0, Fault::DuplicateLabel));
    }
    Ok(LabelSet { labels: Labels { set: text, at: 0 }, name, length: walk.at })
}

// === impl Labels ===

impl Labels<'_> {
    /// The labels of a sample that has none.
    pub(super) fn none() -> Self {
        Labels { set: "}", at: 0 }
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        // The text format's rules are the wider ones, and the set has been checked by those of its own format.
        let mut walk = Walk { text: self.set, at: self.at, format: Format::Text };
        loop {
            // `None` at the end; an error is impossible behind `check`, and would end the iteration too.
            let element = walk.step().ok()??;
            self.at = walk.at;
            match element {
                Element::MetricName(_) => {}
                Element::Pair(name, value) => return Some((unescape(name), unescape(value))),
            }
        }
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn new(text: &'a str, format: Format) -> Self {
        Walk { text, at: 0, format }
    }

    fn skip_blanks(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while self.format == Format::Text && matches!(bytes.get(self.at), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// The next element; `None` behind the closing brace. A separating comma is taken with the element before it.
    fn step(&mut self) -> Result<Option<Element<'a>>, (usize, Fault)> {
        let (name, is_quoted) = match self.skip_blanks() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b'"') => {
                let (name, end) = quoted(self.text, self.at)?;
                if name.is_empty() {
                    return Err((self.at, Fault::LabelName));
                }
                self.at = end;
                (name, true)
            }
            Some(byte) if is_label_start(byte) => {
                let length = label_length(&self.text.as_bytes()[self.at..]);
                let name = &self.text[self.at..self.at + length];
                self.at += length;
                (name, false)
            }
            Some(_) | None => return Err((self.at, Fault::LabelName)),
        };
        match self.skip_blanks() {
            Some(b'=') => self.at += 1,
            // A quoted text that is no label is the name of the metric (Prometheus 3).
            Some(b',') if is_quoted => {
                self.at += 1;
                return Ok(Some(Element::MetricName(name)));
            }
            Some(b'}') if is_quoted => return Ok(Some(Element::MetricName(name))),
            Some(_) | None => return Err((self.at, Fault::Equals)),
        }
        if self.skip_blanks() != Some(b'"') {
            return Err((self.at, Fault::LabelValue));
        }
        let (value, end) = quoted(self.text, self.at)?;
        self.at = end;
        match self.skip_blanks() {
            Some(b',') => self.at += 1,
            Some(b'}') => {}
            // The server reads on without a comma in the text format.
            Some(_) if self.format == Format::Text => {}
            Some(_) | None => return Err((self.at, Fault::LabelEnd)),
        }
        Ok(Some(Element::Pair(name, value)))
    }
}
