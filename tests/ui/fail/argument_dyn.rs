#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: &dyn AsRef<str>, then: Box<dyn Fn() + Send>);
}

fn main() {}
