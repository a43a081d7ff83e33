//! The service of the first program.

/// Greets people.
#[ipc_rpc::service]
pub trait Hello {
    /// Greets somebody.
    async fn hello(&self, name: &str) -> String;
}
