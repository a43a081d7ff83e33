//! The client of `hello-server`: asks it to greet somebody.
//!
//! Shows that a method of the trait is called as it is written there, from another process. `retry` lets the two be
//! started in either order.
//!
//! Run it with `cargo run --bin hello-client -- NAME`, while `hello-server` runs or is about to.

use std::time::Duration;

use examples::hello::HelloClient;

#[tokio::main]
async fn main() -> Result<(), ipc_rpc::Error> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "world".to_owned());
    let client = HelloClient::connect("hello")
        .retry(Duration::from_secs(5))
        .await?;
    println!("{}", client.hello(&name).await?);
    Ok(())
}
