//! SIGSTOP and SIGCONT of either side.

use std::time::{Duration, Instant};

use ipc_rpc::{ErrorKind, Outcome};
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};

use crate::{Distribution, PROGRAM, WATCHDOG, name};

const DEADLINE: Duration = Duration::from_millis(50);

#[test]
fn a_server_is_stopped() {
    server_stops(4);
}

#[test]
#[ignore = "takes a minute"]
fn a_server_is_stopped_100_times() {
    server_stops(100);
}

#[test]
fn a_client_is_stopped() {
    client_stops(4);
}

#[test]
#[ignore = "takes a minute"]
fn a_client_is_stopped_100_times() {
    client_stops(100);
}

fn server_stops(rounds: u64) {
    let server = Helper::serve(PROGRAM, &Plan::at(name("stop-server")), |_| {});
    let mut calls = Distribution::default();
    let mut connects = Distribution::default();
    for round in 0..rounds {
        let mode = if round % 2 == 0 {
            Mode::Async
        } else {
            Mode::Blocking
        };
        mode.run(async {
            let client = mode
                .end(SubjectClient::connect(server.endpoint().clone()))
                .await
                .unwrap();
            let held = {
                let client = client.clone();
                mode.start(async move { mode.end(client.hold(round)).await })
            };
            mode.end(client.until_held(round + 1)).await.unwrap();
            server.stop();
            for _ in 0..4 {
                let since = Instant::now();
                let error = mode.end(client.number(1).timeout(DEADLINE)).await.unwrap_err();
                calls.add(since.elapsed() - DEADLINE);
                assert_eq!(
                    (error.kind(), error.outcome()),
                    (ErrorKind::Deadline, Outcome::Unknown)
                );
            }
            let since = Instant::now();
            let connect = SubjectClient::connect(server.endpoint().clone()).timeout(DEADLINE);
            let error = mode.end(connect).await.unwrap_err();
            connects.add(since.elapsed() - DEADLINE);
            assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
            server.signal("CONT");
            // The same connection serves on, and the call that had time ends well.
            assert_eq!(mode.end(client.number(2)).await.unwrap(), 2);
            mode.end(client.release(round)).await.unwrap();
            assert_eq!(held.join().await.unwrap(), round);
        });
    }
    println!("{rounds} stops of a server");
    let longest = calls
        .tell("how much later than its deadline a call ended")
        .max(connects.tell("how much later than its deadline an attempt to connect ended"));
    assert!(longest < WATCHDOG, "{longest:?}");
}

fn client_stops(rounds: u64) {
    let server = Helper::serve(PROGRAM, &Plan::at(name("stop-client")), |_| {});
    let endpoint = server.endpoint().to_string();
    let canary = SubjectClient::connect(server.endpoint().clone()).wait().unwrap();
    let mut beside = Distribution::default();
    for round in 1..=rounds {
        let mut stopped = Helper::start(PROGRAM, "hold", &endpoint, |_| {});
        assert_eq!(stopped.line(), "connected");
        canary.until_held(8 * round).wait().unwrap();
        stopped.stop();
        // Its replies wait for it; nobody else does.
        for token in 1000..1008 {
            canary.release(token).wait().unwrap();
        }
        for number in 0..200 {
            let since = Instant::now();
            assert_eq!(canary.number(number).timeout(WATCHDOG).wait().unwrap(), number);
            beside.add(since.elapsed());
        }
        stopped.signal("CONT");
        let mut said: Vec<String> = (0..8).map(|_| stopped.line()).collect();
        said.sort();
        let expected: Vec<String> = (1000..1008).map(|token| format!("released {token}")).collect();
        assert_eq!(said, expected);
        drop(stopped);
        canary.until_rundowns(round).wait().unwrap();
    }
    println!("{rounds} stops of a client");
    beside.tell("a call of another client meanwhile");
}
