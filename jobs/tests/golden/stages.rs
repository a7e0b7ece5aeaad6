//! The stages of the path, each from one file to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::columns::{RejectedColumns, UsageColumns};
use ingest::day_file::FileKind;
use ingest::decode::{DecodeLimits, Decoder};
use jobs::compact::{CompactSettings, compact as compact_lake};
use jobs::issue::outbox::{records, usage_of};
use jobs::push::requests_as_json;
use jobs::stripe::plan::demand;
use rating::draft::{Charges, DemandOptions, DraftInputs, RatedLines, draft_id, granted_credits};
use rating::invoice::{Invoice, Provenance};
use rating::quantity::Quantity;
use rating::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sql::lake::{Lake, Table};
use sql::quantities::{Narrowed, PeriodScan, Question};

use crate::Golden;
use crate::lake::{from_lines, read, to_lines, write};
use crate::texts::{DecodedText, MessageText, instant_us};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

pub fn decode(golden: &Golden) {
    let decoder = Decoder::new(&golden.catalog, DecodeLimits::default());
    let mut found = String::new();
    for line in golden.lines("1_messages.jsonl") {
        let message: MessageText = serde_json::from_str(&line).unwrap();
        decoder.decode(&message.message(golden.name), instant_us(&message.arrival), &mut |decoded| {
            let text = DecodedText::of(&decoded, &message, &golden.catalog);
            found.push_str(&serde_json::to_string(&text).unwrap());
            found.push('\n');
        });
    }
    golden.check("2_events.jsonl", &found);
}

