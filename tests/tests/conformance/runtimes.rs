//! One client in several runtimes and in threads without any. These do not depend on the codec, and choose their modes
//! themselves, so they are no part of the matrix; each runs over every kind of port.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ipc_rpc::{Codec, ErrorKind, Outcome, ServiceClient};
use tests::fixture::{Fixture, MOMENT, TestServer, Transport};
use tests::mode::Mode;
use tests::subject::{SubjectClient, pattern};
use tests::watchdog;
use tokio::runtime::{Builder, Runtime};

use crate::times::assert_error;

fn over_each(name: &str, test: fn(Fixture)) {
    for transport in [Transport::Memory, Transport::UnixName, Transport::Tcp] {
        let program = env!("CARGO_BIN_EXE_subject");
        let fixture = Fixture {
            transport,
            codec: Codec::Bincode,
            mode: Mode::Blocking,
            program,
        };
        watchdog::guard(&format!("{name} over {transport:?}"), move || test(fixture));
    }
}

fn connected(f: Fixture) -> (TestServer, SubjectClient) {
    let server = f.server();
    let client = f.connect(&server).wait().unwrap();
    (server, client)
}

fn on_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn on_two_threads() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Handing on a large argument, a piece at a time, is no reason not to ask the reactor for news of others meanwhile.
#[test]
fn a_large_argument_leaves_the_reactor_its_turns() {
    over_each("a_large_argument_leaves_the_reactor_its_turns", |f| {
        let server = f.server();
        // The stream takes hundreds of such pieces before anybody reads.
        let client: SubjectClient = f.connect(&server).piece_of(4 << 10).wait().unwrap();
        let data = pattern(4 << 20);
        on_one_thread().block_on(async {
            assert_eq!(client.number(1).await.unwrap(), 1);
            let turns = Arc::new(AtomicU64::new(0));
            let counted = turns.clone();
            let call = tokio::spawn(async move {
                let mut call = pin!(client.take(&data).into_future());
                let (mut turn, mut polls, mut most) = (0, 0, 0);
                let took = std::future::poll_fn(|cx| {
                    let now = counted.load(Ordering::Relaxed);
                    polls = if now == turn { polls + 1 } else { 1 };
                    (turn, most) = (now, most.max(polls));
                    call.as_mut().poll(cx)
                });
                assert!(took.await.unwrap());
                most
            });
            // Who gives way like this has its next turn when the reactor was asked.
            while !call.is_finished() {
                tokio::task::yield_now().await;
                turns.fetch_add(1, Ordering::Relaxed);
            }
            let most = call.await.unwrap();
            assert!(most <= 8, "{most} polls in one turn");
        });
    });
}

#[test]
fn wait_is_refused_where_it_would_block_a_runtime() {
    over_each("wait_is_refused_where_it_would_block_a_runtime", |f| {
        let (server, client) = connected(f);
        let endpoint = server.endpoint().clone();
        let refused = async move {
            let error = client.number(1).wait().unwrap_err();
            assert_error(
                &error,
                ErrorKind::Unsupported,
                Outcome::NotSent,
                Some("Subject.number"),
            );
            let sentence =
                "was used on a Tokio worker thread and would block it; use .await, or spawn_blocking";
            assert_eq!(error.to_string(), format!("Call::wait() {sentence}"));
            let error = client.as_client().ping().wait().unwrap_err();
            assert_eq!(error.to_string(), format!("Ping::wait() {sentence}"));
            let error = SubjectClient::connect(endpoint).wait().unwrap_err();
            assert_eq!(error.to_string(), format!("Connect::wait() {sentence}"));
            assert_eq!(client.number(2).await.unwrap(), 2);
            // The runtime has threads for it.
            let waited = tokio::task::spawn_blocking(move || client.number(3).wait());
            assert_eq!(waited.await.unwrap().unwrap(), 3);
        };
        let again = Box::pin(refused);
        let runtime = on_two_threads();
        runtime.block_on(runtime.spawn(again)).unwrap();
    });
}

