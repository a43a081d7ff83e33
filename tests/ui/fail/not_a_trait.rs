#[ipc_rpc::service]
pub struct Store;

#[ipc_rpc::service]
/// Documented.
impl Store {
    pub fn get(&self) {}
}

#[ipc_rpc::service]
async fn get() {}

fn main() {}
