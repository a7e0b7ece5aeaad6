//! What the dictionaries of a row group stand for, and the slots of its rows in their folds.

use std::ops::Range;

use arrow::array::Array;
use arrow::buffer::NullBuffer;
use rating::usage::Sample;

use super::super::dictionary::{Mapped, Numbers, Texts};
use super::super::rows::{Rows, text};
use super::{LastSlot, Open, QuantitiesError, SignalWord, TenantFolds};

/// What the dictionaries of the row group stand for that somebody is reading.
#[derive(Debug, Default)]
pub(in crate::quantities) struct Dictionaries {
    pub(super) tenants: Mapped<u32>,
    pub(super) meters: Mapped<u32>,
    resources: Mapped<u32>,
    dimensions: Mapped<u32>,
    pub(super) signals: Mapped<SignalWord>,
    /// The numbering that the resources' numbers are of.
    numbering: u32,
}

/// Where resources stood last, over row groups and days.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Numbers of resources, kept while there are not too many.
    numbers: Numbers,
    /// Counts how often resources were numbered anew.
    numbering: u32,
    /// By meter.
    of_resources: Vec<LastSlots>,
    /// By the number of their dimensions: rows that name no resource.
    no_resource: LastSlots,
    /// Those of the current run's rows.
    pub(super) of_run: Vec<u32>,
    /// By the key of a dictionary: the slot that it stood for, and in which run.
    by_key: Vec<(u32, u32)>,
    run: u32,
    /// Room for the values of a run.
    pub(super) samples: Vec<Sample>,
}

/// Where resources stood last, by their numbers.
#[derive(Debug, Default)]
struct LastSlots(Vec<LastSlot>);

impl LastSlots {
    #[inline]
    fn at(&mut self, number: u32) -> &mut LastSlot {
        let index = number as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, LastSlot::NOWHERE);
        }
        &mut self.0[index]
    }
}

/// Resources are numbered anew beyond so many: sessions have new names all the time.
const RESOURCES_MAX: usize = 1 << 20;

impl Dictionaries {
    /// Looks up what is new since the rows before.
    pub(super) fn map(&mut self, folds: &mut TenantFolds, slots: &mut Slots, rows: &Rows) {
        self.tenants.map(&rows.tenant, |name| folds.tenant_number(name));
        self.meters.map(&rows.meter, |key| folds.meter_number(key));
        self.dimensions.map(&rows.dimensions, |text| folds.dimension_number(text));
        if slots.numbers.len() > RESOURCES_MAX {
            slots.number_anew();
        }
        if self.numbering != slots.numbering {
            (self.resources, self.numbering) = (Mapped::default(), slots.numbering);
        }
        slots.of_resources.resize_with(folds.meter_count(), LastSlots::default);
        self.resources.map(&rows.resource, |text| slots.numbers.number(text));
        if let Some((signal, _)) = &rows.signals {
            self.signals.map(signal, SignalWord::of);
        }
    }
}

impl Slots {
    fn number_anew(&mut self) {
        self.numbers = Numbers::default();
        self.numbering += 1;
        self.of_resources.clear();
    }

    /// The slot of a row in its fold.
    #[inline]
    pub(super) fn slot(
        &mut self,
        own: &mut Open<'_>,
        meter: u32,
        rows: &Rows,
        row: usize,
        dictionaries: &Dictionaries,
    ) -> Result<u32, QuantitiesError> {
        let number = |column: &Texts, numbers: &[u32]| {
            column.is_valid(row).then(|| numbers[column.keys().values()[row] as usize])
        };
        let dimensions = number(&rows.dimensions, &dictionaries.dimensions.numbers).unwrap_or(0);
        let texts = || (text(&rows.resource, row), text(&rows.dimensions, row));
        match number(&rows.resource, &dictionaries.resources.numbers) {
            None => own.slot_without_resource(self.no_resource.at(dimensions), dimensions, texts),
            Some(resource) => {
                let last = self.of_resources[meter as usize].at(resource);
                own.slot(last, dimensions, texts)
            }
        }
    }

    /// Finds the slots of rows of one tenant and meter, for `of_run`.
    pub(super) fn find_of_run(
        &mut self,
        own: &mut Open<'_>,
        meter: u32,
        rows: &Rows,
        run: Range<usize>,
        dictionaries: &Dictionaries,
    ) -> Result<(), QuantitiesError> {
        self.of_run.clear();
        if run.is_empty() {
            return Ok(());
        }
        let resources = nulls_in(&rows.resource, &run);
        let dimensions = nulls_in(&rows.dimensions, &run);
        // Mostly one of the two is missing, so that the other's key alone says which slot it is.
        let column = match (resources, dimensions) {
            (0, nulls) if nulls == run.len() => &rows.resource,
            (nulls, 0) if nulls == run.len() => &rows.dimensions,
            _ => {
                for row in run {
                    let slot = self.slot(own, meter, rows, row, dictionaries)?;
                    self.of_run.push(slot);
                }
                return Ok(());
            }
        };
        self.run = self.run.wrapping_add(1);
        if self.run == 0 || self.by_key.len() < column.values().len() {
            self.by_key.clear();
            self.by_key.resize(column.values().len(), (self.run.wrapping_sub(1), 0));
        }
        for row in run {
            let key = column.keys().values()[row] as usize;
            let (known_in, mut slot) = self.by_key[key];
            if known_in != self.run {
                slot = self.slot(own, meter, rows, row, dictionaries)?;
                self.by_key[key] = (self.run, slot);
            }
            self.of_run.push(slot);
        }
        Ok(())
    }
}

fn nulls_in(column: &Texts, rows: &Range<usize>) -> usize {
    let count =
        |nulls: &NullBuffer| rows.len() - nulls.inner().slice(rows.start, rows.len()).count_set_bits();
    column.keys().nulls().map_or(0, count)
}
