//! A client whose process forks.

use std::io::{Read, Write};

use ipc_rpc::ServiceClient;

use crate::subject::SubjectClient;

/// A client and its copy in a fork: what either gets when it calls, the copy first.
///
/// # Panics
/// If there is no server, or no fork.
#[must_use]
pub fn and_call(endpoint: &str) -> String {
    let client = SubjectClient::connect(endpoint)
        .wait()
        .expect("the server is there");
    let called = |client: &SubjectClient| match client.number(7).wait() {
        Ok(number) => format!("{number}"),
        Err(error) => format!("{:?} {:?}: {error}", error.kind(), error.outcome()),
    };
    assert_eq!(called(&client), "7");
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    // SAFETY: the child has one thread, makes no use of what the parent's other threads may have been at work on, and
    // leaves through `_exit`.
    let child = unsafe { libc::fork() };
    assert_ne!(child, -1, "a fork");
    if child == 0 {
        drop(reader);
        let ping = match client.as_client().ping().wait() {
            Ok(_) => "answered".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        let said = format!("{}; ping {ping}", called(&client));
        let _ = writer.write_all(said.as_bytes());
        // The last of its copies ends nothing either.
        drop(client);
        // SAFETY: it ends the process, whatever state that is in.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("the child writes text");
    said.push_str("; parent ");
    said.push_str(&called(&client));
    said
}
