//! Sections: memory that travels with calls.

use std::pin::pin;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::{Context, Waker};
use std::time::Duration;

use ipc_rpc::{Codec, ErrorKind, Section, ServiceClient, View};
use tests::fixture::{Fixture, TestServer, Transport};
use tests::samples::{Frame, Pixel, Rejected, SamplesClient};
use tests::subject::pattern;

/// What a pool sets aside at least: below that, sections travel inside of messages.
const SMALLEST: usize = 16 << 10;

async fn pair(f: Fixture) -> (TestServer, SamplesClient) {
    let server = f.server();
    let client = f.end(f.connect(&server)).await.unwrap();
    (server, client)
}

/// Memory of the client with this in it.
fn filled(client: &SamplesClient, bytes: &[u8], sealed: bool) -> Section<u8> {
    let section = if sealed {
        client.alloc_sealed(bytes.len())
    } else {
        client.alloc(bytes.len())
    };
    let mut section = section.unwrap();
    section.copy_from_slice(bytes);
    section
}

/// Whether this connection carries memory.
fn has_pool(client: &SamplesClient) -> bool {
    let section = client.alloc::<u8>(SMALLEST).unwrap();
    let has_pool = client.as_client().traffic().pool_in_use > 0;
    drop(section);
    has_pool
}

/// Large enough to be sent beside a message, and small enough for JSON.
fn large(f: Fixture) -> usize {
    if f.codec == Codec::Json {
        SMALLEST + 1
    } else {
        (1 << 20) + 1
    }
}

/// Waits until all memory of both sides has come back. What is given back travels with what is sent next.
async fn all_is_back(f: Fixture, client: &SamplesClient) {
    loop {
        let (_, _, theirs) = f.end(client.traffic()).await.unwrap();
        if theirs == 0 && client.as_client().traffic().pool_in_use == 0 {
            return;
        }
        std::thread::yield_now();
    }
}

pub(crate) async fn sections_of_every_size(f: Fixture) {
    let (_server, client) = pair(f).await;
    for size in [0, 1, 100, SMALLEST - 1, SMALLEST, SMALLEST + 1, 70_000, large(f)] {
        let bytes = pattern(size as u64);
        let mut turned = bytes.clone();
        turned.reverse();
        for sealed in [false, true] {
            let section = filled(&client, &bytes, sealed);
            assert_eq!(
                f.end(client.turn(section)).await.unwrap()[..],
                turned,
                "{size} bytes"
            );
            let view = View::from(filled(&client, &bytes, sealed));
            assert_eq!(
                f.end(client.echo(&view)).await.unwrap()[..],
                bytes,
                "{size} bytes"
            );
            let made = f.end(client.make(size as u64, sealed)).await.unwrap();
            assert_eq!(made[..], bytes, "{size} bytes");
        }
    }
    all_is_back(f, &client).await;
}

pub(crate) async fn sections_of_every_type(f: Fixture) {
    let (_server, client) = pair(f).await;
    for count in [3, 5000] {
        let mut values = client.alloc::<f32>(count).unwrap();
        values.fill(0.5);
        let values = View::from(values);
        let half = count as f64 / 2.0;
        assert_eq!(f.end(client.sum(&values)).await.unwrap(), half);
        assert_eq!(f.end(client.blocking_sum(values)).await.unwrap(), half);

        let pixel = Pixel {
            colour: [1, 2, 3, 255],
            depth: 0.25,
        };
        let mut pixels = client.alloc::<Pixel>(count).unwrap();
        pixels.fill(pixel);
        let pixels = View::from(pixels);
        assert_eq!(f.end(client.depth(&pixels)).await.unwrap(), half / 2.0);

        let frame = || Frame {
            number: count as u64,
            pixels: pixels.clone(),
            parts: vec![filled(&client, &pattern(20_000), false).into(), View::default()],
            edge: Some(View::from(vec![1.5; count])),
            scratch: vec![7; count].into(),
        };
        assert_eq!(f.end(client.frame(frame())).await.unwrap(), frame());

        let bytes = pattern(count as u64 * 8);
        let mut turned = bytes.clone();
        turned.reverse();
        let first = Some(filled(&client, &bytes, false));
        let second = (filled(&client, &turned, true).into(), 9);
        let (first, number, second) = f.end(client.mixed(first, second)).await.unwrap();
        assert_eq!(first.unwrap()[..], turned);
        assert_eq!((number, &second[..]), (9, &turned[..]));
        let (first, ..) = f.end(client.mixed(None, Default::default())).await.unwrap();
        assert_eq!(first, None);

        let halved = f.end(client.halve(vec![1.0; count])).await.unwrap();
        assert_eq!(halved[..], vec![0.5; count]);
        let negative = vec![-1.0; count];
        let rejected = f.end(client.halve(&negative)).await.unwrap_err();
        match rejected {
            ipc_rpc::CallError::Service(Rejected { values }) => assert_eq!(values[..], negative),
            ipc_rpc::CallError::Rpc(error) => panic!("{error}"),
        }
    }
    all_is_back(f, &client).await;
}

