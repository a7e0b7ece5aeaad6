//! How what is ours in a plan is written down, and read again by scheduler and executors.
//!
//! Owns: passes over the lake (`quantities`), and functions that read the catalog, which goes along as its text. All else
//! is left to Ballista, or has a name that executors know (`server`). A message names the version of the program: other
//! versions may count otherwise, so they do not work together.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{exec_datafusion_err, exec_err, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use rating::catalog::Catalog;
use serde_json::{Value, json};

use crate::functions::{catalog_function, catalog_of};
use crate::lake::{DataFile, Lake, Table, TableSnapshot};
use crate::quantities::{ChargeKinds, Narrowed, PeriodScan, QuantitiesExec, Told};

/// Begins everything that is ours.
const MARK: &[u8] = b"meterhouse ";
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Default)]
pub(super) struct LakeCodec {
    ballista: BallistaPhysicalExtensionCodec,
    /// By their hashes.
    catalogs: Mutex<HashMap<String, KnownCatalog>>,
}

/// Known for as long as some plan or session uses it.
#[derive(Debug)]
struct KnownCatalog {
    catalog: Weak<Catalog>,
    text: Arc<str>,
}

impl LakeCodec {
    pub fn know(&self, catalog: &Arc<Catalog>, text: &Arc<str>) {
        let mut catalogs = self.catalogs.lock().unwrap_or_else(PoisonError::into_inner);
        catalogs.retain(|_, known| known.catalog.strong_count() > 0);
        let known = KnownCatalog { catalog: Arc::downgrade(catalog), text: Arc::clone(text) };
        catalogs.insert(catalog.hash.to_string(), known);
    }

    fn text_of(&self, catalog: &Catalog) -> Result<Arc<str>> {
        let catalogs = self.catalogs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = catalogs.get(catalog.hash.to_hex().as_str()).map(|known| Arc::clone(&known.text));
        known.ok_or_else(|| internal_datafusion_err!("the text of the catalog {} is not known", catalog.hash))
    }

    /// Plans of one query, and of most, have the same catalog, so it is read once.
    fn catalog(&self, message: &Value) -> Result<Arc<Catalog>> {
        let hash = text(message, "catalog_hash")?;
        let known = || {
            let catalogs = self.catalogs.lock().unwrap_or_else(PoisonError::into_inner);
            catalogs.get(hash).and_then(|known| known.catalog.upgrade())
        };
        if let Some(catalog) = known() {
            return Ok(catalog);
        }
        let content = text(message, "catalog")?;
        let catalog = Catalog::parse(content, "the plan's catalog");
        let catalog = Arc::new(catalog.map_err(|error| exec_datafusion_err!("{error}"))?);
        if catalog.hash.to_hex().as_str() != hash {
            return exec_err!("the plan's catalog is not the one that it names");
        }
        self.know(&catalog, &Arc::from(content));
        Ok(catalog)
    }

    fn write(&self, catalog: &Catalog, mut message: Value, bytes: &mut Vec<u8>) -> Result<()> {
        message["program"] = PROGRAM.into();
        message["catalog_hash"] = catalog.hash.to_hex().as_str().into();
        message["catalog"] = (&*self.text_of(catalog)?).into();
        bytes.extend_from_slice(MARK);
        bytes.extend(message.to_string().into_bytes());
        Ok(())
    }

