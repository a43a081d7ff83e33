//! A small call over `unix:` allocates nothing once it is warm, on either side.

use tests::fixture::Transport;
use tests::meter::{self, Counting};
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};
use tests::watchdog;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Calls that are counted. What a runtime allocates once in a while is below ten.
const CALLS: u64 = 5000;

/// Runs `calls` warm, then counts what the client and the server allocate in [`CALLS`] of them.
fn count(mut calls: impl FnMut(u64), server: impl Fn() -> u64) -> (u64, u64) {
    calls(2000);
    let before = (meter::allocations(), server());
    calls(CALLS);
    let after = (meter::allocations(), server());
    // The last question itself is a call with a result, and not part of what is asked about.
    (after.0 - before.0, after.1 - before.1)
}

/// One test: what is counted is the whole process.
#[test]
fn small_calls_allocate_nothing() {
    watchdog::guard("small_calls_allocate_nothing", || {
        let plan = Plan::at(Transport::UnixName.endpoint());
        let server = Helper::serve(env!("CARGO_BIN_EXE_subject"), &plan, |_| {});
        let runtimes = [
            (
                "one thread",
                "one thread, one-way",
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap(),
            ),
            (
                "two threads",
                "two threads, one-way",
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap(),
            ),
        ];
        let mut counted = Vec::new();

        let client = SubjectClient::connect(server.endpoint()).wait().unwrap();
        let allocations = || client.allocations().wait().unwrap();
        let calls =
            |calls| (0..calls).for_each(|value| assert_eq!(client.number(value).wait().unwrap(), value));
        counted.push(("blocking", count(calls, allocations)));
        let posted = |calls| {
            (0..calls).for_each(|_| client.ignore(7).wait().unwrap());
            // All of them have arrived.
            client.nothing().wait().unwrap();
        };
        counted.push(("blocking, one-way", count(posted, allocations)));
        let timed = std::time::Duration::from_secs(20);
        let patient = |calls| {
            (0..calls)
                .for_each(|value| assert_eq!(client.number(value).timeout(timed).wait().unwrap(), value));
        };
        counted.push(("blocking, with a deadline", count(patient, allocations)));
        drop(client);

        for (name, one_way, runtime) in &runtimes {
            let connecting = async { SubjectClient::connect(server.endpoint()).await };
            let client = runtime.block_on(connecting).unwrap();
            let allocations = || runtime.block_on(async { client.allocations().await.unwrap() });
            let calls = |calls| {
                runtime.block_on(async {
                    for value in 0..calls {
                        assert_eq!(client.number(value).await.unwrap(), value);
                    }
                });
            };
            counted.push((name, count(calls, allocations)));
            let posted = |calls| {
                runtime.block_on(async {
                    for _ in 0..calls {
                        client.ignore(7).await.unwrap();
                    }
                    client.nothing().await.unwrap();
                });
            };
            counted.push((one_way, count(posted, allocations)));
        }
        println!("{counted:?}");
        for (what, (client, server)) in &counted {
            // One-way calls outrun the server, and what queues up takes memory, a batch at a time.
            let most = if what.ends_with("one-way") {
                CALLS / 100
            } else {
                10
            };
            assert!(
                *client < most && *server < most,
                "{what}: {client} and {server} allocations: {counted:?}"
            );
        }
    });
}
