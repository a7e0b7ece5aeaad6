//! What lies in `usage_events` by day, from the table's log alone: reports ask it where to look, and people how their lake does.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;

use super::cells::{Cell, batch};
use super::{Relation, RelationKind, WHOLE, column, optional};
use crate::lake::TableSnapshot;

pub(crate) fn relation() -> Relation {
    let truth = DataType::Boolean;
    Relation {
        name: "usage_days".to_owned(),
        kind: RelationKind::Table,
        description: "what lies in usage_events by day, and whether it is compacted".to_owned(),
        columns: vec![
            column("event_day", DataType::Date32, "day of the events, in UTC"),
            optional("files", WHOLE, "files of the day; users of one tenant are told of their own rows only"),
            optional("rows", WHOLE, "rows in them; an event has one for each meter that it feeds"),
            optional("bytes", WHOLE, "size of the files"),
            optional(
                "compacted",
                truth,
                "whether each event stands there once, in order; late events make it false until `compact` ran",
            ),
        ],
    }
}

/// What a session of one tenant has in its place: the days of that tenant's own rows.
pub(crate) const OF_ONE_TENANT: &str = "
    SELECT event_day, CAST(NULL AS BIGINT) AS files, count(*) AS rows, CAST(NULL AS BIGINT) AS bytes,
           CAST(NULL AS BOOLEAN) AS compacted
    FROM usage_events
    GROUP BY event_day";

/// One version's days; none where the table does not exist yet.
pub(crate) fn provider(snapshot: Option<&TableSnapshot>) -> Result<Arc<dyn TableProvider>> {
    let mut days: BTreeMap<i32, Day> = BTreeMap::new();
    for file in snapshot.into_iter().flat_map(|snapshot| &snapshot.files) {
        let day = days.entry(file.day).or_default();
        day.files += 1;
        day.rows += file.rows;
        day.bytes += file.size_bytes;
        // Voids and amendments stay as they are.
        day.has_arrived |= !file.is_sorted() && !file.is_correction();
    }
    let rows: Vec<Vec<Cell>> = days.iter().map(|(day, content)| content.row(*day)).collect();
    let rows = batch(&relation().columns, &rows)?;
    Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
}

#[derive(Debug, Default)]
struct Day {
    files: u64,
    rows: u64,
    bytes: u64,
    has_arrived: bool,
}

impl Day {
    fn row(&self, day: i32) -> Vec<Cell> {
        let whole = |number: u64| Cell::Whole(number as i64);
        let Self { files, rows, bytes, has_arrived } = *self;
        vec![Cell::Day(day), whole(files), whole(rows), whole(bytes), Cell::Truth(!has_arrived)]
    }
}