    fn quantities(&self, message: &Value, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<QuantitiesExec> {
        let [shares] = inputs else { return exec_err!("the plan has no shares of tenants") };
        let told = told(message)?;
        let lake = Lake::open(text(message, "lake")?).map_err(|error| exec_datafusion_err!("{error}"))?;
        let period = text(message, "period")?.parse();
        let tenants = message["tenants"].as_array().map(|tenants| texts(tenants)).transpose()?;
        let scan = PeriodScan {
            table: lake.table(Table::UsageEvents),
            snapshot: Arc::new(snapshot(&message["snapshot"])?),
            catalog: self.catalog(message)?,
            period: period.map_err(|error| exec_datafusion_err!("{error}"))?,
            question: told.question(),
            tenants,
            narrowed: Narrowed {
                starts_then: message["starts_then"].as_bool().ok_or_else(incomplete)?,
                sessions_until_us: message["sessions_until_us"].as_i64(),
            },
            threads: number(&message["threads"])? as usize,
        };
        let columns = message["projection"].as_array();
        let columns = columns.map(|columns| {
            columns.iter().map(|column| Ok(number(column)? as usize)).collect::<Result<Vec<usize>>>()
        });
        let read = QuantitiesExec::new(told, lake, scan, columns.transpose()?, Arc::clone(shares))?;
        let without = texts(message["without"].as_array().ok_or_else(incomplete)?)?;
        Ok(read.with_errors_as_texts().with_left_out(without))
    }
}

impl PhysicalExtensionCodec for LakeCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match bytes.strip_prefix(MARK) {
            Some(message) => Ok(Arc::new(self.quantities(&read(message)?, inputs)?)),
            None => self.ballista.try_decode(bytes, inputs, context, converter),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(quantities) = node.downcast_ref::<QuantitiesExec>() else {
            return self.ballista.try_encode(node, bytes, converter);
        };
        let QuantitiesExec { told, lake, scan, projection, without, .. } = quantities;
        let kinds: Option<Vec<&str>> = match told {
            Told::Quantities | Told::Outcomes => None,
            Told::Charges(kinds) => Some(kinds.names().collect()),
        };
        let message = json!({
            "told": told.name(),
            "kinds": kinds,
            "lake": lake.url().as_str(),
            "snapshot": snapshot_message(&scan.snapshot),
            "period": scan.period.to_string(),
            "tenants": scan.tenants,
            "starts_then": scan.narrowed.starts_then,
            "sessions_until_us": scan.narrowed.sessions_until_us,
            "threads": scan.threads,
            "projection": projection,
            "without": **without,
        });
        self.write(&scan.catalog, message, bytes)
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        let unknown = || exec_datafusion_err!("the cluster does not know the function {name}()");
        let message = read(bytes.strip_prefix(MARK).ok_or_else(unknown)?)?;
        catalog_function(name, &self.catalog(&message)?).map(Arc::new).ok_or_else(unknown)
    }

    fn try_encode_udf(&self, function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        match catalog_of(function) {
            Some(catalog) => self.write(catalog, json!({}), bytes),
            None => Ok(()),
        }
    }
}

fn read(message: &[u8]) -> Result<Value> {
    let message: Value = serde_json::from_slice(message)
        .map_err(|error| exec_datafusion_err!("the plan cannot be read: {error}"))?;
    match text(&message, "program")? {
        PROGRAM => Ok(message),
        other => exec_err!(
            "the plan is of meterhouse {other} and this is {PROGRAM}: a cluster and those who use it must be of one version"
        ),
    }
}

fn told(message: &Value) -> Result<Told> {
    let all = [Told::Quantities, Told::Outcomes, Told::Charges(ChargeKinds::ALL)];
    let name = text(message, "told")?;
    match all.into_iter().find(|told| told.name() == name) {
        Some(Told::Charges(_)) => {
            let kinds = texts(message["kinds"].as_array().ok_or_else(incomplete)?)?;
            Ok(Told::Charges(ChargeKinds::named(&kinds)))
        }
        Some(told) => Ok(told),
        None => exec_err!("the plan asks for {name}, which is not known"),
    }
}

fn snapshot_message(snapshot: &TableSnapshot) -> Value {
    let file = |file: &DataFile| {
        json!([file.path, file.size_bytes, file.rows, file.day, file.modified_at_ms, file.statistics])
    };
    let files: Vec<Value> = snapshot.files.iter().map(file).collect();
    json!({ "version": snapshot.version, "table_id": snapshot.table_id, "files": files })
}

fn snapshot(message: &Value) -> Result<TableSnapshot> {
    let file = |file: &Value| -> Result<DataFile> {
        Ok(DataFile {
            path: file[0].as_str().ok_or_else(incomplete)?.to_owned(),
            size_bytes: number(&file[1])?,
            rows: number(&file[2])?,
            day: file[3].as_i64().and_then(|day| i32::try_from(day).ok()).ok_or_else(incomplete)?,
            modified_at_ms: file[4].as_i64().ok_or_else(incomplete)?,
            statistics: file[5].as_str().map(str::to_owned),
        })
    };
    let files = message["files"].as_array().ok_or_else(incomplete)?;
    Ok(TableSnapshot {
        table: Table::UsageEvents,
        version: number(&message["version"])?,
        table_id: text(message, "table_id")?.to_owned(),
        files: files.iter().map(file).collect::<Result<_>>()?,
    })
}

fn incomplete() -> datafusion::error::DataFusionError {
    internal_datafusion_err!("the plan is incomplete")
}

fn text<'m>(message: &'m Value, key: &str) -> Result<&'m str> {
    message[key].as_str().ok_or_else(incomplete)
}

fn texts(values: &[Value]) -> Result<BTreeSet<String>> {
    values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(incomplete)).collect()
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().ok_or_else(incomplete)
}
