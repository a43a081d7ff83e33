//! What a port promises of sections, over every transport.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Instant;

use common::{body, flush, header, over_every_transport, over_every_transport_with, receive, send, watchdog};
use transports::{
    Block, Chunk, Error, ErrorKind, Flushed, Header, Lease, Message, Pool, Port, Received, Sent, memory,
};

/// A block with noise in it.
fn filled(pool: &Pool, length: usize, seed: u64) -> Block {
    let mut chunk = pool.alloc(length).unwrap();
    chunk.copy_from_slice(&body(length, seed));
    chunk.freeze().unwrap()
}

/// The same, sealed.
fn sealed(pool: &Pool, length: usize, seed: u64) -> Block {
    let mut chunk = pool.alloc_sealed(length).unwrap();
    chunk.copy_from_slice(&body(length, seed));
    chunk.freeze().unwrap()
}

/// Sends one message with sections, waiting for room.
fn send_with(port: &mut Port, header: Header, body: &[u8], sections: &[Block]) {
    let mut body = body.to_vec();
    let deadline = watchdog();
    while port
        .sender
        .try_send_with(&header, &[], &mut body, sections)
        .unwrap()
        == Sent::Full
    {
        if port.sender.flush().unwrap() == Flushed::Blocked {
            port.receiver.park(true, deadline).unwrap();
        }
        assert!(Instant::now() < deadline.unwrap(), "no room");
    }
    flush(port);
}

fn copy_of(lease: &Lease) -> Vec<u8> {
    let mut bytes = Vec::new();
    lease.append_to(0, lease.len(), &mut bytes).unwrap();
    bytes
}

/// Over every transport whose ports carry sections: there is at least one.
fn over_those_with_sections(test: impl Fn(Port, Port, Pool)) {
    let count = std::cell::Cell::new(0);
    over_every_transport(|client, server| {
        let Some(pool) = client.pool.clone() else {
            return;
        };
        count.set(count.get() + 1);
        test(client, server, pool);
    });
    assert!(count.get() > 0);
}

#[test]
fn a_port_without_sections_says_so() {
    let (other, _far) = memory::pair(1000);
    let block = other.pool.as_ref().unwrap().alloc(1).unwrap().freeze().unwrap();
    over_every_transport(|mut client, mut server| {
        let mut bytes = b"kept".to_vec();
        let refused =
            client
                .sender
                .try_send_with(&header(1), b"head", &mut bytes, std::slice::from_ref(&block));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(bytes, b"kept");
        // Without any it is a message like others.
        let sent = client
            .sender
            .try_send_with(&header(2), b"head ", &mut bytes, &[])
            .unwrap();
        assert_eq!(sent, Sent::Accepted);
        flush(&mut client);
        let message = receive(&mut server);
        assert_eq!(
            (message.header.sections, &message.body[..]),
            (0, &b"head kept"[..])
        );
        assert!(message.sections.is_empty());
    });
}

#[test]
fn sections_arrive_beside_the_body() {
    over_those_with_sections(|mut client, mut server, pool| {
        let sizes = [
            0,
            1,
            63,
            64,
            65,
            16 << 10,
            (16 << 10) + 1,
            1 << 20,
            (1 << 20) + 1,
            5 << 20,
        ];
        for (id, size) in sizes.into_iter().enumerate() {
            let id = id as u64;
            let block = filled(&pool, size, id);
            assert!(!block.is_sealed());
            assert!(*block == body(size, id));
            send_with(&mut client, header(id), b"beside", &[block.clone(), block]);
            let message = receive(&mut server);
            assert_eq!((message.header.id, message.header.sections), (id, 2));
            assert_eq!(message.body, b"beside");
            for lease in &message.sections {
                assert_eq!((lease.len(), lease.is_empty()), (size, size == 0));
                assert!(copy_of(lease) == body(size, id), "{size} bytes");
            }
            // And messages without any pass between them.
            send(&mut client, header(id), b"plain");
            assert!(receive(&mut server).sections.is_empty());
        }
        // Both ways.
        let pool = server.pool.clone().unwrap();
        let block = filled(&pool, 100, 7);
        send_with(&mut server, header(1), &[], &[block]);
        assert_eq!(copy_of(&receive(&mut client).sections[0]), body(100, 7));
    });
}

