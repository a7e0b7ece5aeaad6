//! The canonical form of a catalog, and its hash, which every invoice names (DESIGN.md 3.10).
//!
//! It is JSON made of the file's own keys and texts in their order: comments, layout and quoting do not count. It
//! is taken from the file and not from the parsed types, so that a later version of this program, which may know
//! more, finds the same hash for the same file. JSON being YAML, the canonical form is itself a catalog.

use super::yaml::{Content, Node};

pub(super) fn form(node: &Node) -> String {
    let mut out = String::new();
    write(node, &mut out);
    out
}

pub(super) fn hash(node: &Node) -> blake3::Hash {
    blake3::hash(form(node).as_bytes())
}

fn write(node: &Node, out: &mut String) {
    match &node.content {
        Content::Nothing | Content::Alias => out.push_str("null"),
        Content::Text { text, .. } => write_text(text, out),
        Content::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Content::Map(entries) => {
            out.push('{');
            for (at, entry) in entries.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_text(&entry.key, out);
                out.push(':');
                write(&entry.value, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    // A string always has a JSON form.
    out.push_str(&serde_json::Value::from(text).to_string());
}
