//! Children: what a client says of one that does not serve or that dies, what a child holds, and how it ends.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_rpc::{Child, Connect, Error, ErrorKind, Outcome, ServiceClient};
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};
use tests::watchdog;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// How long news of a death may take. What is aimed at is 50 ms; this is for busy machines, and less than the 5 s after which a
/// handshake is given up.
const SOON: Duration = Duration::from_secs(4);

/// Descriptors are counted, so the tests of this file run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn each(test: impl Fn(Mode, bool)) {
    let _alone = alone();
    for mode in [Mode::Async, Mode::Blocking] {
        for stdio in [false, true] {
            test(mode, stdio);
        }
    }
}

fn plan() -> String {
    serde_json::to_string(&Plan::at("fd:inherited")).expect("a plan is JSON")
}

fn subject() -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["child", &plan()]);
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn spawn(command: Command, stdio: bool) -> Connect<SubjectClient> {
    let connect = SubjectClient::spawn(command);
    if stdio { connect.stdio() } else { connect }
}

fn child(client: &SubjectClient) -> Child {
    client.as_client().child().expect("the server is a child")
}

/// The error of a connection that is not made, with the process id in its text replaced.
fn failure(mode: Mode, connect: Connect<SubjectClient>) -> (ErrorKind, String) {
    let error = mode.run(mode.end(connect)).expect_err("nobody serves");
    assert_eq!(error.outcome(), Outcome::NotSent);
    let text = error.to_string();
    let text = match text.split_once("(pid ") {
        Some((before, after)) => {
            let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{before}(pid N{after}")
        }
        None => text,
    };
    (error.kind(), text)
}

/// Whether the process is gone, or nothing but a status that nobody collects.
fn is_gone(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("there is a /proc").count()
}

#[test]
fn one_that_ends_before_it_answers() {
    each(|mode, stdio| {
        for (script, fate) in [
            ("exit 3", "ended with exit status 3"),
            ("exit 0", "ended with exit status 0"),
            ("kill -SEGV $$", "was killed by SIGSEGV"),
        ] {
            let began = Instant::now();
            let failure = failure(mode, spawn(shell(script), stdio));
            let took = began.elapsed();
            println!("{mode:?}, stdio {stdio}: {script:?} is told of after {took:?}");
            assert!(took < SOON, "{took:?}");
            let text =
                format!("cannot connect to \"exec:sh\": the sh process (pid N) {fate} before it answered");
            assert_eq!(failure, (ErrorKind::PeerDied, text));
        }
    });
}

#[test]
fn one_whose_program_does_not_exist() {
    each(|mode, stdio| {
        let connect = spawn(Command::new("no-such-program"), stdio).retry(Duration::from_secs(60));
        let text = "cannot start \"no-such-program\": there is no such program in the directories of PATH, or its \
                    interpreter is missing: No such file or directory (os error 2)";
        assert_eq!(failure(mode, connect), (ErrorKind::NotConnected, text.to_owned()));
    });
}

#[test]
fn one_that_never_answers() {
    each(|mode, stdio| {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let connect = spawn(command, stdio)
            .timeout(Duration::from_millis(100))
            .grace(Duration::from_millis(10));
        let began = Instant::now();
        let error = mode.run(mode.end(connect)).unwrap_err();
        assert!(began.elapsed() < Duration::from_millis(100) + SOON);
        assert_eq!(error.kind(), ErrorKind::Deadline);
        let text = error.to_string();
        let pid = text
            .split_once("(pid ")
            .and_then(|(_, rest)| rest.split_once(')'))
            .unwrap()
            .0;
        let begin = format!(
            "cannot connect to \"exec:sleep\": the sleep process (pid {pid}) has not answered: the handshake took \
             longer than "
        );
        assert!(text.starts_with(&begin), "{text}");
        assert!(
            text.ends_with("; it should call ipc_rpc::serve_inherited"),
            "{text}"
        );
        let pid = pid.parse().unwrap();
        until("it is killed", || is_gone(pid));
    });
}

#[test]
fn one_that_prints_where_messages_belong() {
    let _alone = alone();
    let serve = format!("echo starting up; exec {PROGRAM} child '{}'", plan());
    for mode in [Mode::Async, Mode::Blocking] {
        for (script, shown) in [
            ("echo Hello", "Hello\\n"),
            (
                "echo A rather long line of text that no message begins with",
                "A rather long line of text that no message begins with\\n",
            ),
            // Less than a header, and no text; a length that is none, and more than is shown.
            ("printf '\\001\\033\\377'", "\\u{1}\\u{1b}\u{fffd}"),
            (
                "printf '\\377\\377\\377\\377%0100d' 0",
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}00000",
            ),
            (serve.as_str(), "starting up\\n"),
        ] {
            let (kind, text) = failure(mode, spawn(shell(script), true));
            assert_eq!(kind, ErrorKind::Protocol, "{text}");
            let begin = format!(
                "cannot connect to \"exec:sh\": the sh process (pid N) is no ipc-rpc server: the other side's output \
                 begins with \"{shown}"
            );
            assert!(text.starts_with(&begin), "{text}");
            let end = "which is no message; a child that serves over its standard output prints to its standard \
                       error only";
            assert!(text.ends_with(end), "{text}");
        }
        // Over a socket its standard output is its own.
        let mut command = shell(&serve);
        command.stdout(Stdio::null());
        let client = mode.run(mode.end(spawn(command, false))).unwrap();
        drop(client);
    }
}

