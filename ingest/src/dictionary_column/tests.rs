use arrow::array::{Int32Array, RecordBatch};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;
use proptest::prelude::*;

use super::*;

type Texts = Vec<Option<String>>;

/// A file of one column of texts, given as numbers into this dictionary, in batches of so many rows.
fn file(dictionary: &[String], keys: &[Option<i32>], batch_rows: usize, is_nullable: bool) -> Bytes {
    let repetition = if is_nullable { "OPTIONAL" } else { "REQUIRED" };
    let schema =
        parse_message_type(&format!("message rows {{ {repetition} BYTE_ARRAY text (UTF8); }}")).unwrap();
    let schema = Arc::new(schema);
    let descriptor = SchemaDescriptor::new(Arc::clone(&schema)).column(0);
    let texts: ArrayRef = Arc::new(StringArray::from(dictionary.to_vec()));
    let mut column = DictionaryColumn::new(descriptor, true).unwrap();
    for keys in keys.chunks(batch_rows) {
        let keys = Int32Array::from(keys.to_vec());
        column.write(&DictionaryArray::new(keys, Arc::clone(&texts))).unwrap();
    }
    let (bytes, close) = column.finish().unwrap().into_parts();
    let properties = Arc::new(WriterProperties::new());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut row_group = writer.next_row_group().unwrap();
    row_group.append_column(&bytes, close).unwrap();
    row_group.close().unwrap();
    writer.into_inner().unwrap().into()
}

/// What Parquet's own reader makes of it, from this row on.
fn read(file: Bytes, from: usize) -> (Texts, Arc<ParquetMetaData>) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let metadata = Arc::clone(builder.metadata());
    let rows = metadata.file_metadata().num_rows() as usize;
    let selection = RowSelection::from_consecutive_ranges(std::iter::once(from..rows), rows);
    let batches = builder.with_row_selection(selection).build().unwrap().map(Result::unwrap);
    let texts = |batch: RecordBatch| -> Texts {
        batch.column(0).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    };
    (batches.flat_map(texts).collect(), metadata)
}

/// Smallest, largest and missing texts, the slow way.
fn bounds(texts: &[Option<String>]) -> (Option<&[u8]>, Option<&[u8]>, u64) {
    let bytes = || texts.iter().flatten().map(String::as_bytes);
    (bytes().min(), bytes().max(), texts.iter().filter(|text| text.is_none()).count() as u64)
}

fn check(dictionary: &[String], keys: &[Option<i32>], batch_rows: usize, from: usize) {
    let is_nullable = keys.iter().any(Option::is_none);
    let expected: Texts = keys.iter().map(|key| key.map(|key| dictionary[key as usize].clone())).collect();
    let (texts, metadata) = read(file(dictionary, keys, batch_rows, is_nullable), from);
    assert_eq!(texts, expected[from..]);

    let chunk = metadata.row_group(0).column(0);
    let statistics = chunk.statistics().unwrap();
    let found =
        (statistics.min_bytes_opt(), statistics.max_bytes_opt(), statistics.null_count_opt().unwrap());
    assert_eq!(found, bounds(&expected));
    let ColumnIndexMetaData::BYTE_ARRAY(pages) = &metadata.column_index().unwrap()[0][0] else {
        panic!("the pages of texts have bounds that are texts");
    };
    let places = metadata.offset_index().unwrap()[0][0].page_locations();
    assert_eq!(places.len(), keys.len().div_ceil(PAGE_ROWS).max(1));
    for (at, rows) in expected.chunks(PAGE_ROWS).enumerate() {
        assert_eq!(places[at].first_row_index as usize, at * PAGE_ROWS);
        let found = (pages.min_value(at), pages.max_value(at), pages.null_count(at).unwrap() as u64);
        assert_eq!(found, bounds(rows), "page {at}");
    }
}

#[test]
fn single_cases() {
    let dictionary: Vec<String> = ["beta", "", "acme", "zoë"].map(str::to_owned).to_vec();
    let many: Vec<Option<i32>> = (0..PAGE_ROWS as i32 * 2 + 1).map(|row| Some(row / 30_000)).collect();
    let without: Vec<Option<i32>> = vec![None; PAGE_ROWS + 5];
    for (name, keys, from) in [
        ("nothing", vec![], 0),
        ("one text", vec![Some(3)], 0),
        ("one text again and again", vec![Some(2); PAGE_ROWS + 7], PAGE_ROWS + 1),
        ("no text at all", without, 3),
        ("a page and one row", many, 2 * PAGE_ROWS),
        ("texts and none in turns", (0..100).map(|row| (row % 3 > 0).then_some(row % 4)).collect(), 50),
    ] {
        println!("{name}");
        check(&dictionary, &keys, 8192, from);
    }
}

#[test]
fn many_texts_take_wide_numbers() {
    let dictionary: Vec<String> = (0..70_000).map(|number| format!("text {number}")).collect();
    let keys: Vec<Option<i32>> = (0..140_000).map(|row| Some(row * 7919 % 70_000)).collect();
    check(&dictionary, &keys, 16_384, 123_456);
}

#[test]
fn what_it_is_not_made_for_is_refused() {
    let schema =
        parse_message_type("message rows { REQUIRED BYTE_ARRAY text (UTF8); REQUIRED INT64 number; }")
            .unwrap();
    let schema = SchemaDescriptor::new(Arc::new(schema));
    assert!(DictionaryColumn::new(schema.column(1), false).is_err());
    let mut column = DictionaryColumn::new(schema.column(0), false).unwrap();
    let rows: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
    column.write(&rows).unwrap();
    let others: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
    assert!(column.write(&others).unwrap_err().to_string().contains("two dictionaries"));
    let missing = DictionaryArray::new(Int32Array::from(vec![None]), Arc::clone(rows.values()));
    assert!(column.write(&missing).unwrap_err().to_string().contains("without a text"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn parquets_reader_reads_the_same(
        dictionary in prop::collection::vec(".{0,12}", 1..40),
        runs in prop::collection::vec((prop::option::weighted(0.9, 0_usize..40), 1_usize..3000), 0..30),
        batch_rows in 1_usize..5000,
        from in 0.0..1.0,
    ) {
        let key = |place: usize| i32::try_from(place % dictionary.len()).unwrap();
        let keys: Vec<Option<i32>> =
            runs.iter().flat_map(|(place, run)| std::iter::repeat_n(place.map(key), *run)).collect();
        let from = (keys.len() as f64 * from) as usize;
        check(&dictionary, &keys, batch_rows, from);
    }
}
