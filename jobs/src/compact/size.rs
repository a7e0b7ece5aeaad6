//! How much memory the rows of some files take.
//!
//! The log says how large files are, but not how well they are compressed. Only if that decides whether a
//! group of days fits into memory are the files' own footers read.

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use sql::lake::{DataFile, TableHandle};

use super::CompactError;

/// What a row takes besides its texts: numbers, dictionary keys, identity and arrival, and its place in
/// the order.
pub const ROW_BYTES: u64 = 250;
/// Texts take hardly ever more than this many times their compressed size.
const COMPRESSION_MAX: u64 = 20;
/// What a row takes while it is found out which events count, even if half of them are repeats.
pub const IDENTITY_BYTES: u64 = 192;

const READS_AT_ONCE: usize = 8;
const FOOTER_BYTES: u64 = 64 * 1024;

/// About how many bytes the rows of these files take in memory.
pub async fn memory_bytes(table: &TableHandle, files: &[DataFile], budget: u64) -> Result<u64, CompactError> {
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let stored: u64 = files.iter().map(|file| file.size_bytes).sum();
    let at_most = rows * ROW_BYTES + stored * COMPRESSION_MAX;
    if at_most <= budget {
        return Ok(at_most);
    }
    let footers = futures::stream::iter(files.iter().map(|file| footer(table, file)));
    let text_bytes: u64 = footers
        .buffered(READS_AT_ONCE)
        .map_ok(|footer| footer.row_groups().iter().map(|group| group.total_byte_size() as u64).sum::<u64>())
        .try_fold(0, async |sum, bytes| Ok(sum + bytes))
        .await?;
    Ok(rows * ROW_BYTES + text_bytes)
}

/// Reads what a file says about itself at its end.
async fn footer(table: &TableHandle, file: &DataFile) -> Result<ParquetMetaData, CompactError> {
    let path = Path::from(file.path.as_str());
    let mut reader = ParquetMetaDataReader::new();
    let mut wanted = FOOTER_BYTES;
    loop {
        let start = file.size_bytes.saturating_sub(wanted);
        let read = table.store().get_range(&path, start..file.size_bytes).await;
        let bytes = read.map_err(|source| CompactError::Store { path: file.path.clone(), source })?;
        match reader.try_parse_sized(&bytes, file.size_bytes) {
            Ok(()) => return Ok(reader.finish()?),
            Err(ParquetError::NeedMoreData(more)) if start > 0 => wanted = more as u64,
            Err(error) => return Err(error.into()),
        }
    }
}
