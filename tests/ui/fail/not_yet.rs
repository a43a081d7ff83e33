#[ipc_rpc::service]
pub trait Store {
    async fn import(&self, file: Fd<File>) -> u64;
    async fn feed(&self, lines: Option<Streaming<String>>);
    async fn watch(&self, progress: ProgressClient, more: Option<&ProgressClient>);
}

fn main() {}
