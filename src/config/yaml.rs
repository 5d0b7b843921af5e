//! YAML 1.2 core into a tree in which every key and every value knows its place.
//!
//! The parser's events are read here, and not through serde, because serde forgets places, stops at the first
//! mistake and lets the last of two equal keys win.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// Deepest nesting; the configuration itself needs eight levels.
const MAX_DEPTH: usize = 64;
/// Most values, those that aliases repeat included.
const MAX_NODES: usize = 1_000_000;

/// A place in the file, both numbers from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub content: Content,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A text, a number, a boolean or null.
    Scalar(Value),
    /// Entries with the number that each has in the file, which stays when a neighbour is taken out.
    List(Vec<(usize, Node)>),
    /// Keys in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its place and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Node,
}

/// A mistake of the YAML itself: place, path, message.
pub(super) type Fault = (Place, String, String);

/// Why the reading of a document ended early; its message is among the faults.
struct Stop;

struct Reader<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    faults: Vec<Fault>,
}

/// Reads the one document of a file. Faults without a tree: not YAML. Faults with a tree: the rest can be judged.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<Fault>) {
    let mut options = Options::default();
    options.emit_comments = false;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { parser, anchors: HashMap::new(), nodes: 0, faults: Vec::new() };
    let tree = reader.document().ok().flatten();
    (tree, reader.faults)
}

/// The path of an entry below a path, as people write it.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

/// Whether a key may be repeated in a message: people put credentials where keys belong (`password: {hunter2}`).
pub(super) fn may_show(path: &str, key: &str) -> bool {
    let parent = path.rsplit('.').next().unwrap_or_default();
    let credential = [
        "password",
        "authorization",
        "url",
        "expected_url",
        "value",
        "secret",
        "headers",
        "body",
        "fingerprint_key",
    ]
    .iter()
    .any(|name| parent.starts_with(name))
        || path.contains(".headers.");
    !credential
        && key.len() <= 40
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// A value of YAML's core schema, from how a plain scalar is spelled.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix =
        |digits: &str, radix| u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'));
    if let Some(number) = text.strip_prefix("0x").and_then(|digits| radix(digits, 16)) {
        return Value::from(number);
    }
    if let Some(number) = text.strip_prefix("0o").and_then(|digits| radix(digits, 8)) {
        return Value::from(number);
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let number = text.strip_prefix('+').unwrap_or(text);
        let whole =
            number.parse::<u64>().map(Value::from).or_else(|_| number.parse::<i64>().map(Value::from));
        // A number too long for 64 bits keeps its digits as a text: rounding it would compare wrongly.
        return whole.unwrap_or_else(|_| Value::from(text));
    }
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let number = numeric.then(|| text.parse::<f64>().ok()).flatten();
    number.and_then(serde_json::Number::from_f64).map_or_else(|| Value::from(text), Value::Number)
}

fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Option<Value> {
    let by_style = || if style == ScalarStyle::Plain { plain(text) } else { Value::from(text) };
    let Some(tag) = tag else { return Some(by_style()) };
    match tag.core_suffix() {
        Some("str") => Some(Value::from(text)),
        Some("int" | "float" | "bool" | "null") => Some(plain(text)),
        _ => None,
    }
}

// === impl Place ===

impl Place {
    /// The start of a file.
    pub const START: Place = Place { line: 1, column: 1 };

    fn of(span: &Span) -> Self {
        Self { line: span.start.line().max(1), column: span.start.col() + 1 }
    }
}

// === impl Reader ===

impl<'t> Reader<'t> {
    fn fault(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.faults.push((place, path.to_owned(), message.into()));
    }

    fn stop<T>(&mut self, place: Place, path: &str, message: impl Into<String>) -> Result<T, Stop> {
        self.fault(place, path, message);
        Err(Stop)
    }

