//! The catalog: what is metered and what it costs, as one YAML file that people write and review.
//!
//! Owns: reading the file, finding every mistake in it at once with line and column, and the definitions that
//! the rest of the house works from. Does not own: reading files from disk, decoding events, arithmetic. It
//! keeps the rules of DESIGN.md 3.1 and 3.5-3.8 that can be checked before any usage exists.

mod fields;
mod meter;
mod mistake;
mod path;
#[cfg(test)]
mod tests;
mod unit;
mod yaml;

pub use meter::{Condition, ExcessDigits, Meter, MeterKind, SessionPaths, WhenMissing};
pub use mistake::{CatalogErrors, Mistake, Place};
pub use path::Path;
pub use unit::{Measures, Unit};

use fields::Fields;
use mistake::Mistakes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    pub name: String,
    /// Where an event names its tenant: `subject` unless the catalog says otherwise.
    pub tenant: Path,
    /// In the order of the file.
    pub meters: Vec<Meter>,
}

impl Catalog {
    /// Reads a catalog, or says everything that is wrong with it.
    ///
    /// `file_name` only serves to name the file in the mistakes; nothing is read from disk.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, CatalogErrors> {
        let mut mistakes = Mistakes::new(text);
        let catalog = yaml::read(text, &mut mistakes).and_then(|node| read(&node, &mut mistakes));
        match catalog {
            Some(catalog) if mistakes.is_empty() => Ok(catalog),
            _ => Err(mistakes.into_errors(file_name)),
        }
    }

    pub fn meter(&self, key: &str) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.key == key)
    }
}

fn read(node: &yaml::Node, mistakes: &mut Mistakes) -> Option<Catalog> {
    let mut fields = Fields::open(node, "the catalog", Place::START, mistakes)?;
    let name = fields.required("catalog", mistakes).and_then(|node| {
        let name = fields::text(node, "`catalog`", mistakes)?;
        fields::check_name(name, "`catalog`", node.place, mistakes);
        Some(name.to_owned())
    });
    let tenant = fields.optional("tenant").and_then(|node| path::read(node, "`tenant`", mistakes));
    let meters = fields.required("meters", mistakes).map(|node| meter::read_all(node, mistakes));
    fields.close(mistakes);
    Some(Catalog {
        name: name?,
        tenant: tenant.unwrap_or(Path::Attribute("subject".to_owned())),
        meters: meters?,
    })
}
