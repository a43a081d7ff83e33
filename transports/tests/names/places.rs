//! Where a socket may be, and what is left alone there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::common::{accept, header, receive, send, watchdog};
use crate::other::*;
use transports::{ErrorKind, connect, listen};

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
