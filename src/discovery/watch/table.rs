//! From the texts of the API server to the inventory, for one feed: pages of a list, lines of a watch. Pure.
//!
//! A list is compared page by page with what is kept, and only what differs is held until its end, so that it takes
//! force at once and 10,000 pods that did not change cost their names. An object that is not as Kubernetes says is
//! counted and left out: what was known of it stays, and the others lose nothing.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::kinds::{Key, Kind};
use crate::discovery::inventory::{Feed, Inventory};
use crate::discovery::objects::Wire;

/// Takes in what the API server says of one feed.
pub trait Table: Send {
    /// Begins a list; one that was under way is forgotten.
    fn begin(&mut self);

    /// Takes a page of a list in.
    ///
    /// # Errors
    ///
    /// What was sent is no list.
    fn page(&mut self, text: &[u8]) -> Result<Page, Malformed>;

    /// Drops what is kept already, to hold no more than what is new.
    fn compare(&mut self, inventory: &Inventory);

    /// Ends a list: all of it takes force, what it does not hold is gone. Says whether anything changed.
    fn commit(&mut self, inventory: &mut Inventory) -> bool;

    /// Takes a line of a watch in.
    ///
    /// # Errors
    ///
    /// What was sent is no event.
    fn event(&mut self, line: &[u8]) -> Result<Told, Malformed>;

    /// The events so far take force. Says whether anything changed.
    fn apply(&mut self, inventory: &mut Inventory) -> bool;

    /// Nothing of this feed is kept any more. Says whether anything was.
    fn forget(&mut self, inventory: &mut Inventory) -> bool;
}

/// What a page says beside its objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where in the history the list stands.
    pub version: Box<str>,
    /// How to ask for the next page.
    pub next: Option<Box<str>>,
    /// The names of objects that could not be read and were not known to be so.
    pub refused: Vec<Box<str>>,
}

/// What a line of a watch says.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// The watch stands here in the history now.
    At {
        /// Where.
        version: Box<str>,
        /// The name of the object, if it could not be read and was not known to be so.
        refused: Option<Box<str>>,
    },
    /// The API server ends the watch with this status; 410 says that it has forgotten where the watch stood.
    Ended(u16),
}

/// What was sent is not what the protocol says.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// The table of one kind.
pub struct Rows<K: Kind> {
    feed: Feed,
    /// What the list under way holds.
    seen: BTreeSet<K::Key>,
    /// What is not in force yet, in order.
    changes: Vec<Change<K>>,
    /// Names of objects that could not be read when they were last sent.
    refused: BTreeSet<Box<str>>,
}

enum Change<K: Kind> {
    Put(K::Key, K::Kept),
    Gone(K::Key),
}

