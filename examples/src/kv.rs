//! The service of `kvd`, as `kv` and `blocking` call it.

use std::fmt;

use ipc_rpc::Context;
use serde::{Deserialize, Serialize};

/// Where `kvd` serves unless it is told otherwise.
pub const ENDPOINT: &str = "kv";

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1 << 10;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// What all keys and values of a store may come to, in bytes.
pub const MAX_STORE: usize = 64 << 20;
/// The most keys that one `list` returns.
pub const PAGE: usize = 1000;

/// Keys and their values.
///
/// A struct that changes is a new interface: the types of the arguments are not compared between client and server, so
/// whoever changes one of them raises `version`.
#[ipc_rpc::service(version = 1)]
pub trait Kv {
    /// The value of a key, and the version that it has.
    async fn get(&self, key: &str) -> Option<Entry>;

    /// Sets a key, if its version is what the caller expects. Returns the new version.
    async fn put(&self, key: &str, value: &[u8], expect: Expect) -> Result<Version, KvError>;

    /// Deletes a key, if its version is what the caller expects.
    async fn delete(&self, key: &str, expect: Expect) -> Result<(), KvError>;

    /// The keys that begin with `prefix`, in order, from behind `after` on: at most [`PAGE`] of them.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Page;

    /// What the store holds, and who asks.
    async fn status(&self, context: &Context) -> Status;
}

/// Counts the changes of a store: a change gets a number that no earlier one had, on any key. So a key that was deleted
/// and put again never looks unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was last changed.
    pub version: Version,
    /// What was put there. As bytes, or serde would write the elements one by one.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

/// What must be true of a key for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// The key does not exist.
    Absent,
    /// The key has this version.
    At(Version),
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The keys of this part.
    pub keys: Vec<Listed>,
    /// There are more behind the last one.
    pub more: bool,
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// The length of its value.
    pub bytes: u64,
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The number of keys.
    pub keys: u64,
    /// What keys and values come to.
    pub bytes: u64,
    /// The version of the last change.
    pub version: Version,
    /// The caller, as the system told the server.
    pub caller: String,
}

/// Why a key was not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvError {
    /// There is no such key.
    NotFound,
    /// The key is not what the caller expects; this is its version, if it exists.
    Conflict(Option<Version>),
    /// A key has 1 to [`MAX_KEY`] bytes; this one has so many.
    KeyLength(u64),
    /// A value has at most [`MAX_VALUE`] bytes; this one has so many.
    ValueTooLarge(u64),
    /// The store holds [`MAX_STORE`] bytes at most.
    Full,
}

impl fmt::Display for KvError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => formatter.write_str("there is no such key"),
            Self::Conflict(Some(version)) => write!(formatter, "the key has version {version} now"),
            Self::Conflict(None) => formatter.write_str("the key does not exist now"),
            Self::KeyLength(bytes) => {
                write!(formatter, "a key has 1 to {MAX_KEY} bytes, this one has {bytes}")
            }
            Self::ValueTooLarge(bytes) => {
                write!(
                    formatter,
                    "a value has at most {MAX_VALUE} bytes, this one has {bytes}"
                )
            }
            Self::Full => write!(formatter, "the store is full: it holds {MAX_STORE} bytes at most"),
        }
    }
}

impl std::error::Error for KvError {}
