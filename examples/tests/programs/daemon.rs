//! `daemon`.

#[cfg(target_os = "linux")]
use std::os::{fd::OwnedFd, unix::fs::DirBuilderExt, unix::net::UnixListener};
use std::process::Output;

use crate::process::{Running, Sandbox, complained, said};

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
    // The system takes a moment to end it. Who connects in that moment hears that it has just died.
    let gone = loop {
        let status = daemon("status");
        if status.status.code() == Some(3) {
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

/// What a service manager does: it opens the socket, waits for a client there, and only then starts the daemon.
#[cfg(target_os = "linux")]
#[test]
fn is_activated_by_its_first_client() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join("ipc-rpc");
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .expect("a directory can be made");
    let path = directory.join("daemon.sock");
    let socket = UnixListener::bind(&path).expect("a socket can be made");

    std::thread::scope(|scope| {
        let first = scope.spawn(|| sandbox.run(DAEMON, &["status"]));
        let mut clients = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut clients, None).expect("a socket can be waited for");
        // sd_listen_fds(3) wants the socket as descriptor 3, and the process id of the very daemon.
        let passed = OwnedFd::from(socket.try_clone().expect("a descriptor is left"));
        let mut command = sandbox.command("sh");
        command
            .args([
                "-c",
                "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=daemon exec \"$0\" run",
                DAEMON,
            ])
            .stdin(passed);
        let running = Running::start_as_is(&mut command);
        assert_eq!(
            running.line(),
            format!("daemon: serving at unix:{}", path.display())
        );
        let first = pid(&first.join().expect("the client ends"));
        assert_eq!(first, running.id());
        assert_eq!(pid(&sandbox.run(DAEMON, &["status"])), first);
        assert_eq!(
            pid(&sandbox.run(DAEMON, &["start"])),
            first,
            "there is one already"
        );
        assert_eq!(said(&sandbox.run(DAEMON, &["stop"])), "daemon: stopping\n");
        assert!(running.end().success());
    });

    // The socket is the manager's: it is there until that one goes, too.
    assert!(path.exists());
    drop(socket);
    is_not_running(&sandbox.run(DAEMON, &["status"]), "no server is listening");
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
