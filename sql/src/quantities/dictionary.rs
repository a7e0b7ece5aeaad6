//! Dictionaries of Parquet columns, mapped to numbers once for each row group.

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;

/// A column of texts as the folds read it.
pub(super) type Texts = DictionaryArray<Int32Type>;

/// What the texts of the current dictionary stand for.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    /// Kept alive, so that another dictionary cannot lie at the same place.
    values: Option<ArrayRef>,
    pub numbers: Vec<T>,
}

impl<T> Default for Mapped<T> {
    fn default() -> Self {
        Self { values: None, numbers: Vec::new() }
    }
}

impl<T> Mapped<T> {
    /// Maps the dictionary of a column, unless it is the same as of the batch before.
    pub fn map(&mut self, column: &Texts, mut number_of: impl FnMut(&str) -> T) {
        if self.values.as_ref().is_some_and(|known| is_same_dictionary(known, column.values())) {
            return;
        }
        self.numbers.clear();
        let texts: &StringArray = column.values().as_string();
        self.numbers.extend(texts.iter().map(|text| number_of(text.unwrap_or_default())));
        self.values = Some(column.values().clone());
    }
}

/// Whether two dictionaries, both still held, are one and the same.
pub(crate) fn is_same_dictionary(left: &ArrayRef, right: &ArrayRef) -> bool {
    let (left, right): (&StringArray, &StringArray) = (left.as_string(), right.as_string());
    left.len() == right.len()
        && left.offsets().as_ptr() == right.offsets().as_ptr()
        && left.value_data().as_ptr() == right.value_data().as_ptr()
}

/// Numbers for texts that are seen again and again, in the order of their first sight.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    numbers: HashMap<Box<str>, u32>,
}

impl Numbers {
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(text.into(), number);
        number
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}