    fn next(&mut self) -> Result<(Event<'t>, Place), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, Place::of(&span))),
            Some(Err(error)) => {
                let place = Place { line: error.marker().line().max(1), column: error.marker().col() + 1 };
                // The parser's own words may hold a piece of the file; these do not.
                self.stop(
                    place,
                    "",
                    "not valid YAML from here on; often a quote, bracket or indentation before it",
                )
            }
            None => Ok((Event::StreamEnd, Place::START)),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        loop {
            match self.next()? {
                (Event::StreamEnd, place) => return self.stop(place, "", "the file is empty"),
                (Event::DocumentStart(..), _) => break,
                _ => {}
            }
        }
        let (event, place) = self.next()?;
        let tree = self.node(event, place, "", 0)?;
        loop {
            match self.next() {
                Ok((Event::StreamEnd, _)) => return Ok(Some(tree)),
                Ok((Event::DocumentStart(..), place)) => {
                    self.fault(place, "", "a second document starts here; the file must hold exactly one");
                    return Ok(Some(tree));
                }
                Ok(_) => {}
                Err(Stop) => return Ok(Some(tree)),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, place: Place, path: &str, depth: usize) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.stop(place, "", format!("more than {MAX_NODES} values"));
        }
        if depth > MAX_DEPTH {
            return self.stop(place, "", format!("nested deeper than {MAX_DEPTH} levels"));
        }
        match event {
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => {
                    let node = Node { place, ..node.clone() };
                    self.nodes += node.size();
                    Ok(node)
                }
                None => self.stop(place, path, "this alias refers to itself"),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let value = resolve(&text, style, tag.as_deref()).unwrap_or_else(|| {
                    self.fault(
                        place,
                        path,
                        "tags other than those of YAML's core (!!str, !!int, ...) are not understood",
                    );
                    Value::from(text.as_ref())
                });
                self.keep(anchor, Node { place, content: Content::Scalar(value) })
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", place, path);
                let mut entries = Vec::new();
                loop {
                    let (event, place) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let index = entries.len();
                    entries.push((index, self.node(event, place, &format!("{path}[{index}]"), depth + 1)?));
                }
                self.keep(anchor, Node { place, content: Content::List(entries) })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", place, path);
                let entries = self.entries(path, depth)?;
                self.keep(anchor, Node { place, content: Content::Map(entries) })
            }
            _ => self.stop(place, path, "a value is missing here"),
        }
    }

    fn entries(&mut self, path: &str, depth: usize) -> Result<Vec<Entry>, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, place) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, _, anchor, _) => {
                    let text = text.into_owned();
                    self.keep(anchor, Node { place, content: Content::Scalar(Value::from(text.as_str())) })?;
                    text
                }
                _ => return self.stop(place, path, "a key must be a plain text"),
            };
            let below = join(path, &key);
            let (event, value_place) = self.next()?;
            let node = self.node(event, value_place, &below, depth + 1)?;
            if let Some(first) = seen.get(&key) {
                let Place { line, column } = *first;
                let message = format!("duplicate key, given before at {line}:{column}");
                let shown = if may_show(path, &key) { below } else { path.to_owned() };
                self.fault(place, &shown, message);
                continue;
            }
            seen.insert(key.clone(), place);
            entries.push(Entry { key, place, node });
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, own: &str, place: Place, path: &str) {
        if tag.is_some_and(|tag| tag.core_suffix() != Some(own)) {
            self.fault(
                place,
                path,
                "tags other than those of YAML's core (!!str, !!int, ...) are not understood",
            );
        }
    }

    fn keep(&mut self, anchor: usize, node: Node) -> Result<Node, Stop> {
        if anchor != 0 {
            self.nodes += node.size();
            if self.nodes > MAX_NODES {
                return self.stop(node.place, "", format!("more than {MAX_NODES} values"));
            }
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

// === impl Node ===

impl Node {
    fn size(&self) -> usize {
        match &self.content {
            Content::Scalar(_) => 1,
            Content::List(entries) => 1 + entries.iter().map(|(_, node)| node.size()).sum::<usize>(),
            Content::Map(entries) => 1 + entries.iter().map(|entry| entry.node.size()).sum::<usize>(),
        }
    }

    /// Whether there is nothing in it: null, an empty collection, or a mapping of only such values.
    pub fn is_empty(&self) -> bool {
        match &self.content {
            Content::Scalar(value) => value.is_null(),
            Content::List(entries) => entries.is_empty(),
            Content::Map(entries) => entries.iter().all(|entry| entry.node.is_empty()),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    /// The tree as JSON. Whole numbers written as floats (`1e3`, `2.0`) become integers, except in
    /// assertions, which compare with what people wrote.
    pub fn to_json(&self) -> Value {
        self.json(false)
    }

    fn json(&self, verbatim: bool) -> Value {
        match &self.content {
            Content::Scalar(Value::Number(number)) if !verbatim => whole(number),
            Content::Scalar(value) => value.clone(),
            Content::List(entries) => entries.iter().map(|(_, node)| node.json(verbatim)).collect(),
            Content::Map(entries) => {
                let pairs = entries.iter().map(|entry| {
                    let verbatim = verbatim || matches!(entry.key.as_str(), "equals" | "json");
                    (entry.key.clone(), entry.node.json(verbatim))
                });
                Value::Object(pairs.collect())
            }
        }
    }
}

fn whole(number: &serde_json::Number) -> Value {
    /// Up to here a float holds every integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
            Value::from(float as i64)
        }
        _ => Value::Number(number.clone()),
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.content {
            Content::Scalar(value) => value.serialize(serializer),
            Content::List(entries) => {
                let mut list = serializer.serialize_seq(Some(entries.len()))?;
                entries.iter().try_for_each(|(_, node)| list.serialize_element(node))?;
                list.end()
            }
            Content::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|entry| map.serialize_entry(&entry.key, &entry.node))?;
                map.end()
            }
        }
    }
}
