//! The JSON Schema of the file, and what it says of a tree, in our words.
//!
//! The schema holds no `oneOf` and no `anyOf`: where two shapes are allowed, one `type` lists both, so that a
//! mistake inside one of them is told as itself and not as "matches none of".

use std::sync::LazyLock;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::scalar::FORMATS;
use super::site::Config;
use super::web::WebFile;
use super::yaml::{self, Content, Fault, Node, Place};

/// The schema of one kind of file, and what judges by it.
pub(super) struct Book {
    schema: Value,
    validator: Validator,
}

/// The configuration file.
pub(super) static CONFIG: LazyLock<Book> = LazyLock::new(Book::of::<Config>);
/// The file of `--web.config.file`.
pub(super) static WEB: LazyLock<Book> = LazyLock::new(Book::of::<WebFile>);

/// The JSON Schema of the configuration file, draft 2020-12.
pub fn json_schema() -> Value {
    CONFIG.schema.clone()
}

// === impl Book ===

impl Book {
    #[allow(
        clippy::expect_used,
        reason = "a schema is fixed at build time, and the tests of this module build both"
    )]
    fn of<T: schemars::JsonSchema>() -> Self {
        let settings = schemars::generate::SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
        tidy(&mut schema);
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let options =
            FORMATS.iter().fold(options, |options, (name, _, check)| options.with_format(*name, *check));
        let validator = options.build(&schema).expect("the generated schema is valid");
        Book { schema, validator }
    }

    /// The schema around the keyword that was broken.
    fn node(&self, path: &str) -> Option<&Value> {
        let (node, _) = path.rsplit_once('/')?;
        self.schema.pointer(node)
    }
}

/// Takes out what helps nobody: integer widths, and defaults of keys that must be given.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        object.remove("format");
    }
    let required: Vec<String> = strings(object.get("required")).map(str::to_owned).collect();
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (key, property) in properties.iter_mut() {
            if required.contains(key)
                && let Some(property) = property.as_object_mut()
            {
                property.remove("default");
            }
            tidy(property);
        }
    }
    for key in ["items", "additionalProperties"] {
        object.get_mut(key).into_iter().for_each(tidy);
    }
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Every mistake that the schema sees in the tree. What is mistaken is taken out of the tree, so that the rest can
/// be judged by the rules; returned beside the faults are the paths of what was taken out. No tree is left when
/// the mistake is the file as a whole.
pub(super) fn judge(book: &Book, mut tree: Node) -> (Option<Node>, Vec<Fault>, Vec<String>) {
    let mut faults: Vec<Fault> = Vec::new();
    let mut removed = Vec::new();
    let mut first = true;
    loop {
        let json = tree.to_json();
        let mut doomed: Vec<String> = Vec::new();
        let mut told: Vec<(String, u8, Fault)> = Vec::new();
        let mut clean = true;
        for error in book.validator.iter_errors(&json) {
            clean = false;
            let pointer = error.instance_path().as_str().to_owned();
            let node = book.node(error.schema_path().as_str());
            for (rank, consequence, fault, out) in
                explain(&tree, &pointer, error.kind(), node, error.instance())
            {
                doomed.extend(out);
                if first || !consequence {
                    told.push((fault.1.clone(), rank, fault));
                }
            }
        }
        if clean {
            return (Some(tree), faults, removed);
        }
        // One mistake is told once: the most telling of what the schema has to say about one value.
        for (path, rank, fault) in &told {
            let better =
                told.iter().any(|(other, other_rank, _)| other == path && *rank < 9 && other_rank < rank);
            if !better && !faults.contains(fault) {
                faults.push(fault.clone());
            }
        }
        doomed.sort();
        doomed.dedup();
        // From the back, so that the numbers of list entries before it stay.
        for pointer in doomed.iter().rev() {
            removed.push(locate(&tree, pointer).1);
        }
        let mut order: Vec<Vec<Step>> = doomed.iter().map(|pointer| steps(pointer)).collect();
        order.sort();
        let taken = order.iter().rev().filter(|path| take_out(&mut tree, path)).count();
        first = false;
        // Only keys that are missing are left, and the structs do without them.
        if doomed.is_empty() {
            return (Some(tree), faults, removed);
        }
        if taken == 0 {
            return (None, faults, removed);
        }
    }
}

type Explained = (u8, bool, Fault, Option<String>);

