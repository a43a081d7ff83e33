//! Calls in flight, alone and together.

use std::sync::mpsc;
use std::time::Duration;

use ipc_rpc::{ErrorKind, ServiceClient};
use tests::fixture::Fixture;
use tests::subject::{SecondClient, pattern};

use crate::bodies::large;

pub(crate) async fn sixty_four_at_once(f: Fixture) {
    let (_server, client) = f.pair().await;
    let caller = client.clone();
    let running = f.together(64, move |token| {
        let client = caller.clone();
        async move { f.end(client.hold(token)).await.unwrap() }
    });
    let releaser = f.start(async move {
        // All of them are in their handlers at once.
        f.end(client.until_held(64)).await.unwrap();
        for token in 0..64 {
            f.end(client.release(token)).await.unwrap();
        }
    });
    assert_eq!(running.await, (0..64).collect::<Vec<_>>());
    releaser.join().await;
}

pub(crate) async fn a_thousand_at_once(f: Fixture) {
    let (_server, client) = f.pair().await;
    let results = f.together(1024, move |index| {
        let client = client.clone();
        async move {
            let data = pattern(index);
            (
                f.end(client.number(index)).await.unwrap(),
                f.end(client.bytes(&data)).await.unwrap() == data,
            )
        }
    });
    for (index, result) in (0..).zip(results.await) {
        assert_eq!(result, (index, true));
    }
}

pub(crate) async fn replies_in_any_order(f: Fixture) {
    let (_server, client) = f.pair().await;
    let (ended, end) = mpsc::channel();
    let running: Vec<_> = (0..20)
        .map(|token| {
            let (client, ended) = (client.clone(), ended.clone());
            f.start(async move {
                assert_eq!(f.end(client.hold(token)).await.unwrap(), token);
                ended.send(token).unwrap();
            })
        })
        .collect();
    f.end(client.until_held(20)).await.unwrap();
    for token in (0..20).map(|token| token * 7 % 20) {
        f.end(client.release(token)).await.unwrap();
        assert_eq!(
            end.recv().unwrap(),
            token,
            "another call ended than the one whose handler did"
        );
    }
    for one in running {
        one.join().await;
    }
}

pub(crate) async fn one_way_calls_in_order(f: Fixture) {
    let (_server, client) = f.pair().await;
    for value in 0..500 {
        f.end(client.note(value)).await.unwrap();
    }
    assert_eq!(
        f.end(client.until_notes(500)).await.unwrap(),
        (0..500).collect::<Vec<_>>()
    );
    // Large ones, too, and those behind them.
    f.end(client.note_bytes(&pattern(100_000))).await.unwrap();
    f.end(client.note(1)).await.unwrap();
    assert_eq!(f.end(client.until_notes(502)).await.unwrap()[500..], [100_000, 1]);
}

pub(crate) async fn two_services_on_one_connection(f: Fixture) {
    let (_server, client) = f.pair().await;
    let second: SecondClient = client.service();
    assert_eq!(f.end(second.twice(21)).await.unwrap(), 42);
    let seen = f.end(client.seen()).await.unwrap();
    assert_eq!(f.end(second.connection()).await.unwrap(), seen.connection);
    // Either outlives the other.
    drop(client);
    assert_eq!(f.end(second.twice(4)).await.unwrap(), 8);
}

pub(crate) async fn nothing_before_the_first_poll(f: Fixture) {
    let (_server, client) = f.pair().await;
    let (first, second) = (client.note(1), client.note(2));
    second.await.unwrap();
    first.await.unwrap();
    drop(client.note(3));
    client.note(4).await.unwrap();
    assert_eq!(client.until_notes(3).await.unwrap(), [2, 1, 4]);
}

pub(crate) async fn news_while_a_batch_is_served(f: Fixture) {
    let (_server, client) = f.pair().await;
    for _ in 0..5 {
        // One write brings the slow call and more behind it than a server takes in without a pause.
        let slow = {
            let client = client.clone();
            f.start(async move { client.hog(30).await.unwrap() })
        };
        let batch = f.together(20, |index| {
            let client = client.clone();
            async move { client.number(index).await.unwrap() }
        });
        // While the slow handler has the connection's thread.
        let news = {
            let client = client.clone();
            f.start(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                client.number(7).await.unwrap()
            })
        };
        assert_eq!(batch.await, (0..20).collect::<Vec<_>>());
        assert_eq!(news.join().await, 7);
        slow.join().await;
    }
}

pub(crate) async fn a_large_one_way_call_arrives(f: Fixture) {
    let (server, client) = f.pair().await;
    let witness = f.client(&server).await;
    let size = large(f);
    for round in 1..=3 {
        // More than a socket holds, and nothing follows that would push the rest.
        f.end(client.note_bytes(&pattern(size))).await.unwrap();
        assert_eq!(
            f.end(witness.until_notes(round)).await.unwrap().len() as u64,
            round
        );
    }
}

pub(crate) async fn a_call_that_was_polled_is_waited_for(f: Fixture) {
    let (_server, client) = f.pair().await;
    let mut call = client.hold(1);
    tokio::select! {
        biased;
        ended = &mut call => panic!("nobody released it: {ended:?}"),
        held = client.until_held(1) => assert_eq!(held.unwrap(), 1),
    };
    client.release(1).await.unwrap();
    // The case runs on a thread that may block.
    assert_eq!(call.wait().unwrap(), 1);
    assert_eq!(client.until_held(1).await.unwrap(), 1, "it was made twice");
    let mut call = client.number(2);
    assert_eq!((&mut call).await.unwrap(), 2);
    assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Closed);
}
