pub struct Version(u64);
pub struct Key;

#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: &Key) -> Result<Version, String>;
}

fn main() {}
