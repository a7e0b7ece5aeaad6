//! The catalog's YAML as a tree of texts, each with its place in the file.
//!
//! Owns: turning YAML events into nodes. Does not own: what any of them means. Numbers stay the very text
//! that was written, because a price that once passed through a float is no longer the price (DESIGN.md 3.6).
//! What would let one figure stand in two places or hide it (anchors, aliases, tags, repeated keys, several
//! documents) is a mistake here: `explain` must be able to name one line for each price.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::mistake::{Mistakes, Place};

/// Deeper nesting than this is no catalog.
const DEPTH_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub place: Place,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A key with nothing after its colon, or a written `null`.
    Nothing,
    /// A reference to another node; reported while reading, so nobody needs to speak of it again.
    Alias,
    /// `plain` is false for quoted text.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

impl Node {
    /// What stands here, in words for a message.
    pub fn found(&self) -> String {
        match &self.content {
            Content::Nothing => "nothing".to_owned(),
            Content::Alias => "an alias".to_owned(),
            Content::Text { text, .. } => format!("`{}`", shortened(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping of keys to values".to_owned(),
        }
    }
}

fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut start: String =
        characters.by_ref().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    start
}

/// Reads the one document of `text`. Mistakes of form are reported; what can be kept is kept, so that mistakes
/// of meaning in the rest are found in the same run.
pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if !builder.take(event, span, mistakes) {
                    return None;
                }
            }
            Err(error) => {
                let place = Place::of_marker(error.marker());
                mistakes
                    .report(place, format!("this is not YAML: {}", error.info()))
                    .hint("nothing after this line was checked; indentation and unclosed quotes or brackets are the usual causes");
                return None;
            }
        }
    }
    if builder.document.is_none() && mistakes.is_empty() {
        mistakes
            .report(Place::START, "the catalog is empty")
            .hint("a catalog starts with `catalog: <name>` and `meters:`");
    }
    builder.document
}

#[derive(Debug)]
enum Open {
    List {
        place: Place,
        items: Vec<Node>,
    },
    Map {
        place: Place,
        entries: Vec<Entry>,
        key: Key,
        /// The line of each key that was read.
        lines: BTreeMap<String, usize>,
    },
}

#[derive(Debug)]
enum Key {
    Awaited,
    Read(String, Place),
    /// The key was no plain text and has been reported: its value is read and dropped.
    Unusable,
}

#[derive(Debug, Default)]
struct Builder {
    open: Vec<Open>,
    document: Option<Node>,
    documents_seen: usize,
}

impl Builder {
    /// Returns false when reading further makes no sense.
    fn take(&mut self, event: Event<'_>, span: Span, mistakes: &mut Mistakes) -> bool {
        let place = Place::of_span(span);
        match event {
            Event::DocumentStart(_) => return self.start_document(place, mistakes),
            Event::Alias(_) => {
                mistakes
                    .report(place, "an alias (`*name`) is not allowed in a catalog")
                    .hint("write the value out, so that every price stands on a line of its own");
                self.put(Node { place, content: Content::Alias }, mistakes);
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_anchor_and_tag(anchor, tag.is_some(), place, mistakes);
                let plain = style == ScalarStyle::Plain;
                let content = if plain && matches!(&*text, "" | "~" | "null") {
                    Content::Nothing
                } else {
                    Content::Text { text: text.into_owned(), plain }
                };
                self.put(Node { place, content }, mistakes);
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_anchor_and_tag(anchor, tag.is_some(), place, mistakes);
                self.open.push(Open::List { place: place.first_character(), items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                refuse_anchor_and_tag(anchor, tag.is_some(), place, mistakes);
                let place = place.first_character();
                self.open.push(Open::Map {
                    place,
                    entries: Vec::new(),
                    key: Key::Awaited,
                    lines: BTreeMap::new(),
                });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(mistakes),
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {}
        }
        if self.open.len() > DEPTH_MAX {
            mistakes.report(place, format!("nested more than {DEPTH_MAX} levels deep"));
            return false;
        }
        true
    }

    fn start_document(&mut self, place: Place, mistakes: &mut Mistakes) -> bool {
        self.documents_seen += 1;
        if self.documents_seen > 1 {
            mistakes
                .report(place.first_character(), "a second YAML document starts here")
                .hint("a catalog is one document: put the second into a file of its own");
            return false;
        }
        true
    }

    fn close(&mut self, mistakes: &mut Mistakes) {
        let node = match self.open.pop() {
            Some(Open::List { place, items }) => Node { place, content: Content::List(items) },
            Some(Open::Map { place, entries, .. }) => Node { place, content: Content::Map(entries) },
            None => return,
        };
        self.put(node, mistakes);
    }

    fn put(&mut self, node: Node, mistakes: &mut Mistakes) {
        match self.open.last_mut() {
            None => self.document = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, lines, .. }) => match std::mem::replace(key, Key::Awaited) {
                Key::Awaited => *key = read_key(node, mistakes),
                Key::Unusable => {}
                Key::Read(name, key_place) => {
                    put_entry(name, key_place, node, entries, lines, mistakes);
                }
            },
        }
    }
}

fn read_key(node: Node, mistakes: &mut Mistakes) -> Key {
    if let Content::Text { text, .. } = node.content {
        return Key::Read(text, node.place);
    }
    mistakes.report(node.place, format!("a key must be text, found {}", node.found()));
    Key::Unusable
}

fn put_entry(
    key: String,
    key_place: Place,
    value: Node,
    entries: &mut Vec<Entry>,
    lines: &mut BTreeMap<String, usize>,
    mistakes: &mut Mistakes,
) {
    if let Some(line) = lines.get(&key) {
        mistakes
            .report(key_place, format!("the key `{key}` is written twice"))
            .hint(format!("it first stands in line {line}: keep one of the two"));
        return;
    }
    lines.insert(key.clone(), key_place.line);
    // An absent value has no place of its own: point at its key.
    let place = if value.content == Content::Nothing { key_place } else { value.place };
    entries.push(Entry { key, key_place, value: Node { place, ..value } });
}

fn refuse_anchor_and_tag(anchor: usize, tagged: bool, place: Place, mistakes: &mut Mistakes) {
    if anchor > 0 {
        mistakes.report(place, "an anchor (`&name`) is not allowed in a catalog").hint(
            "write the value out wherever it is needed, so that every price stands on a line of its own",
        );
    }
    if tagged {
        mistakes
            .report(place, "a tag (`!name`) is not allowed in a catalog")
            .hint("remove it: the catalog knows what kind of value each key takes");
    }
}