pub(crate) async fn sections_that_were_not_allocated(f: Fixture) {
    let (_server, client) = pair(f).await;
    let bytes = pattern(large(f) as u64);
    assert_eq!(f.end(client.echo(&bytes)).await.unwrap()[..], bytes);
    assert_eq!(f.end(client.echo(&bytes[1..])).await.unwrap()[..], bytes[1..]);
    assert_eq!(f.end(client.echo(bytes.clone())).await.unwrap()[..], bytes);
    assert_eq!(f.end(client.echo(&[1, 2, 3])).await.unwrap()[..], [1, 2, 3]);
    assert!(f.end(client.echo(vec![])).await.unwrap().is_empty());
    // A section for a view, a view for a section.
    let view = View::from(filled(&client, &bytes, false));
    let mut turned = bytes.clone();
    turned.reverse();
    assert_eq!(f.end(client.turn(view.clone())).await.unwrap()[..], turned);
    assert_eq!(view[..], bytes);
    assert_eq!(
        f.end(client.echo(filled(&client, &bytes, true))).await.unwrap()[..],
        bytes
    );
}

pub(crate) async fn sections_kept_beyond_their_call(f: Fixture) {
    let (_server, client) = pair(f).await;
    let bytes = pattern(large(f) as u64);
    for sealed in [false, true] {
        f.end(client.keep(1, filled(&client, &bytes, sealed)))
            .await
            .unwrap();
        let received = f.end(client.make(bytes.len() as u64, sealed)).await.unwrap();
        for _ in 0..3 {
            assert_eq!(f.end(client.kept(1)).await.unwrap().unwrap()[..], bytes);
        }
        assert!(f.end(client.forget(1)).await.unwrap());
        assert_eq!(received[..], bytes);
        std::thread::spawn(move || drop(received)).join().unwrap();
        all_is_back(f, &client).await;
    }
}

pub(crate) async fn sections_sent_again_and_back(f: Fixture) {
    let (server, client) = pair(f).await;
    let other: SamplesClient = f.end(f.connect(&server)).await.unwrap();
    let bytes = pattern(large(f) as u64);
    for sealed in [false, true] {
        let view = View::from(filled(&client, &bytes, sealed));
        for _ in 0..3 {
            // What came back is sent on, by the connection that it came by and by another.
            let back = f.end(client.echo(&view)).await.unwrap();
            let again = f.end(client.echo(&back)).await.unwrap();
            let elsewhere = f.end(other.echo(&again)).await.unwrap();
            assert_eq!(elsewhere[..], bytes);
        }
        // So is what belongs to another connection's pool.
        assert_eq!(f.end(other.echo(&view)).await.unwrap()[..], bytes);
        // Twice in one message.
        let lengths = f
            .end(client.lengths(vec![view.clone(), view.clone()]))
            .await
            .unwrap();
        assert_eq!(lengths, [bytes.len() as u64; 2]);
        // One that has been sent is copied when it is written to.
        let mut section = Section::from(view.clone());
        section[0] ^= 1;
        assert_eq!((section[0], view[0]), (bytes[0] ^ 1, bytes[0]));
    }
    all_is_back(f, &client).await;
    all_is_back(f, &other).await;
}