/// Rank (lower wins at one place), whether it may only follow from what was taken out, the fault, what to take out.
fn explain(
    tree: &Node,
    pointer: &str,
    kind: &ValidationErrorKind,
    node: Option<&Value>,
    found: &Value,
) -> Vec<Explained> {
    let (place, path) = locate(tree, pointer);
    let doomed = || Some(pointer.to_owned());
    let own = |rank, message: String| vec![(rank, false, (place, path.clone(), message), doomed())];
    match kind {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|key| unknown_key(tree, pointer, key, node)).collect()
        }
        ValidationErrorKind::Required { property } => {
            let message = format!("`{}` is missing", property.as_str().unwrap_or_default());
            // The structs have a default for every key, so that nothing need be taken out, but for the few values
            // that are all or nothing.
            let whole = node.is_some_and(|node| node.get("x-all-or-nothing").is_some());
            vec![(9, true, (place, path, message), whole.then(|| pointer.to_owned()))]
        }
        ValidationErrorKind::PropertyNames { error } => {
            let key = error.instance().as_str().unwrap_or_default().to_owned();
            let wanted = match error.kind() {
                ValidationErrorKind::Format { format } => describe(format),
                _ => None,
            };
            let wanted = wanted.unwrap_or("another text");
            let pointer = format!("{pointer}/{}", escape(&key));
            let shown = if yaml::may_show(&path, &key) { yaml::join(&path, &key) } else { path };
            let message = format!("this key must be {wanted}");
            vec![(9, false, (key_place(tree, &pointer), shown, message), Some(pointer))]
        }
        ValidationErrorKind::Enum { .. } => {
            let names: Vec<_> = strings(node.and_then(|node| node.get("enum"))).collect();
            let tail = if found.is_string() { String::new() } else { format!(", found {}", kind_of(found)) };
            own(0, format!("expected one of {}{tail}", names.join(", ")))
        }
        ValidationErrorKind::Type { .. } => {
            let hint = if found.is_number() && wants_text(node) { "; put it in quotes" } else { "" };
            own(1, format!("expected {}, found {}{hint}", expected(node), kind_of(found)))
        }
        ValidationErrorKind::Format { format } => {
            let both = node.is_some_and(|node| format == "host-port" && types(node).contains(&"object"));
            let words =
                if both { expected(node) } else { describe(format).unwrap_or("another text").to_owned() };
            own(2, format!("expected {words}"))
        }
        ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. } => {
            let limit = |key| node.and_then(|node| node.get(key)).cloned().unwrap_or_default();
            own(3, format!("expected a whole number from {} to {}", limit("minimum"), limit("maximum")))
        }
        ValidationErrorKind::MinItems { .. } => {
            vec![(4, true, (place, path, "expected at least one entry".to_owned()), doomed())]
        }
        ValidationErrorKind::MinProperties { .. } | ValidationErrorKind::MaxProperties { .. } => {
            let message = if node.is_some_and(|node| node.get("maxProperties").is_some()) {
                "expected exactly one of file, env, secret, value"
            } else {
                "expected at least one entry"
            };
            vec![(4, true, (place, path, message.to_owned()), doomed())]
        }
        _ => own(5, "this value does not fit its key".to_owned()),
    }
}

fn unknown_key(tree: &Node, pointer: &str, key: &str, node: Option<&Value>) -> Explained {
    let (_, path) = locate(tree, pointer);
    let pointer = format!("{pointer}/{}", escape(key));
    let known: Vec<&str> = node
        .and_then(|node| node.get("properties"))
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&key.to_lowercase(), name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min();
    let allowed = known.join(", ");
    let shown = yaml::may_show(&path, key);
    let (path, mut message) = if shown {
        (yaml::join(&path, key), format!("unknown key `{key}`"))
    } else {
        (path, "unknown key (not shown, it may be a credential)".to_owned())
    };
    if let Some((_, name)) = nearest.filter(|_| shown) {
        message.push_str(&format!(", did you mean `{name}`?"));
        message.push_str(&format!(" Allowed here: {allowed}"));
    } else {
        message.push_str(&format!("; allowed here: {allowed}"));
    }
    (9, false, (key_place(tree, &pointer), path, message), Some(pointer))
}

fn describe(format: &str) -> Option<&'static str> {
    FORMATS.iter().find(|(name, _, _)| *name == format).map(|(_, words, _)| *words)
}

