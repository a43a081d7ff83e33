//! Children: what connects them, who inherits it, and how their end is told.
#![cfg(unix)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use transports::{
    Channel, Child, Endpoint, Error, ErrorKind, Header, Identity, Message, Peer, Port, Received, connect,
    listen, spawn,
};

/// Gives every byte back that comes in over the socket, or over standard input.
const ECHO: &str = r#"case $IPC_RPC_FD in stdio*) exec cat;; esac; n=${IPC_RPC_FD%%:*}; exec cat <&$n >&$n"#;

fn shell(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]);
    command
}

fn start(script: &str, channel: Channel) -> (Port, Child) {
    let port = spawn(shell(script), channel, Endpoint::DEFAULT_MESSAGE_LIMIT).expect("the child starts");
    let child = port.peer.child().expect("the child starts").clone();
    (port, child)
}

fn next(port: &mut Port) -> Result<Option<Message>, Error> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut message = Message::default();
    loop {
        match port.receiver.try_recv(&mut message)? {
            Received::Message => return Ok(Some(message)),
            Received::Closed => return Ok(None),
            Received::Empty | Received::Begun => {}
        }
        assert!(Instant::now() < deadline, "nothing comes");
        port.sender.flush()?;
        let space = port.sender.queued() > 0;
        port.receiver.park(space, Some(deadline))?;
    }
}

#[test]
fn messages_go_there_and_back() {
    for channel in [Channel::Socket, Channel::Stdio] {
        let (mut port, child) = start(ECHO, channel);
        assert_eq!(port.endpoint.to_string(), "exec:bash");
        assert_eq!(port.peer.pid(), Some(child.id()));
        assert!(port.peer.same_user());
        // The last is more than any pipe or socket holds, so that both directions have to move at once.
        for length in [0, 1, 100_000, 3 << 20] {
            let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let header = Header {
                id: 7,
                ..Header::default()
            };
            port.sender.try_send(&header, &mut body.clone()).unwrap();
            port.sender.flush().unwrap();
            let back = next(&mut port).unwrap().unwrap();
            assert_eq!(back.header.id, 7);
            assert!(back.body == body, "{channel:?} {length}");
        }
        drop(port);
        let status = child
            .wait(Some(Instant::now() + Duration::from_secs(20)))
            .unwrap();
        assert!(
            status.unwrap().success(),
            "the end of the connection ends {child}"
        );
    }
}

#[test]
fn a_child_knows_who_started_it_over_a_socket() {
    // The other end of the pair, taken as a child would.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&theirs);
    let port = connect(&format!("fd:{number}").parse().unwrap(), None).unwrap();
    assert!(
        matches!(port.peer.identity(), Identity::User { pid: Some(pid), .. } if *pid == std::process::id())
    );
    drop(ours);
}

/// How many descriptors a process holds.
fn held(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the child runs")
        .count()
}

/// A message to a child that echoes, and back: it has become the program that it is to be.
fn greet(port: &mut Port) {
    port.sender
        .try_send(&Header::default(), &mut b"hello".to_vec())
        .expect("the child runs");
    port.sender.flush().expect("the child runs");
    assert_eq!(
        next(port).expect("the child runs").expect("the child runs").body,
        b"hello"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_else_is_inherited() {
    // What the test runner leaves open, and three.
    let mut plain = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(plain.stdin.as_mut().unwrap(), b"x").unwrap();
    std::io::Read::read_exact(plain.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let base = held(plain.id());
    for (channel, more) in [(Channel::Socket, 1), (Channel::Stdio, 0)] {
        // Many at once: each end would be in reach of all other children.
        let children: Vec<_> = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| start(ECHO, channel))).collect();
            starting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (mut port, child) in children {
            greet(&mut port);
            assert_eq!(held(child.id()), base + more, "{channel:?}");
            drop(port);
            child.wait(None).unwrap();
        }
    }
    drop(plain.stdin.take());
    plain.wait().unwrap();
}

#[test]
fn the_end_of_a_child_is_told() {
    for channel in [Channel::Socket, Channel::Stdio] {
        let (mut port, child) = start("exit 3", channel);
        assert!(next(&mut port).unwrap().is_none());
        let fate = child.fate(Duration::from_secs(20)).unwrap();
        assert_eq!(
            fate,
            format!("the bash process (pid {}) ended with exit status 3", child.id())
        );

        let (mut port, child) = start("kill -SEGV $$", channel);
        assert!(next(&mut port).unwrap().is_none());
        let fate = child.fate(Duration::from_secs(20)).unwrap();
        assert_eq!(
            fate,
            format!("the bash process (pid {}) was killed by SIGSEGV", child.id())
        );
    }
}

/// Its own child holds the connection's end open: only the process itself tells.
#[test]
fn the_end_of_a_child_is_told_while_others_hold_its_descriptor() {
    for channel in [Channel::Socket, Channel::Stdio] {
        let script = match channel {
            Channel::Stdio => "sleep 30 2>/dev/null & kill -9 $$",
            _ => "sleep 30 >/dev/null 2>&1 & kill -9 $$",
        };
        let (mut port, child) = start(script, channel);
        let started = Instant::now();
        assert!(next(&mut port).unwrap().is_none());
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(child.wait(None).unwrap().is_some());
    }
}

#[test]
fn waits_no_longer_than_told() {
    let (port, child) = start(ECHO, Channel::Socket);
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(
        child
            .wait(Some(Instant::now() + Duration::from_millis(20)))
            .unwrap(),
        None
    );
    assert_eq!(child.fate(Duration::ZERO), None);
    child.kill().unwrap();
    assert!(child.wait(None).unwrap().is_some());
    // Once it has been waited for, nothing happens.
    child.kill().unwrap();
    drop(port);
}

#[test]
fn a_program_that_does_not_exist() {
    let failed = |program: &str| spawn(Command::new(program), Channel::Socket, 1 << 20).unwrap_err();
    let error = failed("no-such-program");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(
        error.to_string(),
        "cannot start \"no-such-program\": there is no such program in the directories of PATH, or its interpreter \
         is missing: No such file or directory (os error 2)"
    );
    let error = failed("/no/such/program");
    assert!(
        error
            .to_string()
            .contains("there is no such program at this path"),
        "{error}"
    );
    let error = failed("/dev/null");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(
        error.to_string(),
        "cannot start \"/dev/null\": Permission denied (os error 13)"
    );
}

#[test]
fn what_is_printed_is_reported() {
    let (mut port, _child) = start(
        "echo Hello, this is a program that prints on its standard output, a lot",
        Channel::Stdio,
    );
    let error = next(&mut port).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(
        error.to_string(),
        "the other side's output begins with \"Hello, this is a program that prints on its standard output,\" ..., \
         which is no message"
    );
    let (mut port, _child) = start("echo Hi", Channel::Stdio);
    let error = next(&mut port).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the other side's output begins with \"Hi\\n\", which is no message"
    );
}

