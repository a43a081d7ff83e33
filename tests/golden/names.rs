//! Names that generated code uses, too, and default bodies.

use ipc_rpc::Context;
use serde::{Deserialize, Serialize};

/// The name that a type parameter usually has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct T;

/// Is full of names.
#[ipc_rpc::service]
pub trait Names: Send {
    /// Raw names travel without `r#`.
    async fn r#type(&self, r#fn: u8, client: &str, arguments: &str, reply: T) -> T;
    /// The names of generated locals.
    async fn locals(&self, context: &Context, payload: u8, incoming: u8, result: u8, error: u8, implementation: u8) -> u8;
    /// Has a body.
    async fn greet(&self, name: &str) -> String {
        let type_ = self.r#type(1, name, name, T).await;
        format!("{name} {type_:?}")
    }
    /// Has a body that returns early and may block.
    #[rpc(blocking, oneway)]
    fn work(&self, _unused: u8, context: &Context) {
        if context.is_cancelled() {
            return;
        }
        self.rest();
    }
    /// Has a body that needs nothing.
    #[rpc(blocking)]
    fn rest(&self) -> u8 {
        0
    }
}
