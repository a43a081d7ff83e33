#[ipc_rpc::service]
pub trait Store {
    #[cfg_attr(unix, rpc(oneway))]
    async fn log(&self, line: &str);
}

fn main() {}
