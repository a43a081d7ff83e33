//! `hello-server` and `hello-client`.

use crate::process::{Sandbox, complained, said};

const SERVER: &str = env!("CARGO_BIN_EXE_hello-server");
const CLIENT: &str = env!("CARGO_BIN_EXE_hello-client");

/// The client waits for a server that is still starting, so nothing needs to be said about the order.
#[test]
fn says_hello_across_two_processes() {
    let sandbox = Sandbox::new();
    let server = sandbox.start(SERVER, &[]);
    let client = sandbox.run(CLIENT, &["Ada"]);
    assert_eq!(said(&client), "Hello, Ada!\n", "{}", complained(&client));
    assert_eq!(said(&sandbox.run(CLIENT, &[])), "Hello, world!\n");
    server.terminate();
    assert!(server.end().success(), "SIGTERM is an orderly end");
}
