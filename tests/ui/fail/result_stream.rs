trait Stream {
    type Item;
}

#[ipc_rpc::service]
pub trait Store {
    fn follow(&self, prefix: &str) -> impl Stream<Item = u8>;
}

fn main() {}
