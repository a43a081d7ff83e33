use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct StoreError;

#[ipc_rpc::service]
pub trait Store {
    async fn client(&self);
    async fn server(&self);
    async fn get_all(&self);
    async fn get__all(&self);
    async fn error(&self) -> Option<StoreError>;
}

fn main() {}
