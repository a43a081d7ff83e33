//! `daemon`.

use std::process::Output;

use crate::process::{Sandbox, complained, said};

const DAEMON: &str = env!("CARGO_BIN_EXE_daemon");

/// The process id in "daemon: running as pid 4711 for 0 s".
fn pid(output: &Output) -> u32 {
    let said = said(output);
    let pid = said
        .strip_prefix("daemon: running as pid ")
        .and_then(|rest| rest.split_once(' '));
    pid.unwrap_or_else(|| panic!("{said}{}", complained(output)))
        .0
        .parse()
        .expect("a number")
}

fn is_not_running(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(3));
    let complaint = complained(output);
    assert!(
        complaint.starts_with("daemon: not running (cannot connect to \"daemon\" (unix:"),
        "{complaint}"
    );
    assert!(complaint.contains(why), "{complaint}");
    assert!(
        complaint.ends_with("start it with: daemon start\n"),
        "{complaint}"
    );
}

#[test]
fn is_started_once_and_stopped() {
    let sandbox = Sandbox::new();
    let daemon = |verb: &str| sandbox.run(DAEMON, &[verb]);
    for verb in ["status", "stop"] {
        is_not_running(&daemon(verb), "no server is listening");
    }
    assert_eq!(said(&daemon("list")), "");

    let running = sandbox.start(DAEMON, &["run"]);
    let line = running.line();
    assert!(line.starts_with("daemon: serving at unix:"), "{line}");
    let first = pid(&daemon("status"));
    assert_eq!(pid(&daemon("start")), first, "there is one already");
    let second = daemon("run");
    assert_eq!(second.status.code(), Some(1));
    let expected = format!("daemon: cannot serve \"daemon\": pid {first} ({DAEMON}) already serves it\n");
    assert_eq!(complained(&second), expected);
    assert_eq!(said(&daemon("list")), format!("daemon\tpid {first} ({DAEMON})\n"));

    assert_eq!(said(&daemon("stop")), "daemon: stopping\n");
    let line = running.line();
    assert!(
        line.starts_with("daemon: pid ") && line.ends_with(" tells me to stop"),
        "{line}"
    );
    assert_eq!(running.line(), "daemon: done");
    assert!(running.end().success());
    is_not_running(&daemon("status"), "no server is listening");
}

#[test]
fn starts_itself_in_the_background_and_in_the_place_of_a_dead_one() {
    let sandbox = Sandbox::new();
    let daemon = |verb: &str| sandbox.run(DAEMON, &[verb]);
    let first = pid(&daemon("start"));
    assert_eq!(pid(&daemon("status")), first);
    kill(first);
    // The system takes a moment to end it.
    let gone = loop {
        let status = daemon("status");
        if !status.status.success() {
            break status;
        }
    };
    is_not_running(
        &gone,
        &format!("the server that owned this socket (pid {first}) is gone"),
    );
    let listed = said(&daemon("list"));
    assert_eq!(
        listed,
        format!("daemon\tgone: pid {first} left its socket behind\n")
    );

    let second = pid(&daemon("start"));
    assert_ne!(second, first);
    assert_eq!(said(&daemon("stop")), "daemon: stopping\n");
}

#[test]
fn says_how_it_is_used() {
    let output = Sandbox::new().run(DAEMON, &["rest"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complained(&output).contains("usage: daemon run | start"));
}

/// Kills a daemon that is nobody's child any more.
fn kill(pid: u32) {
    let killed = std::process::Command::new("sh")
        .args(["-c", &format!("kill -KILL {pid}")])
        .status();
    assert!(killed.expect("a shell").success());
}
