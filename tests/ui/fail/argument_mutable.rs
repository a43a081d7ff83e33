#[ipc_rpc::service]
pub trait Store {
    async fn read(&self, buffer: &mut [u8]) -> usize;
}

fn main() {}
