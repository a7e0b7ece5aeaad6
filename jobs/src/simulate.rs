//! `meterhouse simulate`: what other prices would have made of the same usage.
//!
//! Rates the same version of the lake under the catalog in force and under another one, without writing anything, and shows
//! the difference; and for each line that is priced by a level, what its peak and its average would cost: the open
//! question of every storage price.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::sql::lake::{Lake, TableSnapshot};
use ::sql::quantities::Answers;
use ::sql::rollups::Source;
use anyhow::Result;
use clap::{Args, ValueEnum};
use rating::catalog::Catalog;
use rating::draft::{Charges, DemandOptions};
use rating::exact::{Exact, Rounding};
use rating::line::LineItem;
use rating::money::Currency;
use rating::period::PeriodChoice;
use rating::quantity::Measure;
use rating::usage::Usage;

use crate::book::Book;
use crate::catalog::chosen::ChosenCatalog;
use crate::cli::{Exit, Globals, read_catalog, runtime};
use crate::output::{Format, Rows};
use crate::rate::drafts::chain;
use crate::rate::tenants::{RatedTenants, threads, usage_snapshot};
use crate::source::SourceArgs;

/// Tenants that a thread takes at once.
const PORTION: usize = 256;

/// Rate past usage under another catalog and show the difference
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse simulate --catalog next.yaml --period 2026-01
  meterhouse simulate --catalog next.yaml --period 2025-02..2026-01 --by plan
  meterhouse simulate --period 2026-01 --show measures

Nothing is written. `--show differences` compares what was charged by the catalog of the settings with what the other \
one would charge, summed up by tenant, plan and meter, or by those that --by names; sums that stay as they are are left \
out. `--show measures` lists every line that is priced by a level (storage, connections) with what it would cost by \
its peak and by its average. Meters that only the other catalog has find usage once `meterhouse derive` was run for \
them.")]
pub struct SimulateArgs {
    /// The other catalog [default: the one of the settings, for --show measures]
    #[arg(long, value_name = "FILE", required_unless_present = "show")]
    catalog: Option<PathBuf>,
    /// The period, as a month, a day in it, or a range of months such as 2025-02..2026-01
    #[arg(long, value_name = "PERIOD[..PERIOD]", value_parser = periods)]
    period: Periods,
    /// Only this tenant; may be given several times [default: everybody]
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// Read usage_events as it was at this version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    as_of: Option<u64>,
    /// What the differences are summed up by
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [By::Tenant, By::Plan, By::Meter])]
    by: Vec<By>,
    #[command(flatten)]
    source: SourceArgs,
    /// What is printed
    #[arg(long, value_enum, default_value_t)]
    show: Show,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One period, or several months.
#[derive(Debug, Clone)]
struct Periods(Vec<PeriodChoice>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Tenant,
    Plan,
    Meter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Show {
    /// What changes between the catalogs.
    #[default]
    Differences,
    /// Peak against average.
    Measures,
}

fn periods(text: &str) -> Result<Periods, String> {
    let choice = |text: &str| text.parse::<PeriodChoice>().map_err(|error| error.to_string());
    match text.split_once("..") {
        None => Ok(Periods(vec![choice(text)?])),
        Some((first, last)) => choice(first)?
            .months_until(&choice(last)?)
            .map(Periods)
            .ok_or_else(|| "a range goes from a month to a later one, such as 2025-02..2026-01".to_owned()),
    }
}

pub fn run(args: &SimulateArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let named = args.catalog.as_deref().map(read_catalog).transpose()?.map(Arc::new);
    let only = (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect());
    let mut outcome = runtime()?.block_on(async {
        let snapshot = usage_snapshot(&lake, args.as_of).await?;
        let (source, show) = (args.source.source(), args.show);
        let simulation = Simulation { lake: &lake, snapshot, only: only.as_ref(), source, show };
        let mut outcome = Outcome::default();
        let book = Book::existing_of(&config).await?;
        for choice in &args.period.0 {
            let now = ChosenCatalog::for_period(book.as_ref(), &config, *choice, None).await?.catalog;
            let new = named.as_ref().unwrap_or(&now);
            simulation.compare(&now, new, *choice, &mut outcome).await?;
        }
        anyhow::Ok(outcome)
    })?;
    for failure in &outcome.failed {
        eprintln!("{failure}");
    }
    match args.show {
        Show::Differences => {
            outcome.summarize();
            outcome.differences(&args.by).print(args.format)?;
        }
        Show::Measures => outcome.measures().print(args.format)?,
    }
    Ok(if outcome.failed.is_empty() { Exit::Done } else { Exit::DoneWithRejects })
}

struct Simulation<'s> {
    lake: &'s Lake,
    snapshot: Option<Arc<TableSnapshot>>,
    only: Option<&'s std::collections::BTreeSet<String>>,
    source: Source,
    show: Show,
}

