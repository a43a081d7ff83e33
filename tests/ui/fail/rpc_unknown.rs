#[ipc_rpc::service]
pub trait Store {
    #[rpc(one_way)]
    async fn log(&self, line: &str);
    #[rpc]
    async fn get(&self);
    #[rpc = "oneway"]
    async fn put(&self);
}

fn main() {}
