#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, (row, column): (u32, u32)) -> u8;
    async fn skip(&self, _: u32);
    async fn count(&self, mut start: u32) {
        start += 1;
        drop(start);
    }
}

fn main() {}