#[test]
fn one_that_is_killed() {
    each(|mode, stdio| {
        for (signal, name) in [("KILL", "SIGKILL"), ("ABRT", "SIGABRT"), ("TERM", "SIGTERM")] {
            mode.run(async {
                let client = mode.end(spawn(subject(), stdio)).await.unwrap();
                let child = child(&client);
                assert_eq!(child.program(), "subject");
                assert_eq!(child.try_wait().unwrap(), None);
                let calls: Vec<_> = (0..4)
                    .map(|token| {
                        let client = client.clone();
                        mode.start(async move { mode.end(client.hold(token)).await })
                    })
                    .collect();
                mode.end(client.until_held(4)).await.unwrap();
                let status = Command::new("kill")
                    .args(["-s", signal, &child.pid().to_string()])
                    .status();
                assert!(status.unwrap().success());
                let began = Instant::now();
                let fate = format!("the subject process (pid {}) was killed by {name}", child.pid());
                for call in calls {
                    let error = call.join().await.unwrap_err();
                    assert_eq!(
                        error.to_string(),
                        format!("Subject.hold: {fate} while handling this call")
                    );
                    assert_eq!(
                        (error.kind(), error.outcome()),
                        (ErrorKind::PeerDied, Outcome::Unknown)
                    );
                }
                assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
                let error = mode.end(client.number(1)).await.unwrap_err();
                assert_eq!(
                    (error.kind(), error.outcome()),
                    (ErrorKind::PeerDied, Outcome::NotSent)
                );
                assert!(error.to_string().contains(&fate), "{error}");
                assert!(child.try_wait().unwrap().unwrap().signal().is_some());
            });
        }
    });
}

#[test]
fn one_whose_client_is_dropped() {
    each(|mode, stdio| {
        mode.run(async {
            let client = mode.end(spawn(subject(), stdio)).await.unwrap();
            let child = child(&client);
            let other = client.clone();
            assert_eq!(mode.end(client.number(1)).await.unwrap(), 1);
            drop(client);
            assert_eq!(mode.end(other.number(2)).await.unwrap(), 2, "a clone keeps it");
            drop(other);
            let status = match mode {
                Mode::Async => child.exit().await,
                Mode::Blocking => child.exit().wait(),
            };
            assert!(status.unwrap().success(), "serve_inherited returned: {child:?}");
        });
    });
}

