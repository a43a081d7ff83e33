//! What people read when something is wrong: what happened, to what, and what to do. The texts are promised.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use ipc_rpc::{Endpoint, ErrorKind, Peer};
use tests::fixture::{MOMENT, Transport};
use tests::process::Helper;
use tests::subject::{NextSubjectClient, Plan, SkewedSubjectClient, SubjectClient};
use tests::visit::{Visit, open_to_all};
use tests::watchdog;

use crate::{PROGRAM, serve};

/// Nobody in particular.
const OTHER: u32 = 65_534;

/// A name that nobody else uses, written as most people write it.
fn plain_name() -> String {
    let endpoint = Transport::UnixName.endpoint();
    endpoint.trim_start_matches("unix:").to_owned()
}

/// The path of a name's socket.
fn socket_of(name: &str) -> String {
    name.parse::<Endpoint>().unwrap().detail().to_string()
}

#[test]
fn no_server() {
    let name = plain_name();
    let error = SubjectClient::connect(name.as_str()).wait().unwrap_err();
    let expected = format!(
        "cannot connect to \"{name}\" ({}): no server is listening. Start it, or use .retry(..) if it is still starting",
        socket_of(&name)
    );
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::NotConnected, expected)
    );
    let path = Transport::UnixPath.endpoint();
    let error = SubjectClient::connect(path.as_str()).wait().unwrap_err();
    let rest = "no server is listening. Start it, or use .retry(..) if it is still starting";
    assert_eq!(error.to_string(), format!("cannot connect to \"{path}\": {rest}"));
    let error = SubjectClient::connect("mem:nobody-is-here").wait().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot connect to \"mem:nobody-is-here\": {rest}")
    );
    let error = SubjectClient::connect("tcp:1").wait().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot connect to \"tcp:127.0.0.1:1\": {rest}")
    );
}

#[test]
fn a_stale_socket() {
    watchdog::guard("a_stale_socket", || {
        let name = plain_name();
        let mut server = serve(&Plan::at(name.as_str()));
        let pid = server.pid();
        server.kill();
        let error = SubjectClient::connect(name.as_str()).wait().unwrap_err();
        let expected = format!(
            "cannot connect to \"{name}\" ({}): the server that owned this socket (pid {pid}) is gone; the next \
             serve(\"{name}\") will replace it",
            socket_of(&name)
        );
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::NotConnected, expected)
        );
        // And so it does.
        let _successor = serve(&Plan::at(name.as_str()));
        SubjectClient::connect(name.as_str())
            .wait()
            .unwrap()
            .nothing()
            .wait()
            .unwrap();
    });
}

#[test]
fn a_name_in_use() {
    watchdog::guard("a_name_in_use", || {
        let program = fs::canonicalize(PROGRAM).unwrap();
        for endpoint in [plain_name(), Transport::UnixPath.endpoint()] {
            let plan = Plan::at(endpoint);
            let server = serve(&plan);
            let mut second = Helper::start(PROGRAM, "serve", &serde_json::to_string(&plan).unwrap(), |_| {});
            let expected = format!(
                "failed: cannot serve \"{}\": pid {} ({}) already serves it",
                plan.endpoint,
                server.pid(),
                program.display()
            );
            assert_eq!(second.line(), expected);
            // The first does not notice.
            SubjectClient::connect(server.endpoint())
                .wait()
                .unwrap()
                .nothing()
                .wait()
                .unwrap();
        }
        let server = serve(&Plan::at("tcp:0"));
        let plan = serde_json::to_string(&Plan::at(server.endpoint().to_string())).unwrap();
        let mut second = Helper::start(PROGRAM, "serve", &plan, |_| {});
        let expected = format!(
            "failed: cannot serve \"{}\": another program already listens there",
            server.endpoint()
        );
        assert_eq!(second.line(), expected);
    });
}

