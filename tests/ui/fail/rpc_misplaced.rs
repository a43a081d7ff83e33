#[ipc_rpc::service]
#[rpc(oneway)]
pub trait Store {
    async fn log(&self, #[rpc(bytes)] line: &str);
}

fn main() {}
