#[ipc_rpc::service]
pub trait Store {
    async fn connect(&self);
    async fn with_timeout(&self);
    async fn in_process(&self);
    async fn from_client(&self);
    async fn as_client(&self);
    async fn spawn(&self);
    async fn clone(&self);
    async fn alloc(&self);
    async fn alloc_sealed(&self);
    async fn alloc_shared(&self);
    async fn alloc_waiting(&self);
}

fn main() {}
