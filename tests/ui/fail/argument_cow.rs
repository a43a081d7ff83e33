use std::borrow::Cow;

#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: Cow<str>) -> Cow<[u8]>;
}

fn main() {}
