//! Papers of the four example systems, made by the real rating from the example catalogs and quantities written here.
//!
//! For looking at (`meterhouse bench papers --into`), for measuring, and for the tests. Nothing else uses them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jiff::civil::date;
use rating::catalog::{Catalog, PriceSpan, Tenant};
use rating::exact::Exact;
use rating::invoice::credit::Credit;
use rating::invoice::tax::{OneRate, TaxRule, Untaxed};
use rating::invoice::{Invoice, InvoiceKind, InvoiceParts, Provenance, Warning};
use rating::line::{LineItem, LineKey, LineRequest};
use rating::money::{Amount, Currency};
use rating::period::Period;
use rating::price::{FlatPrice, PoolBalances, PriceModel, PriceTerms};
use rating::quantity::{Dimensions, Quantity, Samples};

use super::{Correction, Logo, PaperInvoice, PaperKind, Party, Seller};

/// What a tenant used: price, dimensions, quantity in the measured unit.
type Used = (&'static str, &'static [(&'static str, &'static str)], &'static str);

struct System {
    name: &'static str,
    catalog: &'static str,
    tenant: &'static str,
    instant: &'static str,
    used: &'static [Used],
}

const SYSTEMS: [System; 4] = [
    System {
        name: "redline",
        catalog: include_str!("../../../testdata/catalogs/redline.yaml"),
        tenant: "licence-5d41402a",
        instant: "2026-03-10T00:00:00Z",
        used: &[("storage", &[], "12345678901"), ("own_bucket", &[], "804300000000")],
    },
    System {
        name: "onmemos",
        catalog: include_str!("../../../testdata/catalogs/onmemos.yaml"),
        tenant: "user-42",
        instant: "2026-02-10T00:00:00Z",
        used: &[
            ("sessions", &[("user_type", "pro"), ("size", "gpu")], "187200"),
            ("sessions", &[("user_type", "pro"), ("size", "small")], "55213.5"),
            ("storage", &[("storage_type", "gcs_bucket")], "96774193548"),
            ("storage", &[("storage_type", "filestore_pvc")], "100000000000/3"),
        ],
    },
    System {
        name: "zemfyre",
        catalog: include_str!("../../../testdata/catalogs/zemfyre.yaml"),
        tenant: "instance-orchard",
        instant: "2026-02-01T00:00:00Z",
        used: &[
            ("devices", &[], "1284"),
            ("mqtt_traffic", &[], "88046829568"),
            ("http_traffic", &[], "31138512896"),
            ("storage", &[], "61203283968"),
            ("api_calls", &[], "1284001"),
        ],
    },
    System {
        name: "documents",
        catalog: include_str!("../../../testdata/catalogs/documents.yaml"),
        tenant: "user-bruno",
        instant: "2026-02-10T00:00:00Z",
        used: &[("storage", &[], "812500000000")],
    },
];

const LOGO: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 40"><rect width="40" height="40" rx="8" fill="#1f4f7a"/><path d="M9 28 16 14l7 14 8-18" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round" stroke-linejoin="round"/></svg>"##;

/// A name and a paper of each kind: issued invoices of the four systems, a draft, a credit note.
pub fn samples() -> Result<Vec<(String, PaperInvoice)>> {
    let mut papers = Vec::new();
    for system in &SYSTEMS {
        papers.push((system.name.to_owned(), issued(system)?));
    }
    let mut draft = issued(&SYSTEMS[2])?;
    (draft.number, draft.issue_date, draft.due_date) = (None, None, None);
    draft.invoice.warnings = vec![
        Warning::UsageWithoutPrice {
            meter: "websocket_bytes".to_owned(),
            dimensions: Dimensions::new(),
            quantity: Exact::from(8_123_456_i64),
        },
        Warning::SessionTimedOut { meter: "websocket_time".to_owned(), sessions: 3 },
    ];
    papers.push(("draft".to_owned(), draft));
    papers.push(("credit-note".to_owned(), credit_note()?));
    Ok(papers)
}

/// An invoice with so many lines, each about one thing of a made-up list.
pub fn of_many_lines(lines: usize, code: &str) -> Result<PaperInvoice> {
    let mut paper = issued(&SYSTEMS[3])?;
    let currency = Currency::from_code(code)?;
    let items: Result<Vec<LineItem>> = (0..lines)
        .map(|index| {
            let amount = Amount::new((index as i64 * 7919) % 100_000 - 900, currency.minor_digits());
            correction_line(&paper.invoice.period, &paper.invoice.tenant, index, amount, currency)
        })
        .collect();
    let Invoice { tenant, period, provenance, .. } = paper.invoice;
    let parts = InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant,
        period,
        currency,
        lines: items?,
        warnings: Vec::new(),
        provenance,
    };
    paper.invoice = Invoice::assemble(parts, &mut [], &vat())?;
    Ok(paper)
}

