//! A text column of a row group, encoded from the numbers that its texts have in a dictionary.
//!
//! Whoever sorts rows has their texts as numbers already. Parquet's own writer would look each text up again, row by
//! row, only to find another number for it; here each number is exchanged for the next free one of the row group, and a
//! text is touched when it occurs for the first time. Owns the pages of such a column: levels, runs of numbers, bounds. What is not
//! needed is not there: no repeated fields, no other types, no fall-back to plain texts.

mod runs;

use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

/// As many rows as Parquet's writer puts into a page.
const PAGE_ROWS: usize = 20_000;
const LEVEL: i32 = 1;

/// A column chunk that is ready to stand in a file.
pub struct DictionaryChunk {
    bytes: Bytes,
    close: ColumnCloseResult,
}

impl std::fmt::Debug for DictionaryChunk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "DictionaryChunk({}, {} rows)",
            self.close.metadata.column_path(),
            self.close.rows_written
        )
    }
}

impl DictionaryChunk {
    pub fn into_parts(self) -> (Bytes, ColumnCloseResult) {
        (self.bytes, self.close)
    }
}

/// Encodes one column of one row group. All arrays that it is given have the same dictionary.
pub struct DictionaryColumn {
    column: ColumnDescPtr,
    /// Whether pages and the chunk say which texts lie in them.
    has_bounds: bool,
    compressor: Compressor<'static>,
    texts: Option<ArrayRef>,
    /// The row group's number of each text of the dictionary, or `UNSEEN`.
    numbers: Vec<u32>,
    /// The texts that occur, by their numbers here: their places in the dictionary.
    places: Vec<u32>,
    /// The page on which each of them was seen last.
    seen_on: Vec<u32>,
    page: OpenPage,
    pages: Vec<FinishedPage>,
}

const UNSEEN: u32 = u32::MAX;

/// Rows of which no page is made yet.
#[derive(Default)]
struct OpenPage {
    /// Of the rows that have a text.
    numbers: Vec<u32>,
    /// One for a row that has a text, zero for one that has not.
    levels: Vec<u32>,
    /// The numbers of the smallest and of the largest text.
    bounds: Option<(u32, u32)>,
}

struct FinishedPage {
    compressed: Vec<u8>,
    uncompressed_size: usize,
    rows: usize,
    nulls: usize,
    bounds: Option<(u32, u32)>,
}

impl std::fmt::Debug for DictionaryColumn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "DictionaryColumn({}, {} texts)", self.column.name(), self.places.len())
    }
}

impl DictionaryColumn {
    pub fn new(column: ColumnDescPtr, has_bounds: bool) -> Result<Self, ParquetError> {
        if column.physical_type() != Type::BYTE_ARRAY
            || column.max_rep_level() > 0
            || column.max_def_level() > 1
        {
            return Err(ParquetError::General(format!("{} is no column of texts", column.name())));
        }
        Ok(Self {
            column,
            has_bounds,
            compressor: Compressor::new(LEVEL)?,
            texts: None,
            numbers: Vec::new(),
            places: Vec::new(),
            seen_on: Vec::new(),
            page: OpenPage::default(),
            pages: Vec::new(),
        })
    }

    pub fn write(&mut self, rows: &DictionaryArray<Int32Type>) -> Result<(), ParquetError> {
        self.take_dictionary(rows.values())?;
        let keys = rows.keys();
        for row in 0..keys.len() {
            let number = if keys.is_valid(row) {
                Some(self.number_of(keys.value(row).unsigned_abs()))
            } else if self.column.max_def_level() == 0 {
                return Err(ParquetError::General(format!(
                    "{} has a row without a text",
                    self.column.name()
                )));
            } else {
                None
            };
            self.push(number);
            if self.page.levels.len() == PAGE_ROWS {
                self.finish_page()?;
            }
        }
        Ok(())
    }

    fn take_dictionary(&mut self, texts: &ArrayRef) -> Result<(), ParquetError> {
        match &self.texts {
            Some(known) if Arc::ptr_eq(known, texts) => Ok(()),
            Some(_) => Err(ParquetError::General(format!("{} has two dictionaries", self.column.name()))),
            None => {
                if texts.as_string_opt::<i32>().is_none() {
                    return Err(ParquetError::General(format!("{} holds no texts", self.column.name())));
                }
                self.numbers = vec![UNSEEN; texts.len()];
                self.texts = Some(Arc::clone(texts));
                Ok(())
            }
        }
    }

    fn number_of(&mut self, place: u32) -> u32 {
        let number = &mut self.numbers[place as usize];
        if *number == UNSEEN {
            *number = self.places.len() as u32;
            self.places.push(place);
            self.seen_on.push(UNSEEN);
        }
        *number
    }

    fn push(&mut self, number: Option<u32>) {
        self.page.levels.push(u32::from(number.is_some()));
        let Some(number) = number else { return };
        self.page.numbers.push(number);
        let page = self.pages.len() as u32;
        if self.has_bounds && self.seen_on[number as usize] != page {
            self.seen_on[number as usize] = page;
            let bounds = self.page.bounds.unwrap_or((number, number));
            self.page.bounds = Some(self.wider(bounds, (number, number)));
        }
    }

    fn wider(&self, (low, high): (u32, u32), (other_low, other_high): (u32, u32)) -> (u32, u32) {
        let low = if self.text(other_low) < self.text(low) { other_low } else { low };
        let high = if self.text(other_high) > self.text(high) { other_high } else { high };
        (low, high)
    }

