//! A first service: says hello to whoever asks.
//!
//! Shows the three steps of a server: a trait (in `src/hello.rs`), a type that implements it, and `serve`. Ctrl-C or SIGTERM
//! ends it once the calls in progress are answered.
//!
//! Run it with `cargo run --bin hello-server`, and `hello-client` beside it.

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
