//! A text of a workload whose Secrets are read at the attempt only, and never kept. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Gap, ObjectRef};
use crate::model::GapReason;
use crate::secret::Secret;

/// How to make a text: its pieces one after the other.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Recipe {
    pieces: Vec<Piece>,
    /// One line end at its end is no part of it, because editors put it there.
    is_file: bool,
}

/// A part of a text.
#[derive(Clone, PartialEq, Eq)]
enum Piece {
    /// Is there already. Not shown: people write passwords into templates.
    Text(Box<str>),
    /// Is in a Secret.
    Key(Box<SecretKey>),
}

/// A key of a Secret, and what holds when it is not there.
#[derive(Clone, PartialEq, Eq)]
struct SecretKey {
    secret: ObjectRef,
    key: Box<str>,
    demand: Demand,
    otherwise: Option<Recipe>,
}

/// What must be there, else the container does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The Secret and the key: a reference to a key.
    Key,
    /// The Secret, whatever its keys are: a whole Secret as variables or as files.
    Object,
    /// Nothing: an optional reference.
    Nothing,
}

/// A value with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// How to make it.
    pub recipe: Recipe,
    /// Where it comes from, for people: `from Secret orders-db, key url`; empty for what stands in the template itself.
    pub origin: String,
}

/// The Secrets that an attempt has read, each once: `None` where there is no such Secret. A key without a value is not
/// UTF-8.
pub type Read = BTreeMap<ObjectRef, Result<Option<BTreeMap<String, Option<Secret>>>, Gap>>;

// === impl Recipe ===

impl Recipe {
    /// A text that is known.
    pub fn text(text: &str) -> Self {
        let mut recipe = Recipe::default();
        recipe.push_text(text);
        recipe
    }

    /// A key of a Secret; where it is not there and need not be, `otherwise` holds.
    pub fn key(secret: ObjectRef, key: &str, demand: Demand, otherwise: Option<Recipe>) -> Self {
        let key = SecretKey { secret, key: key.into(), demand, otherwise };
        Recipe { pieces: vec![Piece::Key(Box::new(key))], is_file: false }
    }

    /// The content of a file, where one line end at the end is no part of the value.
    #[must_use]
    pub fn of_file(self) -> Self {
        Recipe { is_file: true, ..self }
    }

    /// Adds a known text at the end.
    pub fn push_text(&mut self, text: &str) {
        if let Some(Piece::Text(last)) = self.pieces.last_mut() {
            *last = format!("{last}{text}").into();
        } else if !text.is_empty() {
            self.pieces.push(Piece::Text(text.into()));
        }
    }

    /// Adds another recipe at the end; where that one turns out to be nothing, `unset` stands in its place.
    pub fn push(&mut self, other: Recipe, unset: &str) {
        for piece in other.or(Some(Recipe::text(unset))).pieces {
            match piece {
                Piece::Text(text) => self.push_text(&text),
                Piece::Key(key) => self.pieces.push(Piece::Key(key)),
            }
        }
    }

    /// With something else for where this turns out to be nothing.
    #[must_use]
    pub fn or(mut self, other: Option<Recipe>) -> Self {
        if let [Piece::Key(key)] = self.pieces.as_mut_slice()
            && key.demand != Demand::Key
        {
            key.otherwise = match key.otherwise.take() {
                Some(before) => Some(before.or(other)),
                None => other,
            };
        }
        self
    }

    /// Whether it is a text in any case, or else the container does not start.
    pub fn is_certain(&self) -> bool {
        match self.pieces.as_slice() {
            [Piece::Key(key)] => {
                key.demand == Demand::Key || key.otherwise.as_ref().is_some_and(Recipe::is_certain)
            }
            _ => true,
        }
    }