#[test]
fn an_endpoint_names_a_program_and_its_arguments() {
    let endpoint: Endpoint = "exec:  cat   -u  - ".parse().unwrap();
    assert_eq!(endpoint.to_string(), "exec:cat   -u  -");
    let command = transports::exec_command(&endpoint).unwrap();
    assert_eq!(format!("{command:?}"), r#""cat" "-u" "-""#);
    assert!(transports::exec_command(&"mem:x".parse().unwrap()).is_none());
    let port = connect(&endpoint, None).unwrap();
    assert_eq!(port.peer.child().unwrap().program(), "cat");
    let error = listen(&endpoint).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidEndpoint);
    assert!("exec: ".parse::<Endpoint>().is_err());
}

#[test]
fn a_descriptor_is_checked_before_it_is_used() {
    use std::os::fd::AsRawFd;
    let refused = |number: i32| {
        let error = connect(&format!("fd:{number}").parse().unwrap(), None).unwrap_err();
        (error.kind(), error.to_string())
    };
    let begin =
        |number: i32| format!("cannot use \"fd:{number}\", which this process should have been started with");
    let (kind, text) = refused(9999);
    assert_eq!(kind, ErrorKind::NotConnected);
    assert_eq!(text, begin(9999) + ": Bad file descriptor (os error 9)");
    let file = fs::File::open("/dev/null").unwrap();
    let (kind, text) = refused(file.as_raw_fd());
    assert_eq!(
        (kind, text),
        (
            ErrorKind::InvalidEndpoint,
            begin(file.as_raw_fd()) + ": it is no socket"
        )
    );
    let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let (_, text) = refused(datagrams.as_raw_fd());
    assert_eq!(text, begin(datagrams.as_raw_fd()) + ": it is no stream socket");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, text) = refused(listener.as_raw_fd());
    assert!(
        text.ends_with("that socket listens, it is for a server"),
        "{text}"
    );
    let (alone, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = listen(&format!("fd:{}", alone.as_raw_fd()).parse().unwrap())
        .err()
        .unwrap();
    assert!(
        error.to_string().ends_with("that is a connection already"),
        "{error}"
    );
    for wrong in ["fd:", "fd:-1", "fd:+1", "fd:x", "fd:99999999999"] {
        assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
    }
    for right in ["fd:3", "fd:inherited", "fd:stdio"] {
        assert_eq!(right.parse::<Endpoint>().unwrap().to_string(), right);
    }
}

#[test]
fn listens_on_an_inherited_socket() {
    use std::os::fd::AsRawFd;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let passed = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut listener = listen(&format!("fd:{}", passed.as_raw_fd()).parse().unwrap()).unwrap();
    assert_eq!(
        listener.endpoint().to_string(),
        format!("unix:{}", path.display())
    );
    let client = connect(listener.endpoint(), None).unwrap();
    listener.park(None).unwrap();
    let transports::Accepted::Port(server) = listener.try_accept().unwrap() else {
        panic!("the client waits")
    };
    assert!(Peer::same_user(&server.peer));
    drop((client, server));

    let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = listen(&format!("fd:{}", passed.as_raw_fd()).parse().unwrap()).unwrap();
    assert_eq!(
        listener.endpoint().to_string(),
        format!("tcp:{}", passed.local_addr().unwrap())
    );
    let open = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let endpoint: Endpoint = format!("fd:{}", open.as_raw_fd()).parse().unwrap();
    let error = listen(&endpoint).err().unwrap();
    assert!(
        error.to_string().contains("other machines may reach it"),
        "{error}"
    );
    assert!(listen(&endpoint.allow_remote()).is_ok());
}

#[test]
fn a_process_without_a_parents_connection_says_so() {
    let error = connect(&Endpoint::inherited(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(
        error.to_string(),
        "\"fd:inherited\" is not there: IPC_RPC_FD is not set. This program serves the one who starts it with \
         spawn(..) or exec:"
    );
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn an_end_can_be_awaited() {
    let (_port, child) = start("exit 4", Channel::Socket);
    let status = transports::reactor::exited(&child).await.unwrap();
    assert_eq!(status.code(), Some(4));
    assert_eq!(transports::reactor::exited(&child).await.unwrap(), status);
    let mut command = shell("echo said >&2");
    command.stderr(Stdio::piped());
    let port = spawn(command, Channel::Stdio, 1 << 20).unwrap();
    let child = port.peer.child().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.take_stderr().unwrap(), &mut text).unwrap();
    assert_eq!(text, "said\n");
    assert!(transports::reactor::exited(child).await.unwrap().success());
}
