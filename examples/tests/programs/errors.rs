//! `errors`: what it shows is what the documentation promises.

use crate::process::{Sandbox, complained, said};

/// Situation, kind, outcome, and whether to try again.
const EXPECTED: [&str; 21] = [
    "no server: NotConnected, NotSent, retry",
    "not an endpoint: Unsupported, NotSent, do not retry",
    "refused by on_connect: Rejected, NotSent, do not retry",
    "refused by allow: Denied, NotSent, do not retry",
    "no place left: Busy, NotSent, retry",
    "name in use: Busy, NotSent, retry",
    "another protocol: Protocol, NotSent, do not retry",
    "no answer: Deadline, NotSent, retry",
    "service error: the handler returned DivisionByZero",
    "deadline: Deadline, Unknown, do not retry",
    "panic: Panicked, Unknown, do not retry",
    "too large to send: TooLarge, NotSent, do not retry",
    "cannot be encoded: Encode, NotSent, do not retry",
    "wait() in async code: Unsupported, NotSent, do not retry",
    "unknown method: UnknownMethod, NotSent, do not retry",
    "another signature: Incompatible, NotSent, do not retry",
    "another struct: Decode, Unknown, do not retry",
    "unknown service: UnknownService, NotSent, do not retry",
    "server shut down: Closed, NotSent, retry",
    "server died in the call: PeerDied, Unknown, do not retry",
    "server died before the call: PeerDied, NotSent, retry",
];

#[test]
fn shows_every_kind_of_failure() {
    let output = Sandbox::new().run(env!("CARGO_BIN_EXE_errors"), &[]);
    assert!(output.status.success(), "{}", complained(&output));
    let said = said(&output);
    // A situation stands two columns in, its sentence further in below it.
    let situations: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert_eq!(situations, EXPECTED, "{said}");
    let sentences = said.lines().filter(|line| line.starts_with("      ")).count();
    assert_eq!(
        sentences,
        EXPECTED.len() - 1,
        "each but the service's own error has a sentence:\n{said}"
    );
}
