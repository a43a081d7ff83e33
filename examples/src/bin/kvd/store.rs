//! The store: what the service does, with nothing of who calls it or how.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use examples::kv::{
    Entry, Expect, Kv, KvError, Listed, MAX_KEY, MAX_STORE, MAX_VALUE, PAGE, Page, Status, Version,
};
use ipc_rpc::Context;
use serde::{Deserialize, Serialize};

/// Calls run at once, so what they change is behind a lock. None of them awaits while it holds it.
#[derive(Default)]
pub(crate) struct Store(Mutex<Contents>);

#[derive(Default, Serialize, Deserialize)]
struct Contents {
    /// The version of the last change.
    version: u64,
    entries: BTreeMap<String, Entry>,
    /// What keys and values come to.
    #[serde(skip)]
    bytes: usize,
}

impl Kv for Store {
    async fn get(&self, key: &str) -> Option<Entry> {
        self.contents().entries.get(key).cloned()
    }

    async fn put(&self, key: &str, value: &[u8], expect: Expect) -> Result<Version, KvError> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(KvError::KeyLength(key.len() as u64));
        }
        if value.len() > MAX_VALUE {
            return Err(KvError::ValueTooLarge(value.len() as u64));
        }
        self.contents().put(key, value, expect)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<(), KvError> {
        self.contents().delete(key, expect)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Page {
        self.contents().list(prefix, after)
    }

    async fn status(&self, context: &Context) -> Status {
        let contents = self.contents();
        Status {
            keys: contents.entries.len() as u64,
            bytes: contents.bytes as u64,
            version: Version(contents.version),
            caller: context.peer().to_string(),
        }
    }
}

impl Store {
    /// Takes over what `save` wrote; a file that does not exist is an empty store.
    pub(crate) fn load(&self, path: &Path) -> io::Result<()> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut read: Contents = serde_json::from_reader(BufReader::new(file))?;
        read.bytes = read
            .entries
            .iter()
            .map(|(key, entry)| size(key, &entry.value))
            .sum();
        *self.contents() = read;
        Ok(())
    }

    /// Writes all to `path`: a crash in the middle leaves what was there before.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = BufWriter::new(File::create(&beside)?);
        serde_json::to_writer(&mut file, &*self.contents())?;
        file.flush()?;
        file.get_ref().sync_all()?;
        std::fs::rename(&beside, path)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // A handler that panicked has changed nothing by then: the data are good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn put(&mut self, key: &str, value: &[u8], expect: Expect) -> Result<Version, KvError> {
        let before = self.check(key, expect)?;
        let bytes = self.bytes - before.map_or(0, |entry| size(key, &entry.value)) + size(key, value);
        if bytes > MAX_STORE {
            return Err(KvError::Full);
        }
        self.bytes = bytes;
        let version = self.next_version();
        self.entries.insert(
            key.to_owned(),
            Entry {
                version,
                value: value.to_owned(),
            },
        );
        Ok(version)
    }

    fn delete(&mut self, key: &str, expect: Expect) -> Result<(), KvError> {
        self.check(key, expect)?;
        let deleted = self.entries.remove(key).ok_or(KvError::NotFound)?;
        self.bytes -= size(key, &deleted.value);
        self.next_version();
        Ok(())
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> Page {
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let from_there = self.entries.range::<str, _>((first, Bound::Unbounded));
        let mut found = from_there.take_while(|(key, _)| key.starts_with(prefix));
        let keys = found.by_ref().take(PAGE).map(|(key, entry)| Listed {
            key: key.clone(),
            version: entry.version,
            bytes: entry.value.len() as u64,
        });
        Page {
            keys: keys.collect(),
            more: found.next().is_some(),
        }
    }

    /// The entry of `key`, if it is as the caller expects.
    fn check(&self, key: &str, expect: Expect) -> Result<Option<&Entry>, KvError> {
        let entry = self.entries.get(key);
        let version = entry.map(|entry| entry.version);
        match expect {
            Expect::Absent if version.is_some() => Err(KvError::Conflict(version)),
            Expect::At(expected) if version != Some(expected) => Err(KvError::Conflict(version)),
            _ => Ok(entry),
        }
    }

    fn next_version(&mut self) -> Version {
        self.version += 1;
        Version(self.version)
    }
}

fn size(key: &str, value: &[u8]) -> usize {
    key.len() + value.len()
}
