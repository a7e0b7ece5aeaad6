//! Units of usage and the exact ratios between them.
//!
//! Owns: the table of known units. Does not own: converting quantities (that is `price`). Keeps DESIGN.md 3.6:
//! GB is 1000^3 bytes and GiB is 1024^3, as the price says; every ratio is a whole number, so no conversion
//! ever rounds before the catalog's own rounding does.

use std::fmt;

use super::fields;
use super::mistake::{Mistakes, closest};
use super::yaml::Node;

/// What a quantity is counted in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unit {
    /// The singular name: `byte`, `GiB`, `hour`, `request`.
    pub name: String,
    pub measures: Measures,
    /// How many of its family's smallest unit one of this unit is.
    pub size: u128,
}

/// Units convert into each other only within one of these families.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measures {
    /// In bytes.
    Data,
    /// In seconds.
    Time,
    /// Data held for a time, in byte-seconds.
    DataTime,
    /// Processor cores used for a time, in core-seconds.
    CoreTime,
    /// Things that are counted and convert into nothing else: requests, devices, points.
    Count(String),
}

const HOUR: u128 = 3600;
const GB: u128 = 1000 * 1000 * 1000;
const GIB: u128 = 1 << 30;

const DATA: [(&str, u128); 11] = [
    ("byte", 1),
    ("kB", 1000),
    ("MB", 1000 * 1000),
    ("GB", GB),
    ("TB", 1000 * GB),
    ("PB", 1000 * 1000 * GB),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", GIB),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];
const TIME: [(&str, u128); 4] = [("second", 1), ("minute", 60), ("hour", HOUR), ("day", 24 * HOUR)];
const DATA_TIME: [(&str, u128); 6] = [
    ("byte_second", 1),
    ("byte_hour", HOUR),
    ("gb_second", GB),
    ("gb_hour", GB * HOUR),
    ("gib_second", GIB),
    ("gib_hour", GIB * HOUR),
];
const CORE_TIME: [(&str, u128); 3] = [("core_second", 1), ("core_minute", 60), ("core_hour", HOUR)];

fn known() -> impl Iterator<Item = (&'static str, Measures, u128)> {
    let of = |table: &'static [(&'static str, u128)], measures: Measures| {
        table.iter().map(move |&(name, size)| (name, measures.clone(), size))
    };
    of(&DATA, Measures::Data)
        .chain(of(&TIME, Measures::Time))
        .chain(of(&DATA_TIME, Measures::DataTime))
        .chain(of(&CORE_TIME, Measures::CoreTime))
}

impl Unit {
    /// The unit of a name in singular or plural; a name that the table does not hold is something counted.
    pub fn named(written: &str) -> Option<Self> {
        let in_table = |name: &str| {
            known().find(|(known, ..)| *known == name).map(|(name, measures, size)| Self {
                name: name.to_owned(),
                measures,
                size,
            })
        };
        // "requests" and "request" are one unit; "access" and "status" are no plurals.
        let singular = written.strip_suffix('s').filter(|rest| rest.len() > 2 && !rest.ends_with(['s', 'u']));
        in_table(written).or_else(|| singular.and_then(in_table)).or_else(|| {
            let name = singular.unwrap_or(written);
            fields::is_name(name).then(|| Self {
                name: name.to_owned(),
                measures: Measures::Count(name.to_owned()),
                size: 1,
            })
        })
    }

    pub fn converts_to(&self, other: &Self) -> bool {
        self.measures == other.measures
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

pub(super) fn read(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Unit> {
    let written = fields::text(node, what, mistakes)?;
    let unit = Unit::named(written);
    let is_counted = unit.as_ref().is_none_or(|unit| matches!(unit.measures, Measures::Count(_)));
    // `Gb` or `bytse` would pass as a thing that is counted: a name so near to a known unit is a slip.
    let near = closest(written, known().map(|(name, ..)| name)).filter(|_| is_counted && written.len() >= 2);
    if let Some(near) = near.filter(|near| is_slip(written, near)) {
        mistakes
            .report(node.place, format!("{what}: `{written}` is not a unit"))
            .hint(format!("did you mean `{near}`?"));
        return None;
    }
    if unit.is_none() {
        mistakes.report(node.place, format!("{what}: `{written}` is not a unit")).hint(
            "a unit is one of byte, kB, MB, GB, TB, KiB, MiB, GiB, TiB, second, minute, hour, core_hour, \
             gb_hour, gib_hour, or the lower-case name of what is counted, like `request`",
        );
    }
    unit
}

/// One letter wrong in a name long enough that this is no accident, or only the case differs.
fn is_slip(written: &str, near: &str) -> bool {
    written.eq_ignore_ascii_case(near) || (near.len() >= 4 && strsim::osa_distance(written, near) == 1)
}
