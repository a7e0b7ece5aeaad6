//! Where a lake lies, and the object store that reaches it.

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ClientConfigKey, ObjectStore};
use url::Url;

use super::patient_puts::patient_puts;
use super::{Table, TableHandle};

/// Why an address is no lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeUrlError {
    #[error(
        "the lake `{0}` is not an address that can be used: expected a folder, s3://bucket/prefix or gs://bucket/prefix"
    )]
    Unknown(String),
    #[error("cannot make the lake's folder {0}: {1}")]
    Folder(String, std::io::Error),
    #[error("cannot set up access to {0}: {1}")]
    Store(String, object_store::Error),
}

/// A lake: its address and a store whose root is the host of that address (a bucket, or the file system).
#[derive(Debug, Clone)]
pub struct Lake {
    url: Url,
    store: Arc<dyn ObjectStore>,
}

impl Lake {
    /// Opens the lake at a local path, `file://`, `s3://` or `gs://` address. Credentials, endpoint and
    /// region come from the usual environment variables of the provider. Nothing is contacted yet.
    pub fn open(address: &str) -> Result<Self, LakeUrlError> {
        let url = lake_url(address)?;
        let unusable = |error| LakeUrlError::Store(address.to_owned(), error);
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new()),
            "memory" => Arc::new(object_store::memory::InMemory::new()),
            "s3" | "s3a" => patient_puts(|timeout| s3(&url, timeout).build()).map_err(unusable)?,
            "gs" => patient_puts(|timeout| gcs(&url, timeout).build()).map_err(unusable)?,
            _ => return Err(LakeUrlError::Unknown(address.to_owned())),
        };
        Ok(Self { url, store })
    }

    /// The same lake through another store: tests put faults in between this way.
    #[must_use]
    pub fn with_store(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { store: wrap(self.store), ..self }
    }

    /// The lake's address; it ends in a slash.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The local folder of the lake, if it is one.
    pub fn folder(&self) -> Option<std::path::PathBuf> {
        (self.url.scheme() == "file").then(|| self.url.to_file_path().ok()).flatten()
    }

    /// A store whose root is the bucket, or the file system.
    pub fn root_store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// A store whose root is the lake itself.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(Arc::clone(&self.store), prefix(&self.url)))
    }

    /// The handle of one of the lake's tables, which need not exist yet.
    pub fn table(&self, table: Table) -> TableHandle {
        TableHandle::new(self, table)
    }
}

/// The bucket, with so much time for each request unless the environment says how much.
fn s3(url: &Url, timeout: Option<&str>) -> AmazonS3Builder {
    let builder = AmazonS3Builder::from_env().with_url(url.as_str());
    match timeout.filter(|_| std::env::var_os("AWS_TIMEOUT").is_none()) {
        Some(timeout) => builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), timeout),
        None => builder,
    }
}

fn gcs(url: &Url, timeout: Option<&str>) -> GoogleCloudStorageBuilder {
    let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
    match timeout.filter(|_| std::env::var_os("GOOGLE_TIMEOUT").is_none()) {
        Some(timeout) => builder.with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), timeout),
        None => builder,
    }
}

/// Where an address lies in its root store.
pub(super) fn prefix(url: &Url) -> object_store::path::Path {
    let path = if url.scheme() == "file" {
        url.to_file_path().ok().and_then(|path| object_store::path::Path::from_absolute_path(path).ok())
    } else {
        None
    };
    path.unwrap_or_else(|| object_store::path::Path::from_url_path(url.path()).unwrap_or_default())
}

/// Turns what people write into an address that ends in a slash; makes a local folder if need be.
fn lake_url(address: &str) -> Result<Url, LakeUrlError> {
    let unknown = || LakeUrlError::Unknown(address.to_owned());
    let mut url = match Url::parse(address) {
        Ok(url) if url.scheme().len() > 1 => url,
        _ => {
            let folder = |error| LakeUrlError::Folder(address.to_owned(), error);
            std::fs::create_dir_all(address).map_err(folder)?;
            let absolute = FilePath::new(address).canonicalize().map_err(folder)?;
            Url::from_directory_path(absolute).map_err(|()| unknown())?
        }
    };
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| unknown())?;
        std::fs::create_dir_all(&path).map_err(|error| LakeUrlError::Folder(address.to_owned(), error))?;
    } else if url.scheme() != "memory" && url.host_str().is_none_or(str::is_empty) {
        return Err(unknown());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_people_write() {
        let folder = std::env::temp_dir().join(format!("meterhouse-url-{}", std::process::id()));
        let url = lake_url(folder.to_str().unwrap()).unwrap();
        assert_eq!((url.scheme(), url.path().ends_with('/')), ("file", true));
        std::fs::remove_dir(folder).unwrap();
        assert_eq!(lake_url("s3://bucket/some/lake").unwrap().as_str(), "s3://bucket/some/lake/");
        assert_eq!(lake_url("gs://bucket").unwrap().as_str(), "gs://bucket/");
        for wrong in ["s3://", "ftp://host/x"] {
            assert!(Lake::open(wrong).is_err(), "{wrong}");
        }
    }
}
