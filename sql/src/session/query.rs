//! From the text of a query and its parameters to a plan.
//!
//! Owns that parameters are values of the type that their place has, never text of the query; that only queries are
//! planned; and that an error points at its place in the text.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::DataFrame;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Statement as SqlStatement, TableFactor, Value, VisitMut, VisitorMut,
};

use super::{LakeSession, read_only};
use crate::quantities::{ChargeKinds, Told};

/// Values by the names of placeholders: `tenant` for `$tenant`.
pub type Parameters = BTreeMap<String, String>;

/// A query cannot be planned, or failed.
#[derive(Debug)]
pub struct QueryError {
    message: String,
    /// The line that is wrong and the place in it, counted from 1.
    place: Option<(String, u64, u64)>,
}

impl QueryError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }

    /// What went wrong, with its place in the query if the error knows it.
    pub fn of(error: &DataFusionError, text: &str) -> Self {
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        let error = error.find_root();
        let mut message = match error {
            DataFusionError::Plan(message) | DataFusionError::Execution(message) => message.clone(),
            DataFusionError::SQL(error, _) => error.to_string(),
            DataFusionError::SchemaError(error, _) => error.to_string(),
            other => other.to_string(),
        };
        let parsed = message.rsplit_once(" at Line: ").and_then(|(before, place)| {
            let (line, column) = place.split_once(", Column: ")?;
            Some((before.to_owned(), line.trim().parse().ok()?, column.trim().parse().ok()?))
        });
        let place = match (parsed, span) {
            (Some((before, line, column)), _) => {
                message = before;
                Some((line, column))
            }
            (None, Some(span)) => Some((span.start.line, span.start.column)),
            (None, None) => None,
        };
        let at = |(line, column): (u64, u64)| {
            let written = text.lines().nth(usize::try_from(line.checked_sub(1)?).ok()?)?;
            Some((written.to_owned(), line, column))
        };
        let message = message.strip_prefix("sql parser error: ").unwrap_or(&message).to_owned();
        Self { message, place: place.and_then(at) }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        if let Some((written, line, column)) = &self.place {
            let gap: String = written
                .chars()
                .take(column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { c } else { ' ' })
                .collect();
            write!(out, "\n  in line {line}, column {column}:\n  {written}\n  {gap}^")?;
        }
        Ok(())
    }
}

impl std::error::Error for QueryError {}

impl LakeSession {
    /// Plans a query with parameters. What would change anything, including settings, is refused.
    pub async fn query_with(&self, text: &str, parameters: &Parameters) -> Result<DataFrame, QueryError> {
        let failed = |error: DataFusionError| QueryError::of(&error, text);
        let state = self.context.state();
        let dialect = state.config_options().sql_parser.dialect;
        let mut statement = state.sql_to_statement(text, &dialect).map_err(failed)?;
        refuse_changes(&statement)?;
        let mut used = BTreeSet::new();
        if let Statement::Statement(statement) = &mut statement {
            fill_table_arguments(statement, |argument| {
                let name = argument.placeholder.trim_start_matches('$');
                let given = parameters.get(name).ok_or_else(|| missing(name))?;
                used.insert(name.to_owned());
                Ok::<_, QueryError>(argument.value(given))
            })?;
        }
        let plan = state.statement_to_plan(statement).await.map_err(failed)?;
        read_only().verify_plan(&plan).map_err(failed)?;
        let plan = with_values(plan, parameters, &mut used).map_err(|problem| match problem {
            Problem::Query(error) => error,
            Problem::Planning(error) => failed(error),
        })?;
        if let Some(unused) = parameters.keys().find(|name| !used.contains(*name)) {
            return Err(QueryError::new(format!("the query has no parameter ${unused}")));
        }
        Ok(DataFrame::new(state, plan))
    }
}

