//! What the file may say already and this release cannot do yet. Such a section is refused, never ignored.

use super::yaml::{self, Content, Fault, Node};

/// The one list: whoever builds a check deletes its row. `[]` stands for every entry of a list. A key whose value
/// is null, an empty list or an empty mapping asks for nothing and is accepted.
pub(super) const NOT_SUPPORTED: &[&str] = &[
    "cloud",
    "systems[].databases[].identity",
    "systems[].databases[].standby",
    "systems[].databases[].cloud",
    "systems[].dns",
    "systems[].certificates",
    "systems[].infrastructure",
];

/// Every use of what is not supported yet, at its key.
pub(super) fn judge(tree: &Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    for pattern in NOT_SUPPORTED {
        let parts: Vec<&str> = pattern.split('.').collect();
        walk(tree, &parts, "", &mut faults);
    }
    faults
}

fn walk(node: &Node, parts: &[&str], path: &str, faults: &mut Vec<Fault>) {
    let Some((part, rest)) = parts.split_first() else { return };
    let Some(entry) = node.get(part.trim_end_matches("[]")) else { return };
    let path = yaml::join(path, &entry.key);
    if rest.is_empty() {
        if !entry.node.is_empty() {
            faults.push((entry.place, path, "not supported yet".to_owned()));
        }
        return;
    }
    match &entry.node.content {
        Content::List(list) => {
            list.iter().for_each(|(index, node)| walk(node, rest, &format!("{path}[{index}]"), faults));
        }
        Content::Map(_) | Content::Scalar(_) => walk(&entry.node, rest, &path, faults),
    }
}
