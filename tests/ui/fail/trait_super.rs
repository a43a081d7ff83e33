// `Send`, `Sync` and `'static` hold anyway, so they may stand there.
#[ipc_rpc::service]
pub trait Store: Send + Clone + std::fmt::Debug + 'static {
    async fn get(&self) -> u8;
}

fn main() {}
