//! Addresses of pages: names into paths and back, and what a reader chose by the query string. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::form_urlencoded;

use crate::model::{Check, CheckKey, Verdict};

/// What stands for itself in a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
/// How much of a search is read.
const SEARCH_CAP: usize = 200;

/// A page that can be asked for. Whether there is such a system or check, only a report can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All systems.
    Home,
    /// One system, by its name.
    System(String),
    /// One check: system, check and target, as they were written.
    Check(String, String, String),
}

/// What a reader chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Only systems of this verdict.
    pub verdict: Option<Verdict>,
    /// Only systems with this in their names, in any case of letters; all, if empty.
    pub search: String,
    /// The page does not refresh itself.
    pub hold: bool,
}

// === impl Place ===

impl Place {
    /// The page at a path, if paths of that form are pages.
    pub fn at(path: &str) -> Option<Self> {
        if path == "/" {
            return Some(Place::Home);
        }
        let parts: Option<Vec<_>> = path.strip_prefix("/systems/")?.split('/').map(decoded).collect();
        match <[String; 3]>::try_from(parts?) {
            Ok([system, check, target]) => Some(Place::Check(system, check, target)),
            Err(parts) => match <[String; 1]>::try_from(parts) {
                Ok([system]) => Some(Place::System(system)),
                Err(_) => None,
            },
        }
    }

    /// The path, percent-encoded.
    pub fn path(&self) -> String {
        match self {
            Place::Home => "/".to_owned(),
            Place::System(system) => of_system(system),
            Place::Check(system, check, target) => {
                format!("{}/{}/{}", of_system(system), encoded(check), encoded(target))
            }
        }
    }
}

/// The path of the page of a system.
pub fn of_system(name: &str) -> String {
    format!("/systems/{}", encoded(name))
}

/// The path of the page of a check.
pub fn of_check(key: &CheckKey) -> String {
    let CheckKey { system, check, target } = key;
    of(system, *check, target)
}

/// The same, from its parts.
pub fn of(system: &str, check: Check, target: &str) -> String {
    format!("{}/{check}/{}", of_system(system), encoded(target))
}

/// One segment of a path. Browsers take `.` and `..` away however they are written, so that these begin with `~`.
fn encoded(name: &str) -> String {
    let escape = if matches!(name, "." | "..") || name.starts_with('~') { "~" } else { "" };
    format!("{escape}{}", utf8_percent_encode(name, ENCODED))
}

fn decoded(segment: &str) -> Option<String> {
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    Some(name.strip_prefix('~').unwrap_or(&name).to_owned())
}

// === impl Choice ===

impl Choice {
    /// Reads a query string; what it does not know, it passes over.
    pub fn read(query: &str) -> Self {
        let mut choice = Choice::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "verdict" => choice.verdict = Verdict::from_name(&value),
                "q" => choice.search = value.trim().chars().take(SEARCH_CAP).collect(),
                "hold" => choice.hold = value == "1",
                _ => {}
            }
        }
        choice
    }

    /// The address of `path` with this choice.
    pub fn address(&self, path: &str) -> String {
        let Choice { verdict, search, hold } = self;
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(verdict) = verdict {
            query.append_pair("verdict", verdict.as_str());
        }
        if !search.is_empty() {
            query.append_pair("q", search);
        }
        if *hold {
            query.append_pair("hold", "1");
        }
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// Whether some systems may be left out.
    pub fn filters(&self) -> bool {
        let Choice { verdict, search, hold: _ } = self;
        verdict.is_some() || !search.is_empty()
    }

    /// Whether a system of this name and verdict was chosen.
    pub fn takes(&self, name: &str, verdict: Verdict) -> bool {
        self.verdict.is_none_or(|wanted| wanted == verdict)
            && name.to_lowercase().contains(&self.search.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_way_back() {
        for name in [
            "orders",
            "a/b:c",
            "..",
            ".",
            "~",
            "~..",
            "ä ö",
            "50% <b>&\"'",
            "a?b#c",
            "a\\b",
            "%2F",
            "\u{202e}",
        ] {
            for place in
                [Place::System(name.to_owned()), Place::Check(name.into(), "surface".into(), name.into())]
            {
                let path = place.path();
                // As a browser understands it, which is what counts.
                let url = url::Url::parse("http://h:1/").unwrap().join(&path).unwrap();
                assert_eq!((url.path(), url.query(), url.fragment()), (&*path, None, None), "{name}");
                assert_eq!(Place::at(url.path()), Some(place), "{path}");
            }
        }
        assert_eq!(Place::at("/"), Some(Place::Home));
    }

    #[test]
    fn other_paths_are_no_pages() {
        for path in ["", "/x", "/systems", "/systems/a/b", "/systems/a/b/c/d", "/systems/%ff", "/system/a"] {
            assert_eq!(Place::at(path), None, "{path}");
        }
    }

    #[test]
    fn a_choice_survives_its_address() {
        let choice = Choice { verdict: Some(Verdict::Unusable), search: "a&b =ü".to_owned(), hold: true };
        let address = choice.address("/");
        assert_eq!(Choice::read(address.strip_prefix("/?").unwrap()), choice);
        assert_eq!(Choice::read("verdict=nonsense&x=1&q=++"), Choice::default());
        assert_eq!(Choice::default().address("/"), "/");
        assert!(choice.takes("x A&B =Ü", Verdict::Unusable));
        assert!(!choice.takes("x A&B =Ü", Verdict::Usable) && !choice.takes("a", Verdict::Unusable));
    }
}
