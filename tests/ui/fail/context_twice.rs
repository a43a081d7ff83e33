use ipc_rpc::Context;

#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, one: &Context, key: &str, two: &Context);
}

fn main() {}
