//! A store that answers nobody who deletes something for the first time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Debug)]
pub struct UnansweredDeletes {
    inner: Arc<dyn ObjectStore>,
    asked: Arc<Mutex<BTreeSet<Path>>>,
}

impl UnansweredDeletes {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, asked: Arc::default() }
    }
}

impl std::fmt::Display for UnansweredDeletes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "unanswered {}", self.inner)
    }
}

/// Of the first requests every other one does something before it fails.
async fn delete(inner: Arc<dyn ObjectStore>, asked: Arc<Mutex<BTreeSet<Path>>>, path: Path) -> Result<Path> {
    let (is_first, before) = {
        let mut asked = asked.lock().unwrap();
        (asked.insert(path.clone()), asked.len())
    };
    if is_first && before % 2 == 0 {
        inner.delete(&path).await?;
    }
    if is_first {
        return Err(Error::Generic { store: "unanswered", source: "operation timed out".into() });
    }
    inner.delete(&path).await.map(|()| path)
}

#[async_trait]
impl ObjectStore for UnansweredDeletes {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
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
        let (inner, asked) = (Arc::clone(&self.inner), Arc::clone(&self.asked));
        paths.and_then(move |path| delete(Arc::clone(&inner), Arc::clone(&asked), path)).boxed()
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