/// Where both sides may write to it, the answer is in the memory of the question; where not, nobody notices but by the clock.
pub(crate) async fn sections_answered_where_they_are(f: Fixture) {
    let (_server, client) = pair(f).await;
    let in_place = has_pool(&client) && (f.transport == Transport::Memory || f.transport.trusts());
    let mut bytes = pattern(large(f) as u64);
    let mut section = filled(&client, &bytes, false);
    let place = section.as_ptr();
    let stays = |section: &[u8]| assert!(!in_place || section.as_ptr() == place, "it was copied");
    for round in 0..4 {
        bytes.reverse();
        section = f.end(client.turn(section)).await.unwrap();
        assert_eq!(section[..], bytes, "round {round}");
        stays(&section);
        // It is this side's to write, and to send again.
        section[round] ^= 0xff;
        bytes[round] ^= 0xff;
        stays(&section);
    }
    // As a part of something, and beside what was lent to be read.
    let view = View::from(filled(&client, &bytes, false));
    let (first, _, second) = f
        .end(client.mixed(Some(section), (view.clone(), 9)))
        .await
        .unwrap();
    let first = first.unwrap();
    stays(&first);
    assert!(first.iter().eq(bytes.iter().rev()));
    assert!(second[..] == bytes && view[..] == bytes);
    // Once others can look at it, it is changed nowhere but in a copy.
    let shown = View::from(first);
    stays(&shown);
    let turned = f.end(client.turn(shown.clone())).await.unwrap();
    assert_eq!(turned[..], bytes);
    assert!(shown.iter().eq(bytes.iter().rev()));
    // What is answered by a view of it goes back to the pool as well.
    let mut values = client.alloc::<f32>(bytes.len()).unwrap();
    values.fill(-1.0);
    match f.end(client.halve(values)).await.unwrap_err() {
        ipc_rpc::CallError::Service(Rejected { values }) => {
            assert!(values.iter().all(|&value| value == -1.0))
        }
        ipc_rpc::CallError::Rpc(error) => panic!("{error}"),
    }
    // What the server makes stays its own: a client that has changed it has a copy, or sends it back.
    let mut made = f.end(client.make(bytes.len() as u64, false)).await.unwrap();
    made[0] ^= 0xff;
    let expected: Vec<u8> = made.iter().rev().copied().collect();
    assert_eq!(f.end(client.turn(made)).await.unwrap()[..], expected);
    drop((view, second, shown, turned));
    all_is_back(f, &client).await;
}

pub(crate) async fn sections_in_one_way_calls(f: Fixture) {
    let (_server, client) = pair(f).await;
    let size = large(f);
    for last in 0..5 {
        let mut section = client.alloc::<u8>(size).unwrap();
        section[size - 1] = last;
        f.end(client.note(section)).await.unwrap();
    }
    let expected: Vec<_> = (0..5).map(|last| (size as u64, last)).collect();
    assert_eq!(f.end(client.until_noted(5)).await.unwrap(), expected);
    all_is_back(f, &client).await;
}

pub(crate) async fn many_sections_at_once(f: Fixture) {
    let (_server, client) = pair(f).await;
    // JSON takes its time for as much as that.
    let times = if f.codec == Codec::Json { 1 } else { 3 };
    let lengths = f
        .together(8, |number| {
            let client = client.clone();
            async move {
                for _ in 0..times {
                    let sections = (0..8).map(|index| {
                        let length = SMALLEST as u64 + 8 * number + index;
                        filled(&client, &pattern(length), false).into()
                    });
                    let lengths = f.end(client.lengths(sections.collect())).await.unwrap();
                    let expected: Vec<_> = (0..8).map(|index| SMALLEST as u64 + 8 * number + index).collect();
                    assert_eq!(lengths, expected);
                }
                number
            }
        })
        .await;
    assert_eq!(lengths, (0..8).collect::<Vec<_>>());
    all_is_back(f, &client).await;
}

pub(crate) async fn sections_above_what_one_message_takes(f: Fixture) {
    let (_server, client) = pair(f).await;
    let bytes = pattern(SMALLEST as u64);
    // JSON takes its time for as much as that.
    let count = if f.codec == Codec::Json { 3 } else { 70 };
    let sections = (0..count).map(|_| filled(&client, &bytes, false).into());
    let lengths = f.end(client.lengths(sections.collect())).await.unwrap();
    assert_eq!(lengths, vec![bytes.len() as u64; count]);
    all_is_back(f, &client).await;
}

