//! Planning and running one query for one user.
//!
//! Owns the way from a statement to rows: plan, check, parameters, memory and row limits. Does not own time limits and cancelling:
//! whoever awaits the rows drops them, and with them goes everything that the query holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::{PG_OID_ALIAS_KEY, into_pg_type, pg_type_for_alias_kind};
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::results::{FieldInfo, QueryResponse};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::{StreamExt, stream};
use postgres_types::Type;
use sql::session::{TableArgument, fill_table_arguments};

use super::allowed;
use super::encode;
use super::failure::Failure;
use super::numeric::Decimal;
use super::running::QueryThreads;
use super::sessions::UserSession;

/// What one query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    pub memory_bytes: usize,
    /// None for any number.
    pub rows: Option<u64>,
}

/// A checked plan, and the version of the lake that it reads.
#[derive(Debug, Clone)]
pub struct Planned {
    pub opening: u64,
    pub plan: LogicalPlan,
    /// Parameters that are arguments of table functions, by their numbers, and how they come over the wire. The plan has other
    /// values in their place, with which it has the same columns: table functions are called while a query is planned.
    arguments: BTreeMap<usize, Type>,
}

/// A parameter as the query uses it, and the type by which it comes over the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    kind: Option<DataType>,
    pub wire: Type,
}

static WHOLE: DataType = DataType::Int64;
static FLOAT: DataType = DataType::Float64;

impl Parameter {
    /// The type to read the value as. Where a decimal is wanted and the client says that it sends another kind of number,
    /// it is read as that, and the query converts it.
    fn kind_as_sent(&self, of_client: Option<&Type>) -> Option<&DataType> {
        let kind = self.kind.as_ref()?;
        Some(match of_client {
            Some(&(Type::INT2 | Type::INT4 | Type::INT8)) if kind.is_decimal() => &WHOLE,
            Some(&(Type::FLOAT4 | Type::FLOAT8)) if kind.is_decimal() => &FLOAT,
            _ => kind,
        })
    }
}

/// Plans a statement over what the user may see; what is not allowed is refused.
pub async fn plan(session: &UserSession, statement: &Statement) -> Result<Planned, Failure> {
    let mut statement = statement.clone();
    let mut arguments = BTreeMap::new();
    fill_table_arguments(&mut statement, |argument| {
        let (wire, value) = stand_in(argument);
        let number = number_of(argument.placeholder).ok_or_else(not_numbered)?;
        arguments.insert(number, wire);
        Ok::<_, Failure>(argument.value(value))
    })?;
    Ok(Planned { arguments, ..plan_filled(session, statement).await? })
}

/// Plans a statement whose table functions have all their arguments.
async fn plan_filled(session: &UserSession, statement: Statement) -> Result<Planned, Failure> {
    let statement = PlannedStatement::Statement(Box::new(statement));
    let plan = session.state.statement_to_plan(statement).await?;
    allowed::check(&plan, &session.state, session.is_restricted)?;
    Ok(Planned { opening: session.opening, plan, arguments: BTreeMap::new() })
}

/// How an argument of a table function comes, and one that the function takes.
fn stand_in(argument: TableArgument<'_>) -> (Type, &'static str) {
    match argument.function {
        name if allowed::is_harmless_table_function(name) => (Type::INT8, "1"),
        _ if argument.is_period() => (Type::TEXT, "2000-01"),
        _ => (Type::TEXT, "2000-01-01T00:00:00Z"),
    }
}

fn not_numbered() -> Failure {
    Failure::new("42P02", "the parameters of a query are numbered from $1 without gaps")
}

/// The parameters of a plan in the order of their numbers.
pub fn parameters(planned: &Planned) -> Result<Vec<Parameter>, Failure> {
    let Planned { plan, arguments, .. } = planned;
    let mut kinds: BTreeMap<usize, Option<DataType>> = BTreeMap::new();
    let mut wires: BTreeMap<usize, Type> = BTreeMap::new();
    kinds.extend(arguments.keys().map(|number| (*number, None)));
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                note_parameter(part, &mut kinds, &mut wires);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    for (name, kind) in plan.get_parameter_types()? {
        if let (Some(number), Some(kind)) = (number_of(&name), kind) {
            kinds.insert(number, Some(kind));
        }
    }
    let highest = kinds.keys().last().copied().unwrap_or(0);
    if highest > kinds.len() {
        return Err(not_numbered());
    }
    // What a table function takes is read as it says, wherever else the query uses it.
    wires.extend(arguments.iter().map(|(number, wire)| (*number, wire.clone())));
    kinds
        .into_iter()
        .map(|(number, kind)| {
            let wire = match (wires.remove(&number), &kind) {
                (Some(wire), _) => wire,
                (None, Some(kind)) => into_pg_type(kind)?,
                (None, None) => Type::UNKNOWN,
            };
            Ok(Parameter { kind, wire })
        })
        .collect()
}

fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok().filter(|number| *number > 0)
}

/// A cast says a parameter's type where nothing else does. The catalog's columns of object numbers have a wire type of
/// their own.
fn note_parameter(
    part: &Expr,
    kinds: &mut BTreeMap<usize, Option<DataType>>,
    wires: &mut BTreeMap<usize, Type>,
) {
    let (placeholder, cast) = match part {
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Placeholder(placeholder) => (placeholder, Some(cast.field.data_type().clone())),
            _ => return,
        },
        Expr::Placeholder(placeholder) => (placeholder, None),
        _ => return,
    };
    let Some(number) = number_of(&placeholder.id) else { return };
    let known = kinds.entry(number).or_default();
    if known.is_none() {
        *known = cast;
    }
    let alias = placeholder.field.as_ref().filter(|field| *field.data_type() == DataType::Int32);
    let alias = alias.and_then(|field| field.metadata().get(PG_OID_ALIAS_KEY));
    if let Some(wire) = alias.and_then(|kind| pg_type_for_alias_kind(kind)) {
        wires.insert(number, wire);
    }
}