pub fn rows(golden: &Golden) {
    let meters: Vec<String> = golden.catalog.meters.iter().map(|meter| meter.key.clone()).collect();
    let messages: Vec<MessageText> =
        golden.lines("1_messages.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut usage, mut rejects) = (UsageColumns::default(), RejectedColumns::default());
    for line in golden.lines("2_events.jsonl") {
        let text: DecodedText = serde_json::from_str(&line).unwrap();
        let at = text.coordinates(golden.name);
        let arrival_us = instant_us(&text.arrival);
        if let Some(event) = text.event(&golden.catalog) {
            usage.push(&event, &meters, at, arrival_us);
        }
        if let Some(rejected) = text.rejected() {
            // The bytes around it are the message's own.
            let message = messages.iter().find(|message| message.offset == at.offset).unwrap();
            rejects.push(&rejected, &message.message(golden.name), arrival_us);
        }
    }
    golden.check("3_rows.jsonl", &to_lines(&usage.finish()));
    golden.check("3_rejected.jsonl", &to_lines(&rejects.finish()));
}

pub fn compact(golden: &Golden) {
    let found = block_on(async {
        let lake = Lake::open("memory:///").unwrap();
        for (table, file, time) in [
            (Table::UsageEvents, "3_rows.jsonl", "time"),
            (Table::RejectedMessages, "3_rejected.jsonl", "arrival"),
        ] {
            let rows = from_lines(&table.file_schema(), &golden.lines(file));
            write(&lake, table, &rows, time, FileKind::Arrived).await;
        }
        compact_lake(&lake, CompactSettings::default(), |_| {}).await.unwrap();
        [read(&lake, Table::UsageEvents).await, read(&lake, Table::RejectedMessages).await]
    });
    golden.check("4_sorted.jsonl", &to_lines(&found[0]));
    // Only conflicts are new among the rejects.
    let rejects = to_lines(&found[1]);
    let conflicts = rejects.split_inclusive('\n').filter(|line| line.contains(r#""reason":"conflict""#));
    golden.check("4_conflicts.jsonl", &conflicts.collect::<String>());
}

/// `5_quantities.json`: for people the quantities, for the next stage the totals that they are taken of.
#[derive(Serialize, Deserialize)]
struct TenantUsage {
    quantities: Vec<Quantity>,
    usage: Usage,
}

pub fn quantities(golden: &Golden) {
    let found = block_on(async {
        let lake = Lake::open("memory:///").unwrap();
        let table = Table::UsageEvents;
        let rows = from_lines(&table.file_schema(), &golden.lines("4_sorted.jsonl"));
        write(&lake, table, &rows, "time", FileKind::Sorted).await;
        let scan = PeriodScan {
            table: lake.table(table),
            snapshot: Arc::new(lake.table(table).snapshot(None).await.unwrap()),
            catalog: Arc::new(golden.catalog.clone()),
            period: golden.period(),
            question: Question::Prices(DemandOptions { unpriced_usage: true, costs: true }),
            tenants: Some(golden.run.tenants.iter().cloned().collect()),
            narrowed: Narrowed::default(),
            threads: 2,
        };
        scan.run().await.unwrap()
    });
    assert!(found.failed.is_empty() && found.not_set_up.is_empty());
    let unit = |meter: &str| golden.catalog.meter(meter).unwrap().unit.name.clone();
    let tenants = found.usages.into_iter().map(|usage| {
        let quantities: Vec<Quantity> = usage.quantities(unit).collect();
        TenantUsage { quantities, usage }
    });
    golden.check("5_quantities.json", &pretty(&tenants.collect::<Vec<_>>()));
}

/// `6_lines.json`: the lines with the text that stands at their places in the catalog, and what they cost the vendor.
#[derive(Serialize, Deserialize)]
struct TenantLines {
    #[serde(flatten)]
    rated: RatedLines,
    /// By line.
    prices: Vec<String>,
    costs: BTreeMap<String, String>,
}

fn charges<'c>(golden: &'c Golden, tenant: &str) -> Charges<'c> {
    let terms = golden.catalog.tenant_terms(tenant).unwrap();
    let period = golden.period().period(&terms.cycle, &terms.time_zone).unwrap().unwrap();
    Charges::new(&golden.catalog, terms, period)
}

pub fn lines(golden: &Golden) {
    let usages: Vec<TenantUsage> = serde_json::from_str(&golden.read("5_quantities.json")).unwrap();
    let rated = usages.into_iter().map(|TenantUsage { usage, .. }| {
        let charges = charges(golden, &usage.demand.tenant);
        let rated = charges.rate_lines(&usage, &golden.run.catalog).unwrap();
        let costs = charges.rate_costs(&usage, &golden.run.catalog).unwrap();
        TenantLines {
            prices: rated
                .lines
                .iter()
                .map(|line| golden.catalog_line(line.price_source.as_deref()))
                .collect(),
            costs: costs.iter().map(|line| (line.key.price.clone(), line.amount.to_string())).collect(),
            rated,
        }
    });
    golden.check("6_lines.json", &pretty(&rated.collect::<Vec<_>>()));
}

/// The invoices of those who used or owe something, from the lines.
fn rated_invoices(golden: &Golden) -> Vec<Invoice> {
    let tenants: Vec<TenantLines> = serde_json::from_str(&golden.read("6_lines.json")).unwrap();
    let rated = tenants.into_iter().map(|tenant| tenant.rated);
    let rated = rated.filter(|rated| !rated.lines.is_empty() || !rated.warnings.is_empty());
    let invoices = rated.map(|rated| {
        let charges = charges(golden, &rated.tenant);
        // What the catalog grants is all that the tenant's ledger holds.
        let mut credits = granted_credits(&golden.catalog, charges.terms());
        let provenance = Provenance {
            table_id: "golden".to_owned(),
            table_version: 1,
            // Not its hash, which changes with any line of the catalog.
            catalog_hash: golden.run.catalog.clone(),
            book_hash: String::new(),
            program_version: "golden".to_owned(),
        };
        let inputs = DraftInputs {
            credits: &mut credits,
            provenance,
            catalog_file: &golden.run.catalog,
            corrected: BTreeMap::new(),
        };
        charges.invoice(rated, inputs).unwrap()
    });
    invoices.collect()
}

pub fn invoices(golden: &Golden) {
    let invoices = rated_invoices(golden).into_iter().map(|invoice| {
        let canonical = invoice.canonical_json().unwrap();
        assert_eq!(serde_json::from_str::<Invoice>(&canonical).unwrap().canonical_json().unwrap(), canonical);
        let lines: Vec<Value> = invoice
            .lines
            .iter()
            .map(|line| json!([line.key.to_string(), line.description, line.amount.to_string()]))
            .collect();
        let credits: Vec<Value> = invoice
            .credits
            .iter()
            .map(|used| json!([used.credit, used.line + 1, used.amount.to_string()]))
            .collect();
        let warnings: Vec<String> = invoice.warnings.iter().map(ToString::to_string).collect();
        json!({
            "invoice": draft_id(&invoice.tenant, &invoice.period.name),
            "tenant": invoice.tenant,
            "period": [invoice.period.name, invoice.period.end_date],
            "currency": invoice.currency,
            "lines": lines,
            "total": invoice.total.to_string(),
            "credits": credits,
            "credited": invoice.credited.to_string(),
            "taxed": invoice.taxed.to_string(),
            "due": invoice.due.to_string(),
            "warnings": warnings,
            "digest": invoice.digest().unwrap(),
        })
    });
    golden.check("7_invoice.json", &pretty(&invoices.collect::<Vec<_>>()));
}

/// The invoices, which file 7 has in short, as they are told to Stripe; the usage of single days is that of file 4.
pub fn stripe_requests(golden: &Golden) {
    let invoices = rated_invoices(golden);
    let short: Vec<Value> = serde_json::from_str(&golden.read("7_invoice.json")).unwrap();
    let catalog = Arc::new(golden.catalog.clone());
    let demands = invoices.iter().filter_map(|invoice| demand(invoice, &catalog)).collect();
    let usages = block_on(async {
        let lake = Lake::open("memory:///").unwrap();
        let table = Table::UsageEvents;
        let rows = from_lines(&table.file_schema(), &golden.lines("4_sorted.jsonl"));
        write(&lake, table, &rows, "time", FileKind::Sorted).await;
        let snapshot = Arc::new(lake.table(table).snapshot(None).await.unwrap());
        usage_of(lake.table(table), snapshot, &catalog, demands).await.unwrap()
    });
    let mut all = Vec::new();
    for (at, (invoice, short)) in invoices.iter().zip(&short).enumerate() {
        assert_eq!(short["digest"], invoice.digest().unwrap(), "{}", golden.name);
        let number = format!("G-{}", at + 1);
        let link = format!("https://billing.example/{}/invoice_{number}.pdf", invoice.period.name);
        let usage = usages.iter().find(|usage| usage.demand.tenant == invoice.tenant);
        all.extend(records(&number, invoice, &catalog, usage, Some(&link)).unwrap());
    }
    golden.check("8_stripe_requests.json", &pretty(&requests_as_json(&all)));
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text
}
