#[ipc_rpc::service]
pub trait Store {
    async fn put<T>(&self, value: T);
    async fn fill<const N: usize>(&self, value: [u8; N]);
    async fn bound(&self)
    where
        Self: Sized;
}

fn main() {}
