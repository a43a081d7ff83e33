//! The service of the first pages of the documentation.

use ipc_rpc::Context;
use serde::{Deserialize, Serialize};

/// Counts the changes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version(pub u64);

/// Why a value was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreError {
    /// There is no room.
    Full,
}

/// Keys and their values.
#[ipc_rpc::service]
pub trait Store {
    /// Looks a key up.
    async fn get(&self, key: &str) -> Option<Vec<u8>>;

    /// Gives a key a value.
    ///
    /// # Errors
    /// `Full` when there is no room.
    async fn put(&self, ctx: &Context, key: &str, value: &[u8]) -> Result<Version, StoreError>;

    /// Writes a line to the log.
    #[rpc(oneway)]
    async fn log(&self, line: &str);

    /// Hashes the numbers up to `n`.
    #[rpc(blocking)]
    fn digest(&self, n: u64) -> u64;
}
