#[ipc_rpc::service]
pub trait Store {
    fn get(&self) -> impl std::future::Future<Output = u8> + Send;
    async fn all(&self) -> impl Iterator<Item = u8>;
    async fn fail(&self) -> Result<(), Box<dyn std::error::Error>>;
}

fn main() {}
