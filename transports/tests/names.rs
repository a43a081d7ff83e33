//! Who owns a name, and what becomes of it when its owner ends.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;

use common::{accept, header, receive, send, watchdog};
use transports::{Endpoint, Error, ErrorKind, Port, connect, listen};

/// What a test asks of another process: this very program, told by the environment.
const TASK: &str = "TRANSPORTS_TEST_TASK";
const ENDPOINT: &str = "TRANSPORTS_TEST_ENDPOINT";

/// Not a test: what the other process runs.
#[test]
fn other_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let endpoint: Endpoint = std::env::var(ENDPOINT).unwrap().parse().unwrap();
    if let Some(umask) = std::env::var("TRANSPORTS_TEST_UMASK")
        .ok()
        .map(|umask| u32::from_str_radix(&umask, 8))
    {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(
            umask.unwrap() as rustix::fs::RawMode
        ));
    }
    // From here on, and not from its start, for which that user would have to reach the program.
    #[cfg(target_os = "linux")]
    if let Some(uid) = std::env::var("TRANSPORTS_TEST_UID")
        .ok()
        .map(|uid| uid.parse().unwrap())
    {
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    }
    let say = |result: Result<(), Error>| match result {
        Ok(()) => println!("\nsaid: ok"),
        Err(error) => println!("\nsaid: {:?}: {error}", error.kind()),
    };
    match task.as_str() {
        "listen" => {
            let listener = listen(&endpoint);
            say(listener
                .as_ref()
                .map(|_| ())
                .map_err(|error| Error::new(error.kind(), error.to_string())));
            // Until told to end, or killed.
            std::io::stdin().read_line(&mut String::new()).unwrap();
            drop(listener);
            println!("\nsaid: ended");
        }
        "connect" => say(connect(&endpoint, watchdog()).map(drop)),
        "who" => say(connect(&endpoint, watchdog()).map(|port| println!("{}", port.peer))),
        other => panic!("no task {other}"),
    }
}

struct Other {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn run(task: &str, endpoint: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["other_process", "--exact", "--nocapture", "--test-threads=1"]);
        command
            .env(TASK, task)
            .env(ENDPOINT, endpoint)
            .envs(environment.iter().copied());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next thing it says.
    fn said(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).unwrap(),
                0,
                "it ended without a word"
            );
            if let Some(said) = line.trim_end().strip_prefix("said: ") {
                return said.to_owned();
            }
        }
    }

    fn end(mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.said(), "ended");
        self.child.wait().unwrap();
    }

    fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child.id()
    }
}

/// What another process says to one task with its own runtime directory.
fn ask(task: &str, endpoint: &str, environment: &[(&str, &str)]) -> String {
    let mut other = Other::run(task, endpoint, environment);
    let said = other.said();
    drop(other.child.stdin.take());
    other.output.read_to_end(&mut Vec::new()).unwrap();
    other.child.wait().unwrap();
    said
}

struct Runtime(tempfile::TempDir);

/// A directory that other users can reach, wherever `TMPDIR` is, but not enter yet.
fn reachable() -> tempfile::TempDir {
    let may_enter = |directory: &Path| fs::metadata(directory).is_ok_and(|there| there.mode() & 0o001 != 0);
    let temporary = std::env::temp_dir();
    let is_open = temporary.ancestors().all(may_enter);
    tempfile::tempdir_in(if is_open { temporary } else { "/tmp".into() }).unwrap()
}

