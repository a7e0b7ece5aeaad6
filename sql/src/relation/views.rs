//! Views: `views/*.sql`, each named as its file.
//!
//! Owns reading them: the comment at the top is the description, and lines in it like `-- column NAME: MEANING` say what
//! columns mean. A column without such a line means what it means in the lake's table of the same name.
//!
//! A view may bear the name of one of the lake's tables. It then stands before that table, which remains as
//! `lake.NAME`.

use arrow::datatypes::Schema;

use super::{Relation, RelationColumn, RelationKind};
use crate::lake::Table;

/// A view as its file says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub name: &'static str,
    pub text: &'static str,
}

/// In the order in which they may build on each other.
pub(crate) const VIEWS: [View; 1] =
    [View { name: "usage_daily", text: include_str!("../../views/usage_daily.sql") }];

impl View {
    pub fn stands_before(table: Table) -> bool {
        VIEWS.iter().any(|view| view.name == table.name())
    }

    /// The view's columns are known once it was planned.
    pub fn relation(&self, schema: &Schema) -> Relation {
        let comments: Vec<&str> =
            self.text.lines().map_while(|line| line.strip_prefix("--")).map(str::trim).collect();
        let description: Vec<&str> =
            comments.iter().copied().filter(|comment| !comment.starts_with("column ")).collect();
        let meaning = |name: &str| {
            let own = comments.iter().find_map(|comment| {
                let (column, meaning) = comment.strip_prefix("column ")?.split_once(": ")?;
                (column == name).then(|| meaning.to_owned())
            });
            own.or_else(|| meaning_in_lake(self.name, name)).unwrap_or_default()
        };
        let columns = schema.fields().iter().map(|field| RelationColumn {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            meaning: meaning(field.name()),
        });
        Relation {
            name: self.name.to_owned(),
            kind: RelationKind::View,
            description: description.join(" "),
            columns: columns.collect(),
        }
    }
}

fn meaning_in_lake(table: &str, column: &str) -> Option<String> {
    let table = Table::ALL.into_iter().find(|known| known.name() == table)?;
    let column = table.columns().iter().find(|known| known.name == column)?;
    Some(column.meaning.to_owned())
}
