//! The relations as Markdown, for `sql/README.md`.

use std::fmt::Write;

use arrow::datatypes::DataType;

use super::Relation;

/// A section for each relation with a table of its columns.
pub fn markdown(relations: &[Relation]) -> String {
    let mut text = String::new();
    for relation in relations {
        let arguments = if relation.kind == super::RelationKind::Function { "(…)" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "### {}{arguments}\n{}: {}.\n\n| column | type | meaning |\n|---|---|---|\n",
            relation.name,
            relation.kind.name(),
            relation.description
        );
        for column in &relation.columns {
            let null = if column.nullable { ", may be null" } else { "" };
            let meaning = column.meaning.replace('|', "\\|");
            let _ =
                writeln!(text, "| {} | {}{null} | {meaning} |", column.name, type_name(&column.data_type));
        }
        text.push('\n');
    }
    text
}

/// A type as SQL calls it.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt64 => "bigint".to_owned(),
        DataType::Timestamp(..) => "timestamp with time zone".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        other => other.to_string().to_lowercase(),
    }
}