#[test]
fn a_chunk_is_aligned_and_holds_nothing_of_others() {
    over_those_with_sections(|_client, _server, pool| {
        for sealed in [false, true] {
            for bytes in [1, 1000, 1 << 20] {
                let mut chunk = match sealed {
                    true => pool.alloc_sealed(bytes).unwrap(),
                    false => pool.alloc(bytes).unwrap(),
                };
                assert_eq!(chunk.len(), bytes);
                assert!(chunk.as_ptr().addr() % Chunk::ALIGNMENT == 0);
                assert!(chunk.iter().all(|&byte| byte == 0));
                chunk[0] = 1;
                chunk.truncate(bytes + 1);
                assert_eq!(chunk.len(), bytes);
                chunk.truncate(1);
                let block = chunk.freeze().unwrap();
                assert!(block.as_ptr().addr() % Chunk::ALIGNMENT == 0);
                assert_eq!((&block[..], block.is_sealed()), (&[1][..], sealed));
                // What comes next of that size must not be clean for the next time round to fail.
                drop(block);
                let mut chunk = pool.alloc(bytes).unwrap();
                chunk.fill(0);
            }
        }
    });
}

#[test]
fn what_is_asked_of_a_lease_has_to_be_there() {
    over_those_with_sections(|mut client, mut server, pool| {
        send_with(&mut client, header(1), &[], &[filled(&pool, 1000, 1)]);
        let message = receive(&mut server);
        let lease = &message.sections[0];
        let mut part = [0; 10];
        lease.copy_into(990, &mut part).unwrap();
        assert_eq!(part[..], body(1000, 1)[990..]);
        let mut rest = b"before ".to_vec();
        lease.append_to(1000, 0, &mut rest).unwrap();
        lease.append_to(998, 2, &mut rest).unwrap();
        assert_eq!(rest, [b"before ", &body(1000, 1)[998..]].concat());
        for (offset, length) in [(991, 10), (1001, 0), (usize::MAX, 1), (1, usize::MAX), (0, 1001)] {
            let refused = lease.append_to(offset, length, &mut rest).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::TooLarge);
            if length == 10 {
                assert_eq!(
                    lease.copy_into(offset, &mut part).unwrap_err().kind(),
                    ErrorKind::TooLarge
                );
            }
        }
        assert_eq!(rest.len(), "before ".len() + 2);
    });
}

#[test]
fn sealed_memory_is_lent_in_place() {
    over_those_with_sections(|mut client, mut server, pool| {
        let block = sealed(&pool, 100_000, 3);
        let mut kept = Vec::new();
        for id in 0..10 {
            send_with(&mut client, header(id), &[], std::slice::from_ref(&block));
            let lease = receive(&mut server).sections.pop().unwrap();
            assert!(lease.bytes().unwrap() == body(100_000, 3));
            kept.push(lease);
        }
        drop(block);
        drop(client);
        // Neither the handle nor the connection is needed to read on.
        for lease in kept {
            assert!(lease.bytes().unwrap() == body(100_000, 3));
        }
    });
}

