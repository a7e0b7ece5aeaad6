//! Results larger than memory go to their file as they come.

use std::process::{Command, Stdio};
use std::time::Duration;

/// 600,000 rows of a kilobyte each.
const ROWS: &str = "SELECT value, repeat(md5(value::text), 31) AS text FROM generate_series(1, 600000)";
const ONE: &str = "SELECT value, repeat(md5(value::text), 31) AS text FROM generate_series(1, 1)";

/// The most memory that the program held while it wrote a query's rows, and how much it wrote.
fn written(query: &str, format: &str) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    let mut child = Command::new(env!("CARGO_BIN_EXE_meterhouse"))
        .args(["sql", query, "--format", format, "--threads", "2", "--output"])
        .arg(&file)
        .current_dir(folder.path())
        .env("METERHOUSE_LAKE", folder.path().join("lake"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = Ord::max(most, kib.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success(), "{format}: {ended}");
    (most, std::fs::metadata(&file).unwrap().len())
}

#[test]
fn large_results_need_little_memory() {
    if !std::path::Path::new("/proc/self/status").exists() {
        println!("skipped: there is no /proc here");
        return;
    }
    for format in ["csv", "ndjson", "parquet"] {
        let (least, _) = written(ONE, format);
        let (most, bytes) = written(ROWS, format);
        println!("{format}: {least} bytes for one row, {most} for all, {bytes} written");
        // Parquet finds the repeated digests and packs them.
        assert!(bytes > if format == "parquet" { 10_000_000 } else { 500_000_000 }, "{format}: {bytes}");
        let more = most.saturating_sub(least);
        assert!(more < 250_000_000, "{format}: {more} bytes more for 600 MB");
    }
}
