//! Bodies that are read out of their sender's memory: between real processes, where the system lets them and where it does
//! not, when one of them dies in the middle of it, and what they hold meanwhile.
//!
//! The cases of `conformance` run over such connections, too: `direct_shared_memory`, `direct_unix`, `direct_spawn`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Command;
use std::time::{Duration, Instant};

use ipc_rpc::{Connect, DirectState, DirectUsage, ErrorKind, ServiceClient};
use tests::fixture::Transport;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient, pattern};
use tests::watchdog;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

const LARGE: u64 = 3 << 20;

/// How soon a death has to be noticed. The aim is 50 ms; the machine may be busy. Less than any time that is given up after.
const SOON: Duration = Duration::from_secs(4);

fn plan(transport: Transport) -> Plan {
    Plan {
        direct_if_large: true,
        ..Plan::at(transport.endpoint())
    }
}

fn connected(server: &Helper) -> SubjectClient {
    let endpoint = server.endpoint().clone().direct(true);
    SubjectClient::connect(endpoint).wait().unwrap()
}

fn usage(client: &SubjectClient) -> DirectUsage {
    client.as_client().direct().unwrap()
}

/// Calls until this side knows whether it may lend.
fn settled(client: &SubjectClient) -> DirectState {
    loop {
        client.nothing().wait().unwrap();
        let state = usage(client).state;
        if state != DirectState::Open {
            return state;
        }
    }
}

/// Large bodies there and back, until both have travelled in this way.
fn lent_both_ways(client: &SubjectClient) {
    assert_eq!(settled(client), DirectState::Agreed);
    let before = usage(client);
    let body = pattern(LARGE);
    let mut rounds = 0;
    while usage(client).fetched == before.fetched || rounds < 5 {
        // The server may learn later that it may lend.
        assert!(client.bytes(&body).wait().unwrap() == body);
        assert!(client.give(LARGE).wait().unwrap() == body);
        rounds += 1;
    }
    let after = usage(client);
    let (lent, lent_bytes) = (after.lent - before.lent, after.lent_bytes - before.lent_bytes);
    assert_eq!((lent, after.refused), (rounds, 0));
    assert!((lent * LARGE..lent * LARGE + 1000).contains(&lent_bytes));
}

#[test]
fn between_two_processes() {
    watchdog::guard("between two processes", || {
        for transport in [
            Transport::SharedMemory,
            Transport::UnixName,
            Transport::UnixAbstract,
        ] {
            let server = Helper::serve(PROGRAM, &plan(transport), |_| {});
            lent_both_ways(&connected(&server));
        }
    });
}

#[test]
fn with_a_child() {
    watchdog::guard("with a child", || {
        let mut command = Command::new(PROGRAM);
        let plan = plan(Transport::Spawn);
        command.args(["child", &serde_json::to_string(&plan).unwrap()]);
        let client: SubjectClient = Connect::spawn(command).direct(true).wait().unwrap();
        lent_both_ways(&client);
    });
}

#[test]
fn awaited_on_one_thread() {
    watchdog::guard("awaited on one thread", || {
        let body = pattern(16 << 20);
        for round in 0..12 {
            let transport = [Transport::SharedMemory, Transport::UnixName][round % 2];
            let plan = Plan {
                workers: Some(1),
                ..plan(transport)
            };
            let server = Helper::serve(PROGRAM, &plan, |_| {});
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let endpoint = server.endpoint().clone().direct(true);
                let client = SubjectClient::connect(endpoint).await.unwrap();
                // From the first call on, while the two sides are still finding out what they may do.
                for _ in 0..8 {
                    assert_eq!(client.count(&body).await.unwrap(), body.len() as u64);
                }
            });
        }
    });
}

#[test]
fn both_sides_have_to_ask_for_it() {
    watchdog::guard("both sides have to ask for it", || {
        let body = pattern(LARGE);
        for (server, client) in [(false, true), (true, false)] {
            let plan = Plan {
                direct_if_large: server,
                ..Plan::at(Transport::SharedMemory.endpoint())
            };
            let server = Helper::serve(PROGRAM, &plan, |_| {});
            let endpoint = server.endpoint().clone().direct(client);
            let client_side = SubjectClient::connect(endpoint).wait().unwrap();
            for _ in 0..5 {
                assert!(client_side.bytes(&body).wait().unwrap() == body);
            }
            let usage = client_side.as_client().direct();
            assert_eq!(usage, client.then(DirectUsage::default));
        }
    });
}

