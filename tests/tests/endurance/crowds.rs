//! Many clients: idle ones, ones that come and go, and more than there are descriptors for.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_rpc::ErrorKind;
use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};

use crate::{Distribution, PROGRAM, WATCHDOG, until_descriptors};

#[test]
fn a_thousand_idle_connections() {
    idle(Transport::UnixName, 1_000);
}

#[test]
#[ignore = "needs a limit of 20,200 descriptors, and 2 GB of memory"]
fn ten_thousand_idle_connections_over_tcp() {
    idle(Transport::Tcp, 10_000);
}

#[test]
#[ignore = "needs a limit of 20,200 descriptors, and 2 GB of memory"]
fn ten_thousand_idle_connections() {
    idle(Transport::UnixName, 10_000);
}

#[test]
fn a_storm_of_connections() {
    storm(2_000, Duration::from_secs(1));
}

#[test]
#[ignore = "takes half a minute"]
fn a_storm_of_5000_connections_a_second() {
    storm(5_000, Duration::from_secs(10));
}

fn roomy(transport: Transport) -> Plan {
    Plan {
        max_connections: Some(20_000),
        max_connections_per_user: Some(20_000),
        ..Plan::at(transport.endpoint())
    }
}

fn idle(transport: Transport, wanted: usize) {
    // Clients in processes of their own: one that blocks holds three descriptors, and each process has a limit.
    const EACH: usize = 2_500;
    let server = Helper::serve(PROGRAM, &roomy(transport), |_| {});
    let endpoint = server.endpoint().to_string();
    let canary = SubjectClient::connect(server.endpoint().clone()).wait().unwrap();
    canary.number(1).wait().unwrap();
    let before = Holdings::of(server.pid());
    // On `unix:`, the server also holds a descriptor for the process at the other end of each.
    let room = descriptor_limit().saturating_sub(before.descriptors + 100);
    let count = wanted.min(if transport == Transport::Tcp {
        room
    } else {
        room / 2
    });
    let since = Instant::now();
    let mut left = count;
    let mut crowds = Vec::new();
    while left > 0 {
        let part = left.min(EACH);
        left -= part;
        crowds.push((
            part,
            Helper::start(PROGRAM, "crowd", &format!("{part} {endpoint}"), |_| {}),
        ));
    }
    for (part, crowd) in &mut crowds {
        assert_eq!(crowd.line(), format!("open {part}"));
    }
    println!(
        "{count} connections over {transport:?}, opened in {:?}",
        since.elapsed()
    );

    let during = Holdings::of(server.pid());
    println!(
        "each costs the server {:.1} KiB and {:.2} descriptors",
        (during.resident_kib - before.resident_kib) as f64 / count as f64,
        (during.descriptors - before.descriptors) as f64 / count as f64
    );
    // A second after its last use, each connection gives its buffers back.
    std::thread::sleep(Duration::from_secs(3));
    let used = server.processor_time();
    std::thread::sleep(Duration::from_secs(1));
    let used = server.processor_time() - used;
    println!("processor time of the server in a second with nothing to do: {used:?}");
    assert!(used <= Duration::from_millis(20), "{used:?}");

    let mut calls = Distribution::default();
    for number in 0..1000 {
        let since = Instant::now();
        assert_eq!(canary.number(number).wait().unwrap(), number);
        calls.add(since.elapsed());
    }
    calls.tell("a call beside them");
    // All of them still work.
    canary.note(1).wait().unwrap();
    for (part, crowd) in &mut crowds {
        assert_eq!(crowd.line(), format!("again {part}"));
    }
    drop(crowds);
    until_descriptors(server.pid(), before.descriptors);
    println!("the server is back at {} descriptors", before.descriptors);
}

fn storm(rate: u32, duration: Duration) {
    const THREADS: u32 = 4;
    let server = Helper::serve(PROGRAM, &roomy(Transport::UnixName), |_| {});
    let canary = SubjectClient::connect(server.endpoint().clone()).wait().unwrap();
    canary.number(1).wait().unwrap();
    let before = Holdings::of(server.pid());
    let made = AtomicU64::new(0);
    let since = Instant::now();
    let each = rate * duration.as_secs() as u32 / THREADS;
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut took = Distribution::default();
                    for index in 0..each {
                        let due = since + duration * index / each;
                        let early = due.saturating_duration_since(Instant::now());
                        if !early.is_zero() {
                            std::thread::sleep(early);
                        }
                        let begun = Instant::now();
                        let client = SubjectClient::connect(server.endpoint().clone()).wait().unwrap();
                        assert_eq!(client.number(index.into()).wait().unwrap(), u64::from(index));
                        drop(client);
                        took.add(begun.elapsed());
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    took
                })
            })
            .collect();
        let mut all = Distribution::default();
        for thread in threads {
            all.0.extend(thread.join().unwrap().0);
        }
        all
    });
    let (made, elapsed) = (made.into_inner(), since.elapsed());
    println!(
        "{made} connections, each with a call, in {elapsed:?}: {:.0} a second of {rate} wanted",
        made as f64 / elapsed.as_secs_f64()
    );
    latencies.tell("connecting, calling and leaving");
    assert_eq!(made, u64::from(each * THREADS), "none is lost");
    until_descriptors(server.pid(), before.descriptors);
    canary.until_rundowns(made).wait().unwrap();
    let after = Holdings::of(server.pid());
    println!(
        "the server: {} descriptors as before; memory {} KiB before, {} KiB after",
        after.descriptors, before.resident_kib, after.resident_kib
    );
    assert_eq!(canary.number(1).wait().unwrap(), 1);
}

#[test]
fn accepting_at_the_descriptor_limit_does_not_spin() {
    let plan = Plan {
        descriptors: Some(64),
        ..roomy(Transport::UnixPath)
    };
    let server = Helper::serve(PROGRAM, &plan, |_| {});
    let connect = || {
        SubjectClient::connect(server.endpoint().clone())
            .timeout(WATCHDOG)
            .wait()
    };
    let mut clients = Vec::new();
    let refused = loop {
        match connect() {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
        assert!(clients.len() < 100, "a process with 64 descriptors has them all");
    };
    println!("{} clients, and the next is told: {refused}", clients.len());
    assert!(
        matches!(
            refused.kind(),
            ErrorKind::PeerDied | ErrorKind::Deadline | ErrorKind::Closed
        ),
        "{refused:?}"
    );
    // A queue of clients that nobody has a descriptor for.
    let path = server.endpoint().to_string();
    let path = path.strip_prefix("unix:").unwrap();
    let waiting: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(path).unwrap()).collect();
    let used = server.processor_time();
    let second = Instant::now();
    let mut served = 0;
    while second.elapsed() < Duration::from_secs(1) {
        for client in &clients {
            assert_eq!(client.number(1).timeout(WATCHDOG).wait().unwrap(), 1);
            served += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = server.processor_time() - used;
    println!("processor time of the server in a second at the limit, {served} calls served: {used:?}");
    assert!(used < Duration::from_millis(250), "{used:?}");
    // With descriptors again, it takes new clients.
    drop(waiting);
    clients.truncate(clients.len() / 2);
    let patience = Instant::now() + 10 * WATCHDOG;
    let client = loop {
        match connect() {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
    };
    assert_eq!(client.number(2).wait().unwrap(), 2);
}

fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(usize::MAX, |limit| limit as usize)
}
