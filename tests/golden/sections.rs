//! Memory that travels with calls.

use ipc_rpc::{Context, Section, View};

/// Takes and gives sections.
#[ipc_rpc::service]
pub trait Sections {
    /// Whatever can be made into a view may be passed.
    async fn sum(&self, values: View<f32>) -> f64;
    /// A section is made ready before it is sent.
    async fn turn(&self, context: &Context, bytes: Section<u8>) -> Section<u8>;
    /// Inside of other types, too.
    async fn both(&self, first: Option<Section<u8>>, second: (View<u16>, u8))
    -> Result<Section<u16>, String>;
    /// Views need nothing.
    async fn all(&self, views: Vec<View<u8>>, lent: &View<u8>) -> u64;
}
