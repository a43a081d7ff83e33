#[ipc_rpc::service]
pub trait Store {
    fn get(&self, key: &str) -> Option<Vec<u8>>;
}

fn main() {}