fn types(node: &Value) -> Vec<&str> {
    match node.get("type") {
        Some(Value::String(one)) => vec![one],
        many => strings(many).collect(),
    }
}

fn wants_text(node: Option<&Value>) -> bool {
    node.is_some_and(|node| types(node).contains(&"string") && !is_credential(node))
        && node
            .and_then(|node| node.get("format"))
            .and_then(Value::as_str)
            .is_none_or(|format| format == "name" || format == "not-blank")
}

fn is_credential(node: &Value) -> bool {
    node.pointer("/properties/env").is_some() && node.get("maxProperties").is_some()
}

/// What a value should have been, in words.
pub(super) fn expected(node: Option<&Value>) -> String {
    let Some(node) = node else { return "something else".to_owned() };
    let types = types(node);
    let forms = "{file: PATH}, {env: NAME}, {secret: {namespace, name, key}}";
    if is_credential(node) {
        return if types.contains(&"string") {
            format!("a text or one of {forms}")
        } else {
            format!("one of {forms}")
        };
    }
    let format = node.get("format").and_then(Value::as_str);
    match format {
        Some("host-port") if types.contains(&"object") => {
            return "an address such as lb.example:443, or {service: namespace/name, port: 443}".to_owned();
        }
        Some("name") | None => {}
        Some(format) => return describe(format).unwrap_or("a text").to_owned(),
    }
    let words: Vec<&str> = types.iter().filter(|name| **name != "null").map(|name| word(name)).collect();
    words.join(" or ")
}

fn word(kind: &str) -> &'static str {
    match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing (null)",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing (null)",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

// === places ===

/// One step of a JSON pointer; numbers sort as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn steps(pointer: &str) -> Vec<Step> {
    let parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    parts.map(|part| part.parse().map(Step::Index).unwrap_or(Step::Key(part))).collect()
}

fn position(list: &[(usize, Node)], step: &Step) -> Option<usize> {
    match step {
        Step::Index(index) => (*index < list.len()).then_some(*index),
        Step::Key(_) => None,
    }
}

fn name(step: &Step) -> String {
    match step {
        Step::Index(index) => index.to_string(),
        Step::Key(key) => key.clone(),
    }
}

/// Place and path, as people write it, of the value at a JSON pointer, or of the nearest value around it.
pub(super) fn locate(tree: &Node, pointer: &str) -> (Place, String) {
    let (mut node, mut path) = (tree, String::new());
    for step in steps(pointer) {
        match &node.content {
            Content::List(list) => match position(list, &step).map(|at| &list[at]) {
                Some((index, next)) => {
                    path = format!("{path}[{index}]");
                    node = next;
                }
                None => break,
            },
            Content::Map(_) => match node.get(&name(&step)) {
                Some(entry) => {
                    path = yaml::join(&path, &entry.key);
                    node = &entry.node;
                }
                None => break,
            },
            Content::Scalar(_) => break,
        }
    }
    (node.place, path)
}

/// Place of the key at a JSON pointer.
pub(super) fn key_place(tree: &Node, pointer: &str) -> Place {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return tree.place };
    let key = key.replace("~1", "/").replace("~0", "~");
    find(tree, parent)
        .and_then(|node| node.get(&key))
        .map_or_else(|| locate(tree, pointer).0, |entry| entry.place)
}

/// The value at a JSON pointer.
pub(super) fn find<'n>(tree: &'n Node, pointer: &str) -> Option<&'n Node> {
    steps(pointer).iter().try_fold(tree, |node, step| match &node.content {
        Content::List(list) => position(list, step).map(|at| &list[at].1),
        Content::Map(_) => node.get(&name(step)).map(|entry| &entry.node),
        Content::Scalar(_) => None,
    })
}

fn take_out(node: &mut Node, path: &[Step]) -> bool {
    let Some((step, rest)) = path.split_first() else { return false };
    match &mut node.content {
        Content::List(list) => match position(list, step) {
            Some(at) if rest.is_empty() => {
                list.remove(at);
                true
            }
            Some(at) => take_out(&mut list[at].1, rest),
            None => false,
        },
        Content::Map(entries) => match entries.iter().position(|entry| entry.key == name(step)) {
            Some(at) if rest.is_empty() => {
                entries.remove(at);
                true
            }
            Some(at) => take_out(&mut entries[at].node, rest),
            None => false,
        },
        Content::Scalar(_) => false,
    }
}
