//! The server of the first program: says hello to whoever asks.

use examples::hello::{Hello, HelloServer};

struct Polite;

impl Hello for Polite {
    async fn hello(&self, name: &str) -> String {
        format!("Hello, {name}!")
    }
}

#[tokio::main]
async fn main() -> Result<(), ipc_rpc::Error> {
    ipc_rpc::serve("hello", HelloServer::new(Polite)).await
}
