#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: &str, key: u32);
}

fn main() {}
