// All errors are reported together, and the code around the trait adds none: the trait is there all the same, and so
// are the client and the server.
#[ipc_rpc::service(color = "red")]
pub trait Store {
    async fn get(&self, key: &str) -> Option<Vec<u8>>;
    async fn put(&mut self, key: &str);
    fn length(&self) -> usize;
    async fn first<T>(&self, (one, two): (u8, u8)) -> &str;
}

struct Memory;

impl Store for Memory {
    async fn get(&self, _key: &str) -> Option<Vec<u8>> {
        None
    }

    async fn put(&mut self, _key: &str) {}

    fn length(&self) -> usize {
        0
    }

    async fn first<T>(&self, (_one, _two): (u8, u8)) -> &str {
        ""
    }
}

fn main() {
    let _server = StoreServer::new(Memory);
    let client: Option<StoreClient> = None;
    if let Some(client) = client {
        let _call = client.get("key");
    }
}
