//! Issued invoices to push: a catalog with all three ways, tenants, usage by chance, and what must come out of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jobs::stripe::clock::Dice;
use jobs::stripe::plan::{IssuedInvoice, UsageBySpan, plan};
use jobs::stripe::{
    Client, ClientSettings, Driver, DriverSettings, MemoryOutbox, Outbox, RecordKind, StripeRecord,
};
use rating::catalog::{Catalog, StripeGranularity};
use rating::exact::Exact;
use rating::invoice::credit::Credit;
use rating::invoice::tax::OneRate;
use rating::invoice::{Invoice, InvoiceKind, InvoiceParts, Provenance};
use rating::line::{LineItem, LineKey, LineRequest};
use rating::money::Currency;
use rating::period::{BillingCycle, Period, Span, TimeZone};
use rating::price::PoolBalances;
use rating::quantity::{Dimensions, Quantity, Samples};

use crate::fake::{Fake, HandClock};

/// Three days after the end of April 2026.
pub const ISSUED_US: i64 = 1_777_766_400_000_000;

const CATALOG: &str = r"
catalog: world
currency: EUR
stripe: { mode: invoices, send: finalized, days_until_due: 14 }
meters:
  traffic: { kind: delta, event_type: t, value: $.bytes, dimensions: { zone: $.zone }, unit: byte }
  storage: { kind: gauge, event_type: s, value: $.bytes, unit: byte }
  calls: { kind: delta, event_type: c, unit: call }
plans:
  metered:
    stripe: { mode: meter_events }
    prices:
      base_fee: { flat: 29 }
      traffic:
        meter: traffic
        split_by: zone
        unit: MB
        included: 3
        per_unit: 0.07
        stripe: { event_name: traffic_mb, granularity: day }
      storage: { meter: storage, measure: average, unit: MB, round: up, per_unit: 0.31, stripe: { event_name: storage_mb, action: set } }
      calls: { meter: calls, per_unit: 0.001, stripe: { event_name: kilo_calls, scale: 3 } }
  recorded:
    stripe: { mode: usage_records }
    prices:
      storage: { meter: storage, measure: average, unit: MB, round: up, per_unit: 0.31, stripe: { action: set } }
      calls: { meter: calls, per_unit: 0.001, stripe: { granularity: day } }
  invoiced:
    prices:
      base_fee: { description: Plan, flat: 99.99 }
      traffic: { description: Traffic, meter: traffic, split_by: zone, unit: MB, per_unit: 0.07 }
      storage: { description: Storage, meter: storage, measure: average, unit: MB, per_unit: 0.333 }
      calls: { description: Calls, meter: calls, package: { size: 1000, price: 0.5 } }
tenants:
";

const PLANS: [&str; 3] = ["metered", "recorded", "invoiced"];
const ZONES: [&str; 3] = ["eu", "us", "ap"];

