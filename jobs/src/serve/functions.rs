//! PostgreSQL's functions that clients call when they connect and browse, as far as the catalog crate lacks them.
//!
//! Each answers with a constant: what is true of this server, or nothing.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;

use super::client_settings::server_version;
use super::format_function::Format;

/// Registers them for a user.
pub fn register(context: &SessionContext, user: &str) {
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    let nothing = ScalarValue::Utf8(None);
    let version = format!("PostgreSQL {}", server_version());
    let constants = [
        ("version", text(&version)),
        ("session_user", text(user)),
        ("current_user", text(user)),
        ("user", text(user)),
        ("pg_is_in_recovery", ScalarValue::Boolean(Some(false))),
        ("pg_type_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_function_is_visible", ScalarValue::Boolean(Some(true))),
        ("obj_description", nothing.clone()),
        ("col_description", nothing.clone()),
        ("shobj_description", nothing.clone()),
        ("pg_get_indexdef", nothing.clone()),
        ("pg_get_ruledef", nothing.clone()),
        ("pg_get_viewdef", nothing.clone()),
        ("pg_client_encoding", text("UTF8")),
        ("pg_operator_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_ts_config_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_conversion_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_opclass_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_statistics_obj_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_collation_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_opfamily_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_ts_parser_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_ts_dict_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_ts_template_is_visible", ScalarValue::Boolean(Some(true))),
        ("getdatabaseencoding", text("UTF8")),
        // The encoding that every database here has.
        ("pg_char_to_encoding", ScalarValue::Int32(Some(6))),
        ("pg_size_pretty", nothing.clone()),
        ("pg_table_size", ScalarValue::Int64(None)),
        ("pg_database_size", ScalarValue::Int64(None)),
        ("pg_indexes_size", ScalarValue::Int64(None)),
        ("pg_tablespace_location", nothing.clone()),
        ("pg_get_function_result", nothing.clone()),
        ("pg_get_function_arguments", nothing.clone()),
        ("pg_get_function_sqlbody", nothing.clone()),
        ("pg_get_function_identity_arguments", nothing.clone()),
    ];
    for (name, value) in constants {
        context.register_udf(ScalarUDF::from(Constant::new(name, value)));
    }
    context.register_udf(ScalarUDF::from(CurrentSetting::default()));
    context.register_udf(ScalarUDF::from(Format::default()));
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn new(name: &'static str, value: ScalarValue) -> Self {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        Self { name, value, signature: Signature::one_of(any, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// `current_setting('search_path')`: as it is on every connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CurrentSetting {
    signature: Signature,
}

impl Default for CurrentSetting {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &'static str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value = match arguments.args.first() {
            Some(ColumnarValue::Scalar(name)) => setting(&name.to_string().to_ascii_lowercase()),
            _ => None,
        };
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(value)))
    }
}

fn setting(name: &str) -> Option<String> {
    let value = match name {
        "search_path" => "\"$user\",public",
        "server_version" => return Some(server_version()),
        "server_version_num" => "160006",
        "timezone" => "UTC",
        "client_encoding" | "server_encoding" => "UTF8",
        "max_identifier_length" => "63",
        "max_index_keys" => "32",
        "block_size" => "8192",
        "default_transaction_read_only" | "standard_conforming_strings" | "transaction_read_only" => "on",
        _ => return None,
    };
    Some(value.to_owned())
}
