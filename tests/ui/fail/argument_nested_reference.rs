use std::collections::HashMap;

#[ipc_rpc::service]
pub trait Store {
    async fn slice(&self, keys: &[&str]);
    async fn vec(&self, keys: Vec<&str>);
    async fn map(&self, keys: HashMap<&str, u8>);
    async fn twice(&self, key: &&str);
    async fn result(&self, key: Result<&str, u8>);
}

fn main() {}