#[test]
fn where_the_system_refuses_bodies_travel_all_the_same() {
    watchdog::guard("where the system refuses", || {
        for transport in [Transport::SharedMemory, Transport::UnixName] {
            let plan = Plan {
                bare: true,
                ..plan(transport)
            };
            let server = Helper::serve(PROGRAM, &plan, |_| {});
            let loan = (server.endpoint().to_string(), LARGE, true);
            let mut client = Helper::start(PROGRAM, "lend", &serde_json::to_string(&loan).unwrap(), |_| {});
            assert_eq!(client.line(), "agreed", "or not, but known");
            client.tell("go");
            let said = client.line();
            assert!(said.starts_with("lent 0 fetched 0 Refused("), "{said}");
        }
    });
}

#[test]
fn a_server_is_killed_in_the_middle() {
    watchdog::guard("a server is killed in the middle", || {
        let body = pattern(48 << 20);
        let other = Helper::serve(PROGRAM, &plan(Transport::SharedMemory), |_| {});
        let canary = connected(&other);
        lent_both_ways(&canary);
        let mut died = 0;
        for round in 0..24 {
            let transport = [Transport::SharedMemory, Transport::UnixName][round % 2];
            let mut server = Helper::serve(PROGRAM, &plan(transport), |_| {});
            let client = connected(&server);
            assert_eq!(settled(&client), DirectState::Agreed);
            let (result, killed) = std::thread::scope(|scope| {
                let call = scope.spawn(|| client.bytes(&body).wait());
                // Not to wait for anything: the moments of a call are tried one after the other.
                std::thread::sleep(Duration::from_millis(2 * round as u64));
                server.kill();
                let killed = Instant::now();
                (call.join().unwrap(), killed)
            });
            match result {
                Ok(same) => assert!(same == body),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
                    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
                    died += 1;
                }
            }
            assert_eq!(canary.number(7).wait().unwrap(), 7);
        }
        assert!(died > 0, "no moment was in the middle of a call");
        lent_both_ways(&connected(&other));
    });
}

#[test]
fn a_client_is_killed_in_the_middle() {
    watchdog::guard("a client is killed in the middle", || {
        let server = Helper::serve(PROGRAM, &plan(Transport::SharedMemory), |_| {});
        let canary = connected(&server);
        lent_both_ways(&canary);
        let held = canary.holdings().wait().unwrap();
        let loan = (server.endpoint().to_string(), 48_u64 << 20, false);
        let loan = serde_json::to_string(&loan).unwrap();
        for round in 0..16_u64 {
            let mut client = Helper::start(PROGRAM, "lend", &loan, |_| {});
            assert_eq!(client.line(), "agreed");
            client.tell("go");
            // As above.
            std::thread::sleep(Duration::from_millis(2 * round));
            client.kill();
            canary.until_rundowns(round + 1).wait().unwrap();
            assert_eq!(canary.number(round).wait().unwrap(), round);
        }
        lent_both_ways(&canary);
        let now = canary.holdings().wait().unwrap();
        assert_eq!(
            (now.descriptors, now.shared),
            (held.descriptors, held.shared),
            "{now:?}"
        );
    });
}

/// The most memory that a process had resident since it was asked to forget.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_is_held_is_one_copy() {
    watchdog::guard("what is held is one copy", || {
        const BODY: u64 = 60 << 20;
        /// In KiB: what the system counts late, and what the two processes need for anything.
        const BESIDE: usize = 4 << 10;
        for transport in [Transport::SharedMemory, Transport::UnixName] {
            let server = Helper::serve(PROGRAM, &plan(transport), |_| {});
            let loan = (server.endpoint().to_string(), BODY, false);
            let loan = serde_json::to_string(&loan).unwrap();
            let mut client = Helper::start(PROGRAM, "lend", &loan, |_| {});
            assert_eq!(client.line(), "agreed");
            let both = [server.pid(), client.pid()];
            // The peaks begin anew.
            for pid in both {
                std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
            }
            let idle = both.map(peak);
            client.tell("go");
            assert!(client.line().starts_with("lent 5 fetched 0 Agreed"));
            let busy = both.map(peak);
            let more: usize = busy.iter().sum::<usize>() - idle.iter().sum::<usize>();
            println!("{transport:?}: {idle:?} to {busy:?} KiB, {more} more");
            assert!(more <= (BODY as usize >> 10) + BESIDE, "{idle:?} to {busy:?}");
        }
    });
}
