//! Whether the other side still answers, and who the other side is after a fork.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant};

use ipc_rpc::{Codec, ErrorKind, Outcome, ServiceClient};
use tests::fixture::{Fixture, InThread, Transport};
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};
use tests::watchdog;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// Long enough for a busy machine to answer within.
const INTERVAL: Duration = Duration::from_millis(1500);

/// Far above what anything here takes.
const WATCHDOG: Duration = Duration::from_secs(30);

const TRANSPORTS: [Transport; 2] = [Transport::UnixName, Transport::Tcp];

/// All at once: what takes time here is waiting.
fn everywhere(case: impl AsyncFn(Fixture) + Sync) {
    let case = &case;
    std::thread::scope(|scope| {
        for transport in TRANSPORTS {
            for mode in [Mode::Async, Mode::Blocking] {
                scope.spawn(move || {
                    mode.run(case(Fixture {
                        transport,
                        codec: Codec::Bincode,
                        mode,
                        program: PROGRAM,
                    }));
                });
            }
        }
    });
}

#[test]
fn a_stopped_server_is_reported() {
    everywhere(async |f| {
        let mut server = f.server();
        let connect = f.connect::<SubjectClient>(&server).keepalive(INTERVAL);
        let client = f.end(connect).await.unwrap();
        let held = {
            let client = client.clone();
            f.start(async move { (f.end(client.hold(1)).await, Instant::now()) })
        };
        f.end(client.until_held(1)).await.unwrap();
        server.process().stop();
        let stopped = Instant::now();
        let (result, ended) = held.join().await;
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome(), error.method()),
            (ErrorKind::PeerDied, Outcome::Unknown, Some("Subject.hold"))
        );
        assert!(error.to_string().contains("has stopped answering"), "{error}");
        let took = ended - stopped;
        assert!(took >= INTERVAL / 2 && took < WATCHDOG, "{took:?}");
        println!("{:?} {:?}: reported after {took:?}: {error}", f.transport, f.mode);
        // The connection has ended; the server itself goes on and takes another.
        let error = f.end(client.number(1)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::PeerDied, Outcome::NotSent)
        );
        server.process().signal("CONT");
        let client = f.client(&server).await;
        assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
        // It has noticed that its first client is gone.
        f.end(client.until_abandoned(1)).await.unwrap();
    });
}

/// Once the handshake is over, nothing on an idle connection needs a timer. A call puts its request on the wire by itself, and
/// somebody has to keep its deadline all the same.
#[test]
fn a_deadline_is_kept_where_no_timer_was_set() {
    for transport in [Transport::SharedMemory, Transport::UnixName] {
        for mode in [Mode::Async, Mode::Blocking] {
            let f = Fixture {
                transport,
                codec: Codec::Bincode,
                mode,
                program: PROGRAM,
            };
            watchdog::guard(&format!("{transport:?}, {mode:?}"), move || {
                mode.run(async move {
                    let mut server = f.server();
                    let client = f.end(f.connect::<SubjectClient>(&server)).await.unwrap();
                    assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
                    server.process().stop();
                    let call = client.number(2).timeout(Duration::from_millis(50));
                    let error = f.end(call).await.unwrap_err();
                    assert_eq!(
                        (error.kind(), error.outcome()),
                        (ErrorKind::Deadline, Outcome::Unknown),
                        "{error}"
                    );
                });
            });
        }
    }
}

#[test]
fn a_server_that_answers_late_is_left_alone() {
    everywhere(async |f| {
        let server = f.server();
        let connect = f.connect::<SubjectClient>(&server).keepalive(INTERVAL);
        let client = f.end(connect).await.unwrap();
        // A handler may wait for as long as it likes: it is the server that has to answer, not the handler.
        let long = 2 * INTERVAL.as_millis() as u64;
        assert_eq!(f.end(client.after(long)).await.unwrap(), long);
        // Between two calls, a client that blocks neither asks nor reads.
        std::thread::sleep(2 * INTERVAL);
        assert_eq!(f.end(client.after(100)).await.unwrap(), 100);
    });
}

