#[ipc_rpc::service]
pub trait Store {
    #[rpc(result)]
    async fn get(&self) -> Option<u8>;
}

fn main() {}