/// The plan with the values that a client bound.
pub async fn bind<S: Clone>(
    session: &UserSession,
    statement: &Statement,
    planned: &Planned,
    portal: &Portal<S>,
) -> Result<LogicalPlan, Failure> {
    let parameters = parameters(planned)?;
    if parameters.len() != portal.parameter_len() {
        let (given, needed) = (portal.parameter_len(), parameters.len());
        return Err(Failure::protocol(format!("{given} parameters are bound, the statement has {needed}")));
    }
    if let Format::Individual(codes) = &portal.parameter_format
        && codes.len() != parameters.len()
    {
        return Err(Failure::protocol("there are more or fewer formats than parameters"));
    }
    if parameters.is_empty() {
        return Ok(planned.plan.clone());
    }
    let values = values(&parameters, portal)?;
    let plan = if planned.arguments.is_empty() {
        planned.plan.clone()
    } else {
        let mut statement = statement.clone();
        fill_table_arguments(&mut statement, |argument| {
            let value = number_of(argument.placeholder).and_then(|number| values.get(number - 1));
            match value {
                Some(value) if !value.is_null() => Ok(argument.value(&value.to_string())),
                _ => Err(Failure::new(
                    "22004",
                    format!("{} of {}() is null", argument.placeholder, argument.function),
                )),
            }
        })?;
        plan_filled(session, statement).await?.plan
    };
    let values = values.into_iter().map(ScalarAndMetadata::from).collect();
    Ok(plan.replace_params_with_values(&ParamValues::List(values))?)
}

/// The values that a client bound.
fn values<S: Clone>(parameters: &[Parameter], portal: &Portal<S>) -> Result<Vec<ScalarValue>, Failure> {
    let of_client = |index: usize| portal.statement.parameter_types.get(index).cloned().flatten();
    let sent =
        |index: usize, parameter: &Parameter| of_client(index).unwrap_or_else(|| parameter.wire.clone());
    let kinds = parameters.iter().enumerate().map(|(index, it)| it.kind_as_sent(of_client(index).as_ref()));
    let kinds: Vec<Option<&DataType>> = kinds.collect();
    let wires: Vec<Option<&Type>> = parameters.iter().map(|parameter| Some(&parameter.wire)).collect();
    let mut others = Portal::<S>::new_cursor(portal.name.clone(), Arc::clone(&portal.statement));
    others.parameter_format = portal.parameter_format.clone();
    others.parameters.clone_from(&portal.parameters);
    let mut numerics = Vec::new();
    for (index, parameter) in parameters.iter().enumerate() {
        if sent(index, parameter) == Type::NUMERIC
            && let Some(bytes) = others.parameters[index].take()
        {
            let number = if portal.parameter_format.is_binary(index) {
                Decimal::of_binary(&bytes)
            } else {
                Decimal::of_text(&bytes)
            };
            numerics.push((index, number?.for_kind(kinds[index])?));
        }
    }
    let ParamValues::List(values) = deserialize_parameters_with_server_types(&others, &kinds, &wires)? else {
        return Err(Failure::protocol("parameters have numbers"));
    };
    let mut values: Vec<ScalarValue> = values.into_iter().map(|value| value.value).collect();
    for (index, number) in numerics {
        values[index] = number;
    }
    Ok(values)
}

/// The columns of a plan's result.
pub fn columns(plan: &LogicalPlan, format: &Format) -> Result<Vec<FieldInfo>, Failure> {
    encode::fields(plan.schema().as_arrow(), format, None)
}

/// So many bytes of long texts that a query itself has may be in a batch: each row repeats them, before any limit of memory
/// sees it.
const REPEATED_BYTES_MAX: usize = 8 * 1024 * 1024;
const LONG_BYTES: usize = 1024;

/// How many rows of a plan are computed at once.
pub fn batch_rows(plan: &LogicalPlan, usual: usize) -> Result<usize, Failure> {
    let mut bytes = 0;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::Literal(value, _) = part {
                    bytes += Some(value.size()).filter(|size| *size > LONG_BYTES).unwrap_or(0);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok((REPEATED_BYTES_MAX / bytes.max(1)).clamp(1, usual))
}

/// Runs a plan without parameters that was checked. It stops when the rows are dropped.
pub fn run(
    threads: &QueryThreads,
    state: SessionState,
    plan: LogicalPlan,
    format: &Format,
    options: Arc<FormatOptions>,
    rows_max: Option<u64>,
) -> Result<QueryResponse, Failure> {
    let fields = Arc::new(encode::fields(plan.schema().as_arrow(), format, Some(options))?);
    let of_rows = Arc::clone(&fields);
    let rows = threads.run(state, plan).flat_map(move |batch| {
        let rows = match batch {
            Ok(batch) => {
                let rows = encode::rows(batch.schema(), batch, Arc::clone(&of_rows));
                Box::new(rows) as Box<dyn Iterator<Item = _> + Send>
            }
            Err(failure) => Box::new(std::iter::once(Err(failure))),
        };
        stream::iter(rows)
    });
    let mut count = 0;
    let limited = rows.map(move |row| {
        count += 1;
        match rows_max {
            Some(most) if count > most => Err(too_many_rows(most)),
            _ => row,
        }
    });
    Ok(QueryResponse::new(fields, limited.map(|row| row.map_err(wire_error))))
}

fn too_many_rows(most: u64) -> Failure {
    Failure::new(
        "54000",
        format!("the answer has more than {most} rows, which is this server's limit: add a LIMIT"),
    )
}

fn wire_error(failure: Failure) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::from(failure)))
}