/// Only root can be somebody else.
fn can_be_others() -> bool {
    let root = Peer::own_uid() == Some(0);
    if !root {
        eprintln!("skipped: only root can run a client as another user");
    }
    root
}

/// What a client of another user reads. Its process becomes that user once it runs: other users may not be able to reach
/// the program where it lies. A copy that they could reach would have to be written first, and a process that another
/// test starts at that moment holds it open for writing until it runs a program of its own: until then, the system
/// starts nobody else's ("Text file busy").
fn as_other(endpoint: impl Into<String>, adjust: impl FnOnce(&mut Command)) -> String {
    let visit = Visit {
        uid: Some(OTHER),
        ..Visit::to(endpoint)
    };
    let mut client = Helper::start(PROGRAM, "visit", &serde_json::to_string(&visit).unwrap(), adjust);
    assert_eq!(client.line(), "started");
    client.line()
}

#[test]
fn another_user_is_refused() {
    if !can_be_others() {
        return;
    }
    watchdog::guard("another_user_is_refused", || {
        let server = serve(&Plan::at(Transport::UnixAbstract.endpoint()));
        let endpoint = server.endpoint().to_string();
        let expected = format!(
            "Denied: \"{endpoint}\" refused us: it only accepts uid 0, we are uid {OTHER} (Server::allow changes this)"
        );
        assert_eq!(as_other(&endpoint, |_| {}), expected);
        // Whoever is allowed gets in.
        let mut plan = Plan::at(Transport::UnixAbstract.endpoint());
        plan.allow = Some(true);
        let server = serve(&plan);
        assert_eq!(as_other(server.endpoint().to_string(), |_| {}), "ok");
    });
}

#[test]
fn another_user_is_kept_out_by_the_directory() {
    if !can_be_others() {
        return;
    }
    watchdog::guard("another_user_is_kept_out_by_the_directory", || {
        let runtime = tempfile::tempdir_in(open_to_all()).unwrap();
        fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
        let name = plain_name();
        let plan = Plan::at(name.as_str());
        let server = Helper::serve(PROGRAM, &plan, |command| {
            command.env("XDG_RUNTIME_DIR", runtime.path());
        });
        let told = as_other(server.endpoint().to_string(), |command| {
            command.env("XDG_RUNTIME_DIR", runtime.path());
        });
        let directory = runtime.path().join("ipc-rpc");
        let expected = format!(
            "Denied: cannot reach \"{name}\": {} belongs to uid 0 and is closed to others",
            directory.display()
        );
        assert_eq!(told, expected);
    });
}

#[test]
fn another_user_is_no_server_of_ours() {
    if !can_be_others() {
        return;
    }
    watchdog::guard("another_user_is_no_server_of_ours", || {
        let server = serve(&Plan {
            uid: Some(OTHER),
            ..Plan::at(Transport::UnixAbstract.endpoint())
        });
        let error = SubjectClient::connect(server.endpoint()).wait().unwrap_err();
        let expected = format!(
            "refused to use \"{}\": uid {OTHER} serves it, but uid 0 is expected (Endpoint::expect_server changes this)",
            server.endpoint()
        );
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Denied, expected));
    });
}

#[test]
fn other_versions() {
    watchdog::guard("other_versions", || {
        let server = serve(&Plan::at(Transport::UnixName.endpoint()));
        let skewed = SkewedSubjectClient::connect(server.endpoint()).wait().unwrap();
        let name = server.endpoint();
        assert_eq!(
            skewed.number(1, 2).wait().unwrap_err().to_string(),
            "Subject.number changed: this program expects number(u32, u32) -> Option<u64>, the server has number(u64) \
             -> u64. Other methods still work. Rebuild or restart the older side"
        );
        assert_eq!(
            skewed.forgotten().wait().unwrap_err().to_string(),
            format!(
                "the server of \"{name}\" (pid {}) has no Subject.forgotten: it is older than this program",
                server.pid()
            )
        );
        let next = NextSubjectClient::connect(server.endpoint()).wait().unwrap();
        assert_eq!(
            next.text("x").wait().unwrap_err().to_string(),
            "Subject.text: this program expects version 2 of Subject, the server has version 1. Rebuild or restart the \
             older side"
        );
    });
}

