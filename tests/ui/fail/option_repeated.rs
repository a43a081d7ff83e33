#[ipc_rpc::service(name = "store", version = 1, name = "shop")]
pub trait Store {
    async fn get(&self) -> u8;
}

fn main() {}
