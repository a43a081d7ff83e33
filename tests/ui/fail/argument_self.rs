#[ipc_rpc::service]
pub trait Store {
    async fn merge(&self, other: &Self) -> Box<Self>;
}

fn main() {}
