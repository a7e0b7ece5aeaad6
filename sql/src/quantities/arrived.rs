//! A day with newly arrived files: its rows are put in order in memory before they are folded.
//!
//! Rows are dealt out to their tenants and meters by number; the few of each, which mostly lie in the order of time already,
//! are put in order just before they are folded. A day that does not fit into the given memory is folded in several
//! passes, one stretch of time after the other (`passes`).

use std::cmp::Ordering;
use std::ops::Range;

use arrow::array::Array;
use futures::TryStreamExt;
use rating::usage::Sample;
use tokio::task::coop::consume_budget;

use super::corrections::AddedRow;
use super::dictionary::{self, Mapped};
use super::passes::Pass;
use super::rows::{ARRIVED, Arrival, FOLDED, Rows, SIGNALS};
use super::tenants::{Figures, LastSlot, NONE, Open, SignalWord, TenantFolds};
use super::{Day, QuantitiesError};

/// A row in numbers: no larger than what a processor fetches at once.
#[derive(Debug, Clone, Copy)]
struct ArrivedRow {
    value_nano: i128,
    time_us: i64,
    signal_time_us: i64,
    tenant: u32,
    meter: u32,
    resource: u32,
    dimensions: u32,
    signal: SignalWord,
    has_value: bool,
    has_signal_time: bool,
}

/// What orders rows of the same instant; looked at only where there are such.
#[derive(Debug, Clone, Copy)]
struct ArrivedAs {
    arrival_us: i64,
    offset: i64,
    topic: u32,
    partition: i32,
    batch_index: i32,
}

/// What a row takes while it is held: with its place in the order, and the room that lists need to grow.
pub(super) const ROW_BYTES: usize = 2 * (size_of::<ArrivedRow>() + size_of::<ArrivedAs>());

/// Texts that rows of the day name by number.
#[derive(Debug, Default)]
struct Texts {
    numbers: hashbrown::HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }
}

#[derive(Debug, Default)]
struct Gathered {
    rows: Vec<ArrivedRow>,
    /// By row.
    arrived: Vec<ArrivedAs>,
    resources: Texts,
    dimensions: Texts,
    topics: Texts,
}

/// What the dictionaries of the current row group of a file stand for.
#[derive(Debug, Default)]
struct FileMaps {
    tenants: Mapped<u32>,
    meters: Mapped<u32>,
    resources: Mapped<u32>,
    dimensions: Mapped<u32>,
    signals: Mapped<SignalWord>,
    topics: Mapped<u32>,
}

pub(super) async fn fold_day(
    day: &Day,
    has_sessions: bool,
    folds: &mut TenantFolds,
) -> Result<(), QuantitiesError> {
    for pass in day.passes.iter() {
        let mut gathered = Gathered::default();
        // The first of each is what stands for none.
        gathered.resources.number("");
        gathered.dimensions.number("");
        for place in 0..day.files.len() {
            gather_file(day, place, pass, has_sessions, folds, &mut gathered).await?;
        }
        gathered.add(&day.added, pass, folds);
        gathered.fold(folds, day.passes.len() == 1).await?;
    }
    Ok(())
}

async fn gather_file(
    day: &Day,
    place: usize,
    pass: &Pass,
    has_sessions: bool,
    folds: &mut TenantFolds,
    gathered: &mut Gathered,
) -> Result<(), QuantitiesError> {
    let file = &day.files[place];
    let mut columns = [FOLDED.as_slice(), ARRIVED.as_slice()].concat();
    if has_sessions {
        columns.extend(SIGNALS);
    }
    let bounds = file.row_groups();
    let mut row_groups = folds.share().row_groups(file);
    row_groups.retain(|group| pass.may_take(&bounds[*group]));
    if row_groups.is_empty() {
        return Ok(());
    }
    // Rows that came twice are named by their place in the file.
    let rows_of = |group: usize| bounds[group].first_row..bounds[group].first_row + bounds[group].rows;
    let mut batches = file.read(&columns, row_groups.clone())?;
    let mut places = row_groups.into_iter().flat_map(rows_of);
    let mut twice = day.twice.of_file(place).iter().peekable();
    let mut maps = FileMaps::default();
    while let Some(batch) = batches.try_next().await? {
        let rows = Rows::of(file, &batch, has_sessions)?;
        let arrival = Arrival::of(file, &batch)?;
        maps.map(&rows, &arrival, folds, gathered);
        for (row, place_in_file) in (0..rows.len()).zip(&mut places) {
            let tenant = number(&rows.tenant, row, &maps.tenants.numbers, NONE);
            if tenant == NONE || !pass.takes(rows.time.value(row), tenant) {
                continue;
            }
            while twice.next_if(|passed| **passed < place_in_file).is_some() {}
            if twice.peek() != Some(&&place_in_file) {
                gathered.take(&rows, &arrival, row, tenant, &maps);
            }
        }
        consume_budget().await;
    }
    Ok(())
}