#[test]
fn memory_that_both_sides_write() {
    over_those_with_sections(|mut client, mut server, pool| {
        let block = pool.alloc_common::<AtomicU16>(5000).unwrap();
        assert_eq!(
            (block.len(), block.is_sealed(), &block[..]),
            (10_000, false, &[][..])
        );
        assert!(block.atoms::<AtomicU64>().is_none());
        let ours = block.atoms::<AtomicU16>().unwrap();
        assert!(ours.len() == 5000 && ours.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        ours[4999].store(7, Ordering::Relaxed);
        send_with(&mut client, header(1), b"", std::slice::from_ref(&block));
        let message = receive(&mut server);
        let lease = &message.sections[0];
        assert!(lease.is_common() && lease.bytes().is_none() && lease.len() == 10_000);
        let error = lease.copy_into(0, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let theirs = lease.atoms::<AtomicU16>().unwrap();
        assert_eq!(theirs[4999].fetch_add(1, Ordering::Relaxed), 7);
        theirs[0].store(9, Ordering::Relaxed);
        assert_eq!(
            [0, 4999].map(|at: usize| ours[at].load(Ordering::Relaxed)),
            [9, 8]
        );
        // It can be sent again, and is the same.
        send_with(&mut client, header(2), b"", std::slice::from_ref(&block));
        let again = receive(&mut server);
        let words = again.sections[0].atoms::<AtomicU16>().unwrap();
        assert_eq!(words[0].swap(1, Ordering::Relaxed), 9);
        assert_eq!(theirs[0].load(Ordering::Relaxed), 1);
        assert_eq!(pool.usage().in_use, Pool::SMALLEST);
        drop((message, again));
        assert_eq!(pool.usage().in_use, Pool::SMALLEST);
        drop(block);
        assert_eq!(pool.usage().in_use, 0);
        // Nothing of it is left for those who come next.
        let fresh = pool.alloc_common::<AtomicU16>(5000).unwrap();
        let words = fresh.atoms::<AtomicU16>().unwrap();
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        assert_eq!(
            pool.alloc_common::<AtomicU64>(usize::MAX).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
    });
}

#[test]
fn memory_comes_back_when_all_have_let_go() {
    over_those_with_sections(|mut client, mut server, pool| {
        let base = pool.usage().in_use;
        let block = filled(&pool, 1 << 20, 1);
        assert_eq!(pool.usage().in_use, base + (1 << 20));
        for id in 0..2 {
            send_with(&mut client, header(id), &[], std::slice::from_ref(&block));
        }
        drop(block);
        let (first, second) = (receive(&mut server), receive(&mut server));
        let again = first.sections[0].clone();
        drop(first);
        // On another thread.
        thread::spawn(move || drop(second)).join().unwrap();
        assert_eq!(pool.usage().in_use, base + (1 << 20));
        assert!(copy_of(&again) == body(1 << 20, 1));
        drop(again);
        assert_eq!(pool.usage().in_use, base);
        assert!(pool.usage().high_water >= 1 << 20);
    });
}

#[test]
fn a_full_pool_says_so_and_recovers() {
    over_those_with_sections(|mut client, mut server, pool| {
        let mut sent = 0;
        let refused = loop {
            match pool.alloc(2 << 20) {
                Ok(chunk) => send_with(&mut client, header(sent), &[], &[chunk.freeze().unwrap()]),
                Err(refused) => break refused,
            }
            sent += 1;
            assert!(sent <= 33);
        };
        assert_eq!(refused.kind(), ErrorKind::Resource);
        assert!(refused.to_string().contains("given some back"), "{refused}");
        // The pool, and one beyond it.
        assert_eq!(sent, 33);
        let messages: Vec<Message> = (0..sent).map(|_| receive(&mut server)).collect();
        assert_eq!(pool.alloc(1).unwrap_err().kind(), ErrorKind::Resource);
        drop(messages);
        assert_eq!(pool.alloc(64 << 20).unwrap().len(), 64 << 20);
        assert_eq!(
            pool.alloc((64 << 20) + 1).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
    });
}

/// Wakes the thread that made it, and remembers.
struct Alarm {
    thread: thread::Thread,
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Takes memory, and waits for it as the pool wants it.
fn alloc_waiting(pool: &Pool, bytes: usize) -> Result<Chunk, Error> {
    let deadline = watchdog().unwrap();
    let alarm = Arc::new(Alarm {
        thread: thread::current(),
        rung: AtomicBool::new(false),
    });
    let waker = Waker::from(alarm.clone());
    loop {
        match pool.alloc(bytes) {
            Err(error) if error.kind() == ErrorKind::Resource => {}
            other => return other,
        }
        pool.wake_on_return(&waker);
        match pool.alloc(bytes) {
            Err(error) if error.kind() == ErrorKind::Resource => {}
            other => return other,
        }
        while !alarm.rung.swap(false, Ordering::SeqCst) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody was told that memory is back");
            thread::park_timeout(left);
        }
    }
}

#[test]
fn whoever_waits_for_memory_gets_it() {
    const LARGE: usize = 32 << 20;
    over_those_with_sections(|mut client, mut server, pool| {
        let mut all = Vec::new();
        while let Ok(chunk) = pool.alloc(LARGE) {
            assert!(all.len() < 10, "there is no end to it");
            all.push(chunk.freeze().unwrap());
        }
        // One of the other side's, given back on another thread, several times.
        for round in 0..3 {
            let sent = all.pop().unwrap();
            send_with(&mut client, header(round), b"", &[sent]);
            let message = receive(&mut server);
            assert_eq!(pool.alloc(LARGE).unwrap_err().kind(), ErrorKind::Resource);
            let chunk = thread::scope(|scope| {
                let taken = scope.spawn(|| alloc_waiting(&pool, LARGE).unwrap());
                drop(message);
                taken.join().unwrap()
            });
            all.push(chunk.freeze().unwrap());
        }
        // One of this side's.
        let own = all.pop().unwrap();
        let chunk = thread::scope(|scope| {
            let taken = scope.spawn(|| alloc_waiting(&pool, LARGE).unwrap());
            drop(own);
            taken.join().unwrap()
        });
        all.push(chunk.freeze().unwrap());
        // Two who wait for the same.
        let sent = all.pop().unwrap();
        send_with(&mut client, header(9), b"", &[sent]);
        let message = receive(&mut server);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| drop(alloc_waiting(&pool, LARGE).unwrap()));
            }
            drop(message);
        });
    });
}

