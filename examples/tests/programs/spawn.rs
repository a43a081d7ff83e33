//! `spawn`: a pool of children, and one of them that dies.

use crate::process::{Sandbox, complained, said};

const SPAWN: &str = env!("CARGO_BIN_EXE_spawn");

#[test]
fn counts_in_children() {
    let output = Sandbox::new().run(SPAWN, &["100000"]);
    assert_eq!(
        said(&output),
        "9592 primes below 100000, counted by 4 workers\n",
        "{}",
        complained(&output)
    );
    assert!(output.status.success());
}

#[test]
fn goes_on_without_one_that_dies() {
    let output = Sandbox::new().run(SPAWN, &["100000", "--unlucky", "5000"]);
    let complained = complained(&output);
    let (before, after) = complained.split_once("(pid ").expect("the worker is named");
    assert_eq!(before, "spawn: Worker.primes: the spawn process ");
    assert!(
        after.ends_with(") was killed by SIGABRT while handling this call; another takes its place\n"),
        "{complained}"
    );
    // 1,229 primes are in the first piece.
    assert_eq!(
        said(&output),
        "8363 primes below 100000, counted by 4 workers\nwithout 1 piece(s) of 10000 numbers\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_worker_is_nothing_by_itself() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(SPAWN, &["--worker"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        complained(&output),
        "spawn: \"fd:inherited\" is not there: IPC_RPC_FD is not set. This program serves the one who starts it with \
         spawn(..) or exec:\n"
    );
    assert_eq!(sandbox.run(SPAWN, &[]).status.code(), Some(2));
}
