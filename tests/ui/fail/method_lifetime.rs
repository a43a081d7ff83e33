#[ipc_rpc::service]
pub trait Store {
    async fn get<'a>(&'a self, key: &'a str) -> Option<Vec<u8>>;
}

fn main() {}
