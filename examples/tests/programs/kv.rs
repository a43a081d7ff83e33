//! `kvd` and `kv`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use examples::kv::{Expect, KvClient};
use ipc_rpc::{CallError, Endpoint, Outcome, Scheme};

use crate::process::{Running, Sandbox, complained, said};

const KVD: &str = env!("CARGO_BIN_EXE_kvd");
const KV: &str = env!("CARGO_BIN_EXE_kv");

fn daemon(sandbox: &Sandbox, arguments: &[&str]) -> Running {
    let daemon = sandbox.start(KVD, arguments);
    let line = daemon.line();
    assert!(line.starts_with("kvd: serving at "), "{line}");
    daemon
}

/// Expects a command to fail with a code and a sentence.
fn fails(output: &Output, code: i32, sentence: &str) {
    let complaint = complained(output);
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    assert!(complaint.contains(sentence), "{complaint}");
    assert_eq!(said(output), "");
}

#[test]
fn keeps_values_and_their_versions() {
    let sandbox = Sandbox::new();
    let _daemon = daemon(&sandbox, &[]);
    let kv = |arguments: &[&str]| sandbox.run(KV, arguments);

    fails(&kv(&["get", "colour"]), 1, "kv: there is no such key");
    assert_eq!(said(&kv(&["put", "colour", "blue"])), "1\n");
    assert_eq!(said(&kv(&["get", "colour"])), "blue");
    fails(
        &kv(&["put", "colour", "red", "--if-absent"]),
        1,
        "kv: the key has version 1 now",
    );
    assert_eq!(said(&kv(&["put", "colour", "red", "--if-version", "1"])), "2\n");
    fails(
        &kv(&["put", "colour", "green", "--if-version", "1"]),
        1,
        "kv: the key has version 2 now",
    );
    fails(
        &kv(&["put", "size", "1", "--if-version", "2"]),
        1,
        "kv: the key does not exist now",
    );
    assert_eq!(said(&kv(&["put", "colours", "many"])), "3\n");
    assert_eq!(said(&kv(&["list"])), "colour\t2\t3\ncolours\t3\t4\n");
    assert_eq!(said(&kv(&["list", "colours"])), "colours\t3\t4\n");
    fails(
        &kv(&["delete", "colour", "--if-version", "1"]),
        1,
        "kv: the key has version 2 now",
    );
    assert_eq!(
        kv(&["delete", "colour", "--if-version", "2"]).status.code(),
        Some(0)
    );
    fails(&kv(&["delete", "colour"]), 1, "kv: there is no such key");
    fails(
        &kv(&["put", "", "nothing"]),
        1,
        "kv: a key has 1 to 1024 bytes, this one has 0",
    );

    let status = said(&kv(&["status"]));
    assert!(
        status.starts_with("1 keys, 11 bytes, version 4\nserved by pid "),
        "{status}"
    );
}

/// A name shares memory where both sides can; who says `unix:`, on either side, does not.
#[test]
fn tells_over_which_transport_it_is_served() {
    let sandbox = Sandbox::new();
    let served = |at: &str| {
        let status = said(&sandbox.run(KV, &["--at", at, "status"]));
        let (_, transport) = status.trim_end().rsplit_once(", over ").expect("status tells it");
        transport.to_owned()
    };
    let memory = if Scheme::SharedMemory.is_supported() {
        "shm"
    } else {
        "unix"
    };
    let _shared = daemon(&sandbox, &["--at", "shared"]);
    assert_eq!(served("shared"), memory);
    assert_eq!(served("unix:shared"), "unix");
    let _socket = daemon(&sandbox, &["--at", "unix:socket"]);
    assert_eq!(served("socket"), "unix");
}

