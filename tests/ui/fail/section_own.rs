#[derive(serde::Serialize, serde::Deserialize)]
pub struct Section<T>(T);

#[ipc_rpc::service]
pub trait Book {
    async fn section(&self, number: u32) -> Section<String>;
}

fn main() {}