#[test]
fn wait_is_refused_on_a_runtime_of_one_thread() {
    over_each("wait_is_refused_on_a_runtime_of_one_thread", |f| {
        let (_server, client) = connected(f);
        on_one_thread().block_on(async {
            assert_eq!(
                client.number(1).wait().unwrap_err().kind(),
                ErrorKind::Unsupported
            );
            assert_eq!(client.number(2).await.unwrap(), 2);
        });
    });
}

#[test]
fn await_needs_a_runtime() {
    over_each("await_needs_a_runtime", |f| {
        let (server, client) = connected(f);
        let polled = pin!(client.number(1)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = polled else {
            panic!("{polled:?}")
        };
        assert_error(
            &error,
            ErrorKind::Unsupported,
            Outcome::NotSent,
            Some("Subject.number"),
        );
        assert_eq!(
            error.to_string(),
            "A call was awaited outside of a Tokio runtime; use .wait() there"
        );
        let polled =
            pin!(SubjectClient::connect(server.endpoint())).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = polled else {
            panic!("{polled:?}")
        };
        assert_eq!(
            error.to_string(),
            "Connect was awaited outside of a Tokio runtime; use .wait() there"
        );
        assert_eq!(client.number(1).wait().unwrap(), 1);
    });
}

#[test]
fn a_runtime_with_parts_missing() {
    over_each("a_runtime_with_parts_missing", |f| {
        let (server, client) = connected(f);
        let bare = || Builder::new_current_thread().build().unwrap();
        let untimed = || Builder::new_current_thread().enable_io().build().unwrap();
        for runtime in [bare(), untimed()] {
            runtime.block_on(async {
                // A clear error, or it works; never a panic, never a hang.
                for result in [
                    client.number(1).await,
                    client.number(1).timeout(Duration::from_secs(25)).await,
                ] {
                    match result {
                        Ok(value) => assert_eq!(value, 1),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
                    }
                }
                match SubjectClient::connect(server.endpoint()).await {
                    Ok(other) => drop(other),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
                }
            });
        }
        // Whatever it was, the connection is as good as before.
        assert_eq!(client.number(2).wait().unwrap(), 2);
    });
}

#[test]
fn a_client_outlives_its_runtimes() {
    over_each("a_client_outlives_its_runtimes", |f| {
        let server = f.server();
        let runtime = on_two_threads();
        let client = runtime.block_on(async { f.connect::<SubjectClient>(&server).await.unwrap() });
        assert_eq!(runtime.block_on(async { client.number(1).await.unwrap() }), 1);
        // With a call in flight, which nobody awaits any more.
        let holder = client.clone();
        runtime.spawn(async move { holder.hold(1).await });
        client.until_held(1).wait().unwrap();
        drop(runtime);
        assert_eq!(client.until_abandoned(1).wait().unwrap(), 1);
        for round in 0..5 {
            let runtime = if round % 2 == 0 {
                on_one_thread()
            } else {
                on_two_threads()
            };
            assert_eq!(
                runtime.block_on(async { client.number(round).await.unwrap() }),
                round
            );
            drop(runtime);
            assert_eq!(client.number(round).wait().unwrap(), round);
        }
    });
}

#[test]
fn a_call_moves_to_another_runtime() {
    over_each("a_call_moves_to_another_runtime", |f| {
        let (_server, client) = connected(f);
        let mut call = client.hold(1);
        let first = on_one_thread();
        first.block_on(async {
            tokio::select! {
                biased;
                ended = &mut call => panic!("nobody released it: {ended:?}"),
                held = client.until_held(1) => held.unwrap(),
            }
        });
        drop(first);
        let second = on_one_thread();
        client.release(1).wait().unwrap();
        assert_eq!(second.block_on(call).unwrap(), 1);
    });
}

#[test]
fn a_runtime_that_nobody_polls() {
    over_each("a_runtime_that_nobody_polls", |f| {
        let (_server, client) = connected(f);
        // Its driver is there, registered, and never runs again.
        let idle = on_one_thread();
        assert_eq!(idle.block_on(async { client.number(1).await.unwrap() }), 1);
        let busy = on_two_threads();
        for round in 0..50 {
            assert_eq!(client.number(round).wait().unwrap(), round);
            assert_eq!(
                busy.block_on(async { client.number(round).await.unwrap() }),
                round
            );
        }
        let large = tests::subject::pattern(4 << 20);
        assert_eq!(
            busy.block_on(async { client.owned_bytes(large.clone()).await.unwrap() }),
            large
        );
        assert_eq!(client.owned_bytes(large.clone()).wait().unwrap(), large);
        assert_eq!(idle.block_on(async { client.number(2).await.unwrap() }), 2);
    });
}

#[test]
fn an_await_beside_a_long_wait() {
    over_each("an_await_beside_a_long_wait", |f| {
        let (_server, client) = connected(f);
        let waiter = client.clone();
        let waiting = std::thread::spawn(move || waiter.hold(1).wait().unwrap());
        client.until_held(1).wait().unwrap();
        // The thread that waits reads for the runtime, which sleeps meanwhile rather than looking again and again.
        for runtime in [on_one_thread(), on_two_threads()] {
            let before = processor_time();
            runtime.block_on(async {
                for round in 0..20 {
                    assert_eq!(client.number(round).await.unwrap(), round);
                }
                client.after(1000).await.unwrap();
            });
            let used = processor_time() - before;
            assert!(
                used < Duration::from_millis(500),
                "an idle second took {used:?} of processor time"
            );
        }
        client.release(1).wait().unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
    });
}

/// Processor time that this thread's process has used; other tests run in it, too, so that only much counts.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // User and system time, in ticks of 10 ms.
    let ticks: u64 = [fields[11], fields[12]]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(10 * ticks)
}

