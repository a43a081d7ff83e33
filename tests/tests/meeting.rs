//! How a client finds its server, and a server its clients: waiting for one that starts, lists of what is served, and
//! users who may or may not come in.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ipc_rpc::ErrorKind;
use tests::fixture::{InThread, MOMENT};
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};
use tests::visit::{Visit, open_to_all};

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// Long after anything here has happened.
const PATIENCE: u64 = 20_000;

/// A user and a group that root can become, and that no file here belongs to.
const STRANGER: u32 = 65_534;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn at(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn visitor(visit: &Visit) -> Helper {
    visitor_with(visit, |_| {})
}

fn visitor_with(visit: &Visit, adjust: impl FnOnce(&mut Command)) -> Helper {
    let mut visitor = Helper::start(PROGRAM, "visit", &serde_json::to_string(visit).unwrap(), adjust);
    assert_eq!(visitor.line(), "started");
    visitor
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How often a process has gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

/// Until a client with `retry` waits, with nothing more to do: watching, the second attempt made.
fn settled(pid: u32) -> u64 {
    let patience = Instant::now() + Duration::from_secs(10);
    let mut known = sleeps(pid);
    while Instant::now() < patience {
        std::thread::sleep(MOMENT);
        let now = sleeps(pid);
        if now == known && known > 0 {
            return now;
        }
        known = now;
    }
    panic!("process {pid} never waits");
}

#[test]
fn retry_waits_for_a_server_without_looking_again_and_again() {
    for is_async in [false, true] {
        let directory = directory();
        let endpoint = at(&directory.path().join("store.sock"));
        let mut visitor = visitor(&Visit {
            retry: PATIENCE,
            is_async,
            ..Visit::to(&endpoint)
        });
        let before = settled(visitor.pid());
        std::thread::sleep(Duration::from_millis(900));
        // One look a second is for file systems that do not tell, and the runtime's timer wakes a few times for it. Looking
        // every 50 ms would be 18 times and more.
        let woken = sleeps(visitor.pid()) - before;
        assert!(woken <= 10, "it woke up {woken} times");
        let _server = InThread::serve(&Plan::at(&endpoint)).unwrap();
        assert_eq!(visitor.line(), "ok");
    }
}

#[test]
fn retry_is_told_when_the_server_appears() {
    for is_async in [false, true] {
        let mut took: Vec<Duration> = (0..7)
            .map(|_| {
                let directory = directory();
                let endpoint = at(&directory.path().join("store.sock"));
                let mut visitor = visitor(&Visit {
                    retry: PATIENCE,
                    is_async,
                    ..Visit::to(&endpoint)
                });
                settled(visitor.pid());
                let _server = InThread::serve(&Plan::at(&endpoint)).unwrap();
                let since = Instant::now();
                assert_eq!(visitor.line(), "ok");
                since.elapsed()
            })
            .collect();
        took.sort();
        println!("connected after the server listened: {took:?}");
        // One that only looked again once a second would take half of one. Some of them a busy machine delays, but hardly
        // most.
        assert!(took[took.len() / 2] < Duration::from_millis(250), "{took:?}");
    }
}

#[test]
fn retry_waits_for_names_of_either_kind_without_looking_again_and_again() {
    for (endpoint, is_async) in [("waits", true), ("pipe:waits", false), ("pipe:waits", true)] {
        let runtime = directory();
        let sandbox = |command: &mut Command| {
            command.env("XDG_RUNTIME_DIR", runtime.path());
        };
        // The directory is there already.
        let _other = Helper::serve(PROGRAM, &Plan::at("other"), sandbox);
        let visit = Visit {
            retry: PATIENCE,
            is_async,
            ..Visit::to(endpoint)
        };
        let mut visitor = visitor_with(&visit, sandbox);
        let before = settled(visitor.pid());
        std::thread::sleep(Duration::from_millis(900));
        let woken = sleeps(visitor.pid()) - before;
        assert!(woken <= 10, "{endpoint}: it woke up {woken} times");
        let _server = Helper::serve(PROGRAM, &Plan::at(endpoint), sandbox);
        assert_eq!(visitor.line(), "ok");
    }
}

#[test]
fn retry_waits_for_the_directory_too() {
    for is_async in [false, true] {
        let directory = directory();
        let deep = directory.path().join("one/two");
        let endpoint = at(&deep.join("store.sock"));
        let mut visitor = visitor(&Visit {
            retry: PATIENCE,
            is_async,
            ..Visit::to(&endpoint)
        });
        settled(visitor.pid());
        // Something else happens there, and the way is made in two steps.
        fs::write(directory.path().join("other"), "").unwrap();
        fs::create_dir(directory.path().join("one")).unwrap();
        settled(visitor.pid());
        fs::create_dir(&deep).unwrap();
        let _server = InThread::serve(&Plan::at(&endpoint)).unwrap();
        assert_eq!(visitor.line(), "ok");
    }
}

#[test]
fn retry_finds_whatever_starts_while_it_begins() {
    // The server comes at any moment of the client's first steps: nothing is missed, or this takes a second each.
    let since = Instant::now();
    for round in 0..40 {
        let directory = directory();
        let endpoint = at(&directory.path().join("store.sock"));
        let mut visitor = visitor(&Visit {
            retry: PATIENCE,
            is_async: round % 2 == 0,
            ..Visit::to(&endpoint)
        });
        std::thread::sleep(Duration::from_micros(100 * (round % 20)));
        let _server = InThread::serve(&Plan::at(&endpoint)).unwrap();
        assert_eq!(visitor.line(), "ok");
    }
    let took = since.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn retry_takes_the_place_of_a_dead_server() {
    let directory = directory();
    let endpoint = at(&directory.path().join("store.sock"));
    let mut dead = Helper::serve(PROGRAM, &Plan::at(&endpoint), |_| {});
    dead.kill();
    dead.leave_behind();
    let mut visitor = visitor(&Visit {
        retry: PATIENCE,
        ..Visit::to(&endpoint)
    });
    settled(visitor.pid());
    let _server = InThread::serve(&Plan::at(&endpoint)).unwrap();
    assert_eq!(visitor.line(), "ok");
}

#[test]
fn retry_gives_up_in_time() {
    for is_async in [false, true] {
        let directory = directory();
        let since = Instant::now();
        let mut visitor = visitor(&Visit {
            retry: 200,
            is_async,
            ..Visit::to(at(&directory.path().join("store.sock")))
        });
        let said = visitor.line();
        assert!(said.starts_with("NotConnected: cannot connect to "), "{said}");
        assert!(since.elapsed() >= Duration::from_millis(200));
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
}

#[test]
fn a_list_tells_who_serves_and_what_is_stale() {
    let runtime = directory();
    let sandbox = |command: &mut Command| {
        command.env("XDG_RUNTIME_DIR", runtime.path());
    };
    let list = || {
        let mut lister = Helper::start(PROGRAM, "list", "", sandbox);
        let mut lines = Vec::new();
        loop {
            match lister.line() {
                line if line == "ended" => return lines,
                line if line.is_empty() || line.starts_with("failed: ") => panic!("{line:?} after {lines:?}"),
                line => lines.push(line),
            }
        }
    };
    assert!(list().is_empty(), "no directory, nothing served");

    let alive = Helper::serve(PROGRAM, &Plan::at("alive"), sandbox);
    let mut dead = Helper::serve(PROGRAM, &Plan::at("dead"), sandbox);
    let piped = Helper::serve(PROGRAM, &Plan::at("pipe:piped"), sandbox);
    let _at_a_path = InThread::serve(&Plan::at(at(&runtime.path().join("path.sock")))).unwrap();
    dead.kill();
    dead.leave_behind();
    // What is no name does not disturb.
    let names = runtime.path().join("ipc-rpc");
    fs::write(names.join("file.sock"), "").unwrap();
    fs::write(names.join("-bad-.sock"), "").unwrap();

    let expected = |scheme: &str, name: &str, pid: u32, stale: bool| {
        (
            format!(
                "{name} {scheme}:{name} pid Some({pid}) Some({:?}) since Some(",
                PathBuf::from(PROGRAM)
            ),
            format!(") stale {stale}"),
        )
    };
    let listed = list();
    assert_eq!(listed.len(), 3, "{listed:?}");
    let all = [
        expected("unix", "alive", alive.pid(), false),
        expected("unix", "dead", dead.pid(), true),
        expected("pipe", "piped", piped.pid(), false),
    ];
    for (line, (begin, end)) in listed.iter().zip(all) {
        let since = line.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(&end));
        let since: u64 = since
            .unwrap_or_else(|| panic!("{line} is not {begin}..{end}"))
            .parse()
            .unwrap();
        assert!(since < 60, "{line}");
    }
    // The server that was looked at serves on.
    for served in ["alive", "pipe:piped"] {
        let mut visitor = visitor_with(&Visit::to(served), sandbox);
        assert_eq!(visitor.line(), "ok");
    }
}

#[test]
fn a_list_of_a_directory_of_others_is_refused() {
    let runtime = directory();
    let names = runtime.path().join("ipc-rpc");
    fs::create_dir(&names).unwrap();
    fs::set_permissions(&names, Permissions::from_mode(0o755)).unwrap();
    let mut lister = Helper::start(PROGRAM, "list", "", |command| {
        command.env("XDG_RUNTIME_DIR", runtime.path());
    });
    let said = lister.line();
    assert!(said.starts_with("failed: cannot list servers: "), "{said}");
    assert!(
        said.ends_with("is open to others (mode 755); chmod 700 it"),
        "{said}"
    );
}

#[test]
fn a_name_is_never_open_to_other_users() {
    let plan = Plan {
        open: true,
        ..Plan::at(format!("test-open-{}", std::process::id()))
    };
    let refused = InThread::serve(&plan).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(
        refused.to_string().contains("the directory of names is private"),
        "{refused}"
    );
}

/// A socket that everybody can reach, and what a client of another user is told there.
struct Open {
    _directory: tempfile::TempDir,
    endpoint: String,
}

impl Open {
    fn new(mode: u32) -> Self {
        let directory = tempfile::tempdir_in(open_to_all()).unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        let endpoint = at(&directory.path().join("store.sock"));
        Self {
            _directory: directory,
            endpoint,
        }
    }

    fn plan(&self) -> Plan {
        Plan {
            open: true,
            ..Plan::at(&self.endpoint)
        }
    }

    fn stranger(&self) -> Visit {
        Visit {
            uid: Some(STRANGER),
            ..Visit::to(&self.endpoint)
        }
    }

    /// What a visitor is told.
    fn ask(&self, visit: &Visit) -> String {
        visitor(visit).line()
    }
}

#[test]
fn another_user_is_kept_out_by_the_directory() {
    if !is_root() {
        return;
    }
    let open = Open::new(0o700);
    let _server = InThread::serve(&open.plan()).unwrap();
    let said = open.ask(&open.stranger());
    let directory = Path::new(&open.endpoint["unix:".len()..]).parent().unwrap();
    let expected = format!(
        "Denied: cannot reach \"{}\": {} belongs to uid 0 and is closed to others",
        open.endpoint,
        directory.display()
    );
    assert_eq!(said, expected);
}

#[test]
fn another_user_is_kept_out_by_the_socket() {
    if !is_root() {
        return;
    }
    for mode in [0o711, 0o755] {
        let open = Open::new(mode);
        let closed = Plan::at(&open.endpoint);
        let _server = InThread::serve(&closed).unwrap();
        let said = open.ask(&open.stranger());
        assert!(said.starts_with("Denied: cannot reach "), "{said}");
        assert!(
            said.ends_with("store.sock belongs to uid 0 and is closed to others"),
            "{said}"
        );
    }
}

#[test]
fn another_user_is_refused_by_the_server_before_a_byte_is_read() {
    if !is_root() {
        return;
    }
    for mode in [0o711, 0o755] {
        let open = Open::new(mode);
        // A client that got as far as its greeting would make this one panic.
        let plan = Plan {
            panic: true,
            ..open.plan()
        };
        let _server = InThread::serve(&plan).unwrap();
        let said = open.ask(&open.stranger());
        let expected = format!(
            "Denied: \"{}\" refused us: it only accepts uid 0, we are uid {STRANGER} (Server::allow changes this)",
            open.endpoint
        );
        assert_eq!(said, expected);
        // It is told so without having said a word.
        let mute = Visit {
            mute: Some("it only accepts uid 0".to_owned()),
            ..open.stranger()
        };
        assert_eq!(open.ask(&mute), "ended true found true");
    }
}

#[test]
fn users_and_groups_are_let_in_by_what_the_system_says() {
    if !is_root() {
        return;
    }
    let open = Open::new(0o711);
    let by_user = Plan {
        allow_users: vec![STRANGER],
        ..open.plan()
    };
    let server = InThread::serve(&by_user).unwrap();
    assert_eq!(open.ask(&open.stranger()), "ok");
    let other = Visit {
        uid: Some(STRANGER - 1),
        ..open.stranger()
    };
    let said = open.ask(&other);
    assert!(
        said.starts_with("Denied: ") && said.ends_with("(Server::allow decides)"),
        "{said}"
    );
    // Nobody said that its own user may still come in.
    assert!(open.ask(&Visit::to(&open.endpoint)).starts_with("Denied: "));
    drop(server);

    let open = Open::new(0o711);
    let by_group = Plan {
        allow_group: Some(2747),
        ..open.plan()
    };
    let _server = InThread::serve(&by_group).unwrap();
    for (groups, is_let_in) in [
        (vec![], false),
        (vec![2747], true),
        (vec![1, 2, 3], false),
        ((3000..3040).chain([2747]).collect(), true),
        ((3000..3400).collect(), false),
    ] {
        let said = open.ask(&Visit {
            groups: groups.clone(),
            ..open.stranger()
        });
        assert_eq!(said == "ok", is_let_in, "{groups:?}: {said}");
    }
}

#[test]
fn a_client_expects_its_server() {
    if !is_root() {
        return;
    }
    let open = Open::new(0o711);
    let plan = Plan {
        allow: Some(true),
        ..open.plan()
    };
    let _server = InThread::serve(&plan).unwrap();
    let expecting = |uid| Visit {
        expect_server: Some(uid),
        ..open.stranger()
    };
    // Root may be anybody, so a server of root's is anybody's.
    assert_eq!(open.ask(&expecting(STRANGER)), "ok");
    assert_eq!(open.ask(&expecting(0)), "ok");

    // One of another user, found where ours should be, gets no word out of us.
    let directory = tempfile::tempdir_in(open_to_all()).unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
    let endpoint = at(&directory.path().join("store.sock"));
    let theirs = Plan {
        allow: Some(true),
        uid: Some(STRANGER),
        open: true,
        ..Plan::at(&endpoint)
    };
    let _theirs = Helper::serve(PROGRAM, &theirs, |_| {});
    let endpoint: ipc_rpc::Endpoint = endpoint.parse().unwrap();
    let refused = SubjectClient::connect(endpoint.clone().expect_server(1000))
        .wait()
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(
        refused
            .to_string()
            .contains("uid 65534 serves it, but uid 1000 is expected"),
        "{refused}"
    );
    assert!(
        SubjectClient::connect(endpoint.expect_server(STRANGER))
            .wait()
            .is_ok()
    );
}