#[derive(Deserialize)]
struct List<T> {
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ListMeta {
    resource_version: Box<str>,
    #[serde(rename = "continue")]
    next: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Event<T> {
    #[serde(rename = "type")]
    kind: EventKind,
    object: T,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum EventKind {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

/// The end of a watch, as the API server puts it.
#[derive(Deserialize)]
struct Ending {
    object: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

// === impl Rows ===

impl<K: Kind> Rows<K> {
    /// Of that feed, with nothing in it.
    pub fn boxed(feed: &Feed) -> Box<dyn Table> {
        let feed = feed.clone();
        Box::new(Rows::<K> { feed, seen: BTreeSet::new(), changes: Vec::new(), refused: BTreeSet::new() })
    }

    fn listed(&mut self, wire: K::Wire) {
        let key = K::Key::of(&self.feed, &wire.metadata().name);
        self.refused.remove(&wire.metadata().name);
        self.seen.insert(key.clone());
        self.changes.push(Change::Put(key, K::keep(wire)));
    }

    /// Takes note of an object that cannot be read; its name, if that is news.
    fn refuse(&mut self, object: &Value) -> Option<Box<str>> {
        let name: Box<str> = text(object, "name");
        // It is there, so what was known of it before stays.
        self.seen.insert(K::Key::of(&self.feed, &name));
        self.refused.insert(name.clone()).then_some(name)
    }

    /// A line whose object is not as Kubernetes says, or that is no event.
    fn odd_event(&mut self, line: &[u8]) -> Result<Told, Malformed> {
        let Event { kind, object } = serde_json::from_slice::<Event<Value>>(line).map_err(|_| Malformed)?;
        let version = text(&object, "resourceVersion");
        Ok(match kind {
            EventKind::Error => Told::Ended(ending(line)),
            EventKind::Bookmark => Told::At { version, refused: None },
            EventKind::Added | EventKind::Modified => Told::At { version, refused: self.refuse(&object) },
            EventKind::Deleted => {
                let name: Box<str> = text(&object, "name");
                self.changes.push(Change::Gone(K::Key::of(&self.feed, &name)));
                self.refused.remove(&name);
                Told::At { version, refused: None }
            }
        })
    }
}

impl<K: Kind> Table for Rows<K> {
    fn begin(&mut self) {
        self.seen.clear();
        self.changes.clear();
    }

    fn page(&mut self, text: &[u8]) -> Result<Page, Malformed> {
        let mut refused = Vec::new();
        // One pass for what is as it should be. Only a page with an object that is not costs a second look.
        let metadata = match serde_json::from_slice::<List<K::Wire>>(text) {
            Ok(List { metadata, items }) => {
                items.into_iter().flatten().for_each(|wire| self.listed(wire));
                metadata
            }
            Err(_) => {
                let List { metadata, items } =
                    serde_json::from_slice::<List<Value>>(text).map_err(|_| Malformed)?;
                for object in items.into_iter().flatten() {
                    match K::Wire::deserialize(&object) {
                        Ok(wire) => self.listed(wire),
                        Err(_) => refused.extend(self.refuse(&object)),
                    }
                }
                metadata
            }
        };
        let ListMeta { resource_version, next } = metadata;
        Ok(Page { version: resource_version, next: next.filter(|next| !next.is_empty()), refused })
    }

    fn compare(&mut self, inventory: &Inventory) {
        let Some(shelf) = K::shelf(&self.feed, inventory) else { return };
        self.changes.retain(|change| match change {
            Change::Put(key, kept) => shelf.get(key) != Some(kept),
            Change::Gone(_) => true,
        });
    }

    fn commit(&mut self, inventory: &mut Inventory) -> bool {
        let seen = std::mem::take(&mut self.seen);
        let Some(shelf) = K::shelf_mut(&self.feed, inventory) else { return false };
        let before = shelf.len();
        shelf.retain(|key, _| !key.comes_from(&self.feed) || seen.contains(key));
        let lost_some = shelf.len() != before;
        self.apply(inventory) || lost_some
    }

    fn event(&mut self, line: &[u8]) -> Result<Told, Malformed> {
        let Ok(Event { kind, object }) = serde_json::from_slice::<Event<K::Wire>>(line) else {
            return self.odd_event(line);
        };
        let meta = object.metadata();
        let version = meta.resource_version.clone();
        let key = K::Key::of(&self.feed, &meta.name);
        match kind {
            EventKind::Error => return Ok(Told::Ended(ending(line))),
            EventKind::Bookmark => return Ok(Told::At { version, refused: None }),
            EventKind::Added | EventKind::Modified => {
                self.refused.remove(&meta.name);
                self.changes.push(Change::Put(key, K::keep(object)));
            }
            EventKind::Deleted => {
                self.refused.remove(&meta.name);
                self.changes.push(Change::Gone(key));
            }
        }
        Ok(Told::At { version, refused: None })
    }

    fn apply(&mut self, inventory: &mut Inventory) -> bool {
        let Some(shelf) = K::shelf_mut(&self.feed, inventory) else { return false };
        let mut changed = false;
        for change in std::mem::take(&mut self.changes) {
            changed |= match change {
                Change::Put(key, kept) if shelf.get(&key) == Some(&kept) => false,
                Change::Put(key, kept) => {
                    shelf.insert(key, kept);
                    true
                }
                Change::Gone(key) => shelf.remove(&key).is_some(),
            };
        }
        changed
    }

    fn forget(&mut self, inventory: &mut Inventory) -> bool {
        self.begin();
        self.refused.clear();
        self.commit(inventory)
    }
}

/// A field of the metadata of an object that could not be read.
fn text(object: &Value, field: &str) -> Box<str> {
    object["metadata"][field].as_str().unwrap_or_default().into()
}

/// The status with which a watch ends; 0 when there is none.
fn ending(line: &[u8]) -> u16 {
    serde_json::from_slice::<Ending>(line).map_or(0, |ending| ending.object.code)
}
