//! `blocking`, built as its user builds it: by itself, so that no other package asks for tokio.

use std::process::Command;

use crate::process::{Sandbox, complained, finish, said};

#[test]
fn counts_in_two_processes_without_a_runtime() {
    let blocking = build();
    let sandbox = Sandbox::new();
    let daemon = sandbox.start(env!("CARGO_BIN_EXE_kvd"), &[]);
    assert!(daemon.line().starts_with("kvd: serving at "));
    let counted = std::thread::scope(|scope| {
        let run = || sandbox.run(&blocking, &["--threads", "3", "--times", "200"]);
        [scope.spawn(run), scope.spawn(run)].map(|thread| thread.join().unwrap())
    });
    for output in counted {
        assert!(output.status.success(), "{}", complained(&output));
        assert!(
            said(&output).starts_with("3 threads counted from "),
            "{}",
            said(&output)
        );
    }
    assert_eq!(
        said(&sandbox.run(env!("CARGO_BIN_EXE_kv"), &["get", "counter"])),
        "1200"
    );
}

#[test]
fn has_no_tokio_in_its_tree() {
    let arguments = [
        "tree",
        "--offline",
        "-p",
        "example-blocking",
        "-e",
        "normal",
        "--prefix",
        "none",
    ];
    let tree = finish(
        Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    assert!(tree.status.success(), "{}", complained(&tree));
    let tree = said(&tree);
    assert!(tree.contains("ipc-rpc v"), "{tree}");
    assert!(!tree.contains("tokio"), "{tree}");
}

/// Builds the program and returns its path.
fn build() -> String {
    let arguments = [
        "build",
        "--offline",
        "-p",
        "example-blocking",
        "--message-format=json-render-diagnostics",
    ];
    let built = finish(
        Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    assert!(built.status.success(), "{}", complained(&built));
    let messages = said(&built);
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(str::to_owned)
    });
    executable.expect("cargo names the executable")
}
