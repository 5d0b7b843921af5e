//! The configuration as it may be shown: every literal that could be a credential is masked.
//!
//! The rule does not look for passwords, since a DSN has too many spellings: a literal under a key that may hold
//! one is cut to where it points (`scheme://host:port`) when that is certain, and is `[masked]` otherwise.

use serde_json::Value;
use url::Url;

use super::scalar::origin_of;
use super::yaml::{self, Content, Node};

const MASKED: &str = "[masked]";

/// The text of a configuration file with its credentials masked; comments are not kept. A file that is not YAML is masked whole.
pub fn masked_yaml(text: &str) -> String {
    let (Some(mut tree), _) = yaml::read(text) else { return MASKED.to_owned() };
    mask(&mut tree, false);
    serde_saphyr::to_string(&tree).unwrap_or_else(|_| MASKED.to_owned())
}

/// Masks everything below a node that `hides`, and otherwise what the keys say.
fn mask(node: &mut Node, hides: bool) {
    match &mut node.content {
        Content::Scalar(value) => {
            let Value::String(text) = value else {
                if hides && !value.is_null() {
                    *value = MASKED.into();
                }
                return;
            };
            if hides || suspicious(text) {
                *value = pointed_at(text).unwrap_or_else(|| MASKED.to_owned()).into();
            }
        }
        Content::List(list) => list.iter_mut().for_each(|(_, node)| mask(node, hides)),
        Content::Map(entries) => {
            for entry in entries {
                if !yaml::may_show("", &entry.key) && suspicious(&entry.key) {
                    entry.key = MASKED.to_owned();
                }
                match entry.key.as_str() {
                    // A reference says where a credential is, not what it is.
                    "file" | "env" | "secret" => mask(&mut entry.node, false),
                    "password" | "authorization" | "value" | "url" | "endpoint_url" | "headers" | "body" => {
                        mask(&mut entry.node, true);
                    }
                    _ => mask(&mut entry.node, hides),
                }
            }
        }
    }
}

/// Whether a text looks like one that carries a credential, wherever it stands.
fn suspicious(text: &str) -> bool {
    let text = text.to_lowercase();
    ["://", "password", "pwd=", "token=", "secret=", "bearer ", "basic "]
        .iter()
        .any(|mark| text.contains(mark))
}

/// Scheme, host and port of a URL, when nothing after them can be a piece of a credential.
fn pointed_at(text: &str) -> Option<String> {
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    let (_, rest) = text.split_once("://")?;
    let url = Url::parse(text).ok().filter(Url::has_host)?;
    // A password with `/`, `?` or `#` in it, unescaped, ends the authority early: the host that is parsed then
    // is the user's name. An `@` behind the authority gives it away.
    let authority = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(authority);
    (!behind.contains('@') && authority.matches('@').count() <= 1).then(|| origin_of(&url))
}
