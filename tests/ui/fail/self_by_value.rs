#[ipc_rpc::service]
pub trait Store {
    async fn take(self) -> u8;
}

fn main() {}