    fn texts(&self) -> Option<&StringArray> {
        self.texts.as_ref().map(AsArray::as_string)
    }

    fn text(&self, number: u32) -> &[u8] {
        self.texts().map_or(&[], |texts| texts.value(self.places[number as usize] as usize).as_bytes())
    }

    fn finish_page(&mut self) -> Result<(), ParquetError> {
        let page = std::mem::take(&mut self.page);
        let mut plain = Vec::with_capacity(page.numbers.len() * 2 + 64);
        if self.column.max_def_level() > 0 {
            // The levels' length stands before them.
            plain.extend_from_slice(&[0; 4]);
            runs::encode(&page.levels, 1, &mut plain);
            let length = (plain.len() - 4) as u32;
            plain[..4].copy_from_slice(&length.to_le_bytes());
        }
        let width = runs::width_of(self.places.len());
        plain.push(width as u8);
        runs::encode(&page.numbers, width, &mut plain);
        self.pages.push(FinishedPage {
            compressed: self.compressor.compress(&plain)?,
            uncompressed_size: plain.len(),
            rows: page.levels.len(),
            nulls: page.levels.len() - page.numbers.len(),
            bounds: page.bounds,
        });
        self.page = OpenPage { numbers: page.numbers, levels: page.levels, bounds: None };
        self.page.numbers.clear();
        self.page.levels.clear();
        Ok(())
    }

    /// The dictionary as Parquet has it: each text after its length.
    fn dictionary_page(&mut self) -> Result<CompressedPage, ParquetError> {
        let mut plain = Vec::new();
        for number in 0..self.places.len() as u32 {
            let text = self.text(number);
            plain.write_all(&(text.len() as u32).to_le_bytes())?;
            plain.write_all(text)?;
        }
        let page = Page::DictionaryPage {
            buf: self.compressor.compress(&plain)?.into(),
            num_values: self.places.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        Ok(CompressedPage::new(page, plain.len()))
    }

    pub fn finish(mut self) -> Result<DictionaryChunk, ParquetError> {
        if !self.page.levels.is_empty() || self.pages.is_empty() {
            self.finish_page()?;
        }
        let mut sink = TrackedWrite::new(Vec::new());
        let mut writer = SerializedPageWriter::new(&mut sink);
        let dictionary = writer.write_page(self.dictionary_page()?)?;
        let mut uncompressed_size = dictionary.uncompressed_size;
        let mut data_page_offset = None;
        let mut offsets = OffsetIndexBuilder::new();
        for page in &mut self.pages {
            let data = Page::DataPage {
                buf: std::mem::take(&mut page.compressed).into(),
                num_values: page.rows as u32,
                encoding: Encoding::RLE_DICTIONARY,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let written = writer.write_page(CompressedPage::new(data, page.uncompressed_size))?;
            uncompressed_size += written.uncompressed_size;
            data_page_offset.get_or_insert(written.offset);
            offsets.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
            offsets.append_row_count(page.rows as i64);
        }
        writer.close()?;
        let bytes = Bytes::from(sink.into_inner()?);
        let rows = self.pages.iter().map(|page| page.rows).sum::<usize>();
        let metadata = ColumnChunkMetaData::builder(Arc::clone(&self.column))
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_page_encoding_stats(self.page_encodings())
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed_size as i64)
            .set_dictionary_page_offset(Some(dictionary.offset as i64))
            .set_data_page_offset(data_page_offset.unwrap_or_default() as i64);
        let metadata = match self.statistics() {
            Some(statistics) => metadata.set_statistics(statistics),
            None => metadata,
        };
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: self.has_bounds.then(|| self.page_bounds().build()).transpose()?,
            offset_index: Some(offsets.build()),
        };
        Ok(DictionaryChunk { bytes, close })
    }

    fn page_encodings(&self) -> Vec<PageEncodingStats> {
        let of = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        vec![
            of(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
            of(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.pages.len() as i32),
        ]
    }

    fn statistics(&self) -> Option<Statistics> {
        if !self.has_bounds {
            return None;
        }
        let pages = self.pages.iter().filter_map(|page| page.bounds);
        let (low, high) = pages.reduce(|bounds, page| self.wider(bounds, page)).unzip();
        let text = |number: Option<u32>| number.map(|number| ByteArray::from(self.text(number)));
        let nulls = self.pages.iter().map(|page| page.nulls as u64).sum();
        Some(Statistics::ByteArray(ValueStatistics::new(text(low), text(high), None, Some(nulls), false)))
    }

    fn page_bounds(&self) -> ColumnIndexBuilder {
        let mut index = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
        for page in &self.pages {
            let (low, high) = page.bounds.unzip();
            let text =
                |number: Option<u32>| number.map_or_else(Vec::new, |number| self.text(number).to_vec());
            index.append(page.bounds.is_none(), text(low), text(high), page.nulls as i64);
        }
        let bounds = || self.pages.iter().filter_map(|page| page.bounds);
        let grows = |bound: fn((u32, u32)) -> u32| {
            bounds().map(bound).is_sorted_by(|left, right| self.text(*left) <= self.text(*right))
        };
        if grows(|(low, _)| low) && grows(|(_, high)| high) {
            index.set_boundary_order(BoundaryOrder::ASCENDING);
        }
        index
    }
}

#[cfg(test)]
mod tests;
