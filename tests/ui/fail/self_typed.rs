#[ipc_rpc::service]
pub trait Store {
    async fn take(self: Box<Self>) -> u8;
    async fn share(self: &std::sync::Arc<Self>) -> u8;
    async fn keep(&'static self) -> u8;
}

fn main() {}