/// What a sum is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tenant: String,
    plan: String,
    meter: String,
    currency: Currency,
}

/// A line priced by a level, and what it would cost otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LevelLine {
    place: Place,
    period: String,
    price: String,
    values: String,
    billed_by: &'static str,
    amounts: [rating::money::Amount; 2],
}

#[derive(Debug, Default)]
struct Outcome {
    /// Under the catalog that holds for the period, and under the other one.
    sums: BTreeMap<Place, [Exact; 2]>,
    levels: Vec<LevelLine>,
    failed: Vec<String>,
}

impl Simulation<'_> {
    async fn compare(
        &self,
        now: &Arc<Catalog>,
        new: &Arc<Catalog>,
        choice: PeriodChoice,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let same = Arc::ptr_eq(now, new);
        let sides: &[(usize, &Arc<Catalog>)] =
            if same || self.show == Show::Measures { &[(1, new)] } else { &[(0, now), (1, new)] };
        let options = DemandOptions::default();
        let mut before: Option<(RatedTenants<'_>, &Catalog, Answers)> = None;
        for &(side, catalog) in sides {
            let tenants = RatedTenants::new(catalog, choice, self.only)?;
            let snapshot = self.snapshot.as_ref();
            let found = match before.take() {
                // Catalogs that differ in amounts alone ask the same.
                Some((asked, of, found))
                    if of.meters == catalog.meters && asked.asks_like(&tenants, options) =>
                {
                    found
                }
                _ => {
                    tenants.usage_from(self.source, self.lake, catalog, snapshot, options, threads()).await?
                }
            };
            let side_outcome =
                tokio::task::block_in_place(|| self.rate(&tenants, catalog, &found, side, choice));
            outcome.add(side_outcome);
            before = Some((tenants, catalog, found));
        }
        Ok(())
    }

    fn rate(
        &self,
        tenants: &RatedTenants<'_>,
        catalog: &Catalog,
        found: &Answers,
        side: usize,
        choice: PeriodChoice,
    ) -> Outcome {
        let next = AtomicUsize::new(0);
        let all = Mutex::new(Outcome::default());
        let work = || {
            let mut own = Outcome::default();
            loop {
                let from = next.fetch_add(PORTION, Ordering::Relaxed);
                let until = found.usages.len().min(from + PORTION);
                let Some(portion) = found.usages.get(from..until).filter(|portion| !portion.is_empty())
                else {
                    break;
                };
                for usage in portion {
                    let Some(charges) = tenants.charges(&usage.demand.tenant) else { continue };
                    own.rate(catalog, charges, usage, side, self.show);
                }
            }
            all.lock().expect("no thread panicked").add(own);
        };
        std::thread::scope(|scope| {
            let spawned: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
            for thread in spawned {
                thread.join().expect("rating does not panic");
            }
        });
        let mut outcome = all.into_inner().expect("no thread panicked");
        for failure in &found.failed {
            let which = if side == 0 { "catalog of the settings" } else { "other catalog" };
            let text = format!("{choice}, {which}: tenant {}: {}", failure.tenant, chain(&failure.source));
            outcome.failed.push(text);
        }
        outcome
    }
}

impl Outcome {
    fn rate(&mut self, catalog: &Catalog, charges: &Charges<'_>, usage: &Usage, side: usize, show: Show) {
        let failed = match show {
            Show::Measures => {
                let by = |measure| charges.rate_levels_by(measure, usage, "");
                by(Measure::Peak).and_then(|peaks| {
                    let averages = by(Measure::Average)?;
                    self.add_levels(catalog, charges, &peaks, &averages);
                    Ok(())
                })
            }
            Show::Differences => charges.rate_lines(usage, "").map(|rated| {
                for line in &rated.lines {
                    let place = place(catalog, charges, line);
                    let sums = self.sums.entry(place).or_insert([Exact::ZERO, Exact::ZERO]);
                    sums[side] += &Exact::from(line.amount);
                }
            }),
        };
        if let Err(error) = failed {
            self.failed.push(format!("tenant {}: {}", usage.demand.tenant, chain(&error)));
        }
    }

    fn add_levels(
        &mut self,
        catalog: &Catalog,
        charges: &Charges<'_>,
        peaks: &[LineItem],
        averages: &[LineItem],
    ) {
        // Both have the same lines in the same order: only the quantity differs.
        for (peak, average) in peaks.iter().zip(averages) {
            let own = charges.measure_of(&peak.key.subscription, &peak.key.price);
            self.levels.push(LevelLine {
                place: place(catalog, charges, peak),
                period: peak.key.period.clone(),
                price: peak.key.price.clone(),
                values: peak.key.dimensions.values().cloned().collect::<Vec<_>>().join(", "),
                billed_by: own.map_or("", Measure::as_str),
                amounts: [peak.amount, average.amount],
            });
        }
    }