#[inline]
fn number(column: &dictionary::Texts, row: usize, numbers: &[u32], none: u32) -> u32 {
    if column.is_null(row) { none } else { numbers[column.keys().values()[row] as usize] }
}

impl FileMaps {
    fn map(&mut self, rows: &Rows, arrival: &Arrival, folds: &mut TenantFolds, gathered: &mut Gathered) {
        self.tenants.map(&rows.tenant, |name| folds.tenant_number(name));
        self.meters.map(&rows.meter, |key| folds.meter_number(key));
        self.resources.map(&rows.resource, |text| gathered.resources.number(text));
        self.dimensions.map(&rows.dimensions, |text| gathered.dimensions.number(text));
        self.topics.map(&arrival.topic, |text| gathered.topics.number(text));
        if let Some((signal, _)) = &rows.signals {
            self.signals.map(signal, SignalWord::of);
        }
    }
}

impl ArrivedRow {
    fn figures(&self) -> Figures {
        Figures {
            time_us: self.time_us,
            value_nano: self.has_value.then_some(self.value_nano),
            signal: self.signal,
            signal_time_us: self.has_signal_time.then_some(self.signal_time_us),
        }
    }
}

impl Gathered {
    #[inline]
    fn take(&mut self, rows: &Rows, arrival: &Arrival, row: usize, tenant: u32, maps: &FileMaps) {
        let mut own = ArrivedRow {
            value_nano: rows.value.value(row),
            time_us: rows.time.value(row),
            signal_time_us: 0,
            tenant,
            meter: number(&rows.meter, row, &maps.meters.numbers, NONE),
            resource: number(&rows.resource, row, &maps.resources.numbers, 0),
            dimensions: number(&rows.dimensions, row, &maps.dimensions.numbers, 0),
            signal: SignalWord::Unknown,
            has_value: rows.value.is_valid(row),
            has_signal_time: false,
        };
        if let Some((signal, time)) = &rows.signals {
            if signal.is_valid(row) {
                own.signal = maps.signals.numbers[signal.keys().values()[row] as usize];
            }
            (own.has_signal_time, own.signal_time_us) = (time.is_valid(row), time.value(row));
        }
        self.rows.push(own);
        self.arrived.push(ArrivedAs {
            arrival_us: arrival.arrived.value(row),
            offset: arrival.offset.value(row),
            topic: number(&arrival.topic, row, &maps.topics.numbers, 0),
            partition: arrival.partition.value(row),
            batch_index: arrival.batch_index.value(row),
        });
    }

    /// What stands in the place of amended events, at their place in the order.
    fn add(&mut self, added: &[AddedRow], pass: &Pass, folds: &mut TenantFolds) {
        for AddedRow { tenant, time_us, arrived, reading } in added {
            let tenant = folds.tenant_number(tenant);
            if tenant == NONE || !pass.takes(*time_us, tenant) {
                continue;
            }
            self.rows.push(ArrivedRow {
                value_nano: reading.value_nano.unwrap_or_default(),
                time_us: *time_us,
                signal_time_us: reading.signal_time_us.unwrap_or_default(),
                tenant,
                meter: folds.meter_number(&reading.meter),
                resource: self.resources.number(&reading.resource),
                dimensions: self.dimensions.number(&reading.dimensions),
                signal: SignalWord::of(&reading.signal),
                has_value: reading.value_nano.is_some(),
                has_signal_time: reading.signal_time_us.is_some(),
            });
            self.arrived.push(ArrivedAs {
                arrival_us: arrived.arrival_us,
                offset: arrived.offset,
                topic: self.topics.number(&arrived.topic),
                partition: arrived.partition,
                batch_index: arrived.batch_index,
            });
        }
    }

    /// The places of all rows by tenant (in the order of names, as compacted days are) and meter, and of each such run
    /// where it begins.
    fn dealt(&self, ranks: &[u32], meters: usize) -> (Vec<u32>, Vec<u32>) {
        // One more for rows without a meter.
        let meters = meters + 1;
        let run_of = |row: &ArrivedRow| {
            ranks[row.tenant as usize] as usize * meters + (row.meter as usize).min(meters - 1)
        };
        let mut starts = vec![0_u32; ranks.len() * meters + 1];
        for row in &self.rows {
            starts[run_of(row) + 1] += 1;
        }
        for run in 1..starts.len() {
            starts[run] += starts[run - 1];
        }
        let mut next = starts.clone();
        let mut places = vec![0_u32; self.rows.len()];
        for (place, row) in self.rows.iter().enumerate() {
            let next = &mut next[run_of(row)];
            places[*next as usize] = place as u32;
            *next += 1;
        }
        (places, starts)
    }