#[test]
fn too_large() {
    watchdog::guard("too_large", || {
        let mut plan = Plan::at(Transport::UnixName.endpoint());
        plan.max_message = Some(8 << 20);
        let server = serve(&plan);
        let client = SubjectClient::connect(server.endpoint()).wait().unwrap();
        let error = client
            .count(&vec![0; (12 << 20) + (400 << 10)])
            .wait()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Subject.count argument is 12.4 MiB encoded, the limit is 8 MiB on this connection; raise Endpoint::max_message"
        );
    });
}

#[test]
fn a_deadline() {
    watchdog::guard("a_deadline", || {
        let server = serve(&Plan::at(Transport::UnixName.endpoint()));
        let client = SubjectClient::connect(server.endpoint()).wait().unwrap();
        // On a busy machine the server's own report may come too late.
        let mut texts = Vec::new();
        for token in 0..20 {
            let text = client
                .hold(token)
                .timeout(2 * MOMENT)
                .wait()
                .unwrap_err()
                .to_string();
            if text != "Subject.hold timed out after 200 ms" {
                texts.push(text);
                break;
            }
        }
        let text = texts
            .pop()
            .expect("the server reports how long the handler had the call");
        let inside = text
            .strip_prefix("Subject.hold timed out after 200 ms (")
            .and_then(|rest| rest.strip_suffix(" ms of it inside the server's handler)"))
            .unwrap_or_else(|| panic!("{text}"));
        let inside: u64 = inside.parse().unwrap_or_else(|_| panic!("{text}"));
        assert!((100..=300).contains(&inside), "{text}");
        let error = client.number(1).timeout(Duration::ZERO).wait().unwrap_err();
        assert_eq!(
            error.to_string(),
            "Subject.number timed out after 0 ns, before it could be sent"
        );
    });
}

#[test]
fn a_peer_that_died() {
    watchdog::guard("a_peer_that_died", || {
        let mut server = serve(&Plan::at(Transport::UnixName.endpoint()));
        let client = SubjectClient::connect(server.endpoint()).wait().unwrap();
        let holder = std::thread::spawn({
            let client = client.clone();
            move || client.hold(1).wait().unwrap_err().to_string()
        });
        client.until_held(1).wait().unwrap();
        let (name, pid) = (server.endpoint().to_string(), server.pid());
        server.kill();
        let gone = format!(
            "the server of \"{name}\" (pid {pid}) has ended, or closed the connection without a word"
        );
        assert_eq!(
            holder.join().unwrap(),
            format!("Subject.hold: {gone}, while this call was in progress")
        );
        assert_eq!(client.nothing().wait().unwrap_err().to_string(), gone);
    });
}

#[test]
fn endpoints_that_are_none() {
    let texts = [
        ("", "\"\" is not an endpoint: the name is empty"),
        (
            "sto re",
            "\"sto re\" is not an endpoint: a name has no ' '; use letters, digits, '.', '_' and '-'",
        ),
        (
            "/run/store",
            "\"/run/store\" is not an endpoint: to mean a path, write unix:/run/store",
        ),
        (
            "smoke:x",
            "\"smoke:x\" is not an endpoint: the transport \"smoke:\" is not known here; use mem:, shm:, unix:, pipe:, tcp:, exec:, fd:, or a plain name",
        ),
    ];
    for (endpoint, text) in texts {
        let error = SubjectClient::connect(endpoint).wait().unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Unsupported, text)
        );
    }
    let error = SubjectClient::connect("tcp:192.0.2.1:80").wait().unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"tcp:192.0.2.1:80\" is not an address of this machine alone: other machines may reach it. Use 127.0.0.1, or \
         Endpoint::allow_remote if that is meant"
    );
}
