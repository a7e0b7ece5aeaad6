//! Reading a YAML mapping whose keys are known, one key at a time.
//!
//! Owns: the small questions that every part of the catalog asks (is the key there, is it text, one of these
//! words, a list, a duration) and the wording of the answers. It keeps the rule that an unknown key is never
//! ignored: a misspelt `included` would otherwise bill what should be free.

use jiff::SignedDuration;

use super::mistake::{Mistakes, Place};
use super::yaml::{Content, Entry, Node};

/// The value of a key that may be absent, as an option; leaves the function with nothing where the key was there but
/// wrong, which has been reported.
macro_rules! unless_wrong {
    ($read:expr) => {
        match $read {
            None => None,
            Some(Some(value)) => Some(value),
            Some(None) => return None,
        }
    };
}

/// The entries of one mapping while it is being read.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    /// What the mapping describes, for messages: ``meter `storage_bytes` ``.
    pub what: String,
    /// Where to point when something is absent.
    pub place: Place,
    entries: &'n [Entry],
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// `place` is what a message about an absent key points at: the name that introduces the mapping.
    pub fn open(
        node: &'n Node,
        what: impl Into<String>,
        place: Place,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let what = what.into();
        let Content::Map(entries) = &node.content else {
            if node.content == Content::Alias {
                return None;
            }
            let found = node.found();
            mistakes
                .report(node.place, format!("{what}: expected a mapping of keys to values, found {found}"));
            return None;
        };
        Some(Self { what, place, entries, asked: Vec::new() })
    }

    pub fn optional(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub fn required(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<&'n Node> {
        let node = self.optional(key);
        if node.is_none() {
            mistakes.report(self.place, format!("{} has no `{key}`", self.what));
        }
        node
    }

    pub fn description(&mut self, mistakes: &mut Mistakes) -> Option<&'n str> {
        let node = self.optional("description")?;
        text(node, "`description`", mistakes)
    }

    /// Reports every key that nobody asked for.
    pub fn close(self, mistakes: &mut Mistakes) {
        for entry in self.entries {
            if !self.asked.contains(&entry.key.as_str()) {
                let known = self.asked.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                mistakes
                    .report(entry.key_place, format!("{} has no key `{}`", self.what, entry.key))
                    .hint(format!("expected one of {known}"))
                    .did_you_mean(&entry.key, self.asked.iter().copied());
            }
        }
    }
}

/// The text of a scalar. Numbers and booleans count as text, exactly as written.
pub(super) fn text<'n>(node: &'n Node, what: &str, mistakes: &mut Mistakes) -> Option<&'n str> {
    match &node.content {
        Content::Text { text, .. } => return Some(text),
        Content::Alias => {}
        _ => {
            mistakes.report(node.place, format!("{what}: expected text, found {}", node.found()));
        }
    }
    None
}

/// A name: a lower-case letter, then lower-case letters, digits and underscores.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

pub(super) fn check_name(name: &str, what: &str, place: Place, mistakes: &mut Mistakes) {
    if !is_name(name) {
        mistakes
            .report(place, format!("{what}: `{name}` is not a name"))
            .hint("a name starts with a lower-case letter and goes on with lower-case letters, digits and underscores");
    }
}

/// One of a few words, each standing for a value.
pub(super) fn word<T: Clone>(
    node: &Node,
    what: &str,
    words: &[(&str, T)],
    mistakes: &mut Mistakes,
) -> Option<T> {
    let written = text(node, what, mistakes)?;
    let found = words.iter().find(|(name, _)| *name == written).map(|(_, value)| value.clone());
    if found.is_none() {
        let known = words.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        mistakes
            .report(node.place, format!("{what}: expected one of {known}, found `{written}`"))
            .did_you_mean(written, words.iter().map(|(name, _)| *name));
    }
    found
}

/// A list of nodes; a single value counts as a list of one.
pub(super) fn list(node: &Node) -> &[Node] {
    match &node.content {
        Content::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

pub(super) fn texts(node: &Node, what: &str, mistakes: &mut Mistakes) -> Vec<String> {
    let items = list(node);
    if items.is_empty() {
        mistakes.report(node.place, format!("{what}: the list is empty"));
    }
    items.iter().filter_map(|item| text(item, what, mistakes)).map(str::to_owned).collect()
}

const CENTURY: SignedDuration = SignedDuration::from_hours(100 * 366 * 24);

/// A length of time above zero, in whole microseconds, written like `90s`, `35m`, `2h 30m`.
pub(super) fn duration(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<SignedDuration> {
    let written = text(node, what, mistakes)?;
    let Ok(duration) = written.parse::<SignedDuration>() else {
        mistakes
            .report(node.place, format!("{what}: expected a length of time, found `{written}`"))
            .hint("write hours, minutes and seconds like `90s`, `35m` or `2h 30m`");
        return None;
    };
    if !duration.is_positive() || duration > CENTURY || duration.subsec_nanos() % 1000 != 0 {
        mistakes
            .report(node.place, format!("{what}: `{written}` is not a length of time that can be used"))
            .hint("it must be above zero, at most a century, and whole in microseconds");
        return None;
    }
    Some(duration)
}
