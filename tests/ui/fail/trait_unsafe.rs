#[ipc_rpc::service]
pub unsafe trait Store {
    async fn get(&self) -> u8;
}

fn main() {}
