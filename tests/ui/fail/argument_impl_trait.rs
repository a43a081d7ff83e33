#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: impl AsRef<str>, values: Vec<impl Sized>);
}

fn main() {}