impl Runtime {
    fn new() -> Self {
        let runtime = Self(reachable());
        fs::set_permissions(runtime.path(), Permissions::from_mode(0o700)).unwrap();
        runtime
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn environment(&self) -> [(&'static str, &str); 1] {
        [("XDG_RUNTIME_DIR", self.path().to_str().unwrap())]
    }

    fn directory(&self) -> PathBuf {
        self.path().join("ipc-rpc")
    }

    fn socket(&self) -> PathBuf {
        self.directory().join("store.sock")
    }

    fn entries(&self) -> Vec<String> {
        let mut entries: Vec<String> = fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        entries.sort();
        entries
    }
}

fn at(path: &Path) -> Endpoint {
    Endpoint::try_from(path).unwrap()
}

fn refusal(endpoint: &Endpoint) -> Error {
    listen(endpoint).err().expect("it listens")
}

#[test]
fn a_name_is_private_and_leaves_nothing_behind() {
    let runtime = Runtime::new();
    let mut server = Other::run("listen", "store", &runtime.environment());
    assert_eq!(server.said(), "ok");
    assert_eq!(fs::metadata(runtime.directory()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(runtime.socket()).unwrap().mode() & 0o7777, 0o600);
    assert!(fs::metadata(runtime.socket()).unwrap().file_type().is_socket());
    assert_eq!(runtime.entries(), ["store.lock", "store.sock"]);
    assert_eq!(ask("connect", "store", &runtime.environment()), "ok");
    assert_eq!(ask("connect", "unix:store", &runtime.environment()), "ok");
    server.end();
    assert!(runtime.entries().is_empty(), "{:?}", runtime.entries());
}

#[test]
fn without_a_runtime_directory_the_temporary_one_serves() {
    let runtime = Runtime::new();
    let temporary = [
        ("XDG_RUNTIME_DIR", ""),
        ("TMPDIR", runtime.path().to_str().unwrap()),
    ];
    let mut server = Other::run("listen", "store", &temporary);
    assert_eq!(server.said(), "ok");
    let uid = rustix::process::geteuid().as_raw();
    let directory = runtime.path().join(format!("ipc-rpc-{uid}"));
    assert!(directory.join("store.sock").exists());
    assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(ask("connect", "store", &temporary), "ok");
    server.end();
}

#[test]
fn a_missing_server_is_explained() {
    let runtime = Runtime::new();
    let expected = format!(
        "NotConnected: cannot connect to \"store\" (unix:{}): no server is listening. \
         Start it, or use .retry(..) if it is still starting",
        runtime.socket().display()
    );
    assert_eq!(ask("connect", "store", &runtime.environment()), expected);
    // The same with the directory there.
    let server = Other::run("listen", "store", &runtime.environment());
    let mut server = server;
    assert_eq!(server.said(), "ok");
    server.end();
    assert_eq!(ask("connect", "store", &runtime.environment()), expected);
}

#[test]
fn a_server_in_use_is_named() {
    let runtime = Runtime::new();
    let mut server = Other::run("listen", "store", &runtime.environment());
    assert_eq!(server.said(), "ok");
    let expected = format!(
        "InUse: cannot serve \"store\": pid {} ({}) already serves it",
        server.child.id(),
        std::env::current_exe().unwrap().display()
    );
    assert_eq!(ask("listen", "store", &runtime.environment()), expected);
    assert_eq!(ask("connect", "store", &runtime.environment()), "ok");
    server.end();
}

#[test]
fn a_stale_socket_is_explained_and_replaced() {
    let runtime = Runtime::new();
    for _ in 0..3 {
        let mut server = Other::run("listen", "store", &runtime.environment());
        assert_eq!(server.said(), "ok");
        assert_eq!(ask("connect", "store", &runtime.environment()), "ok");
        let pid = server.kill();
        let expected = format!(
            "NotConnected: cannot connect to \"store\" (unix:{}): the server that owned this socket (pid {pid}) is gone; \
             the next serve(\"store\") will replace it",
            runtime.socket().display()
        );
        assert_eq!(ask("connect", "store", &runtime.environment()), expected);
    }
    let mut server = Other::run("listen", "store", &runtime.environment());
    assert_eq!(server.said(), "ok");
    server.end();
    assert!(runtime.entries().is_empty());
}

/// Leaves a socket at which nobody listens, not even for as long as a child of another test has yet to execute its program.
fn abandon(listener: UnixListener) {
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
}

#[test]
fn of_two_servers_that_start_at_once_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = at(&directory.path().join("store.sock"));
    one_wins(&endpoint, |round| {
        // Every third round begins with what a dead server left.
        if round % 3 == 0 {
            abandon(UnixListener::bind(directory.path().join("store.sock")).unwrap());
        }
    });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let pipe = format!("pipe:start-{}", std::process::id());
    one_wins(&pipe.parse().unwrap(), |_| {});
}

fn one_wins(endpoint: &Endpoint, prepare: impl Fn(u32)) {
    for round in 0..100 {
        prepare(round);
        let barrier = Barrier::new(2);
        let try_it = || {
            barrier.wait();
            listen(endpoint)
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(try_it);
            (try_it(), other.join().unwrap())
        });
        let (winner, loser) = match (one, other) {
            (Ok(winner), Err(loser)) | (Err(loser), Ok(winner)) => (winner, loser),
            (Ok(_), Ok(_)) => panic!("round {round}: both won"),
            (Err(one), Err(other)) => panic!("round {round}: both lost: {one}; {other}"),
        };
        assert_eq!(loser.kind(), ErrorKind::InUse);
        drop(connect(endpoint, watchdog()).unwrap());
        drop(winner);
        let found = connect(endpoint, watchdog()).unwrap_err();
        assert_eq!(found.kind(), ErrorKind::NotConnected, "{found}");
        let text = found.to_string();
        assert!(text.contains("no server is listening"), "nothing is left: {text}");
    }
}

#[test]
fn servers_that_come_and_go_never_share_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = at(&directory.path().join("store.sock"));
    let serving = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    match listen(&endpoint) {
                        Ok(listener) => {
                            let others = serving.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert_eq!(others, 0, "two servers at once");
                            serving.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(listener);
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::InUse, "{error}"),
                    }
                }
            });
        }
    });
    drop(listen(&endpoint).unwrap());
}

