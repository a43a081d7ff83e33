#[ipc_rpc::service]
pub trait Store<K, V>
where
    K: Ord,
{
    async fn get(&self, key: K) -> V;
}

#[ipc_rpc::service]
pub trait Borrowing<'a> {
    async fn get(&self) -> u8;
}

fn main() {}
