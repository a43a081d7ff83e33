#[ipc_rpc::service]
pub trait Store {
    #[rpc(blocking)]
    async fn get(&self, key: &str) -> Option<Vec<u8>>;
}

fn main() {}