#[test]
fn a_live_server_that_takes_no_part_in_claims_keeps_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sock");
    let foreign = UnixListener::bind(&path).unwrap();
    let refused = refusal(&at(&path));
    assert_eq!(refused.kind(), ErrorKind::InUse);
    let expected = format!(
        "cannot serve \"unix:{}\": another program already listens there",
        path.display()
    );
    assert_eq!(refused.to_string(), expected);
    drop(connect(&at(&path), watchdog()).unwrap());
    drop(foreign);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("precious");
    fs::write(&target, "precious").unwrap();
    let path = directory.path().join("store.sock");
    let cases: [(&str, &dyn Fn()); 5] = [
        ("a symbolic link", &|| symlink(&target, &path).unwrap()),
        ("a symbolic link", &|| symlink("dangling", &path).unwrap()),
        ("a symbolic link", &|| symlink(directory.path(), &path).unwrap()),
        ("a directory", &|| fs::create_dir(&path).unwrap()),
        ("a file", &|| fs::write(&path, "mine").unwrap()),
    ];
    for (kind, make) in cases {
        make();
        let before = path.symlink_metadata().unwrap();
        let refused = refusal(&at(&path));
        assert_eq!(refused.kind(), ErrorKind::InvalidEndpoint);
        let expected = format!(
            "cannot serve \"unix:{path}\": {path} is {kind}, not a socket, and is left alone. Remove it, or use another name",
            path = path.display()
        );
        assert_eq!(refused.to_string(), expected);
        let after = path.symlink_metadata().unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert!(!directory.path().join("dangling").exists());
        if before.is_dir() {
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        }
        .unwrap();
    }
}

#[test]
fn a_lock_that_is_none_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("precious");
    fs::write(&target, "precious").unwrap();
    let path = directory.path().join("store.sock");
    let lock = directory.path().join("store.sock.lock");
    symlink(&target, &lock).unwrap();
    assert_eq!(refusal(&at(&path)).kind(), ErrorKind::InvalidEndpoint);
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    fs::remove_file(&lock).unwrap();
    #[cfg(target_os = "linux")]
    {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &lock,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        // It has no writer, and must not be waited for.
        assert_eq!(refusal(&at(&path)).kind(), ErrorKind::Denied);
        fs::remove_file(&lock).unwrap();
    }
    fs::create_dir(&lock).unwrap();
    assert_eq!(refusal(&at(&path)).kind(), ErrorKind::InvalidEndpoint);
    fs::remove_dir(&lock).unwrap();
    fs::write(&lock, "precious").unwrap();
    let refused = refusal(&at(&path));
    assert_eq!(refused.kind(), ErrorKind::InvalidEndpoint);
    assert!(
        refused.to_string().contains("a file with other content"),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(&lock).unwrap(), "precious");
    // What a server leaves that died at the wrong moment is no obstacle.
    for left in ["", "47", "4711\n", "4711\n/usr/bin/stored"] {
        fs::write(&lock, left).unwrap();
        drop(listen(&at(&path)).unwrap());
    }
}

#[test]
fn the_umask_changes_nothing() {
    for umask in ["0", "777"] {
        let runtime = Runtime::new();
        let environment = [runtime.environment()[0], ("TRANSPORTS_TEST_UMASK", umask)];
        for _ in 0..2 {
            let mut server = Other::run("listen", "store", &environment);
            assert_eq!(server.said(), "ok");
            assert_eq!(fs::metadata(runtime.directory()).unwrap().mode() & 0o7777, 0o700);
            let mut piped = Other::run("listen", "pipe:store", &environment);
            assert_eq!(piped.said(), "ok");
            assert_eq!(runtime.entries().len(), 4);
            for file in runtime.entries() {
                let mode = fs::metadata(runtime.directory().join(&file)).unwrap().mode();
                assert_eq!(mode & 0o7777, 0o600, "{file} under umask {umask}");
            }
            for endpoint in ["store", "pipe:store"] {
                assert_eq!(ask("connect", endpoint, &environment), "ok");
            }
            server.end();
            piped.end();
        }
    }
}