#[test]
fn tells_its_user_what_is_wrong() {
    let sandbox = Sandbox::new();
    let kv = |arguments: &[&str]| sandbox.run(KV, arguments);
    fails(
        &kv(&["get", "colour"]),
        3,
        "kv: no kvd is running at \"kv\". Start one with: cargo run --bin kvd",
    );
    fails(
        &kv(&["--at", "pigeon:home", "list"]),
        3,
        "\"pigeon:home\" is not an endpoint",
    );
    fails(&kv(&[]), 2, "kv: a command is missing\nusage: kv");
    fails(&kv(&["get"]), 2, "kv: get needs a KEY");
    fails(&kv(&["get", "a", "b"]), 2, "kv: get does not take \"b\"");
    fails(&kv(&["get", "a", "--if-absent"]), 2, "kv: get takes no condition");
    fails(
        &kv(&["--timeout", "soon", "list"]),
        2,
        "kv: \"soon\" is not a number of seconds",
    );

    let _first = daemon(&sandbox, &[]);
    let second = sandbox.run(KVD, &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        complained(&second).contains("already serves it"),
        "{}",
        complained(&second)
    );
    fails(
        &kv(&["--timeout", "0", "list"]),
        4,
        "Kv.list timed out after 0 ns",
    );
}

#[test]
fn lists_page_by_page() {
    let sandbox = Sandbox::new();
    let _daemon = daemon(&sandbox, &["--at", "unix:./kv.sock"]);
    let client = connect(&sandbox.path().join("kv.sock"));
    for number in 0..2500 {
        client
            .put(&format!("key-{number:04}"), b"", Expect::Absent)
            .wait()
            .unwrap();
    }
    let listed = said(&sandbox.run(KV, &["--at", "unix:./kv.sock", "list", "key-"]));
    let numbers = listed.lines().map(|line| line[4..8].parse::<usize>().unwrap());
    assert!(numbers.eq(0..2500), "{listed}");
}

/// Threads put keys as fast as they can while the daemon is told to end. What it confirmed must be in its file, and what
/// it did not even take must not.
#[test]
fn ends_without_losing_what_it_confirmed() {
    let sandbox = Sandbox::new();
    let arguments = ["--at", "unix:./kv.sock", "--file", "store.json"];
    let first = daemon(&sandbox, &arguments);
    let client = connect(&sandbox.path().join("kv.sock"));
    let confirmed_so_far = AtomicUsize::new(0);
    let outcomes: Vec<(String, Option<Outcome>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (client, confirmed_so_far) = (&client, &confirmed_so_far);
                scope.spawn(move || put_until_it_ends(client, thread, confirmed_so_far))
            })
            .collect();
        while confirmed_so_far.load(Ordering::Relaxed) < 200 {
            std::thread::yield_now();
        }
        first.terminate();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(first.end().success());

    let _second = daemon(&sandbox, &arguments);
    let listed = said(&sandbox.run(KV, &["--at", "unix:./kv.sock", "list"]));
    let kept: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    for (key, outcome) in &outcomes {
        match outcome {
            None => assert!(kept.contains(key.as_str()), "{key} was confirmed and is lost"),
            Some(Outcome::Unknown) => {}
            Some(outcome) => assert!(
                !kept.contains(key.as_str()),
                "{key} is there, and was said to be {outcome:?}"
            ),
        }
    }
}

/// Each key that was put, with what became of those that failed.
fn put_until_it_ends(
    client: &KvClient,
    thread: usize,
    confirmed_so_far: &AtomicUsize,
) -> Vec<(String, Option<Outcome>)> {
    let mut outcomes = Vec::new();
    for number in 0.. {
        let key = format!("{thread}-{number}");
        match client.put(&key, key.as_bytes(), Expect::Absent).wait() {
            Ok(_) => outcomes.push((key, None)),
            Err(CallError::Rpc(error)) => {
                outcomes.push((key, Some(error.outcome())));
                break;
            }
            Err(CallError::Service(error)) => panic!("{key}: {error}"),
        }
        confirmed_so_far.fetch_add(1, Ordering::Relaxed);
    }
    outcomes
}

fn connect(socket: &Path) -> KvClient {
    let endpoint = Endpoint::try_from(socket).expect("a path is an endpoint");
    KvClient::connect(endpoint).wait().expect("the daemon serves")
}
