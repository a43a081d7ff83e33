macro_rules! more {
    () => {};
}

#[ipc_rpc::service]
pub trait Store {
    const LIMIT: usize;
    type Key;
    more!();
    async fn get(&self) -> u8;
}

fn main() {}
