//! The client of the first program.

use examples::hello::HelloClient;

#[tokio::main]
async fn main() -> Result<(), ipc_rpc::Error> {
    let client = HelloClient::connect("hello").await?;
    println!("{}", client.hello("world").await?);
    Ok(())
}
