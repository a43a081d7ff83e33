//! The least that a service is.

#[ipc_rpc::service]
pub(crate) trait Ping {
    async fn ping(&self);
}
