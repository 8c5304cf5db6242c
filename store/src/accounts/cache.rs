//! The last good copy of each file, and when it was read.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use rmail_core::directory::alias::AliasFile;
use rmail_core::directory::{DomainFile, User};
use rmail_core::refusal::Refusal;
use serde::de::DeserializeOwned;

use super::file::{self, Stamp};
use super::lock;
use crate::disk::Disk;
use crate::error::{Error, Result};

/// What a file can hold.
pub(super) trait Content: DeserializeOwned {
    /// What of it has no effect, in words, each with its place in the file: logged whenever the file was read anew.
    fn complaints(&self) -> Vec<String>;
}

impl Content for User {
    fn complaints(&self) -> Vec<String> {
        User::complaints(self)
    }
}

impl Content for AliasFile {
    fn complaints(&self) -> Vec<String> {
        AliasFile::complaints(self)
    }
}

impl Content for DomainFile {
    fn complaints(&self) -> Vec<String> {
        DomainFile::complaints(self)
    }
}

/// A file as it was last read. Only files that exist are remembered, so there are never more of these than files.
#[derive(Debug)]
pub(super) struct Cached<T> {
    /// When it was read, broken or not: a broken file is logged once, not at every look-up.
    stamp: Stamp,
    /// The last good copy.
    good: Option<Arc<T>>,
    /// What is wrong with the file, if it is broken.
    broken: Option<Arc<str>>,
}

impl<T> Cached<T> {
    /// The last good copy.
    pub(super) fn good(&self) -> Option<Arc<T>> {
        self.good.clone()
    }
}

/// The file as it is now, or its last good copy; `None` if it does not exist.
pub(super) async fn look<D: Disk, K: Ord + Clone, T: Content>(
    disk: &D,
    dir: &D::Dir,
    name: &str,
    path: &str,
    cache: &Mutex<BTreeMap<K, Cached<T>>>,
    key: &K,
) -> Result<Option<Arc<T>>> {
    let read = match disk.stat_at(dir, name).await {
        Ok(stat) => {
            if let Some(cached) = lock(cache).get(key).filter(|cached| cached.stamp == stat.into()) {
                let reason = cached.broken.as_deref().unwrap_or_default();
                return cached.good().map(Some).ok_or_else(|| unavailable(path, reason));
            }
            file::read::<D, T>(disk, dir, name).await
        }
        Err(error) => Err(error),
    };
    let mut cache = lock(cache);
    match read {
        Ok((stamp, Ok(value))) => {
            for complaint in value.complaints() {
                log::warn!("{path}: {complaint}");
            }
            let good = Arc::new(value);
            let cached = Cached {
                stamp,
                good: Some(Arc::clone(&good)),
                broken: None,
            };
            cache.insert(key.clone(), cached);
            Ok(Some(good))
        }
        Ok((stamp, Err(reason))) => {
            let good = cache.get(key).and_then(Cached::good);
            let kept = if good.is_some() {
                "the last good copy is used"
            } else {
                "there is no good copy"
            };
            log::error!("{path}: {reason}; {kept}");
            let cached = Cached {
                stamp,
                good: good.clone(),
                broken: Some(Arc::from(reason.as_str())),
            };
            cache.insert(key.clone(), cached);
            good.map(Some).ok_or_else(|| unavailable(path, &reason))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            cache.remove(key);
            Ok(None)
        }
        Err(error) => {
            log::error!("{path}: {error}");
            let good = cache.get(key).and_then(Cached::good);
            good.map(Some)
                .ok_or_else(|| unavailable(path, &error.to_string()))
        }
    }
}

fn unavailable(path: &str, reason: &str) -> Error {
    Error {
        refusal: Refusal::Unavailable,
        context: format!("{path}: {reason}"),
        source: None,
    }
}