pub fn catalog(tenants: usize) -> Catalog {
    let mut text = CATALOG.to_owned();
    for at in 0..tenants {
        let plan = PLANS[at % 3];
        let items = match plan {
            "recorded" => {
                format!(", subscription_items: {{ storage: si_storage_{at}, calls: si_calls_{at} }}")
            }
            _ => String::new(),
        };
        writeln!(text, "  t{at}:").unwrap();
        writeln!(text, "    subscriptions: [{{ plan: {plan}, from: 2026-01-01 }}]").unwrap();
        writeln!(text, "    stripe: {{ customer: cus_{at}{items} }}").unwrap();
    }
    Catalog::parse(&text, "world.yaml").unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

pub fn april() -> Period {
    BillingCycle::CALENDAR_MONTH.period_containing(ISSUED_US - 10 * 86_400_000_000, &TimeZone::UTC).unwrap()
}

/// The month's days, each with a weight that is the same in every run.
pub struct Days;

impl UsageBySpan for Days {
    fn by_span(&self, line: &LineItem, granularity: StripeGranularity) -> Option<Vec<(Span, Exact)>> {
        assert_eq!(granularity, StripeGranularity::Day);
        let cuts: Vec<i64> = (1..31).map(|day| line.key.span.start_us + day * 86_400_000_000).collect();
        let days = line.key.span.split_at(&cuts).into_iter().enumerate();
        Some(days.map(|(at, day)| (day, Exact::from((at as i64 * 7) % 5))).collect())
    }
}

/// A tenant's invoice of April with usage by chance.
pub fn invoice(catalog: &Catalog, tenant: &str, dice: &Dice) -> Invoice {
    let terms = catalog.tenant_terms(tenant).unwrap();
    let period = april();
    let mut lines = Vec::new();
    for priced in catalog.prices_in_force(terms, period.span) {
        let splits: &[&str] = if priced.price.usage.as_ref().is_some_and(|usage| !usage.split_by.is_empty()) {
            &ZONES
        } else {
            &[""]
        };
        for zone in splits {
            let dimensions: Dimensions =
                (!zone.is_empty()).then(|| ("zone".to_owned(), (*zone).to_owned())).into_iter().collect();
            let quantity = priced.price.usage.as_ref().map(|usage| Quantity {
                tenant: tenant.to_owned(),
                meter: usage.meter.clone(),
                dimensions: dimensions.clone(),
                measure: usage.measure,
                span: period.span,
                unit: usage.measured_unit.name.clone(),
                value: Exact::ratio(i128::from(dice.below(90_000_000_000)), 1 + i128::from(dice.below(900)))
                    .unwrap(),
                samples: Samples { count: 3, first_us: Some(1), last_us: Some(9) },
                carried_in: Exact::ZERO,
            });
            let key = LineKey {
                tenant: tenant.to_owned(),
                period: period.name.clone(),
                subscription: priced.subscription.key.clone(),
                price: priced.price.key.clone(),
                dimensions,
                span: period.span,
            };
            let request = LineRequest {
                key,
                description: priced.price.description.clone(),
                price_source: None,
                terms: &priced.terms,
                currency: Currency::from_code("EUR").unwrap(),
                period: period.span,
                quantity,
                transactions: None,
                so_far: None,
                commitment: None,
            };
            lines.push(LineItem::rate(request, &mut PoolBalances::default()).unwrap());
        }
    }
    let mut credits = vec![Credit {
        id: "welcome".to_owned(),
        priority: 1,
        granted_us: 0,
        effective_us: 0,
        expires_us: None,
        balance: "33.33".parse().unwrap(),
    }];
    let parts = InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant: tenant.to_owned(),
        period,
        currency: Currency::from_code("EUR").unwrap(),
        lines,
        warnings: Vec::new(),
        provenance: Provenance {
            table_id: "table".into(),
            table_version: 1,
            catalog_hash: catalog.hash.to_string(),
            book_hash: "book".into(),
            program_version: "1".into(),
        },
    };
    let tax = OneRate { name: "VAT 19 %".into(), rate_percent: "19".parse().unwrap() };
    Invoice::assemble(parts, &mut credits, &tax).unwrap()
}

/// Everything that is to be pushed, and the fake that it is pushed to.
pub struct World {
    pub fake: Fake,
    pub clock: std::sync::Arc<HandClock>,
    pub records: Vec<StripeRecord>,
    pub invoices: BTreeMap<String, Invoice>,
}

impl World {
    pub async fn with_tenants(tenants: usize, seed: u64) -> Self {
        let clock = HandClock::at(ISSUED_US);
        let fake = Fake::start(clock.clone(), seed).await;
        let catalog = catalog(tenants);
        let dice = Dice::new(seed);
        let mut records = Vec::new();
        let mut invoices = BTreeMap::new();
        for at in 0..tenants {
            let tenant = format!("t{at}");
            let number = format!("W-{:05}", at + 1);
            let invoice = invoice(&catalog, &tenant, &dice);
            let link = format!("https://billing.example/{number}.pdf");
            let issued = IssuedInvoice { number: &number, invoice: &invoice, pdf_link: Some(&link) };
            records.extend(plan(&issued, &catalog, &Days).unwrap());
            invoices.insert(number, invoice);
        }
        {
            let mut state = fake.state();
            state.customers = (0..tenants).map(|at| format!("cus_{at}")).collect();
            state.meters = [("traffic_mb", false), ("storage_mb", true), ("kilo_calls", false)]
                .map(|(name, is_last)| (name.to_owned(), is_last))
                .into();
            state.last_items = (0..tenants).map(|at| format!("si_storage_{at}")).collect();
        }
        Self { fake, clock, records, invoices }
    }