#[test]
fn whoever_waits_learns_of_the_end() {
    over_those_with_sections(|client, server, pool| {
        let mut all = Vec::new();
        while let Ok(chunk) = pool.alloc(32 << 20) {
            all.push(chunk);
        }
        let ended = thread::scope(|scope| {
            let waiting = scope.spawn(|| alloc_waiting(&pool, 32 << 20));
            drop((client, server));
            // Inside one process memory is as good without its connection.
            all.clear();
            waiting.join().unwrap()
        });
        if let Err(error) = ended {
            assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
        }
    });
}

#[test]
fn many_small_sections_travel() {
    over_those_with_sections(|mut client, mut server, pool| {
        for round in 0..100 {
            let blocks: Vec<_> = (0..Pool::SECTIONS as u64)
                .map(|at| filled(&pool, 100, round + at))
                .collect();
            send_with(&mut client, header(round), &[], &blocks);
            let message = receive(&mut server);
            assert_eq!(message.sections.len(), Pool::SECTIONS);
            for (lease, at) in message.sections.iter().zip(0..) {
                assert_eq!(copy_of(lease), body(100, round + at));
            }
        }
        let usage = pool.usage();
        assert_eq!((usage.section_messages, usage.section_bytes), (100, 640_000));
        let one = filled(&pool, 1, 1);
        let many = vec![one; Pool::SECTIONS + 1];
        let refused = client
            .sender
            .try_send_with(&header(1), &[], &mut Vec::new(), &many);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    });
}