    /// By time, then by arrival.
    fn compare(&self, left: u32, right: u32) -> Ordering {
        let (left, right) = (left as usize, right as usize);
        self.rows[left].time_us.cmp(&self.rows[right].time_us).then_with(|| {
            let (left, right) = (&self.arrived[left], &self.arrived[right]);
            let topic = |row: &ArrivedAs| &self.topics.texts[row.topic as usize];
            let place = |row: &ArrivedAs| (row.partition, row.offset, row.batch_index);
            left.arrival_us
                .cmp(&right.arrival_us)
                .then_with(|| topic(left).cmp(topic(right)))
                .then_with(|| place(left).cmp(&place(right)))
        })
    }

    /// `is_whole` says that no rows of the day come after these.
    async fn fold(&self, folds: &mut TenantFolds, is_whole: bool) -> Result<(), QuantitiesError> {
        let mut slots = Slots::new(self, folds);
        let (mut places, starts) = self.dealt(&folds.ranks(), folds.meter_count());
        for run in starts.windows(2).map(|bounds| bounds[0] as usize..bounds[1] as usize) {
            let Some(first) = places.get(run.start).filter(|_| !run.is_empty()) else { continue };
            if is_whole && folds.come_to(self.rows[*first as usize].tenant) {
                folds.hand_over().await;
            }
            // Stable, and quick where the rows lie in order already.
            places[run.clone()].sort_by(|left, right| self.compare(*left, *right));
            self.fold_run(&places, run, folds, &mut slots)?;
            consume_budget().await;
        }
        Ok(())
    }

    /// Folds the rows of one tenant and meter.
    fn fold_run(
        &self,
        places: &[u32],
        run: Range<usize>,
        folds: &mut TenantFolds,
        slots: &mut Slots,
    ) -> Result<(), QuantitiesError> {
        let mut rows = places[run.clone()].iter().map(|place| &self.rows[*place as usize]).peekable();
        let Some(first) = rows.peek() else { return Ok(()) };
        let Some(mut own) = folds.begin(first.tenant, first.meter, run.len() as u64, first.time_us) else {
            return Ok(());
        };
        if own.takes_signals() {
            for row in rows {
                if own.is_over(row.time_us) {
                    continue;
                }
                let slot = slots.slot(self, &mut own, row)?;
                own.take(&row.figures(), slot);
                if own.problem.is_some() {
                    break;
                }
            }
            return Ok(());
        }
        slots.samples.clear();
        let mut without_value_us = None;
        for row in rows {
            if own.is_over(row.time_us) {
                break;
            }
            if !row.has_value && own.needs_values() {
                without_value_us = Some(row.time_us);
                break;
            }
            let slot = slots.slot(self, &mut own, row)?;
            let nano = if row.has_value { row.value_nano } else { 0 };
            slots.samples.push(Sample { time_us: row.time_us, slot, nano });
        }
        own.take_values(&slots.samples, without_value_us);
        Ok(())
    }
}

/// Where resources stood last, by the numbers of the gathered texts.
struct Slots {
    /// What the folds call the dimensions.
    dimensions: Vec<u32>,
    of_resources: Vec<LastSlot>,
    /// Of rows that name no resource, by dimensions.
    without_resource: Vec<LastSlot>,
    /// Room for the values of a run.
    samples: Vec<Sample>,
}

impl Slots {
    fn new(gathered: &Gathered, folds: &mut TenantFolds) -> Self {
        let texts = &gathered.dimensions.texts;
        Self {
            dimensions: texts.iter().map(|text| folds.dimension_number(text)).collect(),
            of_resources: vec![LastSlot::NOWHERE; gathered.resources.texts.len()],
            without_resource: vec![LastSlot::NOWHERE; texts.len()],
            samples: Vec::new(),
        }
    }

    #[inline]
    fn slot(
        &mut self,
        gathered: &Gathered,
        own: &mut Open<'_>,
        row: &ArrivedRow,
    ) -> Result<u32, QuantitiesError> {
        let (resource, dimensions) = (row.resource as usize, row.dimensions as usize);
        let texts = || (&*gathered.resources.texts[resource], &*gathered.dimensions.texts[dimensions]);
        let last = match resource {
            0 => &mut self.without_resource[dimensions],
            _ => &mut self.of_resources[resource],
        };
        own.slot(last, self.dimensions[dimensions], texts)
    }
}