#[test]
fn a_stopped_client_is_reported() {
    everywhere(async |f| {
        let plan = Plan {
            keepalive: Some(INTERVAL.as_millis() as u64),
            ..f.plan()
        };
        let server = f.serve(&plan);
        let canary = f.client(&server).await;
        let mut victim = Helper::start(PROGRAM, "hold", &server.endpoint().to_string(), |_| {});
        assert_eq!(victim.line(), "connected");
        f.end(canary.until_held(8)).await.unwrap();
        victim.stop();
        let stopped = Instant::now();
        f.end(canary.until_abandoned(8)).await.unwrap();
        f.end(canary.until_rundowns(1)).await.unwrap();
        let took = stopped.elapsed();
        assert!(took >= INTERVAL / 2 && took < WATCHDOG, "{took:?}");
        victim.signal("CONT");
        // Each of its calls ends, once.
        for _ in 0..8 {
            let said = victim.line();
            assert!(
                said.starts_with("PeerDied: ") && said.contains("has stopped answering"),
                "{said}"
            );
        }
    });
}

#[test]
fn an_idle_client_is_not_asked() {
    everywhere(async |f| {
        let plan = Plan {
            keepalive: Some(INTERVAL.as_millis() as u64),
            ..f.plan()
        };
        let server = f.serve(&plan);
        let client = f.client(&server).await;
        let canary = f.client(&server).await;
        let connection = f.end(client.seen()).await.unwrap().connection;
        let long = 2 * INTERVAL.as_millis() as u64;
        // Nobody reads for the blocking client meanwhile.
        f.end(canary.after(long)).await.unwrap();
        let seen = f.end(client.seen()).await.unwrap();
        assert_eq!(seen.connection, connection);
        // While one of its calls is in progress it has to answer, and does.
        assert_eq!(f.end(client.after(long)).await.unwrap(), long);
    });
}

#[test]
fn a_fork_does_not_speak_for_its_parent() {
    for scheme in ["unix", "pipe"] {
        let endpoint = format!("{scheme}:test-fork-{}", std::process::id());
        let _server = InThread::serve(&Plan::at(&endpoint)).unwrap();
        for mode in ["await", "wait"] {
            let mut parent = Helper::start(PROGRAM, "fork", &format!("{mode} {endpoint}"), |_| {});
            let said = parent.line();
            let begin = "Forked NotSent: this connection belongs to the process that made it; this one (pid ";
            assert!(said.starts_with(begin), "{mode}: {said}");
            // The copy has ended, and the original goes on.
            let end = ") is a fork of that and has a mere copy. Connect again here; ping Forked; parent 7";
            assert!(said.ends_with(end), "{mode}: {said}");
        }
    }
}

#[test]
fn asking_where_one_is_costs_nothing() {
    const COUNT: u32 = 10_000;
    let here = transports::Birthplace::here();
    // The quickest of many batches: whatever else runs on the machine makes the others slower.
    let batches = (0..200).map(|_| {
        let since = Instant::now();
        for _ in 0..COUNT {
            assert!(std::hint::black_box(here).is_here());
        }
        since.elapsed() / COUNT
    });
    let each = batches.min().unwrap();
    println!("{each:?} for each call");
    // A system call takes a hundred and more; this allows for a build without optimisation.
    assert!(each < Duration::from_nanos(80), "{each:?}");
}

#[test]
fn a_ping_is_answered_by_a_server_that_is_asked_by_keepalive_too() {
    everywhere(async |f| {
        let server = f.server();
        let connect = f.connect::<SubjectClient>(&server).keepalive(INTERVAL);
        let client = f.end(connect).await.unwrap();
        let since = Instant::now();
        while since.elapsed() < 2 * INTERVAL {
            f.end(client.as_client().ping()).await.unwrap();
            f.end(client.after(1)).await.unwrap();
        }
    });
}
