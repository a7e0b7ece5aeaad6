//! What PostgreSQL's catalog has and ours has not, in the queries by which clients browse it.
//!
//! Owns two rewritings, applied to statements that ask the catalog only: columns and constructs of access lists, options and other
//! things that do not exist here become null, and a subquery of one row says that it is one.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, SelectItem, SetExpr, Statement, Value, visit_expressions_mut,
};

/// Columns that PostgreSQL's tables have and ours lack.
const MISSING_COLUMNS: [&str; 7] =
    ["relacl", "attacl", "datacl", "boot_val", "tableoid", "reloptions", "colliculocale"];

/// Grafana asks which schemas the search path names by taking its text apart. There is one: `schema IN (SELECT …)` becomes
/// `schema IN ('public')`. Says whether there was such a thing.
pub fn name_search_path(statement: &mut Statement) -> bool {
    let mut has_named = false;
    let _: ControlFlow<()> = visit_expressions_mut(statement, |expression| {
        if let Expr::InSubquery { expr, subquery, negated } = expression
            && subquery.to_string().contains("current_setting('search_path')")
        {
            let public = Expr::Value(Value::SingleQuotedString("public".to_owned()).with_empty_span());
            *expression = Expr::InList { expr: expr.clone(), list: vec![public], negated: *negated };
            has_named = true;
        }
        ControlFlow::Continue(())
    });
    has_named
}

pub fn fill(mut statement: Statement) -> Statement {
    let _: ControlFlow<()> = visit_expressions_mut(&mut statement, |expression| {
        if is_missing(expression) {
            *expression = text(Expr::Value(Value::Null.with_empty_span()));
        } else if asks_kind_of_statistics(expression) {
            *expression = Expr::Value(Value::Boolean(false).with_empty_span());
        } else if let Some(condition) = condition_of_one_row(expression) {
            aggregate(condition);
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

/// `'d' = any(es.stxkind)`: there are no such statistics here, and their kinds are no list.
fn asks_kind_of_statistics(expression: &Expr) -> bool {
    let is_any = match expression {
        Expr::AnyOp { .. } => true,
        Expr::Function(call) => {
            ["array_contains", "array_has"].iter().any(|name| is_named(&call.name.to_string(), name))
        }
        _ => false,
    };
    is_any && expression.to_string().contains("stxkind")
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

/// `(SELECT c.relkind = 'c' FROM pg_class AS c WHERE c.oid = …)`: the comparison. There is one such row, which the planner cannot know.
fn condition_of_one_row(expression: &mut Expr) -> Option<&mut Expr> {
    let Expr::Subquery(query) = expression else { return None };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    match select.projection.as_mut_slice() {
        [SelectItem::UnnamedExpr(comparison @ Expr::BinaryOp { op: BinaryOperator::Eq, .. })] => {
            Some(comparison)
        }
        _ => None,
    }
}

/// Of one row, the same.
fn aggregate(condition: &mut Expr) {
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(condition.clone()));
    *condition = Expr::Function(Function {
        name: Ident::new("bool_or").into(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    });
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
