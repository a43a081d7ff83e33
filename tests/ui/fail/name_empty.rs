#[ipc_rpc::service(name = "")]
pub trait Store {
    async fn get(&self) -> u8;
}

#[ipc_rpc::service(name = "my store")]
pub trait Shop {
    async fn get(&self) -> u8;
}

fn main() {}
