//! Who owns a name, and what becomes of it when its owner ends.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../common/mod.rs"]
mod common;
mod other;
mod places;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::Barrier;

use common::{accept, watchdog};
use other::*;
use transports::{Endpoint, ErrorKind, Port, connect, listen};

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