    /// The text, if no Secret is needed for it.
    pub fn known(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] if self.is_file => Some(without_line_end(text)),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What is known of its beginning; a scheme, perhaps.
    pub fn beginning(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Key(_)) | None => "",
        }
    }

    /// Every Secret that may be needed.
    pub fn secrets(&self) -> BTreeSet<&ObjectRef> {
        let mut all = BTreeSet::new();
        for piece in &self.pieces {
            if let Piece::Key(key) = piece {
                all.insert(&key.secret);
                all.extend(key.otherwise.iter().flat_map(Recipe::secrets));
            }
        }
        all
    }

    /// The text itself; `None` when it turns out that there is none.
    ///
    /// # Errors
    ///
    /// A Secret that cannot be read, or one that must be there and is not: names it and the key, never a content.
    pub fn cook(&self, read: &Read) -> Result<Option<Secret>, Gap> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(known) => text.push_str(known),
                Piece::Key(key) => match key.cook(read)? {
                    Some(secret) => text.push_str(secret.expose()),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(if self.is_file { Secret::new(without_line_end(&text)) } else { Secret::new(text) }))
    }
}

fn without_line_end(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

/// Shows Secrets by their names, and of texts only that there are some.
impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for piece in &self.pieces {
            match piece {
                Piece::Text(_) => f.write_str("text ")?,
                Piece::Key(key) => {
                    write!(f, "Secret {} key {} {:?}", key.secret, key.key, key.demand)?;
                    if let Some(otherwise) = &key.otherwise {
                        write!(f, " else {otherwise:?}")?;
                    }
                }
            }
        }
        f.write_str("]")
    }
}

// === impl SecretKey ===

impl SecretKey {
    fn cook(&self, read: &Read) -> Result<Option<Secret>, Gap> {
        let SecretKey { secret, key, demand, otherwise } = self;
        let keys = match read.get(secret) {
            Some(Ok(keys)) => keys.as_ref(),
            Some(Err(gap)) => return Err(gap.clone()),
            None => return Err(Gap::blind(format!("the Secret {secret} was not read"))),
        };
        let not_found = |what: String| Err(Gap::new(GapReason::NotFound, what));
        match (keys.map(|keys| keys.get(&**key)), demand) {
            (Some(Some(Some(value))), _) => Ok(Some(value.clone())),
            (Some(Some(None)), _) => {
                Err(Gap::new(GapReason::Unparsable, format!("key {key} of the Secret {secret} is not UTF-8")))
            }
            (None, Demand::Key | Demand::Object) => {
                not_found(format!("there is no Secret {secret}, of which key {key} is needed"))
            }
            (Some(None), Demand::Key) => not_found(format!("the Secret {secret} has no key {key}")),
            (None, Demand::Nothing) | (Some(None), Demand::Object | Demand::Nothing) => match otherwise {
                Some(otherwise) => otherwise.cook(read),
                None => Ok(None),
            },
        }
    }
}

// === impl Value ===

impl Value {
    /// A text that stands in the template itself.
    pub fn plain(text: &str) -> Self {
        Value { recipe: Recipe::text(text), origin: String::new() }
    }

    /// With something else for where this turns out to be nothing.
    #[must_use]
    pub fn or(self, other: Option<Value>) -> Self {
        let Some(other) = other.filter(|_| !self.recipe.is_certain()) else { return self };
        let origin = match (self.origin.as_str(), other.origin.as_str()) {
            (own, "") => format!("{own}, else as it stands in the template"),
            (own, other) => format!("{own}, else {other}"),
        };
        Value { recipe: self.recipe.or(Some(other.recipe)), origin }
    }

