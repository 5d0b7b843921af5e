//! Reads what an application exposes on `/metrics`: Prometheus text 0.0.4 and OpenMetrics 1.0. Pure.
//!
//! Built for one question asked of a large body: "the samples of these few metrics". A line whose metric is not
//! wanted costs a look at its name; labels are decoded only when asked for, and borrow from the body unless an
//! escape forces a copy. A line that cannot be read is an item with its place, and reading goes on behind it.
//!
//! What counts as readable was settled by trying 171 bodies on Prometheus 3 and on promtool (the tables are in
//! the tests), because an exporter that is stricter than the user's Prometheus is blind where Prometheus sees:
//!
//! * Text 0.0.4: a line is read if the specification *or* the server accepts it: a missing comma between labels,
//!   a missing last line feed, signed timestamps, several blanks in a `TYPE` line. One exception: the server
//!   lets a raw line feed stand inside a quoted string; we are line oriented, as the specification is.
//! * OpenMetrics: as strict as the server is (one space, no blank lines, no free comments, `# EOF` last). An
//!   exemplar is checked and dropped, on any sample line: the server does not tie it to a type either.
//! * Carriage returns: neither the specification nor the server takes CRLF, so a line ending in one is an error.
//!
//! Sources: prometheus.io "Exposition formats"; OpenMetrics 1.0 sections "ABNF" and "Overall Structure";
//! prometheus/prometheus `model/textparse` (`promlex.l`, `openmetricslex.l`).

mod labels;
mod line;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

pub use labels::Labels;

/// The grammar that a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format; `text/plain`, versions 0.0.4 and 1.0.0. Timestamps are milliseconds.
    Text,
    /// OpenMetrics text format, `application/openmetrics-text`, versions 0.0.1 and 1.x. Timestamps are seconds.
    OpenMetrics,
}

/// The type that a `TYPE` line declared for the family of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// Only grows, save for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count, all of them cumulative.
    Histogram,
    /// Buckets that go up and down (OpenMetrics).
    GaugeHistogram,
    /// Quantiles, sum and count.
    Summary,
    /// Constant text in labels (OpenMetrics).
    Info,
    /// One of several named states (OpenMetrics).
    StateSet,
    /// Declared `untyped` or `unknown`, or not declared before the sample.
    Unknown,
}

/// One sample of a wanted metric.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// The name of the metric, without the quotes of the UTF-8 form.
    pub name: Cow<'a, str>,
    /// The labels, decoded when iterated; their syntax has been checked.
    pub labels: Labels<'a>,
    /// The value; NaN and the infinities are possible.
    pub value: f64,
    /// When it was measured, in seconds since the epoch, if the line says so.
    pub timestamp: Option<f64>,
    /// What the family was declared as, above this line.
    pub kind: MetricType,
}

/// A line that cannot be read. Never quotes the line: label values may hold what is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: usize,
    /// The byte in the line, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: Fault,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Bytes that are not UTF-8.
    #[error("this is not UTF-8")]
    NotUtf8,
    /// The line ends in a carriage return.
    #[error("the line ends in a carriage return; lines end in a line feed alone")]
    CarriageReturn,
    /// An empty line in OpenMetrics.
    #[error("OpenMetrics has no empty lines")]
    EmptyLine,
    /// A line that starts neither a sample nor a comment.
    #[error("a metric name is expected here")]
    MetricName,
    /// A sample of labels alone, or with two names.
    #[error("a sample needs exactly one metric name")]
    NameCount,
    /// Not a label name.
    #[error("a label name is expected here")]
    LabelName,
    /// No `=` after a label name.
    #[error("`=` is expected here")]
    Equals,
    /// A label value without its opening quote.
    #[error("a quoted label value is expected here")]
    LabelValue,
    /// The line ends inside quotes.
    #[error("the quoted text that starts here does not end on this line")]
    Unterminated,
    /// Neither the next label nor the end of the labels.
    #[error("`,` or `}}` is expected here")]
    LabelEnd,
    /// The same label twice, or a label named `__name__`.
    #[error("a label is there twice")]
    DuplicateLabel,
    /// No separator where OpenMetrics demands exactly one space.
    #[error("exactly one space is expected here")]
    Space,
    /// Not a decimal number, or too large for one.
    #[error("this is not a number")]
    Number,
    /// Not a timestamp of the format.
    #[error("this is not a timestamp")]
    Timestamp,
    /// Something behind the end of a sample.
    #[error("nothing more is expected on this line")]
    Trailing,
    /// An exemplar that is not `# {labels} value [timestamp]`.
    #[error("an exemplar is written `# {{labels}} value timestamp`")]
    Exemplar,
    /// A `HELP`, `TYPE` or `UNIT` line without its parts, or another comment in OpenMetrics.
    #[error("this comment is not one that the format allows")]
    Comment,
    /// A type that the format does not know.
    #[error("this is not a metric type of the format")]
    TypeName,
    /// OpenMetrics without `# EOF`: the body was cut.
    #[error("the body does not end with `# EOF`: it was cut off")]
    Truncated,
    /// Something behind `# EOF`.
    #[error("there is more after `# EOF`")]
    AfterEof,
}

/// The samples of a body, in its order; see [`samples`].
#[derive(Debug)]
pub struct Samples<'a, W> {
    rest: &'a [u8],
    format: Format,
    wanted: W,
    line: usize,
    types: HashMap<Cow<'a, str>, MetricType>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    SeenEof,
    Done,
}