fn vat() -> OneRate {
    OneRate { name: "VAT".to_owned(), rate_percent: Amount::from(19) }
}

fn seller() -> Seller {
    Seller {
        party: Party {
            name: "Northlight Systems GmbH".to_owned(),
            address: vec!["Speicherstraße 12".to_owned(), "20457 Hamburg".to_owned(), "Germany".to_owned()],
            tax_id: Some("DE811907980".to_owned()),
            email: Some("billing@northlight.example".to_owned()),
        },
        bank: vec![
            "Hanse Bank".to_owned(),
            "IBAN DE02 1203 0000 0000 2020 51".to_owned(),
            "BIC BYLADEM1001".to_owned(),
        ],
        logo: Logo::of_bytes(LOGO.as_bytes().to_vec()),
    }
}

fn issued(system: &System) -> Result<PaperInvoice> {
    let catalog = Catalog::parse(system.catalog, system.name)?;
    let tenant = catalog.tenant_terms(system.tenant).context("the catalog has no such tenant")?;
    let instant: jiff::Timestamp = system.instant.parse()?;
    let period = tenant.cycle.period_containing(instant.as_microsecond(), &tenant.time_zone)?;
    let lines = lines(&catalog, tenant, &period, system.used)?;
    let currency = lines.first().context("the tenant has no prices")?.currency;
    let mut credits = Vec::new();
    if system.name == "onmemos" {
        credits.push(Credit {
            id: "welcome".to_owned(),
            priority: 10,
            granted_us: 0,
            effective_us: 0,
            expires_us: None,
            balance: Amount::from(5),
        });
    }
    let untaxed: &dyn TaxRule = &Untaxed;
    let vat = vat();
    let tax: &dyn TaxRule = if system.name == "zemfyre" { &vat } else { untaxed };
    let provenance = Provenance {
        table_id: "7f1c2d9e-42aa-4c1b-9a53-1d2f3a4b5c6d".to_owned(),
        table_version: 4211,
        catalog_hash: catalog.hash.to_hex().to_string(),
        book_hash: blake3::hash(b"sample").to_hex().to_string(),
        program_version: "0.1.0".to_owned(),
    };
    let parts = InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant: tenant.key.clone(),
        period,
        currency,
        lines,
        warnings: Vec::new(),
        provenance,
    };
    let invoice = Invoice::assemble(parts, &mut credits, tax)?;
    let mut buyer = Party::of_tenant(tenant);
    buyer.address =
        vec!["Harbour Road 4, Building C".to_owned(), "Dublin D02 X285".to_owned(), "Ireland".to_owned()];
    buyer.tax_id = Some("IE6388047V".to_owned());
    Ok(PaperInvoice {
        kind: PaperKind::Invoice,
        number: Some("NL-2026-000417".to_owned()),
        issue_date: Some(date(2026, 4, 3)),
        due_date: Some(date(2026, 4, 17)),
        payment_terms: Some("Payable within 14 days without deduction".to_owned()),
        time_zone: tenant.time_zone.clone(),
        seller: seller(),
        buyer,
        invoice,
        corrections: Vec::new(),
    })
}