fn refuse_changes(statement: &Statement) -> Result<(), QueryError> {
    let is_query = match statement {
        Statement::Statement(statement) => matches!(
            &**statement,
            SqlStatement::Query(_)
                | SqlStatement::Explain { .. }
                | SqlStatement::ExplainTable { .. }
                | SqlStatement::ShowTables { .. }
                | SqlStatement::ShowColumns { .. }
                | SqlStatement::ShowFunctions { .. }
                | SqlStatement::ShowVariable { .. }
        ),
        Statement::Explain(_) => true,
        _ => false,
    };
    if is_query {
        return Ok(());
    }
    let text = statement.to_string();
    let word = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    Err(QueryError::new(format!(
        "{word} is refused: the lake can only be queried here (SELECT, WITH, VALUES, EXPLAIN, SHOW, DESCRIBE)"
    )))
}

/// A placeholder among the arguments of a table function.
#[derive(Debug, Clone, Copy)]
pub struct TableArgument<'s> {
    /// With what begins it: `$1`, `$period`.
    pub placeholder: &'s str,
    pub function: &'s str,
    /// Its place among the arguments, from 0.
    pub index: usize,
}

impl TableArgument<'_> {
    /// Whether it is the period of `quantities` and its kin, which may look like a number.
    pub fn is_period(self) -> bool {
        let told = [Told::Quantities, Told::Charges(ChargeKinds::ALL)];
        self.index == 0 && told.iter().any(|told| told.name() == self.function)
    }

    /// A value for it: a number if it looks like one.
    pub fn value(self, given: &str) -> Value {
        match given.parse::<i64>() {
            Ok(_) if !self.is_period() => Value::Number(given.to_owned(), false),
            _ => Value::SingleQuotedString(given.to_owned()),
        }
    }
}

/// Puts values for placeholders into the arguments of table functions, which have no types before they are planned. It
/// works on the parsed query, so a value can be nothing but a value.
pub fn fill_table_arguments<E>(
    statement: &mut SqlStatement,
    value_of: impl FnMut(TableArgument<'_>) -> Result<Value, E>,
) -> Result<(), E> {
    match statement.visit(&mut TableArguments { value_of, error: PhantomData }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct TableArguments<F, E> {
    value_of: F,
    error: PhantomData<E>,
}

impl<E, F: FnMut(TableArgument<'_>) -> Result<Value, E>> VisitorMut for TableArguments<F, E> {
    type Break = E;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<E> {
        let TableFactor::Table { name, args: Some(arguments), .. } = table else {
            return ControlFlow::Continue(());
        };
        let function = name.to_string().to_lowercase();
        for (index, argument) in arguments.args.iter_mut().enumerate() {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = argument else { continue };
            let Value::Placeholder(placeholder) = &value.value else { continue };
            let argument = TableArgument { placeholder, function: &function, index };
            match (self.value_of)(argument) {
                Ok(filled) => value.value = filled,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

fn missing(name: &str) -> QueryError {
    QueryError::new(format!("parameter ${name} has no value: give one with --param {name}=VALUE"))
}

enum Problem {
    Query(QueryError),
    Planning(DataFusionError),
}

impl From<DataFusionError> for Problem {
    fn from(error: DataFusionError) -> Self {
        Self::Planning(error)
    }
}

fn with_values(
    plan: LogicalPlan,
    parameters: &Parameters,
    used: &mut BTreeSet<String>,
) -> Result<LogicalPlan, Problem> {
    let types = plan.get_parameter_types()?;
    if types.is_empty() {
        return Ok(plan);
    }
    let mut values = HashMap::new();
    for (placeholder, data_type) in types {
        let name = placeholder.trim_start_matches('$').to_owned();
        let Some(given) = parameters.get(&name) else { return Err(Problem::Query(missing(&name))) };
        let data_type = data_type.unwrap_or(DataType::Utf8);
        let value = ScalarValue::try_from_string(given.clone(), &data_type).map_err(|_| {
            Problem::Query(QueryError::new(format!("parameter ${name}: `{given}` is no {data_type}")))
        })?;
        values.insert(name.clone(), ScalarAndMetadata::from(value));
        used.insert(name);
    }
    Ok(plan.with_param_values(ParamValues::Map(values))?)
}
