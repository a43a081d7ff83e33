//! Results whose types an alias hides.

use serde::{Deserialize, Serialize};

/// The service's own error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed;

/// An alias of the name that the macro knows.
pub type Result<T> = std::result::Result<T, Failed>;

/// An alias of another name.
pub type Answer = std::result::Result<u8, Failed>;

/// Fails in several ways.
#[ipc_rpc::service]
pub trait Alias {
    /// By a path that ends in `Result`.
    async fn known(&self) -> Result<Vec<u8>>;
    /// By an option.
    #[rpc(result)]
    async fn named(&self) -> Answer;
    /// Nothing can go wrong, says the signature: the caller gets the alias inside.
    async fn opaque(&self) -> Answer;
}