#[test]
fn awaits_and_waits_on_one_client_under_stress() {
    over_each("awaits_and_waits_on_one_client_under_stress", |f| {
        let (_server, client) = connected(f);
        let over = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicU64::new(0));
        let calls = |index: u64| {
            let (client, over, made) = (client.clone(), over.clone(), made.clone());
            async move {
                let mut round = 0;
                while !over.load(Ordering::Relaxed) {
                    let value = index << 32 | round;
                    assert_eq!(client.number(value).await.unwrap(), value);
                    if round % 16 == index {
                        drop(tokio::time::timeout(Duration::from_micros(round % 500), client.after(1)).await);
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                    round += 1;
                }
            }
        };
        let wide = on_two_threads();
        let tasks: Vec<_> = (0..6).map(|index| wide.spawn(calls(index))).collect();
        let mut threads = Vec::new();
        for index in 10..14 {
            let (client, over, made) = (client.clone(), over.clone(), made.clone());
            threads.push(std::thread::spawn(move || {
                let mut round = 0;
                while !over.load(Ordering::Relaxed) {
                    let value = index << 32 | round;
                    assert_eq!(client.number(value).wait().unwrap(), value);
                    if round % 8 == 0 {
                        // Longer than a busy machine keeps both sides from looking at the clock.
                        let late = client.after(60_000).timeout(Duration::from_micros(500)).wait();
                        assert_eq!(late.unwrap_err().kind(), ErrorKind::Deadline);
                        let data = tests::subject::pattern(20_000 + round);
                        assert_eq!(client.bytes(&data).wait().unwrap(), data);
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                    round += 1;
                }
            }));
        }
        // A runtime that is polled now and then.
        let (sometimes, stop, done) = (client.clone(), over.clone(), made.clone());
        threads.push(std::thread::spawn(move || {
            let runtime = on_one_thread();
            while !stop.load(Ordering::Relaxed) {
                runtime.block_on(async {
                    for round in 0..5 {
                        assert_eq!(sometimes.number(round).await.unwrap(), round);
                    }
                });
                done.fetch_add(5, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(3));
            }
        }));
        // Nobody may be stuck while the others go on: for two seconds, all together bring something again and again. If they
        // stop, this hangs.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            let before = made.load(Ordering::Relaxed);
            while made.load(Ordering::Relaxed) == before {
                std::thread::sleep(MOMENT);
            }
        }
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
        for task in tasks {
            wide.block_on(task).unwrap();
        }
        assert_eq!(client.number(1).wait().unwrap(), 1);
    });
}
