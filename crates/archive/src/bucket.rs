//! A bucket that speaks S3, used from blocking threads. Credentials come from the environment alone. Start at [`Bucket::open`].

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutPayload};
use parquet::errors::ParquetError;
use tokio::runtime::Handle;

use crate::error::{ArchiveError, At, Result};
use crate::target::Place;

/// A part of a multipart upload. S3 wants at least 5 MiB and at most 10,000 of them (Amazon S3 User Guide, "Multipart upload limits"):
/// objects up to 160 GB.
const UPLOAD_PART: usize = 16 << 20;
/// Objects read at once when many small ones are.
const GETS: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: String,
    pub(crate) runtime: Handle,
}

/// `None` for an object that is not there.
fn there<T>(found: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

fn failed(action: &'static str, key: &str) -> impl FnOnce(Error) -> ArchiveError {
    move |source| ArchiveError::Object { action, key: key.to_owned(), source }
}

impl Bucket {
    /// Opens `bucket/prefix`; on a thread that belongs to a runtime.
    pub(crate) fn open(place: &Place, rest: &str) -> Result<Self> {
        let wrong = |what: &str| ArchiveError::Url { url: place.url.clone(), what: what.to_owned() };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("no bucket; write s3://bucket/prefix"));
        }
        let runtime = Handle::try_current().map_err(|_| wrong("needs a runtime"))?;
        // The HTTP client asks for the process's provider; whoever was first has set the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(endpoint) = &place.endpoint {
            // Closed networks run their object store without TLS inside one rack; the operator says so by writing http.
            let plain = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint).with_client_options(ClientOptions::new().with_allow_http(plain));
        }
        if let Some(region) = &place.region {
            builder = builder.with_region(region);
        }
        let store = builder.build().map_err(|e| wrong(&e.to_string()))?;
        Ok(Self { store: Arc::new(store), prefix: prefix.trim_matches('/').to_owned(), runtime })
    }

    fn key(&self, key: &str) -> Key {
        Key::from(if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) })
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let path = self.key(key);
        there(self.runtime.block_on(async { self.store.get(&path).await?.bytes().await })).map_err(failed("read", key))
    }

    pub(crate) fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>> {
        let get = |key: &String| {
            let (store, path, key) = (self.store.clone(), self.key(key), key.clone());
            async move {
                let got = match store.get(&path).await {
                    Ok(found) => found.bytes().await,
                    Err(e) => Err(e),
                };
                there(got).map_err(failed("read", &key))
            }
        };
        let gets: Vec<_> = keys.iter().map(get).collect();
        self.runtime.block_on(futures_util::stream::iter(gets).buffered(GETS).try_collect())
    }

    pub(crate) fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        self.runtime.block_on(self.store.put(&self.key(key), bytes.into())).map(drop).map_err(failed("write", key))
    }

    /// Uploads a local file; the object appears when all of it is there.
    pub(crate) fn upload(&self, staged: &Path, key: &str) -> Result<()> {
        let mut file = File::open(staged).at("open", staged)?;
        let len = file.metadata().at("find", staged)?.len();
        let path = self.key(key);
        let mut next = || -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            Read::by_ref(&mut file).take(UPLOAD_PART as u64).read_to_end(&mut bytes).at("read", staged)?;
            Ok(bytes)
        };
        if len <= UPLOAD_PART as u64 {
            let bytes = next()?;
            return self.runtime.block_on(self.store.put(&path, bytes.into())).map(drop).map_err(failed("write", key));
        }
        let mut upload = self.runtime.block_on(self.store.put_multipart(&path)).map_err(failed("write", key))?;
        let done = loop {
            let bytes = match next() {
                Ok(bytes) if bytes.is_empty() => break self.runtime.block_on(upload.complete()).map(drop).map_err(failed("write", key)),
                Ok(bytes) => bytes,
                Err(e) => break Err(e),
            };
            if let Err(e) = self.runtime.block_on(upload.put_part(PutPayload::from(bytes))) {
                break Err(failed("write", key)(e));
            }
        };
        if done.is_err() {
            // Parts of an upload that is never completed would be paid for ever.
            let _ = self.runtime.block_on(upload.abort());
        }
        done
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>> {
        let found = there(self.runtime.block_on(self.store.head(&self.key(key)))).map_err(failed("find", key))?;
        Ok(found.map(|meta| meta.size))
    }

    pub(crate) fn remove(&self, key: &str) -> Result<()> {
        there(self.runtime.block_on(self.store.delete(&self.key(key)))).map(drop).map_err(failed("remove", key))
    }

    pub(crate) fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let path = self.key(folder);
        let metas: Vec<_> = self.runtime.block_on(self.store.list(Some(&path)).try_collect()).map_err(failed("list", folder))?;
        let cut = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        Ok(metas.into_iter().filter_map(|m| Some((m.location.as_ref().get(cut..)?.to_owned(), m.size))).collect())
    }

    pub(crate) fn range(&self, key: &str, start: u64, len: usize) -> Result<Bytes, ParquetError> {
        let range = start..start + len as u64;
        self.runtime.block_on(self.store.get_range(&self.key(key), range)).map_err(|e| ParquetError::External(Box::new(e)))
    }
}
