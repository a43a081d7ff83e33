//! The service of `hello-server` and `hello-client`.

/// Greets people.
#[ipc_rpc::service]
pub trait Hello {
    /// Greets somebody.
    async fn hello(&self, name: &str) -> String;
}
