#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: &'static str);
}

fn main() {}
