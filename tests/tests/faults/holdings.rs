//! What processes hold comes back to what it was.

use std::time::{Duration, Instant};

use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};
use tests::watchdog;

use crate::hostile::HANG;
use crate::{PROGRAM, serve};

/// What an allocator sets aside for each thread, two mappings when it first allocates. Fewer than one for each round of any test.
const MORE_MAPPINGS: usize = 8;

fn comes_back(what: &str, before: Holdings, now: impl Fn() -> Holdings) {
    let began = Instant::now();
    loop {
        let after = now();
        if after.descriptors <= before.descriptors
            && after.mappings <= before.mappings + MORE_MAPPINGS
            && after.threads <= before.threads
        {
            return;
        }
        assert!(began.elapsed() < HANG, "{what}: {before:?} has become {after:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a role of the helper program against a server; it says "warm" and waits for a line, then "done" and waits.
fn measured(role: &'static str, transport: Transport) {
    watchdog::guard(&format!("{role} over {transport:?}"), move || {
        let server = serve(&Plan::at(transport.endpoint()));
        let mut client = Helper::start(PROGRAM, role, &server.endpoint().to_string(), |_| {});
        assert_eq!(client.line(), "warm");
        let before = (Holdings::of(server.pid()), Holdings::of(client.pid()));
        client.tell("go on");
        assert_eq!(client.line(), "done");
        comes_back("the server", before.0, || Holdings::of(server.pid()));
        comes_back("the client", before.1, || Holdings::of(client.pid()));
    });
}

#[test]
fn a_thousand_calls_with_large_arguments() {
    measured("large", Transport::SharedMemory);
    measured("large", Transport::UnixName);
    measured("large", Transport::Tcp);
}

#[test]
fn two_hundred_connections_one_after_the_other() {
    measured("reconnect", Transport::SharedMemory);
    measured("reconnect", Transport::UnixName);
    measured("reconnect", Transport::Tcp);
}

#[test]
fn a_client_that_is_gone_leaves_nothing() {
    watchdog::guard("a_client_that_is_gone_leaves_nothing", || {
        let server = serve(&Plan::at(Transport::UnixName.endpoint()));
        let witness = SubjectClient::connect(server.endpoint()).wait().unwrap();
        witness.nothing().wait().unwrap();
        let before = Holdings::of(server.pid());
        for round in 1..=10 {
            let mut victim = Helper::start(PROGRAM, "hold", &server.endpoint().to_string(), |_| {});
            assert_eq!(victim.line(), "connected");
            witness.until_held(8 * round).wait().unwrap();
            victim.kill();
            witness.until_rundowns(round).wait().unwrap();
        }
        comes_back("the server", before, || Holdings::of(server.pid()));
    });
}
