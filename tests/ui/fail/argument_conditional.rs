#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: &str, #[cfg(unix)] mode: u32);
}

fn main() {}
