use ipc_rpc::{Section, View};

#[ipc_rpc::service]
pub trait Store {
    async fn names(&self, names: View<String>) -> u64;
    async fn flags(&self) -> Section<bool>;
}

fn main() {}
