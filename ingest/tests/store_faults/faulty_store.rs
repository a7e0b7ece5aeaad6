//! An object store that fails, by seed, in the ways in which real ones fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::random::Random;

/// How often each fault was injected, by its name.
pub type Injected = Arc<Mutex<BTreeMap<&'static str, u64>>>;

#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    random: Mutex<Random>,
    percent: Dial,
    injected: Injected,
}

/// Of a hundred calls, how many fail; it may be turned while the store is used.
#[derive(Debug, Clone)]
pub struct Dial(Arc<AtomicU64>);

impl Dial {
    pub fn percent(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn turn(&self, percent: u64) {
        self.0.store(percent, Ordering::SeqCst);
    }
}

/// What a put does instead of working.
#[derive(Debug, Clone, Copy)]
enum PutFault {
    /// 500, 503, 429 or a time-out, and nothing was written.
    BeforeEffect,
    /// A time-out, although the object was written.
    AfterEffect,
    /// A time-out, and the object is written a little later.
    Delayed,
    /// The client of the store tried again by itself and met its own object: 412.
    OwnSuccess,
    /// 409: somebody else is writing, and nothing was written.
    Conflict,
}

const PUT_FAULTS: [(PutFault, &str); 5] = [
    (PutFault::BeforeEffect, "put: error before the effect"),
    (PutFault::AfterEffect, "put: time-out after the effect"),
    (PutFault::Delayed, "put: time-out, effect later"),
    (PutFault::OwnSuccess, "put: 412 after own success"),
    (PutFault::Conflict, "put: 409 without effect"),
];

impl FaultyStore {
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, percent: u64, injected: &Injected) -> Self {
        Self {
            inner,
            random: Mutex::new(Random::new(seed)),
            percent: Dial(Arc::new(AtomicU64::new(percent))),
            injected: Arc::clone(injected),
        }
    }

    pub fn dial(&self) -> Dial {
        self.percent.clone()
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    fn fails(&self) -> bool {
        self.below(100) < self.percent.percent()
    }

    fn note(&self, fault: &'static str) {
        *self.injected.lock().unwrap().entry(fault).or_default() += 1;
    }

    fn outage(&self) -> Error {
        let answers =
            ["500 Internal Server Error", "503 Slow Down", "429 Too Many Requests", "operation timed out"];
        generic(answers[self.below(4) as usize])
    }

    /// A reply that breaks off in the middle.
    async fn cut_short(&self, reply: GetResult) -> Result<GetResult> {
        let (meta, range, attributes) = (reply.meta.clone(), reply.range.clone(), reply.attributes.clone());
        let bytes = reply.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let parts: Vec<Result<Bytes>> = vec![Ok(half), Err(generic("connection reset by peer"))];
        let payload = GetResultPayload::Stream(futures::stream::iter(parts).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }
}

fn generic(text: &str) -> Error {
    Error::Generic { store: "faulty", source: text.to_owned().into() }
}

fn already_exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "injected".into() }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !self.fails() {
            return self.inner.put_opts(path, payload, options).await;
        }
        // Only a conditional put can be told that the object is there.
        let conditional = matches!(options.mode, PutMode::Create);
        let kinds = if conditional { PUT_FAULTS.len() } else { 3 };
        let (fault, name) = PUT_FAULTS[self.below(kinds as u64) as usize];
        self.note(name);
        match fault {
            PutFault::BeforeEffect => Err(self.outage()),
            PutFault::AfterEffect => {
                self.inner.put_opts(path, payload, options).await?;
                Err(generic("operation timed out"))
            }
            PutFault::Delayed => {
                let (inner, path) = (Arc::clone(&self.inner), path.clone());
                let delay = Duration::from_millis(self.below(10));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // Nobody waits for the answer any more.
                    let _ = inner.put_opts(&path, payload, options).await;
                });
                Err(generic("operation timed out"))
            }
            PutFault::OwnSuccess => {
                self.inner.put_opts(path, payload, options).await?;
                Err(already_exists(path))
            }
            PutFault::Conflict => Err(already_exists(path)),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if self.fails() {
            self.note("multipart: error");
            return Err(self.outage());
        }
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if !self.fails() {
            return self.inner.get_opts(path, options).await;
        }
        if options.head || self.below(2) == 0 {
            self.note("get: error");
            return Err(self.outage());
        }
        let reply = self.inner.get_opts(path, options).await?;
        self.note("get: reset mid-body");
        self.cut_short(reply).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        if !self.fails() {
            return listed;
        }
        self.note("list: breaks off");
        let error = self.outage();
        listed.take(self.below(4) as usize).chain(futures::stream::iter([Err(error)])).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list_with_offset(prefix, offset);
        if !self.fails() {
            return listed;
        }
        self.note("list: breaks off");
        let error = self.outage();
        listed.take(self.below(4) as usize).chain(futures::stream::iter([Err(error)])).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.fails() {
            self.note("list: breaks off");
            return Err(self.outage());
        }
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A store whose log takes no entry: each put of one times out and is held back, until it is let go.
#[derive(Debug)]
pub struct HoldingStore {
    inner: Arc<dyn ObjectStore>,
    held: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    holds: AtomicBool,
}

impl HoldingStore {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, held: Mutex::default(), holds: AtomicBool::new(false) }
    }

    pub fn hold(&self) {
        self.holds.store(true, Ordering::SeqCst);
    }

    /// Lets everything that was held back arrive, in order; says which of it was written.
    pub async fn let_go(&self) -> Vec<bool> {
        self.holds.store(false, Ordering::SeqCst);
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        let mut written = Vec::new();
        for (path, payload, options) in held {
            written.push(self.inner.put_opts(&path, payload, options).await.is_ok());
        }
        written
    }
}

impl std::fmt::Display for HoldingStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "HoldingStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for HoldingStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.holds.load(Ordering::SeqCst) && matches!(options.mode, PutMode::Create) {
            self.held.lock().unwrap().push((path.clone(), payload, options));
            return Err(generic("operation timed out"));
        }
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Whether an object is there, as the clean store says.
pub async fn exists(store: &dyn ObjectStore, path: &Path) -> bool {
    store.head(path).await.is_ok()
}
