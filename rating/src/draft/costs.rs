//! What a tenant's usage costs the vendor: priced like any usage and never charged.

use crate::line::LineItem;
use crate::usage::Usage;

use super::{Charges, DraftError, lines};

impl Charges<'_> {
    /// A line for each of the catalog's costs with usage; the demand must have asked for costs.
    pub fn rate_costs(&self, usage: &Usage, catalog_file: &str) -> Result<Vec<LineItem>, DraftError> {
        Ok(lines::rate(self, &self.costs, usage, catalog_file, None)?.0)
    }
}