/// Reads the samples whose metric name is `wanted` from `body`.
///
/// Lines of other metrics are passed over unread, so an error in one of them is not reported. The caller decides
/// what an error means; [`Fault::Truncated`] comes last and says that samples may be missing.
pub fn samples<W: Fn(&str) -> bool>(body: &[u8], format: Format, wanted: W) -> Samples<'_, W> {
    Samples { rest: body, format, wanted, line: 0, types: HashMap::new(), state: State::Reading }
}

// === impl Format ===

impl Format {
    /// The format that a `Content-Type` header names; an empty header is read as [`Format::Text`].
    ///
    /// `None`: something else (HTML of a login page, JSON, protobuf, OpenMetrics 2). Prometheus 3 refuses these too
    /// unless `fallback_scrape_protocol` is set; a caller that wants that fallback chooses it by itself.
    pub fn from_content_type(header: &str) -> Option<Self> {
        let mut parts = header.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let version = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("version").then(|| value.trim().trim_matches('"'))
        });
        match (media.as_str(), version) {
            ("" | "text/plain", _) => Some(Self::Text),
            ("application/openmetrics-text", None) => Some(Self::OpenMetrics),
            ("application/openmetrics-text", Some(v)) if v.starts_with("1.") || v.starts_with("0.") => {
                Some(Self::OpenMetrics)
            }
            _ => None,
        }
    }
}

// === impl MetricType ===

impl MetricType {
    fn from_name(name: &str, format: Format) -> Option<Self> {
        let (text, open) = (format == Format::Text, format == Format::OpenMetrics);
        match name {
            "counter" => Some(Self::Counter),
            "gauge" => Some(Self::Gauge),
            "histogram" => Some(Self::Histogram),
            "summary" => Some(Self::Summary),
            "untyped" if text => Some(Self::Unknown),
            "unknown" if open => Some(Self::Unknown),
            "gaugehistogram" if open => Some(Self::GaugeHistogram),
            "info" if open => Some(Self::Info),
            "stateset" if open => Some(Self::StateSet),
            _ => None,
        }
    }

    /// The endings that samples of a family of this type may carry behind the name of the family.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Summary => &["_count", "_sum", "_created"],
            Self::Info => &["_info"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[],
        }
    }
}

// === impl Samples ===

impl<'a, W: Fn(&str) -> bool> Samples<'a, W> {
    /// What the lines read so far declare for the family of a sample of that name.
    pub fn metric_type(&self, sample: &str) -> MetricType {
        if let Some(kind) = self.types.get(sample) {
            return *kind;
        }
        let family = sample.rsplit_once('_').and_then(|(family, _)| Some((family, *self.types.get(family)?)));
        match family {
            Some((family, kind)) if kind.suffixes().contains(&&sample[family.len()..]) => kind,
            Some(_) | None => MetricType::Unknown,
        }
    }

    fn next_line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        Some(line)
    }

    fn read(&mut self, bytes: &'a [u8]) -> Result<Option<Sample<'a>>, (usize, Fault)> {
        // The cheap way out: a plain name that nobody wants. Such a line is ASCII up to the end of its name.
        let start = match self.format {
            Format::Text => bytes.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(bytes.len()),
            Format::OpenMetrics => 0,
        };
        let named = line::name_length(&bytes[start..]);
        if named > 0 {
            let name =
                std::str::from_utf8(&bytes[start..start + named]).map_err(|_| (start, Fault::NotUtf8))?;
            if !(self.wanted)(name) {
                return Ok(None);
            }
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // A comment that nobody reads may be in any encoding.
            Err(_) if bytes.get(start) == Some(&b'#') && !line::is_metadata(&bytes[start..]) => {
                return Ok(None);
            }
            Err(error) => return Err((error.valid_up_to(), Fault::NotUtf8)),
        };
        match line::read(text, self.format)? {
            line::Line::Blank => Ok(None),
            line::Line::Eof => {
                self.state = State::SeenEof;
                Ok(None)
            }
            line::Line::Type { family, kind } => {
                self.types.insert(family, kind);
                Ok(None)
            }
            line::Line::Sample { name, labels, value, timestamp } => {
                if !(self.wanted)(&name) {
                    return Ok(None);
                }
                let kind = self.metric_type(&name);
                Ok(Some(Sample { name, labels, value, timestamp, kind }))
            }
        }
    }
}

impl<'a, W: Fn(&str) -> bool> Iterator for Samples<'a, W> {
    type Item = Result<Sample<'a>, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.state != State::Done {
            let Some(bytes) = self.next_line() else {
                let cut = self.format == Format::OpenMetrics && self.state == State::Reading;
                self.state = State::Done;
                let (line, column) = (self.line + 1, 1);
                return cut.then_some(Err(SyntaxError { line, column, what: Fault::Truncated }));
            };
            if self.state == State::SeenEof {
                self.state = State::Done;
                return Some(Err(SyntaxError { line: self.line, column: 1, what: Fault::AfterEof }));
            }
            match self.read(bytes) {
                Ok(None) => {}
                Ok(Some(sample)) => return Some(Ok(sample)),
                Err((at, what)) => return Some(Err(SyntaxError { line: self.line, column: at + 1, what })),
            }
        }
        None
    }
}
