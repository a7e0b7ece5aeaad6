//! The lake: one folder or bucket prefix with a Delta table per stage of the path.
//!
//! Owns where the lake lies, the tables' schemas, and reading a pinned version of a table. It does not
//! write: rows get in through `ingest`, and `jobs` maintains them.

mod corrections;
mod history;
mod patient_puts;
mod positions;
mod read;
mod schema;
mod snapshot;
mod store;

pub use corrections::{AMEND, VOID};
pub use positions::Positions;
pub use read::FileRead;
pub(crate) use read::{StoredFile, holds_any_between, text_bounds};
pub(crate) use read::{dictionary_type, with_dictionaries};
pub use schema::{Column, ColumnKind, Table, VALUE_PRECISION, VALUE_SCALE};
pub(crate) use snapshot::parse_day;
pub use snapshot::{DataFile, LakeError, TableHandle, TableSnapshot};
pub use store::{Lake, LakeUrlError};