/// What is lent whole goes once, when there is room for it, and nowhere else; where the other side may write to it, it comes back as it was taken.
#[test]
fn what_the_other_side_gets_to_itself() {
    over_those_with_sections(|mut client, mut server, pool| {
        let (other, mut stranger) = memory::pair(1 << 20);
        let of_another = other.pool.as_ref().unwrap().alloc(1).unwrap().lend().unwrap();
        let mut chunk = pool.alloc(100_000).unwrap();
        chunk.copy_from_slice(&body(100_000, 1));
        let block = chunk.lend().unwrap();
        let is_intact = |block: &Block, seed: u64, length: usize| {
            let mut copy = Vec::new();
            block.append_to(&mut copy).unwrap();
            assert!(
                copy == body(length, seed) && block.is_empty() == copy.is_empty() && block[..].is_empty()
            );
        };
        let try_sending = |port: &mut Port, blocks: &[Block]| {
            let sent = port
                .sender
                .try_send_with(&header(9), &[], &mut body(30_000, 2), blocks);
            sent.map_err(|error| error.kind())
        };
        for blocks in [vec![block.clone(), of_another.clone()], vec![of_another.clone()]] {
            assert_eq!(try_sending(&mut client, &blocks), Err(ErrorKind::Unsupported));
        }
        // Until nothing has room, whatever is done for it.
        let mut messages = 0;
        while client
            .sender
            .try_send_with(&header(1), &[], &mut body(30_000, 2), &[])
            .unwrap()
            == Sent::Accepted
        {
            messages += 1;
        }
        assert_eq!(
            try_sending(&mut client, std::slice::from_ref(&block)),
            Ok(Sent::Full)
        );
        is_intact(&block, 1, 100_000);
        for _ in 0..messages {
            let _ = client.sender.flush().unwrap();
            assert_eq!(receive(&mut server).body, body(30_000, 2));
        }
        send_with(&mut client, header(2), b"", std::slice::from_ref(&block));
        assert_eq!(
            try_sending(&mut client, std::slice::from_ref(&block)),
            Err(ErrorKind::Unsupported)
        );
        assert!(block.append_to(&mut Vec::new()).is_err());
        let mut lease = receive(&mut server).sections.remove(0);
        assert_eq!(copy_of(&lease), body(100_000, 1));
        // Between two processes it takes trust on both sides.
        let Some(bytes) = lease.bytes_mut() else {
            let lease = lease.send_back().unwrap_err().into_chunk().unwrap_err();
            drop(lease);
            return assert_eq!(pool.usage().in_use, 0);
        };
        bytes.copy_from_slice(&body(100_000, 3));
        let place = bytes.as_ptr();
        let back = lease.send_back().unwrap();
        is_intact(&back, 3, 100_000);
        for port in [&mut client, &mut stranger] {
            assert_eq!(
                try_sending(port, std::slice::from_ref(&back)),
                Err(ErrorKind::Unsupported)
            );
        }
        send_with(&mut server, header(3), b"", std::slice::from_ref(&back));
        let chunk = receive(&mut client).sections.remove(0).into_chunk().unwrap();
        assert_eq!((chunk.as_ptr(), &chunk[..]), (place, &body(100_000, 3)[..]));
        assert!(pool.usage().in_use > 0);
        drop(chunk);
        assert_eq!(pool.usage().in_use, 0);
    });
}

#[test]
fn a_block_belongs_to_its_connection() {
    let (other, _far) = memory::pair(1000);
    over_those_with_sections(|mut client, mut server, pool| {
        let foreign = [
            other.pool.as_ref().unwrap().alloc(1).unwrap().freeze().unwrap(),
            server.pool.as_ref().unwrap().alloc(1).unwrap().freeze().unwrap(),
        ];
        for block in foreign {
            let mut bytes = b"kept".to_vec();
            let sections = [filled(&pool, 1, 1), block];
            let refused = client
                .sender
                .try_send_with(&header(1), b"head", &mut bytes, &sections);
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            assert!(refused.to_string().contains("copy it"), "{refused}");
            assert_eq!(bytes, b"kept");
        }
        assert_eq!(pool.usage().in_use, 0);
        send_with(&mut client, header(2), &[], &[filled(&pool, 5, 5)]);
        assert_eq!(copy_of(&receive(&mut server).sections[0]), body(5, 5));
    });
}

#[test]
fn leases_and_blocks_outlive_the_connection() {
    over_those_with_sections(|mut client, mut server, pool| {
        let block = filled(&pool, 70_000, 9);
        send_with(&mut client, header(1), &[], std::slice::from_ref(&block));
        let lease = receive(&mut server).sections.pop().unwrap();
        drop((client, server));
        assert!(copy_of(&lease) == body(70_000, 9));
        drop(lease);
        assert!(*block == body(70_000, 9));
        drop((block, pool));
    });
}

#[test]
fn a_peer_that_ends_gives_everything_back() {
    over_those_with_sections(|mut client, server, pool| {
        let block = filled(&pool, 1 << 20, 9);
        for id in 0..3 {
            send_with(&mut client, header(id), &[], std::slice::from_ref(&block));
        }
        drop((block, server));
        let mut message = Message::default();
        let deadline = watchdog();
        while let Ok(Received::Empty | Received::Begun) = client.receiver.try_recv(&mut message) {
            client.receiver.park(false, deadline).unwrap();
            assert!(Instant::now() < deadline.unwrap(), "the end was not seen");
        }
        drop(client);
        assert_eq!(pool.usage().in_use, 0);
    });
}

#[test]
fn a_section_is_no_longer_than_a_body_may_be() {
    over_every_transport_with(
        |endpoint| endpoint.max_message(1000),
        |client, _server| {
            if let Some(pool) = &client.pool {
                assert_eq!(pool.alloc(1001).unwrap_err().kind(), ErrorKind::TooLarge);
                assert_eq!(pool.alloc(1000).unwrap().len(), 1000);
            }
        },
    );
}

