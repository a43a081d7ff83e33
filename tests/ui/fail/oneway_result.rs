#[ipc_rpc::service]
pub trait Store {
    #[rpc(oneway)]
    async fn log(&self, line: &str) -> Result<(), String>;
}

fn main() {}
