//! `kill -9` of a server, and of a client, at each system call that they make, whatever carries the connection: whoever
//! survives is told of it and goes on with its other connections, and holds in the end what it held before.
//!
//! `cargo test -p tests --test system_calls -- --ignored --nocapture`, with strace(1) installed, which does the killing. It
//! counts the calls of each thread by itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::{Command, Stdio};

use ipc_rpc::ErrorKind;
use tests::errand::{Errand, Way, comes_back};
use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};
use tests::watchdog;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

const TRANSPORTS: [Transport; 3] = [Transport::SharedMemory, Transport::UnixName, Transport::Pipe];

/// Runs in a row that were not killed, after which no later call is tried.
const SURVIVED: usize = 4;

/// Fewer deaths are too few to believe it: loading a program alone makes as many calls.
const LEAST_DEATHS: usize = 40;

#[test]
#[ignore = "takes half a minute, and strace"]
fn clients_at_every_system_call() {
    let Some(strace) = strace() else { return };
    for transport in TRANSPORTS {
        let server = Helper::serve(PROGRAM, &Plan::at(transport.endpoint()), |_| {});
        let canary = SubjectClient::connect(server.endpoint()).wait().unwrap();
        let run = |call: Option<usize>, mode: Mode| {
            let argument = serde_json::to_string(&errand(mode, server.endpoint())).unwrap();
            let mut client = match call {
                None => Helper::start(PROGRAM, "errand", &argument, |_| {}),
                Some(call) => Helper::start(&strace, "-f", "-qq", |command| {
                    command.args(killing(call)).args([PROGRAM, "errand", &argument]);
                }),
            };
            // Its last word, or the end of its output.
            let said = client.line();
            assert!(
                said.is_empty() || said == "done",
                "{transport:?}, {call:?}, {mode:?}: {said}"
            );
            said == "done"
        };
        // What the server makes once and keeps.
        for mode in MODES {
            assert!(run(None, mode));
        }
        canary.until_rundowns(2).wait().unwrap();
        let held = Holdings::of(server.pid());
        until_survived(transport, |call, mode| {
            let went_well = run(Some(call), mode);
            assert_eq!(canary.number(call as u64).wait().unwrap(), call as u64);
            comes_back(&format!("{transport:?}, call {call}, {mode:?}"), &held, || {
                Holdings::of(server.pid())
            });
            went_well
        });
    }
}

#[test]
#[ignore = "takes half a minute, and strace"]
fn servers_at_every_system_call() {
    let Some(strace) = strace() else { return };
    for transport in TRANSPORTS {
        let other = Helper::serve(PROGRAM, &Plan::at(transport.endpoint()), |_| {});
        let canary = SubjectClient::connect(other.endpoint()).wait().unwrap();
        // What is made once in a process and kept.
        for mode in MODES {
            let ended = errand(mode, other.endpoint()).run();
            assert!(ended.iter().all(Result::is_ok));
        }
        canary.until_rundowns(2).wait().unwrap();
        let held = Holdings::own();
        // One name for all: what a dead server leaves behind is for the next one to find.
        let plan = serde_json::to_string(&Plan::at(transport.endpoint())).unwrap();
        until_survived(transport, |call, mode| {
            let what = format!("{transport:?}, call {call}, {mode:?}");
            let mut server = Helper::start(&strace, "-f", "-qq", |command| {
                command.args(killing(call)).args([PROGRAM, "serve", &plan]);
            });
            let line = server.line();
            let Some(endpoint) = line.strip_prefix("ready ") else {
                assert!(line.is_empty(), "{what}: {line}");
                return false;
            };
            let errand = errand(mode, endpoint);
            let ended = watchdog::guard(&what, move || errand.run());
            let went_well = ended.iter().all(Result::is_ok);
            let first = ended.iter().position(Result::is_err).unwrap_or(ended.len());
            for step in &ended[first..] {
                let error = step.as_ref().expect_err("a dead server answers");
                // It may have died before anybody reached it.
                let kinds = [ErrorKind::PeerDied, ErrorKind::NotConnected];
                assert!(kinds.contains(&error.kind()), "{what}: {error}");
            }
            assert_eq!(canary.number(call as u64).wait().unwrap(), call as u64);
            drop(server);
            comes_back(&what, &held, Holdings::own);
            went_well
        });
    }
}

fn errand(mode: Mode, endpoint: impl ToString) -> Errand {
    Errand {
        mode,
        way: Way::Messages,
        endpoint: endpoint.to_string(),
    }
}

const MODES: [Mode; 2] = [Mode::Blocking, Mode::Async];

/// Tries one call after the other, blocking and async by turns, until there are no more.
fn until_survived(transport: Transport, mut run: impl FnMut(usize, Mode) -> bool) {
    let (mut deaths, mut survived) = (0, 0);
    for call in 1.. {
        let went_well = run(call, MODES[call % 2]);
        deaths += usize::from(!went_well);
        survived = if went_well { survived + 1 } else { 0 };
        if survived == SURVIVED {
            println!("{transport:?}: {deaths} deaths, up to call {call}");
            assert!(deaths > LEAST_DEATHS, "too few calls to believe it");
            return;
        }
    }
}

/// What has strace kill a program's thread, and so the program, at its `call`th system call.
fn killing(call: usize) -> [String; 4] {
    let inject = format!("inject=all:signal=SIGKILL:when={call}");
    ["-o".to_owned(), "/dev/null".to_owned(), "-e".to_owned(), inject]
}

/// The program that does it, if it is there and may trace.
fn strace() -> Option<String> {
    let works = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if works.is_ok_and(|status| status.success()) {
        return Some("strace".to_owned());
    }
    println!("nothing was tried: strace is not installed, or may not trace processes here");
    None
}
