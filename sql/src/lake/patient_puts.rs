//! Large objects get more time.
//!
//! The client of a bucket gives every request half a minute, its body included. For what is read that is right: a
//! connection that hangs is noticed. A file of 128 MiB beside seven others would never be stored that way over
//! 100 Mbit/s, however often it is tried. So whatever is large is put through a second client that is patient.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Enough for 128 MiB at 2 Mbit/s.
const PATIENCE: &str = "10 minutes";
/// What is smaller is there within half a minute at 300 kbit/s.
const LARGE_BYTES: usize = 1024 * 1024;

/// A store, and the same one with more time for each request.
#[derive(Debug)]
struct PatientPuts<S, P> {
    quick: S,
    patient: P,
}

impl<S: ObjectStore, P: ObjectStore> std::fmt::Display for PatientPuts<S, P> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.quick)
    }
}

#[async_trait]
impl<S: ObjectStore, P: ObjectStore> ObjectStore for PatientPuts<S, P> {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if payload.content_length() < LARGE_BYTES {
            self.quick.put_opts(path, payload, options).await
        } else {
            self.patient.put_opts(path, payload, options).await
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.patient.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.quick.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.quick.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.quick.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.quick.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.quick.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.quick.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.quick.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.quick.rename_opts(from, to, options).await
    }
}

/// A store for the lake's bucket out of one that `build` makes: as it is, or with the patience that it is given.
pub(super) fn patient_puts<S: ObjectStore>(
    build: impl Fn(Option<&str>) -> Result<S>,
) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(PatientPuts { quick: build(None)?, patient: build(Some(PATIENCE))? }))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::{ClientConfigKey, ObjectStoreExt, RetryConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server of S3's PUT that takes bodies slowly.
    async fn slow_bucket(pause: Duration) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut left, mut head, mut buffer) = (None, Vec::new(), vec![0; 256 * 1024]);
                    while left != Some(0) {
                        let read = connection.read(&mut buffer).await.unwrap_or(0);
                        if read == 0 {
                            return;
                        }
                        head.extend_from_slice(&buffer[..read]);
                        let text = String::from_utf8_lossy(&head).to_lowercase();
                        let length =
                            text.split("content-length: ").nth(1).map(|rest| rest.split("\r\n").next());
                        let begin = text.find("\r\n\r\n").map(|at| at + 4);
                        if let (Some(Some(length)), Some(begin)) = (length, begin) {
                            let length: usize = length.parse().unwrap();
                            left = Some((begin + length).saturating_sub(head.len()));
                            if length > LARGE_BYTES {
                                tokio::time::sleep(pause).await;
                            }
                        }
                    }
                    let answer =
                        "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _ = connection.write_all(answer.as_bytes()).await;
                });
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn large_objects_get_more_time_than_small_ones() {
        let endpoint = slow_bucket(Duration::from_millis(300)).await;
        let build = |timeout: &str| {
            AmazonS3Builder::new()
                .with_bucket_name("b")
                .with_endpoint(&endpoint)
                .with_allow_http(true)
                .with_access_key_id("k")
                .with_secret_access_key("s")
                .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), timeout)
                .build()
                .unwrap()
        };
        let large = || PutPayload::from(vec![7; 2 * LARGE_BYTES]);
        let path = Path::from("file");
        let started = Instant::now();
        build("500ms").put(&path, large()).await.expect_err("a client of short patience gives up");
        assert!(started.elapsed() >= Duration::from_millis(400));
        let store = PatientPuts { quick: build("500ms"), patient: build(PATIENCE) };
        store.put(&path, large()).await.unwrap();
        store.put(&path, PutPayload::from("small")).await.unwrap();
    }
}