fn lines(catalog: &Catalog, tenant: &Tenant, period: &Period, used: &[Used]) -> Result<Vec<LineItem>> {
    let mut pools: BTreeMap<(String, i64), PoolBalances> = BTreeMap::new();
    let mut lines = Vec::new();
    for price in catalog.prices_in_force(tenant, period.span) {
        let key = (price.subscription.key.clone(), price.span.start_us);
        let share = price.span.share_of(&period.span);
        let pool = pools.entry(key).or_insert_with(|| PoolBalances::open(&price.version.pools, &share));
        if price.price.usage.is_none() {
            lines.push(line(&price, tenant, period, None, pool)?);
            continue;
        }
        for (_, dimensions, value) in used.iter().filter(|(key, ..)| *key == price.price.key) {
            let quantity = quantity(&price, tenant, dimensions, value)?;
            lines.push(line(&price, tenant, period, Some(quantity), pool)?);
        }
    }
    Ok(lines)
}

fn quantity(
    price: &PriceSpan<'_>,
    tenant: &Tenant,
    dimensions: &[(&str, &str)],
    value: &str,
) -> Result<Quantity> {
    let usage = price.price.usage.as_ref().context("the price reads no usage")?;
    Ok(Quantity {
        tenant: tenant.key.clone(),
        meter: usage.meter.clone(),
        dimensions: dimensions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        measure: usage.measure,
        span: price.span,
        unit: usage.measured_unit.name.clone(),
        value: value.parse()?,
        samples: Samples { count: 744, first_us: None, last_us: None },
        carried_in: Exact::ZERO,
    })
}

fn line(
    price: &PriceSpan<'_>,
    tenant: &Tenant,
    period: &Period,
    quantity: Option<Quantity>,
    pools: &mut PoolBalances,
) -> Result<LineItem> {
    let key = LineKey {
        tenant: tenant.key.clone(),
        period: period.name.clone(),
        subscription: price.subscription.key.clone(),
        price: price.price.key.clone(),
        dimensions: quantity.as_ref().map(|quantity| quantity.dimensions.clone()).unwrap_or_default(),
        span: price.span,
    };
    let request = LineRequest {
        key,
        description: price.price.description.clone(),
        price_source: None,
        terms: &price.terms,
        currency: price.plan.currency,
        period: period.span,
        quantity,
        transactions: None,
        so_far: None,
        commitment: None,
    };
    Ok(LineItem::rate(request, pools)?)
}

/// A line of one amount, as corrections are.
fn correction_line(
    period: &Period,
    tenant: &str,
    index: usize,
    amount: Amount,
    currency: Currency,
) -> Result<LineItem> {
    let terms = PriceTerms::of(PriceModel::Flat(FlatPrice { amount, prorated: false }));
    let key = LineKey {
        tenant: tenant.to_owned(),
        period: period.name.clone(),
        subscription: "main".to_owned(),
        price: format!("workspace-{index:04}"),
        dimensions: [("region".to_owned(), ["eu-north", "us-east", "ap-south"][index % 3].to_owned())].into(),
        span: period.span,
    };
    let request = LineRequest {
        key,
        description: format!("Workspace {index:04}"),
        price_source: None,
        terms: &terms,
        currency,
        period: period.span,
        quantity: None,
        transactions: None,
        so_far: None,
        commitment: None,
    };
    Ok(LineItem::rate(request, &mut PoolBalances::default())?)
}

fn credit_note() -> Result<PaperInvoice> {
    let mut paper = issued(&SYSTEMS[2])?;
    let Invoice { tenant, period, currency, provenance, .. } = paper.invoice;
    let changes = [("1,204.00", "1,180.00", "voided event"), ("9.90", "10.10", "late event")]
        .map(|(old, new, cause)| (old.replace(',', ""), new.replace(',', ""), cause));
    let mut lines = Vec::new();
    for (index, (old, new, cause)) in changes.into_iter().enumerate() {
        let (old, new): (Amount, Amount) = (old.parse()?, new.parse()?);
        let mut line = correction_line(&period, &tenant, index, new - old, currency)?;
        line.description = String::from(["Devices", "Storage"][index]);
        lines.push(line);
        let (number, cause) = ("NL-2026-000398".to_owned(), cause.to_owned());
        paper.corrections.push(Correction { line: index, number, old, new, cause });
    }
    let parts = InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant,
        period,
        currency,
        lines,
        warnings: Vec::new(),
        provenance,
    };
    paper.invoice = Invoice::assemble(parts, &mut [], &vat())?;
    paper.kind = PaperKind::CreditNote;
    paper.number = Some("NL-2026-C-000012".to_owned());
    paper.due_date = None;
    Ok(paper)
}
