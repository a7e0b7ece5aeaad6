//! How executors reach a lake: whatever bucket or folder a plan names, by the credentials of their own environment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use url::{Position, Url};

use crate::lake::Lake;

/// Stores by scheme and host, each opened when it is first needed.
#[derive(Debug, Default)]
pub(super) struct LakeStores {
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl ObjectStoreRegistry for LakeStores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(url[..Position::BeforePath].to_owned(), store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let root = &url[..Position::BeforePath];
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(root) {
            return Ok(Arc::clone(store));
        }
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new()),
            _ => {
                let lake = Lake::open(&format!("{root}/"));
                let lake = lake.map_err(|error| DataFusionError::External(Box::new(error)))?;
                Arc::clone(lake.root_store())
            }
        };
        stores.insert(root.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_opened_once_for_its_root() {
        let stores = LakeStores::default();
        let get = |url: &str| stores.get_store(&Url::parse(url).unwrap());
        let first = get("memory:///some/lake/").unwrap();
        assert!(Arc::ptr_eq(&first, &get("memory:///another").unwrap()));
        assert!(!Arc::ptr_eq(&first, &get("file:///another").unwrap()));
        assert!(get("ftp://host/x").is_err());
    }
}
