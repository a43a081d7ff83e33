#[ipc_rpc::service(nmae = "store", timeout = 5)]
pub trait Store {
    async fn get(&self) -> u8;
}

fn main() {}
