//! A client whose process forks.

use std::io::{Read, Write};

use ipc_rpc::{Error, ServiceClient};
use tokio::runtime::{Builder, Runtime};

use crate::subject::SubjectClient;

/// A client, and its copy in a fork: what either gets when it calls, the copy first. The argument says how both end their
/// calls, and where the server is: `await NAME` or `wait NAME`.
///
/// # Panics
/// If there is no server, or no fork.
#[must_use]
pub fn and_call(argument: &str) -> String {
    let (mode, endpoint) = argument.split_once(' ').expect("a mode and an endpoint");
    let runtime = (mode == "await").then(runtime);
    let connect = SubjectClient::connect(endpoint);
    let connected = match &runtime {
        Some(runtime) => runtime.block_on(connect),
        None => connect.wait(),
    };
    let client = connected.expect("the server is there");
    assert_eq!(called(&client, runtime.as_ref()), "7");
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    // SAFETY: the child has one thread, makes no use of what the parent's other threads may have been at work on, and
    // leaves through `_exit`.
    let child = unsafe { libc::fork() };
    assert_ne!(child, -1, "a fork");
    if child == 0 {
        drop(reader);
        // The parent's is not to be used here, nor dropped.
        let own = runtime.as_ref().map(|_| self::runtime());
        let ping = client.as_client().ping();
        let pinged = match &own {
            Some(own) => own.block_on(ping),
            None => ping.wait(),
        };
        let ping = told(pinged.map(|_| "answered"), |error| format!("{:?}", error.kind()));
        let said = format!("{}; ping {ping}", called(&client, own.as_ref()));
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
    said.push_str(&called(&client, runtime.as_ref()));
    said
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
}

/// What a call gives.
fn called(client: &SubjectClient, runtime: Option<&Runtime>) -> String {
    let called = match runtime {
        Some(runtime) => runtime.block_on(async { client.number(7).await }),
        None => client.number(7).wait(),
    };
    told(called, |error| {
        format!("{:?} {:?}: {error}", error.kind(), error.outcome())
    })
}

fn told(result: Result<impl ToString, Error>, failed: impl FnOnce(Error) -> String) -> String {
    result.map_or_else(failed, |value| value.to_string())
}