#[test]
fn one_that_does_not_end_with_its_connection() {
    each(|mode, stdio| {
        mode.run(async {
            let script = format!("{PROGRAM} child '{}'; exec sleep 1000", plan());
            let connect = spawn(shell(&script), stdio).grace(Duration::from_millis(50));
            let client = mode.end(connect).await.unwrap();
            let child = child(&client);
            assert_eq!(mode.end(client.number(1)).await.unwrap(), 1);
            client.as_client().close();
            let status = match mode {
                Mode::Async => child.exit().await,
                Mode::Blocking => child.exit().wait(),
            };
            assert_eq!(status.unwrap().signal(), Some(9));
            let error = mode.end(client.number(1)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        });
    });
}

#[test]
fn one_that_prints_while_it_serves() {
    let _alone = alone();
    // Over standard output, what a child prints later goes to its standard error.
    let mut command = subject();
    command.stderr(Stdio::piped());
    let client = spawn(command, true).wait().unwrap();
    let mut stderr = child(&client).take_stderr().unwrap();
    assert!(client.number(1).wait().is_ok());
    let links = |number: u32| fs::read_link(format!("/proc/{}/fd/{number}", child(&client).pid())).unwrap();
    assert_eq!(links(0).to_str(), Some("/dev/null"));
    assert_eq!(links(1), links(2));
    drop(client);
    std::io::Read::read_to_end(&mut stderr, &mut Vec::new()).unwrap();
}

#[test]
fn one_whose_parent_is_killed() {
    let _alone = alone();
    let mut parent = Helper::start(PROGRAM, "parent", &plan(), |_| {});
    let pid: u32 = parent.line().parse().expect("the parent tells its child");
    assert!(!is_gone(pid));
    parent.kill();
    until("the child ends with its parent", || is_gone(pid));
}

#[test]
fn a_grandchild_holds_nothing() {
    each(|mode, stdio| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let mut command = Command::new(PROGRAM);
        command.arg("family").arg(&file);
        // When it answers it has its own child.
        let _client = mode.run(mode.end(spawn(command, stdio))).unwrap();
        let pid: u32 = fs::read_to_string(&file).unwrap().parse().unwrap();
        let targets: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
            .collect();
        let own: Vec<_> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .collect();
        for target in &targets {
            // What this process was started with is not of our making.
            let name = target.display().to_string();
            let ours = name.starts_with("socket:") || (name.starts_with("pipe:") && !own.contains(target));
            assert!(!ours, "{name} is inherited: {targets:?}");
        }
        assert!(
            Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
    });
}

#[test]
fn one_that_an_endpoint_names() {
    let _alone = alone();
    let endpoint = format!("exec:{PROGRAM} child {}", plan());
    let client = SubjectClient::connect(endpoint.as_str()).wait().unwrap();
    assert_eq!(client.number(5).wait().unwrap(), 5);
    assert_eq!(client.as_client().endpoint().to_string(), endpoint);
    let client = SubjectClient::connect(endpoint.as_str()).stdio().wait().unwrap();
    assert_eq!(client.number(6).wait().unwrap(), 6);
    let error = SubjectClient::connect("mem:nobody").stdio().wait().unwrap_err();
    assert_eq!(
        error.to_string(),
        "Connect::stdio is for children: \"mem:nobody\" starts none"
    );
}

#[test]
fn a_process_that_is_nobodys_child() {
    let _alone = alone();
    let output = subject().env_remove("IPC_RPC_FD").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("\"fd:inherited\" is not there: IPC_RPC_FD is not set"),
        "{text}"
    );
    // A grandchild inherits the variable, and not the socket.
    let output = subject().env("IPC_RPC_FD", "2:1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("which this process should have been started with"),
        "{text}"
    );
    let output = subject().env("IPC_RPC_FD", "x").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("is not as spawn(..) sets it"), "{text}");
}

#[test]
fn a_server_that_is_activated() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=store exec {PROGRAM} activated '{}'",
        serde_json::to_string(&Plan::at("")).unwrap()
    );
    let mut server = shell(&script)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .spawn()
        .unwrap();
    let endpoint = format!("unix:{}", path.display());
    for number in 0..3 {
        let client = SubjectClient::connect(endpoint.as_str()).wait().unwrap();
        assert_eq!(client.number(number).wait().unwrap(), number);
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn killed_a_hundred_times_under_load() {
    watchdog::guard_for(
        Duration::from_secs(240),
        "killed_a_hundred_times_under_load",
        || {
            let _alone = alone();
            let base = descriptors();
            let mut times = Vec::new();
            for round in 0..100 {
                let client = spawn(subject(), round % 2 == 1).wait().unwrap();
                let child = child(&client);
                let callers: Vec<_> = (0..4)
                    .map(|caller| {
                        let client = client.clone();
                        std::thread::spawn(move || load(&client, caller))
                    })
                    .collect();
                client.until_held(2).wait().unwrap();
                child.kill().unwrap();
                let killed = Instant::now();
                for caller in callers {
                    let (error, ended) = caller.join().unwrap();
                    assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
                    assert!(
                        matches!(error.outcome(), Outcome::Unknown | Outcome::NotSent),
                        "{error}"
                    );
                    assert!(
                        error.to_string().contains("was killed by SIGKILL")
                            || error.to_string().contains("is gone"),
                        "{error}"
                    );
                    times.push(ended.saturating_duration_since(killed));
                }
                assert!(child.exit().wait().unwrap().signal() == Some(9));
            }
            times.sort_unstable();
            let at = |percent: usize| times[(times.len() - 1) * percent / 100];
            println!(
                "calls ended after {:?} (half), {:?} (99 of 100), {:?} (all)",
                at(50),
                at(99),
                at(100)
            );
            assert!(at(100) < SOON, "{:?}", at(100));
            until("descriptors are back", || descriptors() <= base);
        },
    );
}

/// Calls until that fails; every second caller waits in a handler instead.
fn load(client: &SubjectClient, caller: u64) -> (Error, Instant) {
    let error = loop {
        let called = match caller % 2 {
            0 => client.hold(caller).wait(),
            _ => client.number(caller).wait(),
        };
        if let Err(error) = called {
            break error;
        }
    };
    (error, Instant::now())
}
