//! The reference of the file, as Markdown, from the schema: the docs of the code are the docs of the keys.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema;

/// Every key of the file in its order: type, default, meaning. The content of `docs/config.md`.
pub fn reference_markdown() -> String {
    let schema = schema::json_schema();
    let mut out = String::from(
        "# Configuration\n\nGenerated from `src/config`; do not edit. A key in bold must be given. `[]` stands for every \
         entry of a list, `*` for every key of a mapping.\n\n| key | type | default | meaning |\n|---|---|---|---|\n",
    );
    rows(&schema, "", &mut out);
    out
}

fn rows(node: &Value, path: &str, out: &mut String) {
    let required = node.get("required").and_then(Value::as_array);
    for (key, property) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let must = required.is_some_and(|required| required.iter().any(|name| name == key));
        let shown = if must { format!("**`{full}`**") } else { format!("`{full}`") };
        let default = property.get("default").filter(|default| !default.is_null());
        let default = default.map(|default| format!("`{default}`")).unwrap_or_default();
        let meaning =
            property.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {shown} | {} | {} | {} |",
            cell(&kind(property)),
            cell(&default),
            cell(&meaning)
        );
        // The forms of a credential are the same everywhere; their row says them.
        if property.get("maxProperties").is_none() {
            rows(property, &full, out);
        }
        if let Some(items) = property.get("items") {
            rows(items, &format!("{full}[]"), out);
        }
        if let Some(values) =
            property.get("additionalProperties").filter(|values| values.get("maxProperties").is_none())
        {
            rows(values, &format!("{full}.*"), out);
        }
    }
}

fn kind(node: &Value) -> String {
    if let Some(names) = node.get("enum").and_then(Value::as_array) {
        return names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    }
    if let Some(items) = node.get("items") {
        return format!("list of: {}", kind(items));
    }
    schema::expected(Some(node))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
