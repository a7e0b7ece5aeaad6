//! What PostgreSQL's catalog has and ours has not, in the queries by which clients browse it.
//!
//! Owns one rewriting, applied to statements that ask the catalog only: columns and constructs of access lists, options and other
//! things that do not exist here become null.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value,
    visit_expressions_mut,
};

/// Columns that PostgreSQL's tables have and ours lack.
const MISSING_COLUMNS: [&str; 6] = ["relacl", "attacl", "datacl", "boot_val", "tableoid", "reloptions"];

pub fn fill(mut statement: Statement) -> Statement {
    let _: ControlFlow<()> = visit_expressions_mut(&mut statement, |expression| {
        if is_missing(expression) {
            *expression = text(Expr::Value(Value::Null.with_empty_span()));
        } else if let Some(list) = list_of_array_to_string(expression) {
            // All lists are empty or null here, and some are text already.
            *expression = text(list);
        }
        ControlFlow::Continue(())
    });
    statement
}

fn is_missing(expression: &Expr) -> bool {
    match expression {
        Expr::CompoundIdentifier(parts) => {
            parts.last().is_some_and(|column| MISSING_COLUMNS.contains(&column.value.as_str()))
        }
        // `array(SELECT …)`
        Expr::Function(call) => {
            is_named(&call.name.to_string(), "array") && matches!(call.args, FunctionArguments::Subquery(_))
        }
        _ => false,
    }
}

fn list_of_array_to_string(expression: &Expr) -> Option<Expr> {
    let Expr::Function(call) = expression else { return None };
    let FunctionArguments::List(arguments) = &call.args else { return None };
    match arguments.args.first() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(list)))
            if is_named(&call.name.to_string(), "array_to_string") =>
        {
            Some(list.clone())
        }
        _ => None,
    }
}

fn is_named(name: &str, expected: &str) -> bool {
    name.eq_ignore_ascii_case(expected)
}

fn text(expression: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expression),
        data_type: DataType::Text,
        array: false,
        format: None,
    }
}
