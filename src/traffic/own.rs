//! Our own requests, and which handler counted them.

use std::collections::{BTreeMap, VecDeque};

use super::Class;

/// More answered requests than this are not kept while they wait for their scrape.
const MAX_PENDING: usize = 10_000;
/// More handlers than this are not told apart; requests of the rest count as business, which is the safe side.
const MAX_HANDLERS: usize = 2_000;

/// An answered request of ours that no scrape has shown yet. Times in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Own {
    pub(super) path: String,
    pub(super) sent: i64,
    pub(super) answered: i64,
}

/// The waiting requests and the handlers known so far.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnRequests {
    pending: VecDeque<Own>,
    handlers: BTreeMap<String, Class>,
}

// === impl OwnRequests ===

impl OwnRequests {
    pub(super) fn know(&mut self, handler: &str, class: Class) {
        if self.handlers.len() < MAX_HANDLERS && !self.handlers.contains_key(handler) {
            self.handlers.insert(handler.to_owned(), class);
        }
    }

    pub(super) fn wait(&mut self, own: Own) {
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(own);
    }

    /// The handler that counts requests to `path`: the one written the same, else the most literal template.
    pub(super) fn handler_of(&self, path: &str) -> Option<(&str, Class)> {
        let path = normal(path);
        let fitting =
            self.handlers.iter().filter_map(|(handler, class)| Some((fit(handler, path)?, handler, class)));
        fitting.max_by_key(|(fit, ..)| *fit).map(|(_, handler, class)| (handler.as_str(), *class))
    }

    /// Takes the requests that the increases of a scrape at `at` account for off them; says how many those were.
    pub(super) fn consume(&mut self, increases: &mut BTreeMap<String, f64>, at: i64) -> f64 {
        let mut taken = 0.0;
        let mut handlers: BTreeMap<String, Option<String>> = BTreeMap::new();
        for own in &self.pending {
            if !handlers.contains_key(&own.path) {
                let handler = self.handler_of(&own.path).filter(|(_, class)| *class == Class::Business);
                handlers.insert(own.path.clone(), handler.map(|(name, _)| name.to_owned()));
            }
        }
        self.pending.retain(|own| {
            let handler = handlers.get(&own.path).and_then(Option::as_ref);
            let Some(left) = handler.and_then(|name| increases.get_mut(name)).filter(|left| **left >= 1.0)
            else {
                return true;
            };
            if own.sent > at {
                return true;
            }
            *left -= 1.0;
            taken += 1.0;
            false
        });
        taken
    }

    /// Forgets the requests answered before `until`: every instance has been read since, and none counted them.
    pub(super) fn settle(&mut self, until: i64) {
        self.pending.retain(|own| own.answered >= until);
    }
}

/// Without query, fragment and trailing slash.
fn normal(path: &str) -> &str {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() && path.starts_with('/') { "/" } else { trimmed }
}

/// How well a handler fits a path: `None` not at all, the larger the better; equality is best.
///
/// A segment of a template is a hole when it is `{id}`, `:id`, `<id>` or `*`; `{rest...}`, `{*rest}`, `*rest` and
/// `**` at the end take all that is left.
fn fit(handler: &str, path: &str) -> Option<usize> {
    let handler = normal(handler);
    if handler == path {
        return Some(usize::MAX);
    }
    let mut segments = path.split('/');
    let mut literal = 0;
    let mut parts = handler.split('/').peekable();
    let mut has_hole = false;
    while let Some(part) = parts.next() {
        let segment = segments.next()?;
        let is_rest = parts.peek().is_none()
            && (part == "**"
                || part.len() > 1 && part.starts_with('*')
                || part.starts_with("{*")
                || part.ends_with("...}"));
        let is_hole = part == "*"
            || part.len() > 1 && part.starts_with(':')
            || part.len() > 2
                && (part.starts_with('{') && part.ends_with('}')
                    || part.starts_with('<') && part.ends_with('>'));
        has_hole |= is_rest || is_hole;
        if is_rest {
            return Some(literal);
        } else if part == segment {
            literal += 1;
        } else if !is_hole || segment.is_empty() {
            return None;
        }
    }
    (has_hole && segments.next().is_none()).then_some(literal)
}
