//! What an event holds at the paths that the meters of its type read.
//!
//! The paths are merged into one tree, so that the data is walked once. Knows nothing of what a meter makes of it.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{EventTypePlan, Field};
use crate::decode::envelope::{Envelope, Members};
use crate::decode::quoted;
use crate::json::{Kind, Scanner, Value};
use crate::rejected::{Refusal, RejectReason};

/// A key of the data that leads to something a meter reads.
#[derive(Debug, Clone)]
pub(super) struct TreeNode {
    key: String,
    slot: Option<usize>,
    children: Vec<TreeNode>,
}

/// The values that an event holds at the paths of its type.
pub(super) struct Found<'e, 'm> {
    envelope: &'e Envelope<'m>,
    data: SmallVec<[Option<Value<'m>>; 8]>,
}

/// The data of an event, in the form in which it is at hand.
#[derive(Clone, Copy)]
pub(super) enum Data<'d, 'm> {
    Nothing,
    Text(&'m str),
    Members(&'d Members<'m>),
}

/// What stands at a path.
pub(super) enum At<'m> {
    Nothing,
    Text(Cow<'m, str>),
    /// An object or an array.
    Compound,
}

impl EventTypePlan {
    pub(super) fn find<'e, 'm>(
        &self,
        envelope: &'e Envelope<'m>,
        data: Data<'_, 'm>,
    ) -> Result<Found<'e, 'm>, Refusal> {
        let mut found = SmallVec::from_elem(None, self.slots);
        match data {
            _ if self.tree.is_empty() => {}
            Data::Nothing => {}
            Data::Text(text) => collect(&self.tree, text, &mut found)?,
            Data::Members(members) => {
                let mut seen = Seen::from_elem(false, self.tree.len());
                members
                    .iter()
                    .try_for_each(|(key, value)| keep(&self.tree, &mut seen, *key, *value, &mut found))?;
            }
        }
        Ok(Found { envelope, data: found })
    }
}

/// The slot of a path in the tree, which grows if the path is new.
pub(super) fn slot_for(tree: &mut Vec<TreeNode>, keys: &[String], slots: &mut usize) -> usize {
    let (key, rest) = keys.split_first().expect("the catalog has no empty paths");
    let at = tree.iter().position(|node| node.key == *key).unwrap_or_else(|| {
        tree.push(TreeNode { key: key.clone(), slot: None, children: Vec::new() });
        tree.len() - 1
    });
    let node = &mut tree[at];
    if rest.is_empty() {
        *node.slot.get_or_insert_with(|| {
            *slots += 1;
            *slots - 1
        })
    } else {
        slot_for(&mut node.children, rest, slots)
    }
}

/// Which keys of a tree stood in an object.
type Seen = SmallVec<[bool; 64]>;

/// Walks an object and keeps what stands at the tree's keys.
fn collect<'m>(tree: &[TreeNode], text: &'m str, slots: &mut [Option<Value<'m>>]) -> Result<(), Refusal> {
    let mut seen = Seen::from_elem(false, tree.len());
    Scanner::new(text).object(|key, scanner| keep(tree, &mut seen, key, scanner.value()?, slots))
}

/// Keeps a member of an object if it stands at one of the tree's keys.
fn keep<'m>(
    tree: &[TreeNode],
    seen: &mut Seen,
    key: Value<'m>,
    value: Value<'m>,
    slots: &mut [Option<Value<'m>>],
) -> Result<(), Refusal> {
    let name = key.scalar().expect("a key is a string")?;
    let Some(at) = tree.iter().position(|node| node.key == *name) else { return Ok(()) };
    if std::mem::replace(&mut seen[at], true) {
        let detail = format!("{} stands twice in the data", quoted(&name));
        return Err(Refusal::new(RejectReason::DuplicateKey, detail));
    }
    let node = &tree[at];
    if let Some(slot) = node.slot {
        slots[slot] = Some(value);
    }
    if value.kind == Kind::Object && !node.children.is_empty() {
        collect(&node.children, value.text, slots)?;
    }
    Ok(())
}

impl<'m> Found<'_, 'm> {
    #[inline]
    pub fn at(&self, field: &Field) -> Result<At<'m>, Refusal> {
        let Field::Data(slot) = field else {
            let text = field.attribute(self.envelope);
            return Ok(text.map_or(At::Nothing, |text| At::Text(text.clone())));
        };
        let Some(value) = self.data[*slot] else { return Ok(At::Nothing) };
        Ok(match (value.scalar(), value.kind) {
            (Some(text), _) => At::Text(text?),
            (None, Kind::Null) => At::Nothing,
            (None, _) => At::Compound,
        })
    }

    /// The text at a path; none if nothing or something compound stands there.
    pub fn text(&self, field: &Field) -> Result<Option<Cow<'m, str>>, Refusal> {
        Ok(match self.at(field)? {
            At::Text(text) => Some(text),
            At::Nothing | At::Compound => None,
        })
    }
}
