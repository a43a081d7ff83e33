#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: Option<(u8, &str)>);
}

fn main() {}
