use std::borrow::Cow;

#[ipc_rpc::service]
pub trait Store {
    async fn get(&self, key: &str) -> &str;
    async fn find(&self, key: &str) -> Option<&'static [u8]>;
    async fn cut(&self, key: &str) -> Result<Cow<'_, str>, u8>;
}

fn main() {}
