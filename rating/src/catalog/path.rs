//! Where in an event a meter finds a figure: an attribute of the envelope or a key of its data.
//!
//! Owns: the two spellings and their check. Does not own: reading events (that is `ingest`). Keeps DESIGN.md
//! 3.1: tenant, value, resource and dimensions are found by the paths that the catalog names.

use std::fmt;

use super::fields;
use super::mistake::Mistakes;
use super::yaml::Node;

/// A place in a CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// A CloudEvents attribute or extension, written as its bare name: `subject`, `source`, `region`.
    Attribute(String),
    /// Keys of nested JSON objects below `data`, written `$.a.b`; a key that holds a dot is quoted: `$."a.b".c`.
    Data(Vec<String>),
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => out.write_str(name),
            Self::Data(keys) => {
                out.write_str("$")?;
                for key in keys {
                    if key.contains(['.', '"']) {
                        write!(out, ".\"{key}\"")?;
                    } else {
                        write!(out, ".{key}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Path {
    /// Reads a path as it is written in a catalog; the error says what is wrong with it.
    pub fn from_written(written: &str) -> Result<Self, String> {
        if let Some(rest) = written.strip_prefix('$') {
            return data_keys(rest).map(Self::Data);
        }
        let is_attribute =
            !written.is_empty() && written.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !is_attribute {
            return Err("the name of an event attribute has only lower-case letters and digits; \
                        a key of the event's data is written `$.key`"
                .to_owned());
        }
        if written == "data" {
            return Err("`data` is the whole payload: name a key in it, like `$.key`".to_owned());
        }
        Ok(Self::Attribute(written.to_owned()))
    }
}

fn data_keys(rest: &str) -> Result<Vec<String>, String> {
    let mut keys = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let after_dot = rest.strip_prefix('.').ok_or("after `$` each key starts with a dot, like `$.a.b`")?;
        let (key, after_key) = if let Some(quoted) = after_dot.strip_prefix('"') {
            quoted.split_once('"').ok_or("the quote around a key is not closed")?
        } else {
            after_dot.split_at(after_dot.find('.').unwrap_or(after_dot.len()))
        };
        if key.is_empty() || key.contains(['[', ']', '*', '"']) {
            return Err("a path names keys of nested objects, like `$.a.b`; lists, wildcards and empty keys are not paths".to_owned());
        }
        keys.push(key.to_owned());
        rest = after_key;
    }
    if keys.is_empty() {
        return Err("`$` is the whole payload: name a key in it, like `$.key`".to_owned());
    }
    Ok(keys)
}

pub(super) fn read(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Path> {
    let written = fields::text(node, what, mistakes)?;
    read_written(written, what, node.place, mistakes)
}

pub(super) fn read_written(
    written: &str,
    what: &str,
    place: super::mistake::Place,
    mistakes: &mut Mistakes,
) -> Option<Path> {
    match Path::from_written(written) {
        Ok(path) => Some(path),
        Err(reason) => {
            mistakes.report(place, format!("{what}: `{written}` is not a path into an event")).hint(reason);
            None
        }
    }
}
