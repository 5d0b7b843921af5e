//! Files that the configuration refers to. That one is missing now is no error: it may come with a mounted Secret.

use std::path::Path;

use serde_json::Value;

use super::yaml::{Content, Fault, Node, join};

/// Keys whose value is the path of a file on this machine.
const KEYS: &[&str] = &["ca_file", "cert_file", "key_file", "kubeconfig", "plan_json", "state_json"];

/// A warning for every file that does not exist.
pub(super) fn missing(tree: &Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk(tree, "", &mut faults);
    faults
}

fn walk(node: &Node, path: &str, faults: &mut Vec<Fault>) {
    match &node.content {
        Content::Map(entries) => {
            // `{file: PATH}` alone is a credential; beside other keys `file` is a path in a container.
            let alone = entries.len() == 1;
            for entry in entries {
                let at = join(path, &entry.key);
                let names_file = KEYS.contains(&entry.key.as_str()) || (alone && entry.key == "file");
                match &entry.node.content {
                    Content::Scalar(Value::String(file)) if names_file && !Path::new(file).exists() => {
                        let words = "this file does not exist now; it is read again at every attempt";
                        faults.push((entry.node.place, at, words.to_owned()));
                    }
                    Content::Scalar(_) | Content::List(_) | Content::Map(_) => walk(&entry.node, &at, faults),
                }
            }
        }
        Content::List(nodes) => {
            for (index, node) in nodes {
                walk(node, &format!("{path}[{index}]"), faults);
            }
        }
        Content::Scalar(_) => {}
    }
}
