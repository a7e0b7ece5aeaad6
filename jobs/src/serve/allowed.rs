//! What a query may contain: kinds of plan nodes and functions, by name.
//!
//! Owns the allow-list of functions and the check of a plan. What is not named here does not exist for clients, so a new
//! version of the engine opens nothing by itself. Left out on purpose: functions that name files (`input_file_name`), and those
//! that make a large value of a small one (`repeat`, `lpad`, `array_repeat`), which no memory limit sees.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use datafusion::catalog::TableFunction;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::failure::Failure;
use super::statement::too_complex;

const FUNCTIONS: &str = "
    abs acos acosh age arrow_cast arrow_typeof ascii asin asinh atan atan2 atanh bit_length btrim cbrt ceil ceiling
    char_length character_length chr coalesce concat concat_ws contains cos cosh cot current_date current_time
    current_timestamp date_bin date_format date_part date_trunc datepart datetrunc decode degrees digest div encode
    ends_with exp factorial find_in_set floor from_unixtime gcd get_field greatest ifnull initcap instr isnan iszero lcm
    least left length levenshtein ln log log10 log2 lower ltrim make_date make_time md5 mod named_struct nanvl now nullif
    nvl nvl2 octet_length overlay pi position pow power radians random regexp_count regexp_instr regexp_like regexp_match
    regexp_replace replace reverse right round rtrim sha224 sha256 sha384 sha512 sign signum sin sinh split_part sqrt
    starts_with strpos struct row substr substr_index substring substring_index tan tanh to_char to_date to_hex
    to_local_time to_time to_timestamp to_timestamp_micros to_timestamp_millis to_timestamp_nanos to_timestamp_seconds
    to_unixtime today translate trim trunc upper uuid version width_bucket justify_days justify_hours justify_interval

    array_any_value array_append array_cat array_concat array_contains array_dims array_distinct array_element
    array_extract array_first array_has array_has_all array_has_any array_indexof array_intersect array_join array_length
    array_lower array_max array_min array_ndims array_position array_positions array_prepend array_push_back
    array_remove array_reverse array_slice array_sort array_sum array_to_string array_union array_upper cardinality
    empty flatten list_contains list_distinct list_element list_extract list_has list_join list_length list_sort
    list_to_string make_array make_list string_to_array string_to_list map map_extract map_keys map_values element_at

    any_value approx_distinct approx_median approx_percentile_cont array_agg avg bit_and bit_or bit_xor bool_and bool_or
    corr count covar covar_pop covar_samp first_value grouping last_value max mean median min nth_value percentile_cont
    quantile_cont regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev
    stddev_pop stddev_samp string_agg sum var var_pop var_samp var_sample
    cume_dist dense_rank lag lead ntile percent_rank rank row_number

    col_description current_database current_schema current_schemas current_setting current_user format_type
    has_any_column_privilege has_database_privilege has_schema_privilege has_table_privilege obj_description
    parse_ident pg_backend_pid pg_client_encoding pg_encoding_to_char pg_get_constraintdef pg_get_expr pg_get_indexdef
    pg_get_partkeydef pg_get_ruledef pg_get_statisticsobjdef_columns pg_get_userbyid pg_get_viewdef pg_is_in_recovery
    pg_partition_ancestors pg_relation_is_publishable pg_relation_size pg_stat_get_numscans pg_table_is_visible
    pg_total_relation_size pg_type_is_visible pg_function_is_visible quote_ident quote_literal session_user
    shobj_description user pg_operator_is_visible pg_ts_config_is_visible pg_conversion_is_visible
    pg_opclass_is_visible pg_statistics_obj_is_visible pg_char_to_encoding pg_get_function_sqlbody pg_size_pretty pg_table_size pg_database_size
    pg_indexes_size pg_tablespace_location pg_get_function_result pg_get_function_arguments
    pg_get_function_identity_arguments pg_collation_is_visible pg_opfamily_is_visible pg_ts_parser_is_visible
    pg_ts_dict_is_visible pg_ts_template_is_visible getdatabaseencoding format";

/// Table functions that read nothing of the lake.
const TABLE_FUNCTIONS: [&str; 3] = ["generate_series", "range", "pg_get_keywords"];

static ALLOWED: LazyLock<BTreeSet<&str>> = LazyLock::new(|| FUNCTIONS.split_whitespace().collect());

/// WITH queries that use each other can double with each; planning cannot be interrupted.
const NODES_MAX: usize = 10_000;

pub fn is_harmless_table_function(name: &str) -> bool {
    TABLE_FUNCTIONS.contains(&name)
}

/// The state with the functions that are allowed, those of the lake's session (which shows only what its user may see) among
/// them, and no others.
pub fn with_allowed_functions(
    state: SessionState,
    of_the_lake: &BTreeSet<String>,
    table_functions: HashMap<String, Arc<TableFunction>>,
) -> SessionState {
    let is_allowed = |name: &str| ALLOWED.contains(name) || of_the_lake.contains(name);
    let scalar = state.scalar_functions().values().filter(|it| is_allowed(it.name())).cloned().collect();
    let aggregate =
        state.aggregate_functions().values().filter(|it| is_allowed(it.name())).cloned().collect();
    let window = state.window_functions().values().filter(|it| is_allowed(it.name())).cloned().collect();
    SessionStateBuilder::new_from_existing(state)
        .with_scalar_functions(scalar)
        .with_aggregate_functions(aggregate)
        .with_window_functions(window)
        .with_higher_order_functions(Vec::new())
        .with_table_functions(table_functions)
        .build()
}

/// Whether a plan only reads, by what is allowed. It is asked of the plan that runs, whatever text it came from.
pub fn check(plan: &LogicalPlan, state: &SessionState, is_restricted: bool) -> Result<(), Failure> {
    let (mut refused, mut nodes) = (None, 0);
    let walked = plan.apply_with_subqueries(|node| {
        nodes += 1;
        refused = refusal_of_node(node, is_restricted).or_else(|| refusal_of_functions(node, state));
        if nodes > NODES_MAX {
            refused = Some(too_complex("its plan has too many parts"));
        }
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match (refused, walked) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(_)) => Ok(()),
    }
}

fn refusal_of_node(node: &LogicalPlan, is_restricted: bool) -> Option<Failure> {
    match node {
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) if is_restricted => Some(Failure::refused(
            "EXPLAIN is not open to users of one tenant: plans tell of all tenants' files",
        )),
        LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => None,
        LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Extension(_) => Some(Failure::refused("this is not possible: this server only reads")),
    }
}

fn refusal_of_functions(node: &LogicalPlan, state: &SessionState) -> Option<Failure> {
    let mut unknown = None;
    let mut visit = |expression: &Expr| {
        let (name, is_known) = match expression {
            Expr::ScalarFunction(call) => (call.name(), state.scalar_functions().contains_key(call.name())),
            Expr::AggregateFunction(call) => {
                (call.func.name(), state.aggregate_functions().contains_key(call.func.name()))
            }
            Expr::HigherOrderFunction(call) => (call.name(), false),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if is_known {
            return Ok(TreeNodeRecursion::Continue);
        }
        unknown = Some(Failure::refused(format!("the function {name} is not available here")));
        Ok(TreeNodeRecursion::Stop)
    };
    let walked: Result<_, DataFusionError> =
        node.apply_expressions(|expression| expression.apply(&mut visit));
    unknown.or_else(|| walked.err().map(Failure::from))
}
