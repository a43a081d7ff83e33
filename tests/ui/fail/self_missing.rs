#[ipc_rpc::service]
pub trait Store {
    async fn new() -> u8;
    async fn open(path: &str) -> u8;
}

fn main() {}
