use ipc_rpc::Context;

#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, context: Context, key: &str);
}

fn main() {}