pub(crate) async fn a_budget_that_is_used_up(f: Fixture) {
    let (_server, client) = pair(f).await;
    if !has_pool(&client) {
        // Then it is the process's own memory, for which there is no budget.
        return;
    }
    let mut taken = Vec::new();
    let error = loop {
        assert!(taken.len() < 1000, "there is no end to it");
        match client.alloc::<u8>(4 << 20) {
            Ok(section) => taken.push(section),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Resource, "{error}");
    let sentence = error.to_string();
    assert!(sentence.starts_with("no section of 4 MiB: "), "{sentence}");
    assert!(sentence.contains("try again, or pass a Vec"), "{sentence}");
    // What needs no memory of the pool's goes on, and so does a vector, which has to do without.
    let bytes = pattern(large(f) as u64);
    assert_eq!(f.end(client.echo(&bytes)).await.unwrap()[..], bytes);
    // What is sent and dropped on both sides is there again.
    let section = taken.pop().unwrap();
    assert_eq!(f.end(client.sum(vec![0.5; 2])).await.unwrap(), 1.0);
    assert_eq!(
        f.end(client.lengths(vec![section.into()])).await.unwrap(),
        [4 << 20]
    );
    let again = loop {
        match client.alloc::<u8>(4 << 20) {
            Ok(section) => break section,
            Err(_) => f.end(client.traffic()).await.map(drop).unwrap(),
        }
    };
    drop((taken, again));
    all_is_back(f, &client).await;
    // As is what is above every limit.
    let error = client.alloc::<u64>(usize::MAX / 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

pub(crate) async fn memory_that_is_waited_for(f: Fixture) {
    const LARGE: usize = 16 << 20;
    let (server, client) = pair(f).await;
    if !has_pool(&client) {
        // There is no budget: nobody waits.
        assert_eq!(
            f.end(client.alloc_waiting::<u8>(LARGE)).await.unwrap().len(),
            LARGE
        );
        return;
    }
    let mut taken = Vec::new();
    // Sealed, so that the server does not copy what it keeps.
    while let Ok(section) = client.alloc_sealed::<u8>(LARGE) {
        taken.push(section);
    }
    // In vain, but not for long.
    let hasty = client.with_timeout(Duration::from_millis(20));
    let error = f.end(hasty.alloc_waiting::<u8>(LARGE)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    assert!(
        error
            .to_string()
            .contains("after 20ms there is still no section of 16 MiB"),
        "{error}"
    );
    // What is wrong for ever is not waited for.
    let error = f
        .end(client.alloc_waiting::<u64>(usize::MAX / 4))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    // What the server has is back when it forgets it, also if that is told by nothing else: the call is one way.
    for key in 0..3 {
        let section = taken.pop().unwrap();
        f.end(client.keep(key, section)).await.unwrap();
        assert_eq!(client.alloc::<u8>(LARGE).unwrap_err().kind(), ErrorKind::Resource);
        f.end(client.let_go(key)).await.unwrap();
        drop(f.end(client.alloc_waiting::<u8>(LARGE)).await.unwrap());
        taken.push(client.alloc_sealed(LARGE).unwrap());
    }
    // Several, for what this side gives back.
    let section = taken.pop().unwrap();
    let waiting = client.clone();
    let lengths = f.together(3, |_| {
        let waiting = waiting.clone();
        async move { f.end(waiting.alloc_waiting::<u8>(LARGE)).await.unwrap().len() }
    });
    drop(section);
    assert_eq!(lengths.await, [LARGE; 3]);
    // The end ends it.
    let pending = taken.len();
    let (waiting, closing) = (client.clone(), client.clone());
    taken.push(client.alloc(LARGE).unwrap());
    let ended = f
        .together(2, |number| {
            let (waiting, closing) = (waiting.clone(), closing.clone());
            async move {
                if number == 0 {
                    let error = f.end(waiting.alloc_waiting::<u8>(LARGE)).await.unwrap_err();
                    return error.kind();
                }
                closing.as_client().close();
                ErrorKind::Closed
            }
        })
        .await;
    assert_eq!((ended, pending), (vec![ErrorKind::Closed; 2], taken.len() - 1));
    drop(server);
}

pub(crate) async fn memory_that_both_sides_write(f: Fixture) {
    let (server, client) = pair(f).await;
    if !has_pool(&client) {
        let error = client.alloc_shared::<u32>(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let why = f.end(client.board(1)).await.unwrap_err();
        assert!(
            why.to_string()
                .contains("carries no memory that both sides write"),
            "{why}"
        );
        return;
    }
    // Small ones, too: a copy would not do.
    for count in [0, 1, 5000] {
        let words = client.alloc_shared::<u32>(count).unwrap();
        let first = (count > 0).then_some(7);
        words.iter().for_each(|word| word.store(7, Relaxed));
        assert_eq!(f.end(client.tick((words.clone(), 3))).await.unwrap(), first);
        let first = (count > 0).then_some(10);
        assert_eq!(f.end(client.tick((words.clone(), 1))).await.unwrap(), first);
        assert!(words.iter().all(|word| word.load(Relaxed) == 11));
        let mut values = vec![0; count];
        words.read(0, &mut values);
        assert_eq!(values, vec![11; count]);
    }
    // While a call is under way, in both directions.
    let words = client.alloc_shared::<u8>(2).unwrap();
    let mine = words.clone();
    let caller = client.clone();
    let both = f
        .together(2, |number| {
            let (caller, mine) = (caller.clone(), mine.clone());
            async move {
                if number == 0 {
                    f.end(caller.reply_in(&mine)).await.unwrap();
                } else {
                    mine[0].store(1, Release);
                }
                number
            }
        })
        .await;
    assert_eq!((both, words[1].load(Acquire)), (vec![0, 1], 2));
    // The server's.
    let board = f.end(client.board(20_000)).await.unwrap();
    board.write(19_998, &[-5, i64::MIN]);
    assert_eq!(f.end(client.on_board(19_999)).await.unwrap(), i64::MIN);
    assert_eq!(f.end(client.on_board(19_998)).await.unwrap(), -5);
    assert_eq!(f.end(client.on_board(0)).await.unwrap(), 0);
    // It belongs to its connection, and to the side that made it; nothing else ends with the attempt.
    let other: SamplesClient = f.end(f.connect(&server)).await.unwrap();
    let error = f.end(other.reply_in(&words)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
    assert!(error.to_string().contains("belongs to one connection"), "{error}");
    let (sent, _, theirs) = f.end(client.traffic()).await.unwrap();
    assert!(sent.bytes[1] >= 160_000 && theirs >= 160_000);
    // It stays with those who have it.
    drop(client);
    drop(server);
    assert_eq!(board[19_999].swap(1, Relaxed), i64::MIN);
    assert_eq!(words[1].load(Relaxed), 2);
}

pub(crate) async fn traffic_is_counted(f: Fixture) {
    let (_server, client) = pair(f).await;
    let has_pool = has_pool(&client);
    let before = client.as_client().traffic();
    let bytes = pattern(large(f) as u64);
    let back = f.end(client.echo(filled(&client, &bytes, false))).await.unwrap();
    assert_eq!(back[..], bytes);
    let after = client.as_client().traffic();
    let (beside, inside) = if has_pool { (1, 0) } else { (0, 1) };
    for (before, after) in [(before.sent, after.sent), (before.received, after.received)] {
        assert_eq!(after.section_messages - before.section_messages, beside);
        let section_bytes = after.section_bytes - before.section_bytes;
        assert_eq!(section_bytes, beside * bytes.len() as u64);
        assert_eq!(after.inline_messages - before.inline_messages, inside);
        let inline_bytes = after.inline_bytes - before.inline_bytes;
        assert_eq!(inline_bytes < 100, has_pool, "{inline_bytes}");
    }
    assert_eq!(after.pool_high_water >= bytes.len(), has_pool);
    // The other side has counted the same, and then this call's answer.
    let (sent, received, _) = f.end(client.traffic()).await.unwrap();
    assert_eq!(sent.bytes[1], after.received.section_bytes);
    assert_eq!(received.bytes[1], after.sent.section_bytes);
    assert_eq!(received.messages[1], after.sent.section_messages);
}

pub(crate) async fn sections_of_calls_that_are_dropped(f: Fixture) {
    let (_server, client) = pair(f).await;
    let bytes = pattern(large(f) as u64);
    for polls in 0..4 {
        for sealed in [false, true] {
            let mut held = pin!(client.hold(filled(&client, &bytes, sealed)));
            for _ in 0..polls {
                let polled = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending(), "{polled:?}");
            }
        }
        // An answer that nobody waits for any more has the memory with it.
        let mut turned = pin!(client.turn(filled(&client, &bytes, false)));
        for _ in 0..polls {
            if turned
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
            {
                break;
            }
        }
    }
    all_is_back(f, &client).await;
}
