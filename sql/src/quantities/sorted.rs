//! A compacted day: its rows stream through the folds as they lie.

use futures::TryStreamExt;
use tokio::task::coop::consume_budget;

use super::rows::{FOLDED, Rows, SIGNALS};
use super::tenants::TenantFolds;
use super::{Day, QuantitiesError};

pub(super) async fn fold_day(
    day: &Day,
    has_sessions: bool,
    folds: &mut TenantFolds,
) -> Result<(), QuantitiesError> {
    let mut columns = FOLDED.to_vec();
    if has_sessions {
        columns.extend(SIGNALS);
    }
    for file in &day.files {
        let row_groups = folds.share().row_groups(file);
        if row_groups.is_empty() {
            continue;
        }
        let mut batches = file.read(&columns, row_groups)?;
        while let Some(batch) = batches.try_next().await? {
            let rows = Rows::of(file, &batch, has_sessions)?;
            folds.take_in_order(&rows)?;
            folds.hand_over().await;
            consume_budget().await;
        }
    }
    Ok(())
}