#[test]
fn a_directory_of_others_is_refused() {
    let runtime = Runtime::new();
    fs::create_dir(runtime.directory()).unwrap();
    for mode in [0o755, 0o770, 0o707, 0o1777] {
        fs::set_permissions(runtime.directory(), Permissions::from_mode(mode)).unwrap();
        for task in ["listen", "connect"] {
            let said = ask(task, "store", &runtime.environment());
            assert!(
                said.starts_with("Denied: ") && said.contains("is open to others"),
                "{said}"
            );
        }
    }
    fs::remove_dir(runtime.directory()).unwrap();

    // A link, even to a directory of ours.
    let mine = runtime.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::set_permissions(&mine, Permissions::from_mode(0o700)).unwrap();
    symlink(&mine, runtime.directory()).unwrap();
    for task in ["listen", "connect"] {
        let said = ask(task, "store", &runtime.environment());
        assert!(
            said.starts_with("Denied: ") && said.contains("is a symbolic link, not a directory"),
            "{said}"
        );
    }
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 0);
    fs::remove_file(runtime.directory()).unwrap();

    // A way that others can change.
    fs::set_permissions(runtime.path(), Permissions::from_mode(0o777)).unwrap();
    let said = ask("listen", "store", &runtime.environment());
    assert!(
        said.starts_with("Denied: ") && said.contains("can be changed by others"),
        "{said}"
    );
    assert!(!runtime.directory().exists());
}

#[test]
fn a_path_in_a_directory_that_everybody_can_change_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = at(&directory.path().join("store.sock"));
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let refused = refusal(&endpoint);
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.to_string().contains("everybody can change"), "{refused}");
    // As the temporary directory is.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
    drop(listen(&endpoint).unwrap());

    let missing = refusal(&at(&directory.path().join("missing/store.sock")));
    assert_eq!(missing.kind(), ErrorKind::InvalidEndpoint);
    assert!(
        missing.to_string().contains("missing does not exist"),
        "{missing}"
    );
}

#[test]
fn paths_of_every_length_work() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().to_str().unwrap().len();
    for length in [105, 106, 107, 108, 109, 110, 300, 1000] {
        let mut path = directory.path().to_owned();
        let mut left = length - base - 1;
        while left > 60 {
            path.push("d".repeat(40));
            left -= 41;
        }
        fs::create_dir_all(&path).unwrap();
        path.push("s".repeat(left));
        assert_eq!(path.as_os_str().len(), length);
        if !cfg!(target_os = "linux") && length > 103 {
            assert_eq!(refusal(&at(&path)).kind(), ErrorKind::InvalidEndpoint);
            continue;
        }
        let mut listener = listen(&at(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let mut client = connect(&at(&path), watchdog()).unwrap();
        let mut server = accept(&mut *listener);
        send(&mut client, header(1), b"far away");
        assert_eq!(receive(&mut server).body, b"far away");
        assert_eq!(refusal(&at(&path)).kind(), ErrorKind::InUse);
        drop(listener);
        assert!(!path.exists());
        assert_eq!(
            connect(&at(&path), watchdog()).unwrap_err().kind(),
            ErrorKind::NotConnected
        );
    }
    let both_long = directory.path().join("d".repeat(100)).join("s".repeat(200));
    fs::create_dir(both_long.parent().unwrap()).unwrap();
    assert_eq!(refusal(&at(&both_long)).kind(), ErrorKind::InvalidEndpoint);
}

#[test]
#[cfg(target_os = "linux")]
fn a_path_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(std::ffi::OsStr::from_bytes(b"not\xfftext"));
    let listener = listen(&at(&path)).unwrap();
    drop(connect(&at(&path), watchdog()).unwrap());
    drop(listener);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_relative_path_stays_where_it_was() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let relative = Path::new(directory.path().file_name().unwrap()).join("store.sock");
    let listener = listen(&at(&relative)).unwrap();
    drop(connect(&at(&relative), watchdog()).unwrap());
    drop(listener);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn only_our_own_socket_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sock");
    let listener = listen(&at(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    let foreign = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists());
    drop(foreign);
}

#[test]
#[cfg(target_os = "linux")]
fn abstract_names_are_taken_once_and_checked() {
    let endpoint: Endpoint = format!("unix:@transports-test-{}", std::process::id())
        .parse()
        .unwrap();
    let listener = listen(&endpoint).unwrap();
    let refused = refusal(&endpoint);
    assert_eq!(refused.kind(), ErrorKind::InUse);
    assert!(
        refused.to_string().contains("which any user can take"),
        "{refused}"
    );
    drop(connect(&endpoint, watchdog()).unwrap());
    drop(listener);
    assert_eq!(
        connect(&endpoint, watchdog()).unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

/// What a child of a fork has until it executes its program, and for good if it never does.
#[cfg(target_os = "linux")]
fn copies_of_listening_sockets() -> Vec<std::os::fd::OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags};
    let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    numbers
        .filter_map(|number| rustix::process::pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok())
        .filter(|copy| rustix::net::sockopt::socket_acceptconn(copy) == Ok(true))
        .collect()
}

#[test]
#[cfg(target_os = "linux")]
fn a_name_is_free_of_clients_though_a_fork_has_the_socket() {
    let abstract_name = format!("unix:@transports-test-fork-{}", std::process::id());
    for name in [&abstract_name, "tcp:127.0.0.1:0"] {
        let listener = listen(&name.parse().unwrap()).unwrap();
        let endpoint = listener.endpoint().clone();
        let copies = copies_of_listening_sockets();
        assert!(!copies.is_empty());
        drop(connect(&endpoint, watchdog()).unwrap());
        drop(listener);
        assert_eq!(
            connect(&endpoint, watchdog()).unwrap_err().kind(),
            ErrorKind::NotConnected,
            "{name}"
        );
    }
}

#[test]
fn the_peer_is_known_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = at(&directory.path().join("store.sock"));
    let mut listener = listen(&endpoint).unwrap();
    let client = connect(&endpoint, watchdog()).unwrap();
    let server = accept(&mut *listener);
    for Port { peer, .. } in [&client, &server] {
        assert!(peer.same_user() && !peer.is_anonymous());
        assert_eq!(peer.uid(), Some(rustix::process::geteuid().as_raw()));
        assert_eq!(peer.gid(), Some(rustix::process::getegid().as_raw()));
        if cfg!(target_os = "linux") {
            assert_eq!(peer.pid(), Some(std::process::id()));
            assert_eq!(peer.executable(), std::env::current_exe().ok());
            let program = std::env::current_exe().unwrap();
            let expected = format!(
                "pid {} ({}), uid {}",
                std::process::id(),
                program.display(),
                peer.uid().unwrap()
            );
            assert_eq!(peer.to_string(), expected);
        }
    }
    // It knows less once the connection is over, and keeps nothing open.
    let peer = client.peer.clone();
    drop(client);
    assert_eq!(peer.executable(), None);
    drop(server);
}

