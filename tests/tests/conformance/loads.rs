//! Much at once: large beside small, slow handlers, slow readers.

use std::time::Duration;

use ipc_rpc::{Codec, ErrorKind};
use tests::fixture::Fixture;
use tests::subject::pattern;

use crate::bodies::large;

pub(crate) async fn large_bodies_both_ways_at_once(f: Fixture) {
    let (_server, client) = f.pair().await;
    let size = large(f) / 4;
    let echoed = f.together(6, |index| {
        let client = client.clone();
        async move {
            let data = pattern(size + index);
            match index % 3 {
                0 => f.end(client.owned_bytes(data.clone())).await.unwrap() == data,
                1 => f.end(client.take(&data)).await.unwrap(),
                _ => f.end(client.give(size + index)).await.unwrap() == data,
            }
        }
    });
    assert!(echoed.await.into_iter().all(|intact| intact));
}

pub(crate) async fn small_calls_beside_large_ones(f: Fixture) {
    let (_server, client) = f.pair().await;
    let size = large(f) / 4;
    let results = f.together(12, |index| {
        let client = client.clone();
        async move {
            if index < 4 {
                let data = pattern(size);
                f.end(client.take(&data)).await.unwrap()
            } else {
                for number in 0..50 {
                    assert_eq!(f.end(client.number(number)).await.unwrap(), number);
                }
                true
            }
        }
    });
    assert!(results.await.into_iter().all(|intact| intact));
}

pub(crate) async fn large_calls_given_up_halfway(f: Fixture) {
    let (_server, client) = f.pair().await;
    let data = pattern(large(f));
    // Sooner or later, so that some end before anything has left, some halfway, and some behind it all.
    for tenths in 1..=20 {
        let taken = f
            .end(client.take(&data).timeout(Duration::from_micros(100 * tenths)))
            .await;
        match taken {
            Ok(intact) => assert!(intact),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Deadline, "{error}"),
        }
        // What is left of it disturbs nobody.
        assert_eq!(f.end(client.number(tenths)).await.unwrap(), tenths);
    }
    assert!(f.end(client.take(&data)).await.unwrap());
}

pub(crate) async fn a_slow_handler_holds_its_callers_back(f: Fixture) {
    let (_server, client) = f.pair().await;
    let size = large(f) / 32;
    let hog = {
        let client = client.clone();
        f.start(async move { f.end(client.hog(100)).await.unwrap() })
    };
    // More than sockets hold waits behind the handler that keeps the connection's thread.
    let taken = f.together(40, |index| {
        let client = client.clone();
        async move {
            let data = pattern(size + index);
            f.end(client.take(&data)).await.unwrap()
        }
    });
    assert!(taken.await.into_iter().all(|intact| intact));
    hog.join().await;
}

pub(crate) async fn answers_wait_for_a_slow_reader(f: Fixture) {
    let mut plan = f.plan();
    // Less than one answer: the server goes on only when the client has read.
    plan.max_queued = Some(16 << 10);
    let server = f.serve(&plan);
    let client = f.client(&server).await;
    let answers = if f.codec == Codec::Json { 20 } else { 100 };
    let given = f.together(answers, |index| {
        let client = client.clone();
        async move { f.end(client.give(40_000 + index)).await.unwrap() == pattern(40_000 + index) }
    });
    assert!(given.await.into_iter().all(|intact| intact));
    assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
}

pub(crate) async fn many_connections_at_once(f: Fixture) {
    let server = f.server();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(f.client(&server).await);
    }
    let results = f.together(60, |index| {
        let client = clients[index as usize % clients.len()].clone();
        async move {
            for number in 0..20 {
                assert_eq!(
                    f.end(client.number(index + number)).await.unwrap(),
                    index + number
                );
            }
        }
    });
    assert_eq!(results.await.len(), 60);
}
