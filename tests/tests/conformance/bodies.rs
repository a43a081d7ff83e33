//! What travels: arguments and results of every size and kind.

use bytes::Bytes;
use ipc_rpc::{CallError, Codec};
use tests::fixture::Fixture;
use tests::subject::{Record, Refusal, pattern};

pub(crate) async fn nothing_to_say(f: Fixture) {
    let (_server, client) = f.pair().await;
    for _ in 0..10 {
        f.end(client.nothing()).await.unwrap();
    }
}

pub(crate) async fn bodies_of_every_size(f: Fixture) {
    let (_server, client) = f.pair().await;
    // Around each power of two, and around what transports treat differently with a header in front.
    let mut sizes = vec![0, 1, 2, 3];
    // JSON takes its time in a build that is not optimised.
    let largest = if f.codec == Codec::Json { 13 } else { 16 };
    for power in 2..=largest {
        sizes.extend([-33, -32, -24, -9, -8, -1, 0, 1_i64].map(|off| ((1 << power) + off).max(0)));
    }
    for size in sizes {
        let data = pattern(size as u64);
        assert_eq!(f.end(client.bytes(&data)).await.unwrap(), data, "{size} bytes");
    }
}

/// The largest body that a test in an unoptimised build has patience for.
pub(crate) fn large(f: Fixture) -> u64 {
    // JSON writes a byte as a number of up to four characters.
    if f.codec == Codec::Json {
        256 << 10
    } else {
        8 << 20
    }
}

pub(crate) async fn large_bodies_after_many_small_calls(f: Fixture) {
    let (_server, client) = f.pair().await;
    // By then a caller may look for its answers itself, and nobody else at the connection.
    for number in 0..100 {
        assert_eq!(f.end(client.number(number)).await.unwrap(), number);
    }
    let data = pattern(1 << 20);
    for _ in 0..3 {
        assert!(f.end(client.take(&data)).await.unwrap());
        assert_eq!(f.end(client.give(1 << 20)).await.unwrap(), data);
    }
}

pub(crate) async fn large_bodies(f: Fixture) {
    let (_server, client) = f.pair().await;
    let size = large(f);
    for size in [size / 8, size / 8 + 1, size] {
        let data = pattern(size);
        assert!(f.end(client.take(&data)).await.unwrap(), "{size} bytes there");
        assert_eq!(f.end(client.give(size)).await.unwrap(), data, "{size} bytes back");
        // A small one right behind it.
        assert_eq!(f.end(client.number(size)).await.unwrap(), size);
    }
}

pub(crate) async fn borrowed_and_owned_bytes(f: Fixture) {
    let (_server, client) = f.pair().await;
    for size in [0, 1, 300, 70_000] {
        let data = pattern(size);
        assert_eq!(f.end(client.bytes(&data)).await.unwrap(), data);
        assert_eq!(f.end(client.owned_bytes(data.clone())).await.unwrap(), data);
        assert_eq!(
            f.end(client.shared_bytes(Bytes::from(data.clone())))
                .await
                .unwrap(),
            data
        );
    }
    let numbers: Vec<u32> = (0..1000).collect();
    assert_eq!(f.end(client.sum(&numbers)).await.unwrap(), 499_500);
    assert_eq!(f.end(client.sum(&[])).await.unwrap(), 0);
}

pub(crate) async fn text_of_every_kind(f: Fixture) {
    let (_server, client) = f.pair().await;
    let long = "ä\u{1f980}\"\\\n\0".repeat(10_000);
    for text in [
        "",
        "plain",
        "\"quoted\\\" \u{7f}",
        "\0\u{1}\n\r\t",
        "äöü ✓ \u{1f980}",
        "\u{d7ff}\u{e000}\u{10ffff}",
        &long,
    ] {
        assert_eq!(f.end(client.text(text)).await.unwrap(), text);
    }
}

pub(crate) async fn optional_arguments(f: Fixture) {
    let (_server, client) = f.pair().await;
    for text in [None, Some(""), Some("\"text\"")] {
        assert_eq!(f.end(client.optional_text(text)).await.unwrap().as_deref(), text);
    }
    for data in [None, Some(&[][..]), Some(&[0, 255, 34][..])] {
        assert_eq!(f.end(client.optional_bytes(data)).await.unwrap().as_deref(), data);
    }
}

pub(crate) async fn tuples_and_records(f: Fixture) {
    let (_server, client) = f.pair().await;
    assert_eq!(
        f.end(client.pair(("a \"pair\"", 7))).await.unwrap(),
        (7, "a \"pair\"".to_owned())
    );
    let root = Record {
        id: 0,
        name: String::new(),
        tags: vec![],
        parent: None,
    };
    let tags = vec!["a".to_owned(), String::new(), "c".repeat(1000)];
    let record = Record {
        id: u64::MAX,
        name: "blatt ✓".into(),
        tags,
        parent: Some(Box::new(root)),
    };
    assert_eq!(f.end(client.record(&record)).await.unwrap(), record);
}

pub(crate) async fn results_as_values(f: Fixture) {
    let (_server, client) = f.pair().await;
    assert_eq!(f.end(client.result(Ok(7))).await.unwrap(), 7);
    match f.end(client.result(Err("no".into()))).await {
        Err(CallError::Service(refusal)) => assert_eq!(refusal, Refusal::Because("no".into())),
        other => panic!("{other:?}"),
    }
    for given in [Ok(vec![1, 2, 255]), Err("no".to_owned())] {
        assert_eq!(
            f.end(client.result_inside(given.clone())).await.unwrap(),
            (given, None)
        );
    }
}

pub(crate) async fn sixteen_arguments(f: Fixture) {
    let (_server, client) = f.pair().await;
    let sum = f
        .end(client.many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
        .await
        .unwrap();
    assert_eq!(sum, (1..=16).map(|place| place * place).sum::<u64>());
}

pub(crate) async fn errors_of_the_service(f: Fixture) {
    let (_server, client) = f.pair().await;
    assert_eq!(f.end(client.divide(7, -2)).await.unwrap(), -3);
    for _ in 0..3 {
        match f.end(client.divide(7, 0)).await {
            Err(CallError::Service(Refusal::ByZero)) => {}
            other => panic!("{other:?}"),
        }
    }
    // It is a value like any other: the connection does not care.
    assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
}

pub(crate) async fn values_of_every_type(f: Fixture) {
    let (_server, client) = f.pair().await;
    tests::values::check(f, &client).await;
}
