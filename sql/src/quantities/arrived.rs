//! A day with newly arrived files: its rows are put in order in memory before they are folded.
//!
//! Rows are first dealt out to their tenants and meters, where they mostly lie in the order of time already, so that
//! sorting them is cheap. A day that does not fit into the given memory is folded in several passes, one stretch of time
//! after the other (`passes`).

use futures::TryStreamExt;

use super::corrections::AddedRow;
use super::dictionary::Mapped;
use super::passes::Pass;
use super::rows::{ARRIVED, Arrival, FOLDED, Rows, SIGNALS, text};
use super::tenants::{Figures, LastSlot, NONE, SignalWord, TenantFolds};
use super::{Day, QuantitiesError};

/// A row in numbers.
#[derive(Debug, Clone, Copy)]
struct ArrivedRow {
    figures: Figures,
    tenant: u32,
    meter: u32,
    resource: u32,
    dimensions: u32,
    arrival_us: i64,
    topic: u32,
    partition: i32,
    offset: i64,
    batch_index: i32,
}

/// What a row takes while it is held, with the room that the growing of lists and sorting need.
pub(super) const ROW_BYTES: usize = 2 * size_of::<ArrivedRow>();

/// Texts that rows of the day name by number.
#[derive(Debug, Default)]
struct Texts {
    numbers: std::collections::HashMap<Box<str>, u32>,
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
    resources: Texts,
    dimensions: Texts,
    topics: Texts,
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
        gathered.put_in_order(&folds.ranks());
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
    let (mut tenants, mut meters) = (Mapped::default(), Mapped::default());
    let (mut resources, mut dimensions) = (Mapped::default(), Mapped::default());
    let (mut signals, mut topics) = (Mapped::default(), Mapped::default());
    while let Some(batch) = batches.try_next().await? {
        let rows = Rows::of(file, &batch, has_sessions)?;
        let arrival = Arrival::of(file, &batch)?;
        tenants.map(&rows.tenant, |name| folds.tenant_number(name));
        meters.map(&rows.meter, |key| folds.meter_number(key));
        resources.map(&rows.resource, |text| gathered.resources.number(text));
        dimensions.map(&rows.dimensions, |text| gathered.dimensions.number(text));
        topics.map(&arrival.topic, |text| gathered.topics.number(text));
        if let Some((signal, _)) = &rows.signals {
            signals.map(signal, SignalWord::of);
        }
        for (row, place_in_file) in (0..rows.len()).zip(&mut places) {
            let number = |column: &super::dictionary::Texts, mapped: &Mapped<u32>, none: u32| {
                use arrow::array::Array;
                if column.is_null(row) { none } else { mapped.numbers[column.keys().value(row) as usize] }
            };
            let tenant = number(&rows.tenant, &tenants, NONE);
            let is_taken = tenant != NONE && pass.takes(rows.time.value(row), tenant);
            if !is_taken || day.twice.contains(place, place_in_file) {
                continue;
            }
            gathered.rows.push(ArrivedRow {
                figures: figures(&rows, &signals, row),
                tenant,
                meter: number(&rows.meter, &meters, NONE),
                resource: number(&rows.resource, &resources, 0),
                dimensions: number(&rows.dimensions, &dimensions, 0),
                arrival_us: arrival.arrived.value(row),
                topic: number(&arrival.topic, &topics, 0),
                partition: arrival.partition.value(row),
                offset: arrival.offset.value(row),
                batch_index: arrival.batch_index.value(row),
            });
        }
    }
    Ok(())
}

fn figures(rows: &Rows, signals: &Mapped<SignalWord>, row: usize) -> Figures {
    use arrow::array::Array;
    let (signal, signal_time_us) = match &rows.signals {
        Some((signal, time)) => {
            let word = match text(signal, row) {
                "" => SignalWord::Unknown,
                _ => signals.numbers[signal.keys().value(row) as usize],
            };
            (word, time.is_valid(row).then(|| time.value(row)))
        }
        None => (SignalWord::Unknown, None),
    };
    Figures {
        time_us: rows.time.value(row),
        value_nano: rows.value.is_valid(row).then(|| rows.value.value(row)),
        signal,
        signal_time_us,
    }
}

impl Gathered {
    /// What stands in the place of amended events, at their place in the order.
    fn add(&mut self, added: &[AddedRow], pass: &Pass, folds: &mut TenantFolds) {
        for AddedRow { tenant, time_us, arrived, reading } in added {
            let tenant = folds.tenant_number(tenant);
            if tenant == NONE || !pass.takes(*time_us, tenant) {
                continue;
            }
            self.rows.push(ArrivedRow {
                figures: Figures {
                    time_us: *time_us,
                    value_nano: reading.value_nano,
                    signal: SignalWord::of(&reading.signal),
                    signal_time_us: reading.signal_time_us,
                },
                tenant,
                meter: folds.meter_number(&reading.meter),
                resource: self.resources.number(&reading.resource),
                dimensions: self.dimensions.number(&reading.dimensions),
                arrival_us: arrived.arrival_us,
                topic: self.topics.number(&arrived.topic),
                partition: arrived.partition,
                offset: arrived.offset,
                batch_index: arrived.batch_index,
            });
        }
    }

    /// By tenant (in the order of names, as compacted days are) and meter, then by time and arrival.
    fn put_in_order(&mut self, ranks: &[u32]) {
        let topics = &self.topics.texts;
        // Stable sorts that use what lies in order already; a tenant's rows of a meter mostly do.
        self.rows.sort_by_key(|row| (ranks[row.tenant as usize], row.meter));
        for run in
            self.rows.chunk_by_mut(|left, right| (left.tenant, left.meter) == (right.tenant, right.meter))
        {
            run.sort_by(|left, right| {
                let times =
                    (left.figures.time_us, left.arrival_us).cmp(&(right.figures.time_us, right.arrival_us));
                times.then_with(|| topics[left.topic as usize].cmp(&topics[right.topic as usize])).then_with(
                    || {
                        (left.partition, left.offset, left.batch_index).cmp(&(
                            right.partition,
                            right.offset,
                            right.batch_index,
                        ))
                    },
                )
            });
        }
    }

    /// `is_whole` says that no rows of the day come after these.
    async fn fold(&self, folds: &mut TenantFolds, is_whole: bool) -> Result<(), QuantitiesError> {
        let dimension_numbers: Vec<u32> =
            self.dimensions.texts.iter().map(|text| folds.dimension_number(text)).collect();
        let mut last = vec![LastSlot::NOWHERE; self.resources.texts.len()];
        let mut last_without_resource = vec![LastSlot::NOWHERE; self.dimensions.texts.len()];
        for run in self.rows.chunk_by(|left, right| (left.tenant, left.meter) == (right.tenant, right.meter))
        {
            if is_whole && folds.come_to(run[0].tenant) {
                folds.hand_over().await;
            }
            let Some(mut own) =
                folds.begin(run[0].tenant, run[0].meter, run.len() as u64, run[0].figures.time_us)
            else {
                continue;
            };
            for row in run {
                if own.is_over(row.figures.time_us) {
                    continue;
                }
                let (resource, dimensions) = (row.resource as usize, row.dimensions as usize);
                let texts = || (&*self.resources.texts[resource], &*self.dimensions.texts[dimensions]);
                let last =
                    if resource == 0 { &mut last_without_resource[dimensions] } else { &mut last[resource] };
                let slot = own.slot(last, dimension_numbers[dimensions], texts)?;
                own.take(&row.figures, slot);
                if own.problem.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }
}
