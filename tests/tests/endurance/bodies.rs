//! Bodies of all sizes, many of them: what both processes hold comes back to what it was.

use std::process::Command;
use std::time::{Duration, Instant};

use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::process::Helper;
use tests::subject::Plan;
use tests::watchdog;

use crate::PROGRAM;

/// How much more memory may be in use in the end: what an allocator keeps in pieces.
const MORE_KIB: usize = 1 << 10;

/// And mappings: what an allocator sets aside for each thread. Bodies that stayed mapped would be hundreds.
const MORE_MAPPINGS: usize = 8;

/// And descriptors: those of an event that a runtime is told of when a task sleeps for the first time, which no earlier call
/// may have needed.
const MORE_DESCRIPTORS: usize = 2;

/// Longer than anything is kept for the next body.
const PATIENCE: Duration = Duration::from_secs(20);

/// Has the allocator give large vectors back at once when they are freed, those of handlers, too: otherwise the GNU C library
/// keeps some megabytes of them, sooner or later, and here the question is what ipc-rpc keeps.
fn frank(command: &mut Command) {
    command.env("MALLOC_MMAP_THRESHOLD_", "131072");
}

fn come_and_go(transport: Transport, of_one_mebibyte: u32, of_any_size: u32) {
    watchdog::guard_for(Duration::from_secs(1200), "bodies", move || {
        let server = Helper::serve(PROGRAM, &Plan::at(transport.endpoint()), frank);
        let argument = format!("{of_one_mebibyte} {of_any_size} {}", server.endpoint());
        let mut client = Helper::start(PROGRAM, "bodies", &argument, frank);
        assert_eq!(client.line(), "warm");
        let pids = [server.pid(), client.pid()];
        let before = pids.map(Holdings::of);
        client.tell("go on");
        assert_eq!(client.line(), "done");
        let most = pids.map(Holdings::of);
        for (index, who) in ["the server", "the client"].into_iter().enumerate() {
            let (before, began) = (before[index], Instant::now());
            let after = loop {
                let after = Holdings::of(pids[index]);
                let is_back = after.descriptors <= before.descriptors + MORE_DESCRIPTORS
                    && after.threads <= before.threads
                    && after.mappings <= before.mappings + MORE_MAPPINGS
                    && after.resident_kib <= before.resident_kib + MORE_KIB;
                if is_back {
                    break after;
                }
                assert!(
                    began.elapsed() < PATIENCE,
                    "{who}: {before:?} has become {after:?}"
                );
                std::thread::sleep(Duration::from_millis(20));
            };
            println!(
                "{transport:?}, {of_one_mebibyte} bodies of 1 MiB and {of_any_size} of any size, {who}: {} KiB before, \
                 {} right after the last, {} in the end",
                before.resident_kib, most[index].resident_kib, after.resident_kib
            );
        }
    });
}

#[test]
fn some_bodies_come_and_go() {
    come_and_go(Transport::SharedMemory, 100, 5);
    come_and_go(Transport::UnixName, 100, 5);
    come_and_go(Transport::Pipe, 100, 5);
}

#[test]
#[ignore = "it takes minutes"]
fn ten_thousand_bodies_come_and_go() {
    for transport in [
        Transport::SharedMemory,
        Transport::UnixName,
        Transport::Pipe,
        Transport::Tcp,
    ] {
        come_and_go(transport, 10_000, 1_000);
    }
}
