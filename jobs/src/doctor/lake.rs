//! Is the lake one that commits can rely on?
//!
//! A Delta commit is a create that must fail if the file exists already. A store that lets a second create pass
//! would lose commits in silence, so this is tried and not believed.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use sql::lake::Lake;

use super::{Finding, Status, gib, within_time};
use crate::config::Config;

const FOLDER: &str = "_meterhouse_probe";
/// A clock that differs by more makes our own times wrong.
const CLOCK_SKEW_MAX_S: i64 = 5;
const DISK_BYTES_MIN: u64 = 1 << 30;
const DISK_BYTES_ADVISED: u64 = 10 << 30;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let is_new = FilePath::new(&config.lake).symlink_metadata().is_err();
    let lake = match Lake::open(&config.lake) {
        Ok(lake) => lake,
        Err(error) => {
            return vec![Finding::fail(
                "lake",
                error.to_string(),
                "set `lake` to a folder that can be written to, or to s3://bucket/prefix or gs://bucket/prefix \
                 with the provider's usual variables set",
            )];
        }
    };
    // Another process may be at the same: each has its own object.
    let name = format!("{FOLDER}/{}-{}", std::process::id(), jiff::Timestamp::now().as_microsecond());
    let path = Path::from(name);
    let mut findings = match within_time("lake", probe(lake.store(), &path, &config.lake)).await {
        Ok(findings) => findings,
        Err(finding) => vec![finding],
    };
    if let Some(folder) = lake.folder() {
        findings.push(disk_space(&folder));
        // Only what is empty is removed.
        let _ = std::fs::remove_dir(folder.join(FOLDER));
        if is_new {
            let _ = std::fs::remove_dir(&folder);
        }
    }
    findings
}

async fn probe(store: Arc<dyn ObjectStore>, path: &Path, address: &str) -> Vec<Finding> {
    let findings = try_all(&store, path, address).await;
    if findings.iter().any(|finding| finding.status == Status::Fail) {
        // The check that failed may have left the object behind.
        let _ = store.delete(path).await;
    }
    findings
}

async fn try_all(store: &Arc<dyn ObjectStore>, path: &Path, address: &str) -> Vec<Finding> {
    let first = Bytes::from_static(b"meterhouse doctor: first");
    let second = Bytes::from_static(b"meterhouse doctor: second");
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let fail = |step: &str, error: &dyn std::error::Error| {
        vec![Finding::fail("lake", format!("{address}: {step}: {}", whole(error)), advice(address))]
    };
    if let Err(error) = store.put_opts(path, first.clone().into(), create()).await {
        return fail("cannot create an object", &error);
    }
    match store.put_opts(path, second.into(), create()).await {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Ok(_) => {
            let found = format!("{address}: a second create of the same object was let through");
            let remedy = "this store ignores If-None-Match, and commits to it would be lost: use another store, or \
                          a version of it that supports conditional writes";
            return vec![Finding::fail("lake", found, remedy)];
        }
        Err(error) => return fail("a second create ended in another error than `already exists`", &error),
    }
    let read = match store.get(path).await {
        Ok(result) => {
            let modified = result.meta.last_modified;
            result.bytes().await.map(|bytes| (bytes, modified))
        }
        Err(error) => Err(error),
    };
    let modified = match read {
        Ok((bytes, modified)) if bytes == first => modified,
        Ok(_) => {
            let found = format!("{address}: an object was read back with other content");
            return vec![Finding::fail(
                "lake",
                found,
                "the store overwrote on a conditional create: use another",
            )];
        }
        Err(error) => return fail("cannot read an object", &error),
    };
    if let Err(error) = store.delete(path).await {
        return fail("cannot delete an object", &error);
    }
    let found = format!("{address}: create, conditional create, read and delete work");
    vec![Finding::ok("lake", found), clock(modified.timestamp())]
}

/// Compares our clock with the one that stamped the probe.
fn clock(store_s: i64) -> Finding {
    let skew_s = jiff::Timestamp::now().as_second() - store_s;
    if skew_s.abs() <= CLOCK_SKEW_MAX_S {
        return Finding::ok("clock", "agrees with the lake's");
    }
    let direction = if skew_s > 0 { "ahead of" } else { "behind" };
    Finding::new(
        Status::Warn,
        "clock",
        format!("{} s {direction} the lake's", skew_s.abs()),
        "synchronise this machine's clock (NTP): events would be rejected as in the future, or arrive in the wrong \
         period",
    )
}

fn advice(address: &str) -> &'static str {
    if address.starts_with("s3") {
        "check the bucket's name, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT (and AWS_ALLOW_HTTP for \
         http), and that the key may put, get and delete"
    } else if address.starts_with("gs") {
        "check the bucket's name, GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, and that the account \
         may create, get and delete objects"
    } else {
        "check that this user may write to the folder"
    }
}

fn disk_space(folder: &FilePath) -> Finding {
    let space = match rustix::fs::statvfs(folder) {
        Ok(space) => space,
        Err(error) => return Finding::new(Status::Warn, "disk space", error.to_string(), ""),
    };
    let free = space.f_bavail * space.f_frsize;
    let found = format!("{} free of {}", gib(free), gib(space.f_blocks * space.f_frsize));
    let remedy = "free space in the lake's file system, or move the lake to a larger one";
    match free {
        free if free < DISK_BYTES_MIN => Finding::fail("disk space", found, remedy),
        free if free < DISK_BYTES_ADVISED => Finding::new(Status::Warn, "disk space", found, remedy),
        _ => Finding::ok("disk space", found),
    }
}

/// An error with its causes, on one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared() {
        let now = jiff::Timestamp::now().as_second();
        assert_eq!(clock(now).status, Status::Ok);
        assert!(clock(now + 600).found.contains("s behind the lake's"));
        assert!(clock(now - 600).found.contains("s ahead of the lake's"));
    }

    #[tokio::test]
    async fn an_empty_memory_store_passes_and_is_empty_again() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let path = Path::from("_meterhouse_probe/1");
        let findings = probe(Arc::clone(&store), &path, "memory:").await;
        assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:?}");
        assert!(store.head(&path).await.is_err());
    }
}