#[test]
fn what_travelled_how_is_counted() {
    over_those_with_sections(|mut client, mut server, pool| {
        let before = pool.usage();
        send(&mut client, header(1), &body(300, 1));
        send_with(&mut client, header(1), &body(20, 1), &[filled(&pool, 5000, 1)]);
        receive(&mut server);
        receive(&mut server);
        let usage = pool.usage();
        assert_eq!(usage.inline_messages - before.inline_messages, 1);
        assert_eq!(usage.inline_bytes - before.inline_bytes, 320);
        assert_eq!(usage.section_messages - before.section_messages, 1);
        assert_eq!(usage.section_bytes - before.section_bytes, 5000);
        assert_eq!(usage.high_water, Pool::SMALLEST);
    });
}

/// What connects a child carries sections, too, as far as it is a socket.
#[cfg(target_os = "linux")]
#[test]
fn what_is_inherited_carries_sections() {
    use std::os::fd::AsRawFd;

    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let take = |socket: &std::os::unix::net::UnixStream| {
        let endpoint = format!("fd:{}", socket.as_raw_fd()).parse().unwrap();
        transports::connect(&endpoint, None).unwrap()
    };
    let (mut near, mut far) = (take(&ours), take(&theirs));
    let pool = near.pool.clone().unwrap();
    let blocks = [filled(&pool, 100_000, 1), sealed(&pool, 5, 2)];
    send_with(&mut near, header(1), b"beside", &blocks);
    let message = receive(&mut far);
    assert_eq!(message.body, b"beside");
    assert!(copy_of(&message.sections[0]) == body(100_000, 1));
    assert_eq!(message.sections[1].bytes().unwrap(), body(5, 2));
    // The descriptors belong to the ports now.
    std::mem::forget((ours, theirs));
}

/// Sections pass between everything else: small messages, large ones that travel in pieces, and both ways at once.
#[test]
fn sections_pass_among_other_messages() {
    over_those_with_sections(|client, server, _| {
        let talk = |port: &mut Port, seed: u64| {
            let pool = port.pool.clone().unwrap();
            let deadline = watchdog();
            let mut message = Message::default();
            let (mut sent, mut taken) = (0, 0);
            while port.sender.flush().unwrap() == Flushed::Blocked || sent < 60 || taken < 60 {
                if sent < 60 {
                    let mut bytes = body([10, 5000, 300_000][sent % 3], sent as u64);
                    let sections: Vec<_> = (0..sent % 4)
                        .filter_map(|at| pool.alloc([1, 20_000, 1 << 20, 40_000][at]).ok())
                        .map(|mut chunk| {
                            let length = chunk.len();
                            chunk.copy_from_slice(&body(length, seed));
                            chunk.freeze().unwrap()
                        })
                        .collect();
                    match port
                        .sender
                        .try_send_with(&header(sent as u64), &[], &mut bytes, &sections)
                    {
                        Ok(Sent::Accepted) => sent += 1,
                        Ok(Sent::Full) => {}
                        // The socket beside a ring takes no announcement just now.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Resource, "{error}"),
                    }
                }
                match port.receiver.try_recv(&mut message).unwrap() {
                    Received::Message => {
                        let id = taken as u64;
                        assert_eq!(message.header.id, id);
                        assert!(message.body == body([10, 5000, 300_000][taken % 3], id), "{id}");
                        assert_eq!(message.sections.len(), usize::from(message.header.sections));
                        for lease in &message.sections {
                            assert!(copy_of(lease) == body(lease.len(), !seed), "{id}");
                        }
                        taken += 1;
                    }
                    Received::Empty | Received::Begun => {}
                    Received::Closed => panic!("the other side is done too early"),
                }
                assert!(Instant::now() < deadline.unwrap(), "{sent} sent, {taken} taken");
            }
        };
        let (mut client, mut server) = (client, server);
        // Nobody hangs up before the other is done.
        let client = common::together(
            move || {
                talk(&mut client, 5);
                client
            },
            || talk(&mut server, !5),
        );
        drop((client, server));
    });
}