    fn add(&mut self, other: Outcome) {
        for (place, [now, new]) in other.sums {
            let sums = self.sums.entry(place).or_insert([Exact::ZERO, Exact::ZERO]);
            sums[0] += &now;
            sums[1] += &new;
        }
        self.levels.extend(other.levels);
        self.failed.extend(other.failed);
        self.failed.sort();
    }

    fn summed_by(&self, by: &[By]) -> BTreeMap<Place, [Exact; 2]> {
        let mut sums: BTreeMap<Place, [Exact; 2]> = BTreeMap::new();
        for (place, [now, new]) in &self.sums {
            let kept =
                |part: By, text: &String| if by.contains(&part) { text.clone() } else { String::new() };
            let place = Place {
                tenant: kept(By::Tenant, &place.tenant),
                plan: kept(By::Plan, &place.plan),
                meter: kept(By::Meter, &place.meter),
                currency: place.currency,
            };
            let sum = sums.entry(place).or_insert([Exact::ZERO, Exact::ZERO]);
            sum[0] += now;
            sum[1] += new;
        }
        sums
    }

    fn differences(&self, by: &[By]) -> Rows {
        let mut columns = Vec::new();
        for (part, name) in [(By::Tenant, "tenant"), (By::Plan, "plan"), (By::Meter, "meter")] {
            columns.extend(by.contains(&part).then_some(name));
        }
        columns.extend(["currency", "now", "new", "difference"]);
        let mut rows = Rows::new(&columns);
        for (place, [now, new]) in self.summed_by(by) {
            let difference = &new - &now;
            if difference.is_zero() {
                continue;
            }
            let mut cells: Vec<serde_json::Value> = Vec::new();
            for (part, text) in [(By::Tenant, place.tenant), (By::Plan, place.plan), (By::Meter, place.meter)]
            {
                cells.extend(by.contains(&part).then(|| text.into()));
            }
            cells.push(place.currency.code().into());
            cells.extend([&now, &new, &difference].map(|sum| amount(sum, place.currency).into()));
            rows.push(cells);
        }
        rows
    }

    fn measures(&mut self) -> Rows {
        self.levels.sort();
        let mut rows = Rows::new(&[
            "tenant",
            "period",
            "plan",
            "price",
            "values",
            "meter",
            "billed_by",
            "currency",
            "by_peak",
            "by_average",
            "difference",
        ]);
        for line in &self.levels {
            let [peak, average] = line.amounts;
            let difference = Exact::from(peak) - Exact::from(average);
            rows.push(vec![
                line.place.tenant.clone().into(),
                line.period.clone().into(),
                line.place.plan.clone().into(),
                line.price.clone().into(),
                line.values.clone().into(),
                line.place.meter.clone().into(),
                line.billed_by.into(),
                line.place.currency.code().into(),
                peak.to_string().into(),
                average.to_string().into(),
                amount(&difference, line.place.currency).into(),
            ]);
        }
        rows
    }

    fn summarize(&self) {
        for (place, [now, new]) in self.summed_by(&[]) {
            let currency = place.currency;
            let difference = &new - &now;
            let [now, new, difference] = [&now, &new, &difference].map(|sum| amount(sum, currency));
            eprintln!("{currency}: {now} now, {new} under the other catalog, difference {difference}");
        }
    }
}

fn place(catalog: &Catalog, charges: &Charges<'_>, line: &LineItem) -> Place {
    let own = charges.terms().subscriptions.iter().find(|own| own.key == line.key.subscription);
    let plan = own.and_then(|own| catalog.plan(&own.plan)).map(|plan| plan.key.clone());
    Place {
        tenant: line.key.tenant.clone(),
        plan: plan.unwrap_or_else(|| "bought once".to_owned()),
        meter: line.quantity.as_ref().map(|used| used.meter.clone()).unwrap_or_default(),
        currency: line.currency,
    }
}

/// A sum of rounded amounts, in the currency's digits.
fn amount(sum: &Exact, currency: Currency) -> String {
    sum.round_to_decimals(Rounding::HalfEven, currency.minor_digits())
        .map_or_else(|_| sum.to_string(), |sum| sum.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_names_months() {
        let texts =
            |text| -> Vec<String> { periods(text).unwrap().0.iter().map(ToString::to_string).collect() };
        assert_eq!(texts("2026-01"), ["2026-01"]);
        assert_eq!(texts("2025-12..2026-01"), ["2025-12", "2026-01"]);
        for wrong in ["2026-02..2026-01", "2026-01-01..2026-02", "..", "soon"] {
            assert!(periods(wrong).is_err(), "{wrong}");
        }
    }
}
