#[ipc_rpc::service(name = store, version = "2", codec = "protobuf")]
pub trait Store {
    async fn get(&self) -> u8;
}

#[ipc_rpc::service(name, version = 4294967296, codec(json))]
pub trait Shop {
    async fn get(&self) -> u8;
}

fn main() {}
