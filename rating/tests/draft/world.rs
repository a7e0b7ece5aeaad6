//! A catalog and some events, folded slowly: each meter's events in order through its fold, nothing clever.

use std::collections::BTreeMap;

use rating::catalog::Catalog;
use rating::draft::{Charges, DemandOptions, DraftError, DraftInputs};
use rating::invoice::credit::Credit;
use rating::invoice::{Invoice, Provenance};
use rating::line::LineItem;
use rating::period::{Period, PeriodChoice};
use rating::quantity::Measure;
use rating::quantity::session::SessionEvent;
use rating::usage::{Demand, MeterFold, Reading, SeriesSpan, Usage, Wanted};

#[derive(Debug, Clone)]
pub struct Event {
    pub time_us: i64,
    pub meter: String,
    pub resource: String,
    pub dimensions: String,
    pub reading: Reading,
}

pub fn instant_us(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("a timestamp").as_microsecond()
}

/// Events from lines of `time meter resource dimensions reading`, `-` for nothing; a reading is a number, or a
/// session's signal, or `until` and a time.
pub fn events(lines: &str) -> Vec<Event> {
    let event = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [time, meter, resource, dimensions, reading, ..] = words[..] else { panic!("{line}") };
        let reading = match reading {
            "start" => Reading::Session(SessionEvent::Start),
            "stop" => Reading::Session(SessionEvent::Stop),
            "alive" => Reading::Session(SessionEvent::Heartbeat),
            "until" => Reading::Session(SessionEvent::Complete { end_us: instant_us(words[5]) }),
            number => Reading::Value { nano: nano(number) },
        };
        let text = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
        Event {
            time_us: instant_us(time),
            meter: meter.to_owned(),
            resource: text(resource),
            dimensions: text(dimensions),
            reading,
        }
    };
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(event).collect()
}

fn nano(number: &str) -> i128 {
    let exact: rating::exact::Exact = number.parse().expect("a number");
    (&exact * &rating::exact::Exact::from(1_000_000_000_i64)).to_i128().expect("at most nine decimals")
}

/// Answers a demand from one tenant's events.
pub fn usage(catalog: &Catalog, demand: Demand, events: &[Event]) -> Usage {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.time_us);
    let mut answers: Vec<Vec<SeriesSpan>> = vec![Vec::new(); demand.wanted.len()];
    let mut session_oddities = BTreeMap::new();
    for meter in &catalog.meters {
        let asked = |(_, wanted): &(usize, &Wanted)| wanted.view.meter == meter.key;
        let wanted: Vec<(usize, &Wanted)> = demand.wanted.iter().enumerate().filter(asked).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut fold = MeterFold::new(&meter.kind.rules(), &wanted, true);
        for event in events.iter().filter(|event| event.meter == meter.key) {
            let slot = fold.slot(&event.resource, &event.dimensions).expect("dimensions");
            fold.event(event.time_us, slot, event.reading).expect("it fits");
        }
        let found = fold.finish().expect("it fits");
        for (at, series) in found.answers {
            answers[at] = series;
        }
        session_oddities.insert(meter.key.clone(), found.session_oddities);
    }
    Usage { demand, answers, session_oddities }
}

pub struct World {
    pub catalog: Catalog,
    pub events: Vec<Event>,
}

impl World {
    pub fn new(catalog: &str, lines: &str) -> World {
        let catalog = Catalog::parse(catalog, "test.yaml").unwrap_or_else(|error| panic!("{error}"));
        World { catalog, events: events(lines) }
    }

    pub fn period(&self, tenant: &str, choice: &str) -> Period {
        let terms = self.catalog.tenant_terms(tenant).expect("a tenant");
        let choice: PeriodChoice = choice.parse().expect("a period");
        choice.period(&terms.cycle, &terms.time_zone).expect("a period").expect("a period starts then")
    }

    pub fn try_rate(
        &self,
        tenant: &str,
        choice: &str,
        credits: &mut [Credit],
    ) -> Result<Option<Invoice>, DraftError> {
        let terms = self.catalog.tenant_terms(tenant).expect("a tenant");
        let charges = Charges::new(&self.catalog, terms, self.period(tenant, choice));
        let demand = charges.demand(tenant, DemandOptions::default());
        let usage = usage(&self.catalog, demand, &self.events);
        let provenance = Provenance { table_version: 7, ..Provenance::default() };
        charges.rate(
            &usage,
            DraftInputs { credits, provenance, catalog_file: "test.yaml", corrected: BTreeMap::new() },
        )
    }

    pub fn rate(&self, tenant: &str, choice: &str) -> Invoice {
        self.try_rate(tenant, choice, &mut []).expect("rated").expect("an invoice")
    }

    /// The lines of levels by another measure.
    pub fn by(&self, tenant: &str, choice: &str, measure: Measure) -> Vec<LineItem> {
        let terms = self.catalog.tenant_terms(tenant).expect("a tenant");
        let charges = Charges::new(&self.catalog, terms, self.period(tenant, choice));
        let usage = usage(&self.catalog, charges.demand(tenant, DemandOptions::default()), &self.events);
        charges.rate_levels_by(measure, &usage, "test.yaml").expect("rated")
    }

    /// Lines as `price dimensions: quantity -> billable = amount`, in the invoice's order.
    pub fn lines(&self, tenant: &str, choice: &str) -> Vec<String> {
        self.rate(tenant, choice).lines.iter().map(shown).collect()
    }

    pub fn warnings(&self, tenant: &str, choice: &str) -> Vec<String> {
        self.rate(tenant, choice).warnings.iter().map(ToString::to_string).collect()
    }
}

pub fn shown(line: &LineItem) -> String {
    let values: Vec<&str> = line.key.dimensions.values().map(String::as_str).collect();
    let values = if values.is_empty() { String::new() } else { format!("[{}]", values.join(",")) };
    let quantity = line.quantity.as_ref().map_or("-".to_owned(), |quantity| quantity.value.to_string());
    format!("{}{values}: {quantity} -> {} = {}", line.key.price, line.trail.billable, line.amount)
}