    /// The origin behind a comma, or nothing.
    pub fn told(&self) -> String {
        if self.origin.is_empty() { String::new() } else { format!(", {}", self.origin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> ObjectRef {
        ObjectRef::new("ns", name)
    }

    fn read(secrets: &[(&str, Option<&[(&str, &str)]>)]) -> Read {
        let keys = |keys: &[(&str, &str)]| {
            keys.iter().map(|(key, value)| ((*key).to_owned(), Some(Secret::new(*value)))).collect()
        };
        secrets.iter().map(|(name, held)| (object(name), Ok(held.map(keys)))).collect()
    }

    fn cooked(recipe: &Recipe, read: &Read) -> Result<Option<String>, String> {
        recipe.cook(read).map(|text| text.map(|text| text.expose().to_owned())).map_err(|gap| gap.to_string())
    }

    #[test]
    fn what_must_be_there_is_demanded_and_what_may_be_absent_gives_way() {
        let of = |demand, otherwise: Option<&str>| {
            Recipe::key(object("s"), "k", demand, otherwise.map(Recipe::text))
        };
        let (whole, keyless, gone) =
            (read(&[("s", Some(&[("k", "v")]))]), read(&[("s", Some(&[]))]), read(&[("s", None)]));
        for demand in [Demand::Key, Demand::Object, Demand::Nothing] {
            assert_eq!(cooked(&of(demand, Some("x")), &whole), Ok(Some("v".to_owned())));
        }
        assert_eq!(cooked(&of(Demand::Key, None), &keyless), Err("the Secret ns/s has no key k".to_owned()));
        for demand in [Demand::Key, Demand::Object] {
            let error = cooked(&of(demand, Some("x")), &gone).unwrap_err();
            assert_eq!(error, "there is no Secret ns/s, of which key k is needed");
        }
        assert_eq!(cooked(&of(Demand::Object, Some("x")), &keyless), Ok(Some("x".to_owned())));
        assert_eq!(cooked(&of(Demand::Object, None), &keyless), Ok(None));
        assert_eq!(cooked(&of(Demand::Nothing, None), &gone), Ok(None));
        assert_eq!(cooked(&of(Demand::Nothing, Some("x")), &gone), Ok(Some("x".to_owned())));
    }

    #[test]
    fn chains_give_way_in_order() {
        let last = Recipe::key(object("a"), "k", Demand::Object, None);
        let chain = Recipe::key(object("b"), "k", Demand::Nothing, Some(last));
        assert!(!chain.is_certain());
        let chain = chain.or(Some(Recipe::text("end")));
        assert!(chain.is_certain());
        assert_eq!(chain.secrets().len(), 2);
        for (b, a, expected) in [(true, true, "b"), (false, true, "a"), (false, false, "end")] {
            let b: &[(&str, &str)] = if b { &[("k", "b")] } else { &[] };
            let a: &[(&str, &str)] = if a { &[("k", "a")] } else { &[] };
            assert_eq!(
                cooked(&chain, &read(&[("a", Some(a)), ("b", Some(b))])),
                Ok(Some(expected.to_owned()))
            );
        }
    }

    #[test]
    fn a_piece_that_is_unset_leaves_its_name_and_not_the_whole_unset() {
        let mut recipe = Recipe::text("x-");
        recipe.push(Recipe::key(object("s"), "k", Demand::Object, None), "$(K)");
        recipe.push_text("-y");
        assert_eq!(cooked(&recipe, &read(&[("s", Some(&[]))])), Ok(Some("x-$(K)-y".to_owned())));
        assert_eq!(cooked(&recipe, &read(&[("s", Some(&[("k", "v")]))])), Ok(Some("x-v-y".to_owned())));
    }

    #[test]
    fn only_files_lose_one_line_end() {
        let key = Recipe::key(object("s"), "k", Demand::Key, None);
        let held = read(&[("s", Some(&[("k", "pw\n\n")]))]);
        assert_eq!(cooked(&key, &held), Ok(Some("pw\n\n".to_owned())));
        assert_eq!(cooked(&key.of_file(), &held), Ok(Some("pw\n".to_owned())));
        assert_eq!(Recipe::text("pw\r\n").of_file().known(), Some("pw"));
    }

    #[test]
    fn nothing_is_shown_of_a_text() {
        let mut recipe = Recipe::text("postgres://u:hunter2@h");
        recipe.push(Recipe::key(object("s"), "k", Demand::Key, None), "");
        assert_eq!(format!("{recipe:?}"), "[text Secret ns/s key k Key]");
    }
}
