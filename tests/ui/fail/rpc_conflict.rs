#[ipc_rpc::service]
pub trait Store {
    #[rpc(oneway, result)]
    async fn log(&self, line: &str);
    #[rpc(result)]
    async fn put(&self);
    #[rpc(result)]
    async fn pair(&self) -> (u8, u8);
    #[rpc(blocking, blocking)]
    fn get(&self);
    #[rpc(oneway = true)]
    async fn drop(&self);
}

fn main() {}