#[test]
fn a_server_of_another_user_is_refused() {
    let directory = reachable();
    let endpoint = at(&directory.path().join("store.sock"));
    let _listener = listen(&endpoint).unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert!(connect(&endpoint.clone().expect_server(own), watchdog()).is_ok());
    if own == 0 && cfg!(target_os = "linux") {
        // Root's servers are always accepted, so another user has to serve for the contrary; root can become one.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
        let path = format!("unix:{}", directory.path().join("theirs.sock").display());
        let mut server = Other::run("listen", &path, &[("TRANSPORTS_TEST_UID", "65534")]);
        assert_eq!(server.said(), "ok");
        let theirs: Endpoint = path.parse().unwrap();
        assert!(connect(&theirs, watchdog()).is_ok());
        assert!(connect(&theirs.clone().expect_server(65534), watchdog()).is_ok());
        let refused = connect(&theirs.expect_server(0), watchdog()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
        assert!(
            refused
                .to_string()
                .contains("uid 65534 serves it, but uid 0 is expected"),
            "{refused}"
        );
        server.end();
    }
}

#[test]
fn another_user_is_kept_out_by_the_directory() {
    // Only root can become another user here.
    if rustix::process::geteuid().as_raw() != 0 || !cfg!(target_os = "linux") {
        return;
    }
    let runtime = Runtime::new();
    fs::set_permissions(runtime.path(), Permissions::from_mode(0o755)).unwrap();
    let mut server = Other::run("listen", "store", &runtime.environment());
    assert_eq!(server.said(), "ok");
    let stranger = [runtime.environment()[0], ("TRANSPORTS_TEST_UID", "65534")];
    let expected = format!(
        "Denied: cannot reach \"store\": {} belongs to uid 0 and is closed to others",
        runtime.directory().display()
    );
    assert_eq!(ask("connect", "store", &stranger), expected);
    let by_path = format!("unix:{}", runtime.socket().display());
    let said = ask("connect", &by_path, &stranger);
    assert!(
        said.starts_with("Denied: ") && said.contains("belongs to uid 0 and is closed to others"),
        "{said}"
    );
    server.end();
}