    pub fn driver<O: Outbox>(&self, outbox: O, seed: u64) -> Driver<HandClock, O> {
        self.driver_with(&self.fake.settings(), Duration::from_mins(20), outbox, seed)
    }

    /// One that gives up on a silent Stripe soon; a slow machine makes it give up on one that is not silent too, which
    /// must make no difference either.
    pub fn hasty_driver<O: Outbox>(&self, outbox: O, seed: u64) -> Driver<HandClock, O> {
        let settings = ClientSettings { call_timeout: Duration::from_millis(40), ..self.fake.settings() };
        self.driver_with(&settings, Duration::from_secs(20), outbox, seed)
    }

    fn driver_with<O: Outbox>(
        &self,
        settings: &ClientSettings,
        patience: Duration,
        outbox: O,
        seed: u64,
    ) -> Driver<HandClock, O> {
        let client = Client::new(settings, self.clock.clone()).unwrap();
        let settings = DriverSettings { patience, ..DriverSettings::default() };
        Driver::new(client, outbox, self.clock.clone(), Dice::new(seed), settings)
    }

    pub async fn outbox(&self) -> MemoryOutbox {
        let outbox = MemoryOutbox::default();
        outbox.insert(&self.records).await.unwrap();
        outbox
    }

    /// What Stripe has differs from ours by nothing, and everything is there once.
    pub async fn assert_equal(&self, outbox: &impl Outbox, what: &str) {
        let held = outbox.list(None).await.unwrap();
        assert_eq!(held.len(), self.records.len(), "{what}");
        let state = self.fake.state();
        assert_eq!((state.collisions, state.mismatches), (0, 0), "{what}");
        let mut usage: BTreeMap<(String, String), i64> = BTreeMap::new();
        let mut last: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for record in &held {
            let (Some(sent), Some(meter)) = (&record.content.usage, &record.content.meter) else { continue };
            let lane = (record.content.customer.clone(), meter.clone());
            if sent.is_set {
                let newest = last.entry(format!("{lane:?}")).or_insert((i64::MIN, 0));
                *newest = (*newest).max((sent.at_s, sent.value));
                usage.insert(lane, newest.1);
            } else {
                *usage.entry(lane).or_default() += sent.value;
            }
        }
        assert!(!usage.is_empty(), "{what}");
        for ((customer, meter), ours) in usage {
            let theirs = if meter.starts_with("si_") {
                state.used(&meter)
            } else {
                state.counted(&meter, &customer, 0, i64::MAX)
            };
            assert_eq!(theirs - ours, 0, "{what}: {customer} {meter}: stripe has {theirs}, we have {ours}");
        }
        // Items by our keys, each once, and with our amounts.
        let mut items: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for item in &state.items {
            items.entry(&item.metadata["meterhouse_key"]).or_default().push(item.amount);
        }
        for record in held.iter().filter(|record| record.content.kind == RecordKind::InvoiceItem) {
            let ours = vec![record.content.amount_minor.unwrap()];
            let is_nothing = ours == [0] && record.stripe_id.is_none();
            let theirs = items.remove(record.key.as_str());
            assert!(
                theirs == Some(ours.clone()) || (is_nothing && theirs.is_none()),
                "{what}: {} {ours:?} {theirs:?}",
                record.key
            );
        }
        assert!(items.is_empty(), "{what}: {items:?}");
        self.assert_invoices(&state, what);
    }

    fn assert_invoices(&self, state: &crate::fake::State, what: &str) {
        let mut numbers: Vec<&str> = Vec::new();
        for invoice in &state.invoices {
            let number = invoice.metadata["meterhouse_number"].as_str();
            let ours = &self.invoices[number];
            let is_whole = ours.lines.len() == 6 && ours.lines[0].key.subscription == "invoiced";
            if is_whole {
                let due = (ours.due * rust_decimal::Decimal::ONE_HUNDRED).normalize().to_string();
                assert_eq!(state.total(&invoice.id).to_string(), due, "{what}: {number}");
            }
            assert_eq!(invoice.status, "open", "{what}: {number}");
            assert_eq!(invoice.metadata["meterhouse_pdf"], format!("https://billing.example/{number}.pdf"));
            numbers.push(number);
        }
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "{what}: an invoice is there twice");
        let expected =
            self.records.iter().filter(|record| record.content.kind == RecordKind::Invoice).count();
        assert_eq!(count, expected, "{what}");
    }
}
